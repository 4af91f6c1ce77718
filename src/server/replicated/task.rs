//! The task of one shard on a node of a cluster: what comes in goes to the member, and what that wants
//! is done. What it leads, applies, tells and saves stands in files of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_core::member::Member;
use tidewire_core::shard::{Command, DispatcherId, Event, ShardConfig};
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::applying::{Replacing, made};
use super::behind::{Behind, Kind, Metrics, News, changed, next};
use super::copying::LOOKS_MAX;
use super::leader_link::{self, LinkEvent};
use super::leads::Lead;
use super::peers::{PeerEvent, Peers};
use super::steering::Guidance;
use super::tenants::Counts;
use crate::cluster::raft::Committed;
use crate::server::{Look, Queued};

/// Commands that are taken at once, and bytes after which a round ends. A round is one entry.
const ROUND_COMMANDS_MAX: usize = 2048;
const ROUND_BYTES_MAX: usize = 256 * 1024;
/// Events of the link that wait.
const LINK_EVENTS: usize = 64;

/// A shard of this node.
pub(crate) struct Replicated {
    pub(crate) number: u16,
    pub(crate) config: ShardConfig,
    pub(crate) member: Member,
    pub(crate) kind: Kind,
    pub(crate) queue: mpsc::Receiver<Queued>,
    pub(crate) looks: mpsc::Receiver<Look>,
    pub(super) peers: mpsc::Receiver<PeerEvent>,
}

pub(super) struct Task {
    pub(super) shared: Shared,
    pub(super) number: u16,
    pub(super) config: ShardConfig,
    pub(super) member: Member,
    pub(super) behind: Behind,
    pub(super) lead: Lead,
    /// What the cluster wants of this node.
    pub(super) guidance: watch::Receiver<Guidance>,
    /// When a majority has heard this node as the leader, as far as is known.
    pub(super) acked: Option<Instant>,
    pub(super) looked_at: Instant,
    /// The term in which it does not lead any more, though nobody else does.
    pub(super) stepped_down: Option<u64>,
    /// It tells nobody that it leads.
    pub(super) is_silent: bool,
    pub(super) peers: Peers,
    pub(super) link: Option<mpsc::Sender<Vec<Command>>>,
    /// A copy that is to be in the place of the one that is there.
    pub(super) replacing: Option<Replacing>,
    /// An entry that waits until the copy is there again.
    pub(super) waiting: Option<Committed>,
    /// Commands that were taken, and belong to the next round.
    pub(super) commands: VecDeque<(Option<DispatcherId>, Command)>,
    /// What tenants have in it, while it is led here.
    pub(super) tenants: Option<Counts>,
    /// Who waits for a copy of the state.
    pub(super) looks: Vec<Look>,
}

/// What the task takes from.
struct Inlets {
    queue: mpsc::Receiver<Queued>,
    looks: mpsc::Receiver<Look>,
    peers: mpsc::Receiver<PeerEvent>,
    link: mpsc::Receiver<LinkEvent>,
    led: watch::Receiver<Lead>,
    metrics: Option<Metrics>,
    /// What has been taken of the queue.
    queued: Vec<Queued>,
}

/// Plays the node's part in a shard until the server ends.
pub(crate) async fn run(shared: Shared, replicated: Replicated) {
    let Replicated { number, config, member, kind, queue, looks, peers } = replicated;
    let lead_of = shared.replication.as_ref().and_then(|all| all.lead_of(number));
    let Some(leads) = lead_of.cloned() else { return };
    let steering = shared.replication.as_ref().map(|all| &all.steering);
    let guidance = steering.and_then(|steering| steering.guidance_of(number));
    let Some(guidance) = guidance.map(watch::Sender::subscribe) else { return };
    let behind = match Behind::start(kind, &member, &shared).await {
        Ok(behind) => behind,
        Err(error) => {
            return tracing::error!(shard = number, %error, "the group of a shard does not start");
        }
    };
    let (link_events, link) = mpsc::channel(LINK_EVENTS);
    let follow =
        leader_link::follow(Shared::clone(&shared), number, leads.subscribe(), link_events);
    let follow = tokio::task::spawn_local(follow);
    let (led, metrics) = (leads.subscribe(), behind.metrics());
    let queued = Vec::new();
    let mut inlets = Inlets { queue, looks, peers, link, led, metrics, queued };
    let mut task = Task::new(shared, config, member, behind, guidance);
    while task.wait(&mut inlets, &leads).await {
        task.step_down(&leads);
        task.abdicate();
        task.turn().await;
    }
    follow.abort();
}

async fn due(shared: &Shared, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => tokio::time::sleep_until(shared.clock.instant_of(at_ms)).await,
        None => std::future::pending().await,
    }
}

