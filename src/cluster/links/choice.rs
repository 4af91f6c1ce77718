//! Which of two connections with a node stays.

use super::reason::Reason;
use crate::cluster::NodeId;
use crate::cluster::gossip::Member;

/// A connection, as far as the choice goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side<'a> {
    /// Who is at its other end.
    pub(super) member: &'a Member,
    pub(super) dialed_by: NodeId,
}

/// What becomes of the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It takes the place of the older one, which is closed for this reason.
    Replace(Reason),
    /// It is closed for this reason.
    Refuse(Reason),
}

/// Chooses between an older connection, over which the node was heard of late or not, and a newer one. Both
/// ends of a pair come to the same choice.
pub(super) fn choose(older: Side<'_>, is_heard: bool, newer: Side<'_>) -> Choice {
    let (was, is) = (older.member, newer.member);
    if is.incarnation < was.incarnation {
        return Choice::Refuse(if is_heard { Reason::TwoNodes } else { Reason::Stale });
    }
    if is.address != was.address && is_heard {
        // A node that has moved is quiet at its old place.
        return Choice::Refuse(Reason::TwoNodes);
    }
    if is.incarnation > was.incarnation || is.address != was.address {
        return Choice::Replace(Reason::Replaced);
    }
    // Both have dialed at once; or the same one once more, because it has lost the older.
    if is_heard && older.dialed_by < newer.dialed_by {
        return Choice::Refuse(Reason::Duplicate);
    }
    Choice::Replace(Reason::Duplicate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeAddress;

    fn member(incarnation: u64, address: &str) -> Member {
        let address = NodeAddress::parse(address).unwrap();
        Member { node: NodeId::new(3).unwrap(), incarnation, address }
    }

    fn choice(was: (u64, &str, u64), is_heard: bool, is: (u64, &str, u64)) -> Choice {
        let (a, b) = (member(was.0, was.1), member(is.0, is.1));
        let by = |node| NodeId::new(node).unwrap();
        let older = Side { member: &a, dialed_by: by(was.2) };
        choose(older, is_heard, Side { member: &b, dialed_by: by(is.2) })
    }

    #[test]
    fn of_two_dialed_at_once_that_of_the_lower_id_stays() {
        let (low, high) = ((1, "a:1", 1), (1, "a:1", 3));
        assert_eq!(choice(low, true, high), Choice::Refuse(Reason::Duplicate));
        assert_eq!(choice(high, true, low), Choice::Replace(Reason::Duplicate));
        assert_eq!(choice(low, false, high), Choice::Replace(Reason::Duplicate), "it is dead");
        assert_eq!(choice(low, true, low), Choice::Replace(Reason::Duplicate), "it was lost");
    }

    #[test]
    fn a_restart_takes_the_place_of_what_was_before() {
        for is_heard in [true, false] {
            let restart = choice((1, "a:1", 1), is_heard, (2, "a:1", 3));
            assert_eq!(restart, Choice::Replace(Reason::Replaced));
        }
        assert_eq!(choice((1, "a:1", 1), false, (2, "b:1", 1)), Choice::Replace(Reason::Replaced));
    }

    #[test]
    fn two_nodes_with_one_id_are_told_from_a_restart() {
        for incarnation in [1, 2, 3] {
            let second = choice((2, "a:1", 1), true, (incarnation, "b:1", 1));
            assert_eq!(second, Choice::Refuse(Reason::TwoNodes), "{incarnation}");
        }
        assert_eq!(choice((2, "a:1", 1), true, (1, "a:1", 1)), Choice::Refuse(Reason::TwoNodes));
        assert_eq!(choice((2, "a:1", 1), false, (1, "a:1", 1)), Choice::Refuse(Reason::Stale));
    }
}
