//! Commands and events on their way between nodes: who asks is, for the node that is asked, the other
//! node and what that says of it.

use super::message::{Command, DISPATCHERS_MAX, DispatcherId, Event, SessionId, is_peer};

/// Bits of a slot on its way to another node; those above them hold the dispatcher.
const SLOT_BITS: u32 = 25;
/// Connections of one dispatcher that another node can tell apart.
pub const PEER_SLOTS_MAX: u32 = 1 << SLOT_BITS;

impl SessionId {
    /// For what the server does itself: nobody waits for an answer.
    pub const NOBODY: Self = Self { dispatcher: 0, slot: u32::MAX, generation: 0 };

    /// The connection as a node that is asked knows it, to which this node is `peer`. `None` if its
    /// slot is too high, which needs more than 33 million connections on one core.
    #[must_use]
    pub fn of_peer(self, peer: DispatcherId) -> Option<Self> {
        if self == Self::NOBODY {
            return Some(Self { dispatcher: peer, ..self });
        }
        let Self { dispatcher, slot, generation } = self;
        let slot = (slot < PEER_SLOTS_MAX).then(|| u32::from(dispatcher) << SLOT_BITS | slot)?;
        Some(Self { dispatcher: peer, slot, generation })
    }

    /// The connection as its own node knows it: the reverse of [`Self::of_peer`].
    #[must_use]
    pub fn at_home(self) -> Self {
        let Self { dispatcher: _, slot, generation } = self;
        let dispatcher = u8::try_from(slot >> SLOT_BITS).unwrap_or(u8::MAX);
        Self { dispatcher, slot: slot & (PEER_SLOTS_MAX - 1), generation }
    }
}

impl Command {
    /// The command as another node sent it, which is `peer` here. `None` if it is none that a node may
    /// send: it concerns what each shard does for itself, or comes from nowhere.
    #[must_use]
    pub fn of_peer(mut self, peer: DispatcherId) -> Option<Self> {
        debug_assert!(is_peer(peer));
        let of_peer = |session: &mut SessionId| {
            let is_core = usize::from(session.dispatcher) < DISPATCHERS_MAX;
            *session = session.of_peer(peer).filter(|_| is_core)?;
            Some(())
        };
        match &mut self {
            Self::Request(origin, _) => of_peer(&mut origin.session)?,
            Self::Publishes(run) => of_peer(&mut run.session)?,
            Self::SessionEnded(session) => of_peer(session)?,
            Self::Follow(dispatcher, _)
            | Self::Unfollow(dispatcher, _)
            | Self::Recall(dispatcher, _) => *dispatcher = peer,
            Self::DeadLetter(_) | Self::Buried(_) => {}
            Self::Stored { .. }
            | Self::Recalled(_)
            | Self::Tenants(_)
            | Self::TenantFull { .. }
            | Self::PeerEnded(_) => return None,
        }
        Some(self)
    }
}

impl Event {
    /// The event as the node knows it to which it was sent; for which of its dispatchers, if it is for
    /// a connection.
    #[must_use]
    pub fn at_home(mut self) -> (Option<DispatcherId>, Self) {
        let session = match &mut self {
            Self::Reply { session, .. } | Self::Published { session, .. } => session,
            Self::Leased { lease, .. } => &mut lease.member.0,
            Self::ConsumerEnded { member, .. } => &mut member.0,
            Self::TopicSnapshot { .. }
            | Self::TopicRefused { .. }
            | Self::Appended { .. }
            | Self::Trimmed { .. }
            | Self::Cooled { .. }
            | Self::Recalled { .. }
            | Self::LogSnapshot { .. }
            | Self::Cell { .. }
            | Self::Renumbered { .. }
            | Self::Behind { .. }
            | Self::Forward(_) => return (None, self),
        };
        *session = session.at_home();
        (Some(session.dispatcher), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_the_same_one_after_the_way_there_and_back() {
        for (dispatcher, slot, generation) in [(0, 0, 1), (63, PEER_SLOTS_MAX - 1, u32::MAX)] {
            let session = SessionId { dispatcher, slot, generation };
            let there = session.of_peer(64).unwrap();
            assert_eq!((there.dispatcher, there.at_home()), (64, session));
        }
        let slot = PEER_SLOTS_MAX;
        assert_eq!(SessionId { dispatcher: 0, slot, generation: 1 }.of_peer(64), None);
        assert!(SessionId::NOBODY.of_peer(64).is_some(), "what a node publishes itself");
    }
}
