//! What publishes ask for beyond their records, and the ids of those who number them.

use alloc::boxed::Box;
use alloc::format;

use tidewire_protocol::options::{ProducerInfo, PublishOptions};
use tidewire_protocol::record::{KEY_BYTES_MAX, Records};
use tidewire_protocol::{ErrorCode, Refusal, partition_of};

use super::request::check_len;
use super::{Dispatcher, invalid};
use crate::shard::{DISPATCHERS_MAX, Expected, Request, Terms};
use crate::topic::{ID_BITS, Step};

/// Bits of a producer's id that stand for the dispatcher that has issued it.
const DISPATCHER_BITS: u32 = DISPATCHERS_MAX.trailing_zeros();
/// Nodes that issue producers in turn, a millisecond each. Those of a cluster have ids that differ modulo
/// this.
pub const ISSUERS: u64 = 64;
/// How far ids may run ahead of the clock, when very many are issued at once.
const AHEAD_MS: u64 = 1_000;

impl Dispatcher {
    /// A producer that nobody has been given before: the time of its issue, a number within that
    /// millisecond, and this dispatcher.
    pub(super) fn issue_producer(&mut self) -> Result<ProducerInfo, Refusal> {
        let bits = ID_BITS - DISPATCHER_BITS;
        let now = self.own_ms(self.now_ms) << bits;
        let next = now.max(self.last_producer + 1);
        let ms = self.own_ms(next >> bits);
        let next = next.max(ms << bits);
        let producer = next << DISPATCHER_BITS | u64::from(self.id);
        if producer >> ID_BITS > self.now_ms + AHEAD_MS {
            let message = "too many producers are asked for at once: try again later";
            return Err(Refusal::new(ErrorCode::Overloaded, message).retry_after_ms(AHEAD_MS));
        }
        self.last_producer = next;
        let limits = &self.limits.producers;
        Ok(ProducerInfo { producer, window: limits.window, idle_ms: limits.idle_ms })
    }
}

impl Dispatcher {
    /// The next millisecond, from this one on, in which this node issues producers: others issue theirs in
    /// others.
    fn own_ms(&self, ms: u64) -> u64 {
        match self.issuer {
            Some(issuer) => ms + (issuer + ISSUERS - ms % ISSUERS) % ISSUERS,
            None => ms,
        }
    }
}

/// The terms that a publish's options state.
pub(super) fn terms_of(options: PublishOptions, now_ms: u64) -> Result<Terms, Refusal> {
    let PublishOptions { ttl_ms, producer, sequence, expected_offset, expected_key } = options;
    let step = match (producer, sequence) {
        (None, None) => None,
        (Some(producer), Some(sequence)) => Some(step(producer, sequence, now_ms)?),
        (Some(_), None) | (None, Some(_)) => {
            return Err(invalid("options 'producer' and 'sequence' come together".into()));
        }
    };
    let expected = match (expected_offset, expected_key) {
        (None, None) => None,
        (Some(offset), key) => {
            if let Some(key) = &key {
                check_len("option 'expected_key'", key, KEY_BYTES_MAX)?;
            }
            Some(Box::new(Expected { offset, key }))
        }
        (None, Some(_)) => {
            return Err(invalid("option 'expected_key' needs 'expected_offset'".into()));
        }
    };
    Ok(Terms { ttl_ms, step, expected })
}

fn step(producer: u64, sequence: u64, now_ms: u64) -> Result<Step, Refusal> {
    if sequence == 0 || sequence == u64::MAX {
        return Err(invalid(
            "option 'sequence': numbers begin at 1 and end before 2^64 - 1".into(),
        ));
    }
    if producer >> ID_BITS > now_ms + AHEAD_MS {
        let message = format!("producer {producer} was never issued: ask for an id with PRODUCER");
        return Err(Refusal::new(ErrorCode::ProducerUnknown, message));
    }
    Ok(Step { producer, sequence })
}

/// Whether a publish to a topic with so many partitions asks for something that they can do.
pub(super) fn check_spread(request: &Request, partitions: u16) -> Result<(), Refusal> {
    let Request::Publish { topic, body, terms, .. } = request else { return Ok(()) };
    let Some(expected) = &terms.expected else { return Ok(()) };
    let Some(key) = &expected.key else {
        let message = format!(
            "topic '{topic}' has {partitions} partitions, each with offsets of its own: \
             'expected_offset' needs 'expected_key', and stands for its partition"
        );
        return Err(Refusal::new(ErrorCode::Unsupported, message));
    };
    let home = partition_of(key, partitions);
    let is_home = |key: Option<&str>| key.is_some_and(|key| partition_of(key, partitions) == home);
    match Records::of(body).all(|record| is_home(record.key)) {
        true => Ok(()),
        false => Err(invalid(format!(
            "topic '{topic}': all records of a publish that expects something of key '{}' have to \
             go to that key's partition",
            key.escape_default()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::fanout::FanoutLimits;

    #[test]
    fn producers_of_two_nodes_never_meet() {
        let dispatcher =
            |id, node| Dispatcher::new(id, 1, FanoutLimits::default()).with_issuer(node);
        let mut issuers = [dispatcher(0, 1), dispatcher(1, 1), dispatcher(0, 2), dispatcher(0, 63)];
        let mut issued = BTreeSet::new();
        for round in 0..2_000_u64 {
            for issuer in &mut issuers {
                issuer.now_ms = 1_000_000 + round * 10;
                let producer = issuer.issue_producer().unwrap().producer;
                assert!(issued.insert(producer), "{producer} was issued before");
            }
        }
        assert_eq!(issued.len(), 8_000);
    }
}
