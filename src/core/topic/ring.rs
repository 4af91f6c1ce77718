//! The ring: the newest batches of one topic.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::{Batch, Policy};
use crate::state_hash::StateHasher;

/// The newest batches of a topic, oldest first, without holes.
///
/// The shard owns one per topic and decides what leaves it; each dispatcher that follows the
/// topic keeps a copy that is told the same decisions, so both always hold the same batches.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    batches: VecDeque<Arc<Batch>>,
    next: u64,
    bytes: u64,
}

impl Ring {
    /// An empty ring whose next record will have this offset.
    #[must_use]
    pub fn starting_at(next: u64) -> Self {
        Self { batches: VecDeque::new(), next, bytes: 0 }
    }

    /// Offset of the oldest kept record; [`Self::next`] if none is kept.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.batches.front().map_or(self.next, |batch| batch.base)
    }

    /// Offset that the next record will get.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of the kept bodies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of kept batches.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// The kept batches, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Batch>> {
        self.batches.iter()
    }

    /// Appends a batch. One that does not begin at [`Self::next`] would break the order of the
    /// log; it is refused, and the caller has a bug.
    #[must_use]
    pub fn append(&mut self, batch: Arc<Batch>) -> bool {
        if batch.base != self.next || batch.count == 0 {
            return false;
        }
        self.next = batch.next();
        self.bytes += batch.body.len() as u64;
        self.batches.push_back(batch);
        true
    }

    /// The batch that holds this offset.
    #[must_use]
    pub fn find(&self, offset: u64) -> Option<&Arc<Batch>> {
        if offset >= self.next {
            return None;
        }
        // Followers that keep up are near the end; there a search would touch half the ring.
        if let Some(at) = self.batches.len().checked_sub(1)
            && let Some(newest) = self.batches.get(at)
            && newest.base <= offset
        {
            return Some(newest);
        }
        let behind = self.batches.partition_point(|batch| batch.next() <= offset);
        self.batches.get(behind).filter(|batch| batch.base <= offset)
    }

    /// Puts a batch into the place of the one with the same offsets. Returns whether there was one.
    pub fn replace(&mut self, batch: Arc<Batch>) -> bool {
        let at = self.batches.partition_point(|known| known.base < batch.base);
        match self.batches.get_mut(at) {
            Some(known) if (known.base, known.count) == (batch.base, batch.count) => {
                *known = batch;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The batches from the one that holds this offset on.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = &Arc<Batch>> {
        let behind = self.batches.partition_point(|batch| batch.next() <= offset);
        self.batches.range(behind..)
    }

    /// Offset of the first batch appended at or after this time.
    #[must_use]
    pub fn offset_at_time(&self, time_ms: u64) -> u64 {
        let behind = self.batches.partition_point(|batch| batch.time_ms < time_ms);
        self.batches.get(behind).map_or(self.next, |batch| batch.base)
    }

    /// Offset of the first batch with this sequence or a later one.
    #[must_use]
    pub fn offset_at_sequence(&self, sequence: u64) -> u64 {
        let behind = self.batches.partition_point(|batch| batch.sequence < sequence);
        self.batches.get(behind).map_or(self.next, |batch| batch.base)
    }

    /// Takes the oldest batch out if the policy does not keep it at this time.
    ///
    /// The newest batch goes by age only, so that one large append never empties its topic.
    pub fn evict(&mut self, policy: &Policy, now_ms: u64) -> Option<Arc<Batch>> {
        let oldest = self.batches.front()?;
        let too_old = policy
            .retention_ms
            .is_some_and(|kept_ms| oldest.time_ms.saturating_add(kept_ms) <= now_ms);
        let records_without = self.next - oldest.next();
        let too_many = self.batches.len() > 1
            && (self.bytes > policy.retention_bytes || records_without >= policy.retention_records);
        if too_old || too_many { self.pop() } else { None }
    }

    /// Takes the oldest batch out if it ends at or before this offset.
    pub fn pop_before(&mut self, first: u64) -> Option<Arc<Batch>> {
        self.batches.front().is_some_and(|batch| batch.next() <= first).then(|| self.pop())?
    }

    /// Takes the oldest batch out.
    pub fn pop(&mut self) -> Option<Arc<Batch>> {
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.body.len() as u64;
        Some(batch)
    }

    /// Takes out every batch that ends at or before this offset.
    pub fn trim(&mut self, first: u64) {
        while self.batches.front().is_some_and(|batch| batch.next() <= first) {
            self.pop();
        }
    }

    /// When the oldest batch leaves by age, if the policy has an age.
    #[must_use]
    pub fn next_expiry_ms(&self, policy: &Policy) -> Option<u64> {
        let kept_ms = policy.retention_ms?;
        self.batches.front().map(|batch| batch.time_ms.saturating_add(kept_ms))
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { batches, next, bytes } = self;
        hasher.ordered(batches, |hasher, batch| batch.hash_into(hasher));
        hasher.number(*next);
        hasher.number(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::vec::Vec;
    use tidewire_protocol::{Name, record::payload_body};

    use super::*;

    fn batch(base: u64, count: u64, time_ms: u64) -> Arc<Batch> {
        let body: Vec<u8> = (0..count).flat_map(|_| payload_body(b"xy").to_vec()).collect();
        Arc::new(Batch {
            topic: Name::parse("t").unwrap(),
            topic_id: 0,
            shard: 0,
            epoch: 1,
            base,
            count,
            time_ms,
            sequence: base,
            body: Bytes::from(body).into(),
        })
    }

    #[test]
    fn a_batch_out_of_order_is_refused() {
        let mut ring = Ring::starting_at(5);
        assert!(!ring.append(batch(4, 1, 0)));
        assert!(!ring.append(batch(6, 1, 0)));
        assert!(ring.append(batch(5, 2, 0)));
        assert_eq!((ring.first(), ring.next()), (5, 7));
    }

    #[test]
    fn age_removes_even_the_newest_batch_and_size_does_not() {
        let mut ring = Ring::default();
        assert!(ring.append(batch(0, 100, 10)));
        let small = Policy { retention_records: 1, retention_bytes: 1, ..Policy::default() };
        assert!(ring.evict(&small, 10).is_none());
        let brief = Policy { retention_ms: Some(5), ..Policy::default() };
        assert!(ring.evict(&brief, 14).is_none());
        assert!(ring.evict(&brief, 15).is_some());
        assert_eq!((ring.first(), ring.next(), ring.bytes()), (100, 100, 0));
    }

    proptest! {
        #[test]
        fn find_equals_a_scan_and_bytes_equal_their_sum(
            counts in proptest::collection::vec(1_u64..6, 1..40),
            evicted in 0_usize..40,
            probe in 0_u64..260,
        ) {
            let mut ring = Ring::default();
            for (index, count) in counts.iter().enumerate() {
                let next = ring.next();
                prop_assert!(ring.append(batch(next, *count, index as u64)));
            }
            for _ in 0..evicted { ring.pop(); }
            let expected = ring.iter().find(|b| b.base <= probe && probe < b.next());
            prop_assert_eq!(ring.find(probe), expected);
            prop_assert_eq!(ring.bytes(), ring.iter().map(|b| b.body.len() as u64).sum::<u64>());
            for pair in ring.iter().collect::<Vec<_>>().windows(2) {
                prop_assert_eq!(pair[0].next(), pair[1].base);
            }
            if let Some(found) = ring.find(probe) {
                let rest = found.records_from(found.body.warm().unwrap(), probe);
                let count = tidewire_protocol::record::Records::of(&rest).count() as u64;
                prop_assert_eq!(count, found.next() - probe);
            }
        }
    }
}
