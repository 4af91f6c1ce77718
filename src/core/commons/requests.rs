//! What clients of this node ask for.

use alloc::format;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, CounterOp, PresenceOp};
use tidewire_protocol::options::{CounterOptions, GetOptions};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::Commons;
use crate::cell::Counted;
use crate::cell::attendance::Holder;
use crate::cell::eventual::{Attempt, Seen, check_eventual};
use crate::cell::replicated::Actor;
use crate::shard::{Reply, SessionId, Value, read_keyed};

/// A pause before a read that asks for more than is known here is tried again.
const RETRY_AFTER_MS: u64 = 100;

impl Commons {
    pub(super) fn count(
        &mut self,
        name: &Name,
        op: CounterOp,
        operand: i64,
        options: &CounterOptions,
    ) -> Result<Reply, Refusal> {
        check_eventual(name, op, options)?;
        if self.is_second_life {
            return Err(self.second_life(name));
        }
        let numbering = options.numbering.as_deref();
        let tried = numbering.map_or(&[][..], |numbering| &numbering.tried);
        let tried: Vec<Actor> = tried.iter().map(|actor| Actor::from(*actor)).collect();
        let number = numbering.and_then(|it| it.producer.zip(it.sequence));
        let by = number.map(|(session, sequence)| Attempt { session, sequence, tried: &tried });
        let added = self.counters.add(name, operand, by, self.now_ms)?;
        self.is_changed |= !added.duplicate;
        let counted = Counted {
            version: self.version + u64::from(self.is_changed),
            value: added.value,
            applied: operand,
            duplicate: added.duplicate,
        };
        let Actor { node, incarnation } = added.actor;
        let as_of = Some((node, incarnation, added.version));
        Ok(Reply::Counted { epoch: self.epoch(), counted, as_of })
    }

    pub(super) fn read(
        &mut self,
        kind: CellKind,
        name: &Name,
        key: Option<&str>,
        options: &GetOptions,
    ) -> Result<Reply, Refusal> {
        let GetOptions { at_least, linearizable } = options;
        if *linearizable == Some(true) {
            let message = format!(
                "{} '{name}' is not read linearizably: each node changes it by itself, and none \
                 knows what others have just done",
                kind.as_str()
            );
            return Err(Refusal::new(ErrorCode::Unsupported, message));
        }
        let (version, value) = match kind {
            CellKind::Counter => {
                self.check_seen(name, at_least)?;
                let version = self.version + u64::from(self.is_changed);
                (version, self.counters.value(name).map_or(Value::Absent, Value::Counter))
            }
            CellKind::Presence => {
                let members = self.presence.members(name);
                members.map_or((0, Value::Absent), |members| read_keyed(members, key))
            }
            CellKind::Tally | CellKind::Map | CellKind::Topic | CellKind::Rounds => {
                return Err(not_here());
            }
        };
        let (epoch, as_of) = (self.epoch(), self.as_of());
        Ok(Reply::Value { kind, epoch, version, value, as_of })
    }

    /// Checks that everything is known here that a read asks for.
    fn check_seen(&self, name: &Name, at_least: &[(u64, u64, u64)]) -> Result<(), Refusal> {
        let wanted: Vec<(Actor, u64)> = at_least
            .iter()
            .map(|(node, incarnation, version)| (Actor::from((*node, *incarnation)), *version))
            .collect();
        match self.counters.seen(&wanted) {
            Seen::Yes => Ok(()),
            Seen::NotYet { actor, has } => {
                let message = format!(
                    "counter '{name}' is not read: of what {actor} has counted this node knows as \
                     far as version {has}, and more is asked for in 'at_least'; it comes, try again"
                );
                let refusal = Refusal::new(ErrorCode::Unavailable, message);
                Err(refusal.retry_after_ms(RETRY_AFTER_MS))
            }
            Seen::Never { actor, last } => {
                let message = format!(
                    "counter '{name}' is not read: {actor} has ended at version {last}, and what \
                     'at_least' asks for beyond that is lost; read without it and decide"
                );
                Err(Refusal::new(ErrorCode::NotFound, message).actual(last))
            }
        }
    }

    pub(super) fn change_presence(
        &mut self,
        session: SessionId,
        name: &Name,
        op: PresenceOp,
        member: &str,
        data: Bytes,
    ) -> Result<Reply, Refusal> {
        match op {
            PresenceOp::Join if self.has_ended() => {
                let message = format!(
                    "nobody joins presence set '{name}' here: this node was removed from the cluster as {}; \
                     connect to another node",
                    self.own()
                );
                return Err(Refusal::new(ErrorCode::Unavailable, message));
            }
            PresenceOp::Join => {
                self.presence.join(name, member, holder(session), data, self.now_ms)?;
            }
            PresenceOp::Leave => self.presence.leave(name, member, holder(session)),
        }
        Ok(Reply::Done)
    }

    fn second_life(&self, name: &Name) -> Refusal {
        let message = format!(
            "counter '{name}' cannot be added to here: other nodes have heard more of {} than it has \
             counted, so its data directory was set back; start the node again",
            self.own()
        );
        Refusal::new(ErrorCode::Internal, message)
    }
}

/// A connection, as presence knows it.
pub(super) fn holder(session: SessionId) -> Holder {
    let SessionId { dispatcher, slot, generation } = session;
    (u64::from(dispatcher) << 32 | u64::from(slot), u64::from(generation))
}

/// Nothing of this kind is among what nodes change by themselves: a fault of whoever sent it here.
pub(super) fn not_here() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the request has come to the wrong part of the server")
}
