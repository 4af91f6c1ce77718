//! What has arrived for a subscription: events in their order, and where they lead to.

use std::collections::VecDeque;

use tidewire_protocol::frame::Start;
use tidewire_protocol::{Name, ServerFrame};

use crate::cursor::Cursor;
use crate::subscription::{
    Delivery, Gap, GapReason, Progress, StartStatus, SubscribedInfo, SubscriptionEvent,
};

/// Events that the application has not taken.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// Behind what has arrived.
    cursor: Cursor,
    /// Behind what was taken.
    taken: Cursor,
    events: VecDeque<SubscriptionEvent>,
    /// Bytes of body in `events`.
    unread: u64,
}

impl Arrivals {
    pub(crate) fn new(start: Start, is_one_topic: bool) -> Self {
        let cursor = Cursor::new(start, is_one_topic);
        Self { taken: cursor.clone(), cursor, events: VecDeque::new(), unread: 0 }
    }

    /// Where the next connection goes on.
    pub(crate) fn resume(&self) -> Start {
        self.cursor.resume()
    }

    /// Where another subscription would go on behind what was taken.
    pub(crate) fn position(&self) -> Start {
        self.taken.resume()
    }

    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// Bytes of body that were not taken.
    pub(crate) fn unread(&self) -> u64 {
        self.unread
    }

    /// The server has said where delivery begins.
    pub(crate) fn start(&mut self, info: SubscribedInfo) {
        self.cursor.started(info.epoch, info.offset, &info.positions);
        let (status, epoch, offset) = (info.status, info.epoch, info.offset);
        match status {
            StartStatus::Gap | StartStatus::NewEpoch => {
                let (from, next) = info.missing.unwrap_or((0, offset));
                tracing::info!(?status, epoch, from, next, "gap at the start of a subscription");
            }
            StartStatus::Fresh | StartStatus::Resumed | StartStatus::Other(_) => {}
        }
        self.push(SubscriptionEvent::Started(info));
    }

    pub(crate) fn push(&mut self, event: SubscriptionEvent) {
        self.events.push_back(event);
    }

    /// Takes the oldest event, with the bytes of body in it.
    pub(crate) fn take(&mut self) -> Option<(SubscriptionEvent, u64)> {
        let event = self.events.pop_front()?;
        self.note_taken(&event);
        let bytes = match &event {
            SubscriptionEvent::Delivery(delivery) => byte_len(delivery),
            SubscriptionEvent::Started(_)
            | SubscriptionEvent::Gap(_)
            | SubscriptionEvent::Progress(_)
            | SubscriptionEvent::Ended(_) => 0,
        };
        self.unread = self.unread.saturating_sub(bytes);
        Some((event, bytes))
    }

    fn note_taken(&mut self, event: &SubscriptionEvent) {
        let taken = &mut self.taken;
        match event {
            SubscriptionEvent::Started(info) => {
                taken.started(info.epoch, info.offset, &info.positions);
            }
            SubscriptionEvent::Delivery(delivery) => {
                taken.advance(delivery.epoch, delivery.next, delivery.position);
            }
            SubscriptionEvent::Gap(gap) => taken.advance(gap.epoch, gap.next, gap.position),
            SubscriptionEvent::Progress(progress) => {
                taken.advance(progress.epoch, progress.next, progress.position);
            }
            SubscriptionEvent::Ended(_) => {}
        }
    }

    /// Keeps a frame of the subscription.
    pub(crate) fn keep(&mut self, frame: ServerFrame) {
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
                let name = topic.as_ref().map_or("", Name::as_str);
                tracing::info!(topic = name, epoch, from, next, ?reason, "gap");
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
                tracing::debug!("a frame that is none of a subscription is ignored");
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
