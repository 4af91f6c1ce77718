//! Pours connections into nodes so that their levels become as even as can be.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cluster::NodeId;

/// A node that takes connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vessel {
    pub(super) node: NodeId,
    /// What it has, or is about to have.
    pub(super) level: u64,
    /// What it may take.
    pub(super) room: u64,
}

/// Where each of so many connections goes: always to the node that has the fewest and room for one.
pub(super) fn fill(vessels: Vec<Vessel>, count: u64) -> Vec<NodeId> {
    let mut lowest: BinaryHeap<_> = vessels
        .into_iter()
        .filter(|vessel| vessel.room > 0)
        .map(|Vessel { node, level, room }| Reverse((level, node, room)))
        .collect();
    let mut to = Vec::new();
    for _ in 0..count {
        let Some(Reverse((level, node, room))) = lowest.pop() else { break };
        to.push(node);
        if room > 1 {
            lowest.push(Reverse((level.saturating_add(1), node, room - 1)));
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vessel(node: u64, level: u64, room: u64) -> Vessel {
        Vessel { node: NodeId::new(node).unwrap(), level, room }
    }

    fn filled(vessels: &[Vessel], count: u64) -> [usize; 3] {
        let to = fill(vessels.to_vec(), count);
        [1, 2, 3].map(|id| to.iter().filter(|node| node.get() == id).count())
    }

    #[test]
    fn the_lowest_are_filled_first_and_to_one_level() {
        let vessels = [vessel(1, 10, u64::MAX), vessel(2, 4, u64::MAX), vessel(3, 0, u64::MAX)];
        assert_eq!(filled(&vessels, 3), [0, 0, 3]);
        assert_eq!(filled(&vessels, 6), [0, 1, 5]);
        assert_eq!(filled(&vessels, 19), [1, 7, 11]);
    }

    #[test]
    fn nobody_gets_more_than_its_room() {
        let vessels = [vessel(1, 0, 2), vessel(2, 5, 1), vessel(3, 0, 0)];
        assert_eq!(filled(&vessels, 100), [2, 1, 0]);
        assert_eq!(fill(Vec::new(), 5), []);
    }
}
