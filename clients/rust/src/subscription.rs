//! Subscriptions: the records of a topic, or of all topics that match a pattern.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::record::{Record, Records};
use tidewire_protocol::{Name, Refusal};

use crate::client::Handle;
use crate::inbox::{Inbox, Taken};

/// A running subscription: a [`Stream`] of [`SubscriptionEvent`]s, or [`Subscription::next`] in a loop. Dropping
/// it ends it on the server as well.
///
/// The server may send as many bytes ahead as the window says (4 MiB, or
/// [`crate::SubscribeOptions::credit`]); the window opens again as [`Subscription::next`] takes
/// deliveries. A subscription that is not read costs no more than that and delays nothing else.
#[derive(Debug)]
pub struct Subscription {
    handle: Arc<Handle>,
    inbox: Arc<Inbox>,
}

impl Subscription {
    pub(crate) fn new(handle: Arc<Handle>, inbox: Arc<Inbox>) -> Self {
        Self { handle, inbox }
    }

    /// The next event; `None` when the subscription has ended and everything was taken.
    ///
    /// # Cancellation
    /// Safe: no event is lost.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            match ready!(self.inbox.poll_take(context)) {
                Taken::Event { event, credit } => {
                    if let Some((sub, bytes)) = credit {
                        self.handle.link().grant(sub, bytes);
                    }
                    return Poll::Ready(Some(event));
                }
                Taken::Ended => return Poll::Ready(None),
                Taken::Overrun => self.handle.link().reopen(&self.inbox),
                Taken::Nothing => {}
            }
        }
    }

    /// Where a later subscription would go on behind the events that were taken, also in another process.
    #[must_use]
    pub fn position(&self) -> Start {
        self.inbox.position()
    }

    /// What has arrived already, without waiting; `None` when there is nothing at the moment.
    pub fn try_next(&mut self) -> Option<SubscriptionEvent> {
        match self.inbox.take() {
            Taken::Event { event, credit } => {
                if let Some((sub, bytes)) = credit {
                    self.handle.link().grant(sub, bytes);
                }
                Some(event)
            }
            Taken::Overrun => {
                self.handle.link().reopen(&self.inbox);
                None
            }
            Taken::Ended | Taken::Nothing => None,
        }
    }
}

impl Stream for Subscription {
    type Item = SubscriptionEvent;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<SubscriptionEvent>> {
        self.poll_event(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.link().abandon_subscription(&self.inbox);
    }
}

/// What happens on a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionEvent {
    /// Delivery begins: first of all, and again after each reconnect.
    Started(SubscribedInfo),
    /// Records.
    Delivery(Delivery),
    /// Records that this subscription does not get.
    Gap(Gap),
    /// Records were looked at, and the filter selected none of them.
    Progress(Progress),
    /// The server (or the loss of the connection) has ended the subscription.
    Ended(Refusal),
}

/// Where delivery begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedInfo {
    /// How that relates to where it was asked to begin.
    pub status: StartStatus,
    /// The topic's epoch; 0 for a pattern.
    pub epoch: u64,
    /// The first offset that is delivered; 0 for a pattern.
    pub offset: u64,
    /// With [`StartStatus::Gap`]: the records `[from, next)` that are no longer kept.
    pub missing: Option<(u64, u64)>,
    /// For a pattern: where each shard starts; for a topic with partitions: where each of these.
    pub positions: Vec<Position>,
}

/// How the start of delivery relates to where it was asked to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStatus {
    /// A fresh start.
    Fresh,
    /// Resumed; everything since the asked position is there.
    Resumed,
    /// Resumed, but records in between are no longer kept.
    Gap,
    /// The topic's history is another one; delivery starts at its oldest record.
    NewEpoch,
    /// A status that this client does not know.
    Other(u64),
}

impl StartStatus {
    pub(crate) const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Fresh,
            1 => Self::Resumed,
            2 => Self::Gap,
            3 => Self::NewEpoch,
            other => Self::Other(other),
        }
    }
}

/// Records of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The topic.
    pub topic: Name,
    /// Its epoch.
    pub epoch: u64,
    /// The delivery covers the offsets from here ...
    pub from: u64,
    /// ... to before here.
    pub next: u64,
    /// Unix time at which the records (the last batch of them) were appended, in milliseconds.
    pub time_ms: u64,
    /// For a pattern: where the shard stands after this delivery; for a topic with partitions:
    /// where the partition stands, whose offsets these are.
    pub position: Option<Position>,
    /// Which offsets of the range are in the body, relative to `from`; `None` for all of them.
    pub offsets: Option<Vec<u64>>,
    /// The records' encodings.
    pub body: Bytes,
}

impl Delivery {
    /// The records with their offsets.
    pub fn records(&self) -> impl Iterator<Item = (u64, Record<'_>)> {
        let mut at = 0_u64;
        Records::of(&self.body).map_while(move |record| {
            let relative = match &self.offsets {
                None => at,
                Some(offsets) => *offsets.get(usize::try_from(at).ok()?)?,
            };
            at += 1;
            Some((self.from.saturating_add(relative), record))
        })
    }

    /// How many records the body holds, without reading it.
    #[must_use]
    pub fn count(&self) -> u64 {
        match &self.offsets {
            None => self.next.saturating_sub(self.from),
            Some(offsets) => u64::try_from(offsets.len()).unwrap_or(u64::MAX),
        }
    }
}

/// Records `[from, next)` of a topic that the subscription does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic; `None` when a pattern's position has fallen off what its shard keeps. The range
    /// counts batches of that shard then: which of them would have matched is not known any more.
    pub topic: Option<Name>,
    /// Its epoch (the new one, when the history changed).
    pub epoch: u64,
    /// The first missing offset.
    pub from: u64,
    /// The first offset that is not missing.
    pub next: u64,
    /// Why they are missing.
    pub reason: GapReason,
    /// For a pattern, or a topic with partitions: where the shard or partition stands behind it.
    pub position: Option<Position>,
}

/// Why records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// Retention removed them before this subscription took them: it was too slow.
    Retention,
    /// The topic's history changed.
    NewEpoch,
    /// The subscription asked to jump to the newest records.
    Jumped,
    /// The server delivered on without a word about them. That is a fault of the server.
    Unexplained,
    /// A reason that this client does not know.
    Other(u64),
}

impl GapReason {
    pub(crate) const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::Retention,
            1 => Self::NewEpoch,
            2 => Self::Jumped,
            other => Self::Other(other),
        }
    }
}

/// How far the server has looked without a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The topic; `None` for a pattern.
    pub topic: Option<Name>,
    /// Its epoch.
    pub epoch: u64,
    /// Everything before this offset has been looked at.
    pub next: u64,
    /// For a pattern: where the shard stands.
    pub position: Option<Position>,
}
