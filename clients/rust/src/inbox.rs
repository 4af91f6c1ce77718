//! What has arrived for one subscription and was not taken yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidewire_protocol::frame::Start;
use tidewire_protocol::options::SubscribeOptions;
use tidewire_protocol::{ClientFrame, Pattern, ServerFrame};
use tokio::sync::{Notify, oneshot};

use crate::cursor::Cursor;
use crate::error::{self, Error};
use crate::subscription::{
    Delivery, Gap, GapReason, Progress, StartStatus, SubscribedInfo, SubscriptionEvent,
};

/// Bytes that may be on their way or unread, unless the options say otherwise.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// Events that may be unread. Credit counts bytes of body only, so that very small deliveries
/// need a bound of their own.
const EVENTS_MAX: usize = 32 * 1024;

/// Completes `subscribe` and `watch`.
pub(crate) type Opener = oneshot::Sender<Result<(), Error>>;

/// The client's side of one subscription.
#[derive(Debug)]
pub(crate) struct Inbox {
    pattern: Pattern,
    options: SubscribeOptions,
    window: u64,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug)]
struct State {
    sub: u32,
    phase: Phase,
    cursor: Cursor,
    opener: Option<Opener>,
    events: VecDeque<SubscriptionEvent>,
    /// Bytes of body in `events`.
    unread: u64,
    /// Bytes taken since the last credit was given.
    owed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The application reads too slowly for the bounds: frames are ignored until it has taken
    /// everything, then the subscription starts again where it stopped.
    Overrun,
    Ended,
}

/// What [`Inbox::take`] found.
#[derive(Debug)]
pub(crate) enum Taken {
    Event {
        event: SubscriptionEvent,
        /// Credit to give: subscription and bytes.
        credit: Option<(u32, u64)>,
    },
    Nothing,
    Overrun,
    Ended,
}

