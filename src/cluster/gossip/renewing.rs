//! A node that others took for dead goes on as a newer one. Two nodes with one id take each other for dead again and
//! again, so it does that once a second at most.

use super::{Activity, Gossip, Member, Output};

/// Pause between two renewals.
const PAUSE_MS: u64 = 1_000;

/// When the node was renewed, and will be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Renewal {
    pub(super) due_at_ms: Option<u64>,
    last_at_ms: Option<u64>,
}

impl Gossip {
    /// Death cannot be denied, but somebody newer may come.
    pub(super) fn taken_for_dead(&mut self) {
        if self.about.activity == Activity::Leaving {
            return;
        }
        let now_ms = self.effects.now_ms;
        let earliest_ms = self.renewal.last_at_ms.map_or(0, |at_ms| at_ms.saturating_add(PAUSE_MS));
        self.renewal.due_at_ms = Some(now_ms.max(earliest_ms));
        self.renew_if_due(now_ms);
    }

    pub(super) fn renew_if_due(&mut self, now_ms: u64) {
        if self.renewal.due_at_ms.is_none_or(|at_ms| now_ms < at_ms) {
            return;
        }
        self.renewal = Renewal { due_at_ms: None, last_at_ms: Some(now_ms) };
        let incarnation = self.own().incarnation.saturating_add(1);
        let newer = Member { incarnation, ..self.own().clone() };
        self.effects.outputs.push_back(Output::Renewed { incarnation });
        // What it has said of itself was of the life before.
        self.is_to_be_told = true;
        if self.foca.change_identity(newer, &mut self.effects).is_err() {
            self.refused += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use foca::{Codec as _, Header, Message};

    use super::super::codec::Codec;
    use super::super::{About, NodeId};
    use super::*;
    use crate::cluster::NodeAddress;

    fn member(node: u64) -> Member {
        let address = NodeAddress::parse("10.0.0.1:7172").unwrap();
        Member { node: NodeId::new(node).unwrap(), incarnation: 1, address }
    }

    #[test]
    fn a_node_that_is_taken_for_dead_again_and_again_takes_its_time() {
        let mut gossip = Gossip::new(member(1), About::default(), 1, 0);
        let mut renewals = Vec::new();
        for now_ms in 0..3_000 {
            let mut packet = Vec::new();
            let header = Header {
                src: member(2),
                src_incarnation: 0,
                dst: gossip.own().clone(),
                message: Message::TurnUndead,
            };
            Codec.encode_header(&header, &mut packet).unwrap();
            gossip.handle_datagram(now_ms, &packet);
            assert!(gossip.next_timeout_ms() <= now_ms + 1_000);
            gossip.handle_timeout(now_ms);
            let outputs = gossip.take_outputs().into_iter();
            renewals.extend(outputs.filter(|output| matches!(output, Output::Renewed { .. })));
        }
        let expected: Vec<Output> =
            (2..5).map(|incarnation| Output::Renewed { incarnation }).collect();
        assert_eq!(renewals, expected, "at once, and after each second");
    }
}
