//! What breaks, and is mended.

use super::node::Node;
use super::world::World;

/// How far the clocks of two nodes may be apart, in milliseconds. What is remembered for a time, such as
/// idempotence ids (10 minutes), is remembered by the clock of whoever leads.
const CLOCKS_APART_MS: u64 = 40_000;

impl World {
    /// Breaks something, or mends it.
    pub(super) fn fail(&mut self) {
        let count = self.nodes.len() as u64;
        let node = self.chance.below(count) as usize;
        match self.chance.below(100) {
            0 => {
                let other = self.chance.below(count) as usize;
                self.cut.insert((node, other));
            }
            1 => {
                for other in 0..self.nodes.len() {
                    self.cut.extend([(node, other), (other, node)]);
                }
            }
            2..=4 => self.cut.clear(),
            5 => self.crash(node),
            6..=8 => self.restart(node),
            9 | 10 => self.elect(node),
            11 => self.clients.leave(node),
            12 => self.set_slow(node, true),
            13..=15 => self.set_slow(node, false),
            16 => {
                self.ahead_ms[node] = self.chance.below(CLOCKS_APART_MS);
                self.happened.clocks += 1;
            }
            _ => {}
        }
    }

    fn crash(&mut self, node: usize) {
        if let Some(crashed) = self.nodes[node].take() {
            self.collect(&crashed);
            self.clients.leave(node);
            self.apart.crash(node);
            if let Some(log) = self.logs.get_mut(node) {
                self.happened.unflushed += log.crash();
            }
        }
    }

    pub(super) fn restart(&mut self, node: usize) {
        if self.nodes[node].is_none() {
            let seed = self.chance.next();
            self.nodes[node] = Some(Node::start(self.logs.get(node), seed, self.clock_ms(node)));
            self.heard_ms[node] = self.now_ms;
            self.apart.start(node);
        }
    }

    fn set_slow(&mut self, node: usize, is_slow: bool) {
        if let Some(log) = self.logs.get_mut(node) {
            log.is_slow = is_slow;
        }
    }
}