impl Inbox {
    pub(crate) fn new(
        pattern: Pattern,
        start: Start,
        options: SubscribeOptions,
        opener: Opener,
    ) -> Self {
        let window = options.credit.unwrap_or(WINDOW_BYTES).max(1);
        let state = State {
            sub: 0,
            phase: Phase::Running,
            cursor: Cursor::new(start, pattern.as_name().is_some()),
            opener: Some(opener),
            events: VecDeque::new(),
            unread: 0,
            owed: 0,
        };
        Self { pattern, options, window, state: Mutex::new(state), ready: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something may have arrived.
    pub(crate) async fn ready(&self) {
        self.ready.notified().await;
    }

    pub(crate) fn sub(&self) -> u32 {
        self.state().sub
    }

    /// The SUBSCRIBE that starts, or goes on where it stopped, under this id; `None` when there
    /// is nothing to start now.
    pub(crate) fn open(&self, req: u64, sub: u32) -> Option<ClientFrame> {
        let mut state = self.state();
        if state.phase != Phase::Running {
            return None;
        }
        state.sub = sub;
        state.owed = 0;
        let options = SubscribeOptions {
            credit: Some(self.window.saturating_sub(state.unread).max(1)),
            ..self.options.clone()
        };
        let (pattern, start) = (self.pattern.clone(), state.cursor.resume());
        Some(ClientFrame::Subscribe { req, sub, pattern, start, options })
    }

    /// Goes on under another id.
    pub(crate) fn renumber(&self, sub: u32) {
        self.state().sub = sub;
    }

    /// Leaves the overrun behind; false when there was none.
    pub(crate) fn restart(&self) -> bool {
        let mut state = self.state();
        let overrun = state.phase == Phase::Overrun;
        if overrun {
            state.phase = Phase::Running;
        }
        overrun
    }

    /// The server has answered SUBSCRIBE.
    pub(crate) fn opened(&self, frame: ServerFrame) {
        let mut state = self.state();
        let ServerFrame::Subscribed { status, epoch, offset, missing, positions, .. } = frame
        else {
            drop(state);
            return self.end(&Error::BadReply("SUBSCRIBED expected".to_owned()));
        };
        let positions = positions.unwrap_or_default();
        state.cursor.started(epoch, offset, &positions);
        let status = StartStatus::from_number(status);
        let info = SubscribedInfo { status, epoch, offset, missing, positions };
        state.events.push_back(SubscriptionEvent::Started(info));
        let opener = state.opener.take();
        drop(state);
        // An opener that does not wait any more has dropped the subscription as well.
        opener.map(|opener| opener.send(Ok(())));
        self.ready.notify_one();
    }

    /// Whether `subscribe` has not returned yet.
    pub(crate) fn is_opening(&self) -> bool {
        self.state().opener.is_some()
    }

    /// The subscription is over.
    pub(crate) fn end(&self, why: &Error) {
        let mut state = self.state();
        if state.phase == Phase::Ended {
            return;
        }
        state.phase = Phase::Ended;
        match state.opener.take() {
            Some(opener) => drop(opener.send(Err(why.clone()))),
            None => state.events.push_back(SubscriptionEvent::Ended(error::as_refusal(why))),
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Keeps a frame of this subscription for the application.
    pub(crate) fn receive(&self, frame: ServerFrame) {
        let mut state = self.state();
        if state.phase != Phase::Running {
            return;
        }
        let bytes_max = self.window.saturating_mul(2).saturating_add(WINDOW_BYTES);
        if state.events.len() >= EVENTS_MAX || state.unread > bytes_max {
            state.phase = Phase::Overrun;
            tracing::debug!(pattern = %self.pattern, "not read fast enough; starts again later");
        } else {
            state.keep(frame);
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Takes the oldest event.
    pub(crate) fn take(&self) -> Taken {
        let mut state = self.state();
        let Some(event) = state.events.pop_front() else {
            return match state.phase {
                Phase::Running => Taken::Nothing,
                Phase::Overrun => Taken::Overrun,
                Phase::Ended => Taken::Ended,
            };
        };
        let mut credit = None;
        if let SubscriptionEvent::Delivery(delivery) = &event {
            let bytes = byte_len(delivery);
            state.unread = state.unread.saturating_sub(bytes);
            state.owed += bytes;
            if state.owed >= self.window.div_ceil(4) && state.phase == Phase::Running {
                credit = Some((state.sub, state.owed));
                state.owed = 0;
            }
        }
        Taken::Event { event, credit }
    }
}

impl State {
    fn keep(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Deliver {
                topic,
                epoch,
                from,
                next,
                time_ms,
                position,
                offsets,
                body,
                ..
            } => {
                self.keep_delivery(Delivery {
                    topic,
                    epoch,
                    from,
                    next,
                    time_ms,
                    position,
                    offsets,
                    body,
                });
            }
            ServerFrame::Gap { topic, epoch, from, next, reason, position, .. } => {
                self.cursor.advance(epoch, next, position);
                let reason = GapReason::from_number(reason);
                let gap = Gap { topic, epoch, from, next, reason, position };
                self.events.push_back(SubscriptionEvent::Gap(gap));
            }
            ServerFrame::Progress { topic, epoch, next, position, .. } => {
                self.keep_progress(Progress { topic, epoch, next, position });
            }
            ServerFrame::Welcome { .. }
            | ServerFrame::Ping { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Error { .. }
            | ServerFrame::GoAway { .. }
            | ServerFrame::Ok { .. }
            | ServerFrame::PubAck { .. }
            | ServerFrame::Subscribed { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Value { .. }
            | ServerFrame::Watching { .. }
            | ServerFrame::Leased { .. }
            | ServerFrame::Update { .. } => {
                tracing::debug!(?frame, "not a frame of a subscription");
            }
        }
    }

    fn keep_delivery(&mut self, delivery: Delivery) {
        let hole = self.cursor.hole_before(delivery.epoch, delivery.from, delivery.position);
        if let Some((from, next)) = hole {
            let (topic, epoch) = (Some(delivery.topic.clone()), delivery.epoch);
            tracing::error!(topic = %delivery.topic, from, next, "the server left records out");
            let reason = GapReason::Unexplained;
            let gap = Gap { topic, epoch, from, next, reason, position: None };
            self.events.push_back(SubscriptionEvent::Gap(gap));
        }
        self.cursor.advance(delivery.epoch, delivery.next, delivery.position);
        self.unread += byte_len(&delivery);
        self.events.push_back(SubscriptionEvent::Delivery(delivery));
    }

    /// Of several in a row only the newest says anything.
    fn keep_progress(&mut self, progress: Progress) {
        self.cursor.advance(progress.epoch, progress.next, progress.position);
        if let Some(SubscriptionEvent::Progress(last)) = self.events.back_mut()
            && last.topic == progress.topic
            && last.position.map(|position| position.0) == progress.position.map(|p| p.0)
        {
            *last = progress;
        } else {
            self.events.push_back(SubscriptionEvent::Progress(progress));
        }
    }
}

fn byte_len(delivery: &Delivery) -> u64 {
    u64::try_from(delivery.body.len()).unwrap_or(u64::MAX)
}
