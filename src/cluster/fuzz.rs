//! The properties that fuzzing checks.

use super::gossip::{About, Gossip, Member, Output};
use super::hello::{HEAD_BYTES, Hello, VERSION};
use super::{NodeAddress, NodeId};

/// Packets that one packet may call forth.
const OUTPUTS_MAX: usize = 4_096;

/// A HELLO is refused, or it is the same after it was told again.
pub fn hello(input: &[u8]) {
    let Some((head, body)) = input.split_first_chunk::<HEAD_BYTES>() else { return };
    let (ours, _minor) = VERSION;
    drop(Hello::read_head(*head, ours));
    let Ok(hello) = Hello::read_body(body) else { return };
    drop(hello.member());
    // One that is longer than it may be is not told.
    let Ok(told) = hello.encode(VERSION) else { return };
    let again = told.get(HEAD_BYTES..).map(Hello::read_body);
    assert_eq!(again, Some(Ok(hello)));
}

/// Whatever comes as gossip, a node goes on, and what it sends because of it is bounded.
pub fn gossip(input: &[u8]) {
    let member = |node: u64| {
        let address = NodeAddress::parse("10.0.0.1:7172").ok()?;
        Some(Member { node: NodeId::new(node)?, incarnation: 1, address })
    };
    let (Some(own), Some(other)) = (member(1), member(2)) else { return };
    let mut gossip = Gossip::new(own, About::default(), 1, 0);
    gossip.join(0, other);
    // Packets of so many bytes each, so that one can follow another.
    for (now_ms, packet) in (0..).step_by(500).zip(input.chunks(200)) {
        gossip.handle_datagram(now_ms, packet);
        gossip.handle_timeout(now_ms);
        let outputs = gossip.take_outputs();
        assert!(outputs.len() <= OUTPUTS_MAX, "{} outputs", outputs.len());
        for output in outputs {
            if let Output::Send { packet, .. } = output {
                assert!(packet.len() <= 1_100, "{} bytes", packet.len());
            }
        }
    }
}
