//! Reads that a copy answers while nobody is reached who leads the shard.

use tidewire_protocol::frame::{AsOf, CellKind};

use super::Shard;
use super::message::{Event, Origin, Reply, Request, Value};

impl Shard {
    /// The answer to a read from a copy, which may lack what was done since its last entry, and says so.
    /// `None`: it is no read, or asks for more than a copy knows.
    pub fn read_copy(&mut self, origin: Origin, request: &Request) -> Option<Event> {
        let Request::Get { kind, name, key, options } = request else { return None };
        if options.linearizable == Some(true) || !options.at_least.is_empty() {
            return None;
        }
        let as_of = Some(AsOf { as_of_ms: self.now_ms, is_stale: true });
        let has_no_map = *kind == CellKind::Map && self.topics.find(name).is_none();
        let reply = if has_no_map {
            // A copy makes no topic for it.
            let has_map = self.config.policy_of(name).map_keys_max > 0;
            let (kind, epoch, version) = (*kind, self.config.epoch, 0);
            has_map.then_some(Reply::Value { kind, epoch, version, value: Value::Absent, as_of })?
        } else {
            match self.read(*kind, name, key.as_deref(), options) {
                Ok(Reply::Value { kind, epoch, version, value, as_of: _ }) => {
                    Reply::Value { kind, epoch, version, value, as_of }
                }
                Ok(other) => other,
                Err(refusal) => Reply::Refused(refusal),
            }
        };
        let Origin { session, stream, req } = origin;
        Some(Event::Reply { session, stream, req, reply })
    }
}
