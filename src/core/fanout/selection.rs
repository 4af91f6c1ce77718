//! Selections: the records of some batches that a filter or `latest` mode leaves over. Built once
//! for all subscribers that ask for the same.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::options::Filter;
use tidewire_protocol::record::Records;

use super::filters::FilterId;
use super::session::Mode;
use crate::topic::{Batch, TopicKey};
use crate::{HashMap, hash_map};

/// Selections that are remembered.
const REMEMBERED_MAX: usize = 512;

/// Some records of a range.
#[derive(Debug)]
pub(super) struct Selection {
    /// Offset behind the range.
    pub(super) next: u64,
    /// Append time of the last batch looked at.
    pub(super) time_ms: u64,
    /// Offsets of the records relative to the range's start; `None`: all of them.
    pub(super) offsets: Option<Vec<u64>>,
    /// The records.
    pub(super) body: Bytes,
    /// Number of records selected.
    pub(super) count: u64,
}

/// What makes two selections the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SelectionKey {
    pub(super) shard: u16,
    pub(super) topic: TopicKey,
    pub(super) from: u64,
    pub(super) next: u64,
    pub(super) mode: Mode,
    pub(super) filter: Option<FilterId>,
}

/// The most recent selections.
#[derive(Debug)]
pub(super) struct Selections {
    by_key: HashMap<SelectionKey, Arc<Selection>>,
    order: VecDeque<SelectionKey>,
}

impl Selections {
    pub(super) fn new(seed: u64) -> Self {
        Self { by_key: hash_map(seed), order: VecDeque::new() }
    }

    /// The batches are warm, if this is asked for the first time.
    pub(super) fn find_or_build(
        &mut self,
        key: SelectionKey,
        batches: &[Arc<Batch>],
        filter: Option<&Filter>,
    ) -> Arc<Selection> {
        if let Some(known) = self.by_key.get(&key) {
            return Arc::clone(known);
        }
        let built = Arc::new(build(&key, batches, filter));
        if self.order.len() == REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        self.order.push_back(key);
        self.by_key.insert(key, Arc::clone(&built));
        built
    }

    /// Forgets what a filter made that nobody uses any more.
    pub(super) fn forget(&mut self, filter: FilterId) {
        self.order.retain(|key| key.filter != Some(filter));
        self.by_key.retain(|key, _| key.filter != Some(filter));
    }
}

fn build(key: &SelectionKey, batches: &[Arc<Batch>], filter: Option<&Filter>) -> Selection {
    let mut chosen: Vec<(u64, &[u8])> = Vec::new();
    let mut newest: hashbrown::HashMap<Option<&str>, usize, foldhash::fast::FixedState> =
        hashbrown::HashMap::default();
    for batch in batches {
        for (offset, record) in
            (batch.base..).zip(Records::of(batch.body.warm().map_or(&[], |body| body)))
        {
            if offset < key.from || filter.is_some_and(|filter| !filter.matches(&record)) {
                continue;
            }
            if key.mode == Mode::Latest
                && let Some(older) = newest.insert(record.key, chosen.len())
                && let Some(superseded) = chosen.get_mut(older)
            {
                superseded.1 = &[];
            }
            chosen.push((offset, record.encoded));
        }
    }
    chosen.retain(|(_, encoded)| !encoded.is_empty());
    let mut body = Vec::with_capacity(chosen.iter().map(|(_, encoded)| encoded.len()).sum());
    for (_, encoded) in &chosen {
        body.extend_from_slice(encoded);
    }
    let count = chosen.len() as u64;
    let all = count == key.next - key.from;
    Selection {
        next: key.next,
        time_ms: batches.last().map_or(0, |batch| batch.time_ms),
        offsets: (!all).then(|| chosen.iter().map(|(offset, _)| offset - key.from).collect()),
        body: body.into(),
        count,
    }
}