impl Task {
    fn new(
        shared: Shared,
        config: ShardConfig,
        member: Member,
        behind: Behind,
        guidance: watch::Receiver<Guidance>,
    ) -> Self {
        Self {
            shared,
            number: config.shard,
            config,
            member,
            behind,
            lead: Lead::default(),
            guidance,
            acked: None,
            looked_at: Instant::now(),
            stepped_down: None,
            is_silent: false,
            peers: Peers::default(),
            link: None,
            replacing: None,
            waiting: None,
            commands: VecDeque::new(),
            tenants: None,
            looks: Vec::new(),
        }
    }

    /// Waits until something comes, and takes it. Returns false when the server ends.
    async fn wait(&mut self, inlets: &mut Inlets, leads: &watch::Sender<Lead>) -> bool {
        let Inlets { queue, looks, peers, link, led, metrics, queued } = inlets;
        let takes = self.takes_commands();
        let has_rest = takes && !self.commands.is_empty();
        let due_ms = self.member.next_timeout_ms().into_iter().chain(self.next_look_ms()).min();
        let (has_looks, look_at) = (metrics.is_some(), self.looked_at + self.look_again());
        let (leads_here, takes_entries) = (self.leads(), self.replacing.is_none());
        tokio::select! {
            biased;
            outcome = made(&mut self.replacing) => self.replaced(outcome),
            news = next(&mut self.behind, takes_entries) => match news {
                News::Handed(handed) => self.take_handed(handed),
                News::Saved(does_count) => self.saved(does_count).await,
            },
            Ok(()) = self.guidance.changed() => self.look(metrics, false, leads),
            is_news = changed(metrics) => self.look(metrics, is_news, leads),
            Ok(()) = led.changed(), if metrics.is_none() => {
                let lead = *led.borrow_and_update();
                self.led(lead);
            }
            Some(event) = link.recv() => self.heard(event),
            // What was taken and did not fit the last round goes first.
            () = std::future::ready(()), if has_rest => {}
            Some(event) = peers.recv(), if takes || !leads_here => match event {
                PeerEvent::Begin { nodes, begun } => {
                    let outcome = self.begin(nodes).await;
                    *metrics = self.behind.metrics();
                    // Who does not wait any more sees what has come of it.
                    drop(begun.send(outcome));
                }
                PeerEvent::Recalled { peer, recalled } => {
                    let (shard, recalled) = (self.number, Arc::new(recalled));
                    self.tell(vec![(peer, Event::Recalled { shard, recalled })]).await;
                }
                event @ (PeerEvent::Join { .. }
                | PeerEvent::Commands { .. }
                | PeerEvent::Ended { .. }) => self.peer(event),
            },
            received = queue.recv_many(queued, ROUND_COMMANDS_MAX), if takes => {
                self.commands.extend(queued.drain(..).map(|queued| (None, queued.into_command())));
                return received > 0;
            }
            Some(look) = looks.recv(), if self.looks.len() < LOOKS_MAX => self.take_look(look),
            () = due(&self.shared, due_ms) => {}
            () = tokio::time::sleep_until(look_at.into()), if has_looks => {
                self.look(metrics, false, leads);
            }
        }
        true
    }

    /// Carries out what has come, and does what that wants.
    async fn turn(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        self.look_at_tenants(now_ms);
        self.member.handle_timeout(now_ms);
        if self.takes_commands() {
            self.carry_out(now_ms);
        }
        let output = self.member.seal();
        self.settle_tenants();
        self.carry(output).await;
        if self.member.is_awaited() && self.replacing.is_none() {
            self.make_again(Duration::ZERO);
        }
        self.save(now_ms);
        self.show();
        self.purge().await;
        self.shared.figures.set_waiting(self.number, self.member.waiting());
        if let Some(shard) = self.member.copy() {
            self.shared.figures.set_shard(self.number, shard.stats());
        }
    }

    fn carry_out(&mut self, now_ms: u64) {
        let refusal = match &self.behind {
            Behind::Durable(durable) if self.leads() => durable.room.refusal(),
            Behind::Durable(_) | Behind::Memory => None,
        };
        let mut bytes = 0;
        while bytes < ROUND_BYTES_MAX
            && let Some((peer, command)) = self.commands.pop_front()
        {
            bytes += command.weight();
            self.say_before(&command, now_ms);
            match peer {
                Some(peer) => {
                    if !self.member.handle_peer(peer, command, now_ms) {
                        tracing::warn!(
                            shard = self.number,
                            peer,
                            "a node has sent what it may not"
                        );
                        self.end_peer(peer);
                    }
                }
                None => match &refusal {
                    None => self.member.handle(command, now_ms),
                    Some(refusal) => {
                        let mut commands = vec![command];
                        let told = Command::refuse_changes(&mut commands, refusal);
                        self.member.tell(told);
                        commands.into_iter().for_each(|c| self.member.handle(c, now_ms));
                    }
                },
            }
        }
    }
}
