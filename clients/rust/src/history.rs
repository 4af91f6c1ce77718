//! History: what a topic holds, page by page.

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, Start};
use tidewire_protocol::options::{SubscribeOptions, TopicInfo};
use tidewire_protocol::record::{Record, Records};
use tidewire_protocol::{ErrorCode, Name, Pattern, Refusal};

use crate::client::Client;
use crate::error::Error;
use crate::subscription::{
    Gap, GapReason, StartStatus, SubscribedInfo, Subscription, SubscriptionEvent,
};
use crate::topics::not_found;

/// Most records of one page.
const RECORDS_MAX: u64 = 10_000;
/// How many bytes may be on their way for a page.
const WINDOW_BYTES: u64 = 256 * 1024;

/// Which page of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// It begins at this offset, or at the oldest one that is kept; 0 is the first page.
    From(u64),
    /// It ends before this offset; `u64::MAX`: the newest records.
    Before(u64),
}

/// One page of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Its records, in order.
    pub records: Vec<HistoryRecord>,
    /// The topic's epoch.
    pub epoch: u64,
    /// Where the page behind this one begins.
    pub next: Page,
    /// The page in front of this one; `None` when there is none.
    pub previous: Option<Page>,
    /// Whether it reaches the end that the topic had when the page was asked for.
    pub is_at_end: bool,
    /// What was removed while the page was read.
    pub gaps: Vec<Gap>,
}

/// A record of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRecord {
    /// Its offset.
    pub offset: u64,
    /// Unix time at which it was appended, in milliseconds; of a read over several batches, that of the last one.
    pub time_ms: u64,
    encoded: Bytes,
}

impl HistoryRecord {
    /// Key, headers and payload.
    #[must_use]
    pub fn record(&self) -> Option<Record<'_>> {
        Records::of(&self.encoded).next()
    }
}

impl Client {
    /// Reads one page of a topic, of at most `limit` records (1 to 10,000). It is read through a subscription of
    /// its own with a small window.
    ///
    /// # Errors
    /// `not_found` when there is no such topic, `invalid_argument` for the limit, `unsupported` for a topic with
    /// partitions, which has no one order, or when the server refuses or the connection is lost.
    ///
    /// # Cancellation
    /// Safe: the subscription ends.
    pub async fn history(
        &self,
        topic: &Name,
        page: Page,
        limit: u64,
    ) -> Result<HistoryPage, Error> {
        if !(1..=RECORDS_MAX).contains(&limit) {
            let rule = format!("a page holds 1 to {RECORDS_MAX} records, not {limit}");
            return Err(Refusal::new(ErrorCode::InvalidArgument, rule).into());
        }
        let value = self.get(CellKind::Topic, topic, None).await?;
        let value = value.ok_or_else(|| not_found("topic", topic))?;
        let info = value.topic()?;
        if info.partitions.is_some() {
            let rule = format!("'{topic}' has partitions: subscribe from positions to read it");
            return Err(Refusal::new(ErrorCode::Unsupported, rule).into());
        }
        let bounds = Bounds::of(&info, page, limit);
        let mut read = HistoryPage {
            records: Vec::new(),
            epoch: value.epoch,
            next: Page::From(bounds.from.max(bounds.end)),
            previous: (bounds.from > info.first).then_some(Page::Before(bounds.from)),
            is_at_end: bounds.end >= info.next,
            gaps: Vec::new(),
        };
        if bounds.from < bounds.end {
            let start = Start::Offset { epoch: value.epoch, offset: bounds.from };
            let options =
                SubscribeOptions { credit: Some(WINDOW_BYTES), ..SubscribeOptions::default() };
            let pattern = Pattern::parse(topic.as_str())?;
            let subscription = self.subscribe(&pattern, start, options).await?;
            fill(subscription, &bounds, &mut read).await?;
        }
        Ok(read)
    }
}

/// The offsets `[from, end)` of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    from: u64,
    end: u64,
}

impl Bounds {
    fn of(info: &TopicInfo, page: Page, limit: u64) -> Self {
        match page {
            Page::From(from) => {
                let from = from.max(info.first);
                Self { from, end: info.next.min(from.saturating_add(limit)) }
            }
            Page::Before(before) => {
                let end = before.min(info.next);
                Self { from: end.saturating_sub(limit).max(info.first), end }
            }
        }
    }
}

async fn fill(
    mut subscription: Subscription,
    bounds: &Bounds,
    page: &mut HistoryPage,
) -> Result<(), Error> {
    while let Some(event) = subscription.next().await {
        match event {
            SubscriptionEvent::Delivery(delivery) => {
                let wanted = delivery.records().filter(|(offset, _)| *offset < bounds.end);
                page.records.extend(wanted.map(|(offset, record)| {
                    // Copied, so that a page that is kept does not keep what was delivered beside it.
                    let encoded = Bytes::copy_from_slice(record.encoded);
                    HistoryRecord { offset, time_ms: delivery.time_ms, encoded }
                }));
                if delivery.next >= bounds.end {
                    return Ok(());
                }
            }
            SubscriptionEvent::Gap(gap) => {
                let is_over = gap.next >= bounds.end || gap.reason == GapReason::NewEpoch;
                page.gaps.push(gap);
                if is_over {
                    return Ok(());
                }
            }
            SubscriptionEvent::Ended(refusal) => return Err(refusal.into()),
            SubscriptionEvent::Started(info) => {
                let Some(gap) = gap_before(&info) else { continue };
                let is_over = gap.next >= bounds.end || gap.reason == GapReason::NewEpoch;
                page.gaps.push(gap);
                if is_over {
                    return Ok(());
                }
            }
            SubscriptionEvent::Progress(_) => {}
        }
    }
    Err(Error::Closed)
}

/// What was removed between the question for the bounds and the subscription.
fn gap_before(info: &SubscribedInfo) -> Option<Gap> {
    let (reason, (from, next)) = match info.status {
        StartStatus::Gap => (GapReason::Retention, info.missing?),
        StartStatus::NewEpoch => (GapReason::NewEpoch, (0, info.offset)),
        StartStatus::Fresh | StartStatus::Resumed | StartStatus::Other(_) => return None,
    };
    Some(Gap { topic: None, epoch: info.epoch, from, next, reason, position: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_within_what_is_kept() {
        let info = TopicInfo { first: 10, next: 25, ..TopicInfo::default() };
        let bounds = |page, limit| {
            let Bounds { from, end } = Bounds::of(&info, page, limit);
            (from, end)
        };
        assert_eq!(bounds(Page::From(0), 10), (10, 20));
        assert_eq!(bounds(Page::From(20), 10), (20, 25));
        assert_eq!(bounds(Page::Before(u64::MAX), 10), (15, 25));
        assert_eq!(bounds(Page::Before(15), 10), (10, 15));
        let beyond = bounds(Page::From(40), 10);
        assert!(beyond.0 >= beyond.1, "{beyond:?} is empty");
    }
}
