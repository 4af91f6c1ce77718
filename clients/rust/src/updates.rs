//! Watches as streams: values that stand by themselves.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tidewire_protocol::tally::Standings;

use crate::error::Error;
use crate::reply::Entry;
use crate::watch::{Held, Watch};
use crate::watch_slot::Newest;

/// A watch as a [`Stream`]. It ends when the client is closed; when the server has ended the watch, the reason
/// comes last. Dropping it ends the watch.
///
/// Of a map or presence set each update holds a copy of all keys: of a large one that changes often,
/// [`Watch::next`] asks for less.
#[derive(Debug)]
pub struct Updates {
    watch: Watch,
    is_over: bool,
}

/// A newer version of a watched cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The version. Every operation that was answered with a version up to this one is contained.
    pub version: u64,
    /// Whether the cell does not exist any more.
    pub deleted: bool,
    /// As [`WatchEvent::stale_ms`](crate::WatchEvent::stale_ms).
    pub stale_ms: Option<u64>,
    /// As [`WatchEvent::behind_ms`](crate::WatchEvent::behind_ms).
    pub behind_ms: Option<u64>,
    /// The value.
    pub value: UpdateValue,
}

/// The value of a watched cell.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateValue {
    /// There is none: the cell does not exist (any more).
    Absent,
    /// A counter's number.
    Counter(i64),
    /// A tally's standings; what does not change is in [`Watch::tally_info`].
    Standings(Standings),
    /// A map or presence set.
    Entries {
        /// Everything that is there now.
        all: BTreeMap<String, Entry>,
        /// The keys that were written or removed since the last update, in order.
        changed: Vec<String>,
    },
}

impl Watch {
    /// The same watch as a stream.
    #[must_use]
    pub fn into_updates(self) -> Updates {
        Updates { watch: self, is_over: false }
    }

    fn update(&mut self, newest: Newest) -> Result<Update, Error> {
        let (stale_ms, behind_ms) = (newest.stale_ms, newest.behind_ms);
        let (version, deleted, held) = self.event(newest)?;
        let value = match held {
            Held::Absent => UpdateValue::Absent,
            Held::Counter(number) => UpdateValue::Counter(number),
            Held::Standings(standings) => UpdateValue::Standings(standings),
            Held::Entries(changed) => UpdateValue::Entries { all: self.entries.clone(), changed },
        };
        Ok(Update { version, deleted, stale_ms, behind_ms, value })
    }
}

impl Updates {
    /// The watch, for what it knows beside its values.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The next newer version, as the stream has it.
    ///
    /// # Cancellation
    /// Safe: the newest version is not lost.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        std::future::poll_fn(|context| self.poll_update(context)).await
    }

    fn poll_update(&mut self, context: &Context<'_>) -> Poll<Option<Result<Update, Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Some(newest) = ready!(self.watch.poll_newest(context)) else {
            self.is_over = true;
            let reason = self.watch.end_reason().filter(|reason| *reason != Error::Closed);
            return Poll::Ready(reason.map(Err));
        };
        let update = self.watch.update(newest);
        self.is_over = update.is_err();
        Poll::Ready(Some(update))
    }
}

impl Stream for Updates {
    type Item = Result<Update, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_update(context)
    }
}
