//! The cluster's thread: gossip is driven by packets, time and seeds, and the roster follows it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::gossip::{About, Activity, Gossip, Member, NodeState, Output};
use super::incarnation::Keeper;
use super::links::Links;
use super::roster::Roster;
use super::seeds::{Search, Seeds, search};
use super::time::Time;
use super::{NodeAddress, Totals};

/// Packets that are handled before the rest has its turn.
const PACKETS_MAX: usize = 64;
/// A timer that is so late says that the node stood still: it hears first what has come meanwhile, so that it does
/// not suspect others of its own silence.
const LATE_MS: u64 = 300;
const CATCH_UP: Duration = Duration::from_millis(50);
/// How often round trips are put into the roster.
const LOOK: Duration = Duration::from_secs(1);
/// After its goodbye a node answers for so long, so that the goodbye gets through.
const GOODBYE: Duration = Duration::from_millis(200);

/// What the thread runs with.
pub(super) struct Task {
    pub(super) gossip: Gossip,
    pub(super) links: Links,
    pub(super) roster: Roster,
    pub(super) time: Time,
    pub(super) totals: Arc<Totals>,
    /// Where the incarnation is kept, if there is a data directory.
    pub(super) life: Option<Keeper>,
    pub(super) packets: mpsc::Receiver<Bytes>,
    pub(super) about: watch::Receiver<About>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) seeds: Vec<NodeAddress>,
    pub(super) seeds_status: Seeds,
    pub(super) random_seed: u64,
    pub(super) since_ms: u64,
}

impl Task {
    /// Runs until the node is to stop, and says goodbye then.
    pub(super) async fn run(mut self) {
        let mut found = self.search_seeds();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stop = self.stop.clone();
        loop {
            let timeout = self.time.instant_of(self.gossip.next_timeout_ms());
            tokio::select! {
                _ = stop.wait_for(|is_over| *is_over) => break,
                Some(packet) = self.packets.recv() => self.take_packets(&packet),
                Some(member) = found.recv() => {
                    self.gossip.join(self.time.now_ms(), member);
                }
                Ok(()) = self.about.changed() => {
                    let about = self.about.borrow_and_update().clone();
                    self.say(about);
                }
                _ = looks.tick() => self.look(),
                () = tokio::time::sleep_until(timeout) => {}
            }
            self.handle_timeout().await;
            self.perform();
        }
        self.leave().await;
    }

    /// Starts looking for the seeds; says who is found.
    fn search_seeds(&self) -> mpsc::Receiver<Member> {
        let (found, finds) = mpsc::channel(self.seeds.len().max(1));
        for (index, address) in self.seeds.iter().enumerate() {
            let with = Search {
                links: self.links.clone(),
                roster: self.roster.clone(),
                seeds: self.seeds_status.clone(),
                found: found.clone(),
            };
            let random_seed = self.random_seed.wrapping_add(index as u64);
            drop(tokio::spawn(search(with, index, address.clone(), random_seed)));
        }
        finds
    }

    async fn handle_timeout(&mut self) {
        let due_ms = self.gossip.next_timeout_ms();
        if self.time.now_ms() < due_ms {
            return;
        }
        if self.time.now_ms().saturating_sub(due_ms) > LATE_MS {
            tokio::time::sleep(CATCH_UP).await;
            self.take_waiting();
        }
        self.gossip.handle_timeout(self.time.now_ms());
    }

    fn take_packets(&mut self, first: &Bytes) {
        self.gossip.handle_datagram(self.time.now_ms(), first);
        self.take_waiting();
    }

    fn take_waiting(&mut self) {
        let now_ms = self.time.now_ms();
        for _ in 1..PACKETS_MAX {
            let Ok(packet) = self.packets.try_recv() else { break };
            self.gossip.handle_datagram(now_ms, &packet);
        }
    }

    /// A node that has found another one, or that looks for none, serves clients.
    fn say(&mut self, mut about: About) {
        let was_active = self.gossip.about().activity != Activity::Joining;
        let is_found = self.seeds.is_empty() || !self.gossip.is_alone();
        // Who was active once does not go back to looking for others.
        if about.activity == Activity::Joining && (was_active || is_found) {
            about.activity = Activity::Active;
        }
        self.gossip.say(about);
    }

    fn look(&mut self) {
        let about = self.about.borrow().clone();
        if self.gossip.about().activity == Activity::Joining {
            self.say(about);
        }
        self.put();
    }

    fn put(&self) {
        self.roster.put(&self.gossip, &self.links, self.since_ms);
        self.totals.set(self.gossip.counts());
    }

    /// Does what has come of the calls.
    fn perform(&mut self) {
        let mut has_changed = false;
        for output in self.gossip.take_outputs() {
            match output {
                // Who has left is not called after.
                Output::Send { to, .. } if self.gossip.has_left(&to) => {}
                Output::Send { to, packet } => self.links.gossip_to(&to, packet),
                Output::Changed { node, state, incarnation } => {
                    has_changed = true;
                    tracing::info!(%node, incarnation, ?state, "a node of the cluster has changed");
                    let known = self.gossip.known().find(|known| known.member.node == node);
                    if let Some(known) = known {
                        let is_there = matches!(state, NodeState::Alive | NodeState::Suspect);
                        self.links.learn(&known.member, is_there);
                    }
                }
                Output::Said { .. } => has_changed = true,
                Output::Forgotten { node } => {
                    has_changed = true;
                    self.links.forget(node);
                }
                Output::Renewed { incarnation } => {
                    has_changed = true;
                    self.renew(incarnation);
                }
            }
        }
        if has_changed {
            self.put();
        }
    }

    fn renew(&self, incarnation: u64) {
        tracing::warn!(
            incarnation,
            "others took this node for dead: it goes on as a newer one; if that happens again and again \
             there is another node with its id"
        );
        self.links.renew(incarnation);
        if let Some(life) = &self.life {
            life.keep(incarnation);
        }
    }

    async fn leave(mut self) {
        self.gossip.leave(self.time.now_ms());
        self.perform();
        let until = tokio::time::Instant::now() + GOODBYE;
        // What comes now is read, so that nobody waits for an answer of the transport.
        while let Ok(Some(_packet)) = tokio::time::timeout_at(until, self.packets.recv()).await {}
        self.put();
        self.links.leave().await;
        if let Some(life) = self.life.take() {
            life.finish().await;
        }
    }
}
