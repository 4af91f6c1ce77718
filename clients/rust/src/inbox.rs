//! What has arrived for one subscription and was not taken yet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tidewire_protocol::frame::Start;
use tidewire_protocol::options::SubscribeOptions;
use tidewire_protocol::{ClientFrame, Pattern, ServerFrame};
use tokio::sync::oneshot;

use crate::arrivals::Arrivals;
use crate::error::{self, Error};
use crate::subscription::{StartStatus, SubscribedInfo, SubscriptionEvent};

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
    reader: AtomicWaker,
}

#[derive(Debug)]
struct State {
    sub: u32,
    phase: Phase,
    opener: Option<Opener>,
    arrivals: Arrivals,
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
            opener: Some(opener),
            arrivals: Arrivals::new(start, pattern.as_name().is_some()),
            owed: 0,
        };
        Self { pattern, options, window, state: Mutex::new(state), reader: AtomicWaker::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the oldest event, or has the reader woken when there is one.
    pub(crate) fn poll_take(&self, context: &Context<'_>) -> Poll<Taken> {
        let taken = self.take();
        if !matches!(taken, Taken::Nothing) {
            return Poll::Ready(taken);
        }
        self.reader.register(context.waker());
        // What has come before the reader was known wakes nobody.
        match self.take() {
            Taken::Nothing => Poll::Pending,
            taken @ (Taken::Event { .. } | Taken::Overrun | Taken::Ended) => Poll::Ready(taken),
        }
    }

    /// Where another subscription would go on behind what was taken.
    pub(crate) fn position(&self) -> Start {
        self.state().arrivals.position()
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
            credit: Some(self.window.saturating_sub(state.arrivals.unread()).max(1)),
            ..self.options.clone()
        };
        let (pattern, start) = (self.pattern.clone(), state.arrivals.resume());
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
        let status = StartStatus::from_number(status);
        state.arrivals.start(SubscribedInfo { status, epoch, offset, missing, positions });
        let opener = state.opener.take();
        drop(state);
        // An opener that does not wait any more has dropped the subscription as well.
        opener.map(|opener| opener.send(Ok(())));
        self.reader.wake();
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
            None => state.arrivals.push(SubscriptionEvent::Ended(error::as_refusal(why))),
        }
        drop(state);
        self.reader.wake();
    }

    /// Keeps a frame of this subscription for the application.
    pub(crate) fn receive(&self, frame: ServerFrame) {
        let mut state = self.state();
        if state.phase != Phase::Running {
            return;
        }
        let bytes_max = self.window.saturating_mul(2).saturating_add(WINDOW_BYTES);
        if state.arrivals.count() >= EVENTS_MAX || state.arrivals.unread() > bytes_max {
            state.phase = Phase::Overrun;
            tracing::debug!(pattern = %self.pattern, "not read fast enough; starts again later");
        } else {
            state.arrivals.keep(frame);
        }
        drop(state);
        self.reader.wake();
    }

    /// Takes the oldest event.
    pub(crate) fn take(&self) -> Taken {
        let mut state = self.state();
        let Some((event, bytes)) = state.arrivals.take() else {
            return match state.phase {
                Phase::Running => Taken::Nothing,
                Phase::Overrun => Taken::Overrun,
                Phase::Ended => Taken::Ended,
            };
        };
        let mut credit = None;
        state.owed += bytes;
        if bytes > 0 && state.owed >= self.window.div_ceil(4) && state.phase == Phase::Running {
            credit = Some((state.sub, state.owed));
            state.owed = 0;
        }
        Taken::Event { event, credit }
    }
}
