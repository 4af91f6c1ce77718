//! Publishes on a condition: nothing else has been appended since the publisher looked.

use alloc::format;

use tidewire_protocol::record::Records;
use tidewire_protocol::{ErrorCode, Refusal};

use super::message::Expected;
use super::topics::Topic;
use super::{Shard, refuse};
use crate::topic::TopicId;

/// Records that are looked at for one with the key of a condition.
const RECORDS_MAX: u64 = 65_536;

impl Shard {
    /// Whether a publish that expects this may be appended.
    pub(super) fn check_expected(&self, id: TopicId, expected: &Expected) -> Result<(), Refusal> {
        let Some(topic) = self.topics.by_id.get(id as usize) else { return Ok(()) };
        let Expected { offset, key } = expected;
        let (name, next) = (&topic.name, topic.next());
        let conflict = |actual: u64, what: &str| {
            let message = format!(
                "topic '{name}' is not as expected at offset {offset}: {what}; nothing is \
                 appended. Read on, decide again, and expect offset {actual}"
            );
            Err(refuse(ErrorCode::Conflict, message).actual(actual))
        };
        let Some(key) = key else {
            return if *offset == next {
                Ok(())
            } else {
                conflict(next, &format!("the next offset is {next}"))
            };
        };
        let known_from = topic
            .ring
            .offset_at_sequence(self.topics.cold.before)
            .max(next.saturating_sub(RECORDS_MAX));
        if *offset > next {
            return conflict(next, &format!("the topic ends at {next}"));
        }
        if let Some(newest) = topic.newest_of(key, (*offset).max(known_from)) {
            let what = format!("key '{}' has a record at {newest}", key.escape_default());
            return conflict(newest + 1, &what);
        }
        if *offset < known_from {
            let what = format!("what was before {known_from} is not looked at (any more)");
            return conflict(known_from, &what);
        }
        Ok(())
    }
}

impl Topic {
    /// The offset that the next record gets.
    pub(super) fn next(&self) -> u64 {
        self.ring.next() + self.open.count
    }

    /// Offset of the newest record with this key, of those from an offset on.
    fn newest_of(&self, key: &str, from: u64) -> Option<u64> {
        let newest_in = |base: u64, body: &[u8]| {
            let found = (base..).zip(Records::of(body)).filter(|(_, r)| r.key == Some(key));
            found.map(|(offset, _)| offset).last()
        };
        newest_in(self.ring.next(), self.open.body())
            .or_else(|| {
                let mut batches = self.ring.iter().rev().take_while(|batch| batch.next() > from);
                batches.find_map(|batch| newest_in(batch.base, batch.body.warm()?))
            })
            .filter(|offset| *offset >= from)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::sync::Arc;
    use std::vec::Vec;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tidewire_protocol::Name;
    use tidewire_protocol::frame::AckLevel;
    use tidewire_protocol::record::BodyBuilder;

    use super::super::append::Append;
    use super::super::message::Terms;
    use super::super::{ShardConfig, ShardLimits};
    use super::*;
    use crate::topic::{Policy, PolicyTable};

    fn shard() -> Shard {
        let policy = Policy { retention_records: 20, ..Policy::default() };
        let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
        let limits = ShardLimits { batch_bytes_max: 40, ..ShardLimits::default() };
        Shard::new(ShardConfig { shard: 0, epoch: 7, seed: 1, policies, limits })
    }

    fn body(keys: &[u8]) -> Bytes {
        let mut body = BodyBuilder::new();
        for key in keys {
            body.push(Some(&key.to_string()), &[], Some(b"value"));
        }
        body.finish()
    }

    proptest! {
        /// Over a topic that forgets, and rounds that are open: what passes is what a list of all
        /// keys allows, and what is refused names an offset that passes.
        #[test]
        fn what_is_expected_of_a_key_holds_or_is_refused(
            publishes in proptest::collection::vec(
                (proptest::collection::vec(0_u8..4, 1..4), any::<bool>()), 1..30),
            probes in proptest::collection::vec((0_u8..5, 0_u64..70), 1..20),
        ) {
            let (mut shard, topic) = (shard(), Name::parse("t").unwrap());
            let mut all = Vec::new();
            for (keys, seals) in publishes {
                let (body, terms) = (body(&keys), Terms::default());
                let (ack, count) = (AckLevel::Memory, keys.len() as u64);
                shard.append(&topic, Append { ack, body: &body, count, terms: &terms }).unwrap();
                all.extend(keys);
                if seals {
                    shard.seal();
                }
            }
            let id = shard.topics.id_of(&topic).unwrap();
            let first = shard.topics.find(&topic).unwrap().ring.first();
            for (key, offset) in probes {
                let since = |offset: u64| all.iter().skip(offset as usize).any(|k| *k == key);
                let holds = offset >= first && offset <= all.len() as u64 && !since(offset);
                let key = Some(key.to_string());
                let checked = shard.check_expected(id, &Expected { offset, key: key.clone() });
                prop_assert_eq!(checked.is_ok(), holds, "{:?}", checked);
                if let Err(refusal) = checked {
                    prop_assert_eq!(refusal.code, ErrorCode::Conflict);
                    let expected = Expected { offset: refusal.actual.unwrap(), key };
                    prop_assert!(shard.check_expected(id, &expected).is_ok());
                }
            }
            let next = all.len() as u64;
            for (offset, holds) in [(next, true), (next + 1, false), (next - 1, false)] {
                let checked = shard.check_expected(id, &Expected { offset, key: None });
                prop_assert_eq!(checked.is_ok(), holds);
                prop_assert!(holds || checked.unwrap_err().actual == Some(next));
            }
        }
    }
}
