//! The task of one shard on a node of a cluster: what comes in goes to the member, and what that wants
//! is done.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tidewire_core::member::{Entry, Member, Output, Proposal};
use tidewire_core::shard::{
    Command, DispatcherId, Event, Recall, Recalled, Recaller, Shard, ShardConfig, ShardSnapshot,
    is_peer,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::behind::{Behind, Kind, Metrics, changed, next_committed};
use super::leader_link::{self, COMMANDS_MAX, LinkEvent};
use super::leads::{self, Lead};
use super::peers::{PeerEvent, Peers};
use super::rebuild::rebuild;
use crate::cluster::raft::{Committed, EntryBody};
use crate::recording::weight;
use crate::server::Queued;

/// Rounds of a leader that are not committed; beyond them it takes no commands.
const UNDER_WAY_MAX: usize = 64;
/// Commands that are taken at once, and bytes after which a round ends. A round is one entry.
const ROUND_COMMANDS_MAX: usize = 2048;
const ROUND_BYTES_MAX: usize = 256 * 1024;
/// How often it is looked whether this node may act as the leader again.
const LEASE_LOOK: Duration = Duration::from_millis(20);
/// Events of the link that wait.
const LINK_EVENTS: usize = 64;
/// How long a leader that does not hear from a majority keeps those waiting who ask it for something.
const CUT_OFF: Duration = Duration::from_secs(2);
/// A pause before a copy that could not be made again is tried once more.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);
/// Places that have to be free on the way to the leader before more commands are taken.
const LINK_ROOM: usize = COMMANDS_MAX / 2;

/// A shard of this node.
pub(crate) struct Replicated {
    pub(crate) number: u16,
    pub(crate) config: ShardConfig,
    pub(crate) member: Member,
    pub(crate) kind: Kind,
    pub(crate) queue: mpsc::Receiver<Queued>,
    pub(crate) copies: mpsc::Receiver<oneshot::Sender<ShardSnapshot>>,
    pub(super) peers: mpsc::Receiver<PeerEvent>,
}

type Rebuilding = Pin<Box<dyn Future<Output = io::Result<Shard>>>>;

struct Task {
    shared: Shared,
    number: u16,
    config: ShardConfig,
    member: Member,
    behind: Behind,
    lead: Lead,
    /// When a majority has heard this node as the leader, as far as is known.
    acked: Option<Instant>,
    looked_at: Instant,
    /// The term in which it does not lead any more, though nobody else does.
    stepped_down: Option<u64>,
    /// It tells nobody that it leads.
    is_silent: bool,
    peers: Peers,
    link: Option<mpsc::Sender<Vec<Command>>>,
    rebuilding: Option<Rebuilding>,
    /// An entry that waits until the copy is there again.
    waiting: Option<Committed>,
    /// Commands that were taken, and belong to the next round.
    commands: VecDeque<(Option<DispatcherId>, Command)>,
}

/// Plays the node's part in a shard until the server ends.
pub(crate) async fn run(shared: Shared, replicated: Replicated) {
    let Replicated { number, config, member, kind, mut queue, mut copies, peers: mut from_peers } =
        replicated;
    let lead_of = shared.replication.as_ref().and_then(|all| all.lead_of(number));
    let Some(leads) = lead_of.cloned() else { return };
    let behind = match Behind::start(kind, number, &shared).await {
        Ok(behind) => behind,
        Err(error) => {
            return tracing::error!(shard = number, %error, "the group of a shard does not start");
        }
    };
    let mut led = leads.subscribe();
    let (link_events, mut from_link) = mpsc::channel(LINK_EVENTS);
    let link = leader_link::follow(Shared::clone(&shared), number, leads.subscribe(), link_events);
    let link = tokio::task::spawn_local(link);
    let mut metrics = behind.metrics();
    let mut task = Task::new(Shared::clone(&shared), config, member, behind);
    let mut queued = Vec::new();
    loop {
        let takes = task.takes_commands();
        let has_rest = takes && !task.commands.is_empty();
        let due_ms = task.member.next_timeout_ms();
        tokio::select! {
            biased;
            shard = rebuilt(&mut task.rebuilding) => task.replace_copy(shard),
            committed = next_committed(&mut task.behind), if task.rebuilding.is_none() => {
                task.apply(committed);
            }
            is_news = changed(&mut metrics) => task.look(&mut metrics, is_news, &leads),
            Ok(()) = led.changed(), if metrics.is_none() => {
                let lead = *led.borrow_and_update();
                task.led(lead);
            }
            Some(event) = from_link.recv() => task.heard(event),
            // What was taken and did not fit the last round goes first.
            () = std::future::ready(()), if has_rest => {}
            Some(event) = from_peers.recv(), if takes || !task.leads() => task.peer(event),
            received = queue.recv_many(&mut queued, ROUND_COMMANDS_MAX), if takes => {
                if received == 0 {
                    break;
                }
                task.commands.extend(queued.drain(..).map(|queued| (None, queued.into_command())));
            }
            Some(wanted) = copies.recv() => {
                if let Some(snapshot) = task.member.checkpoint() {
                    drop(wanted.send(snapshot));
                }
                continue;
            }
            () = due(&shared, due_ms) => {}
            () = tokio::time::sleep(LEASE_LOOK), if metrics.is_some() && task.waits_for_lease() => {
                task.look(&mut metrics, false, &leads);
            }
        }
        task.step_down(&leads);
        task.abdicate();
        task.turn().await;
    }
    link.abort();
}

async fn rebuilt(rebuilding: &mut Option<Rebuilding>) -> io::Result<Shard> {
    match rebuilding {
        Some(rebuilding) => rebuilding.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn due(shared: &Shared, at_ms: Option<u64>) {
    match at_ms {
        Some(at_ms) => tokio::time::sleep_until(shared.clock.instant_of(at_ms)).await,
        None => std::future::pending().await,
    }
}

impl Task {
    fn new(shared: Shared, config: ShardConfig, member: Member, behind: Behind) -> Self {
        Self {
            shared,
            number: config.shard,
            config,
            member,
            behind,
            lead: Lead::default(),
            acked: None,
            looked_at: Instant::now(),
            stepped_down: None,
            is_silent: false,
            peers: Peers::default(),
            link: None,
            rebuilding: None,
            waiting: None,
            commands: VecDeque::new(),
        }
    }

    fn leads(&self) -> bool {
        self.member.term().is_some()
    }

    /// Whether commands are carried out, or can be sent on.
    fn takes_commands(&self) -> bool {
        if self.leads() {
            return self.lead.holds(Instant::now()) && self.member.under_way() < UNDER_WAY_MAX;
        }
        self.link.as_ref().is_none_or(|link| link.capacity() >= LINK_ROOM)
    }

    /// Whether it leads without having heard from a majority for so long that nobody waits any longer.
    fn is_cut_off(&self) -> bool {
        let is_late = self.lead.until.is_none_or(|until| until + CUT_OFF < Instant::now());
        self.leads() && is_late
    }

    /// A minority decides nothing: what it has not committed is nobody's to see, and who waits is told so.
    /// It leads again in another term only.
    /// The shard in memory follows its group.
    fn step_down(&mut self, leads: &watch::Sender<Lead>) {
        if matches!(self.behind, Behind::Memory) || !self.is_cut_off() {
            return;
        }
        tracing::warn!(
            shard = self.number,
            "this node hears from too few others to lead the shard"
        );
        self.stepped_down = self.member.term();
        let lead = Lead { is_here: false, ..self.lead };
        leads.send_replace(lead);
        self.led(lead);
    }

    /// What was taken and not carried out is for whoever leads.
    fn return_commands(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        for (peer, command) in std::mem::take(&mut self.commands) {
            if peer.is_none() {
                self.member.handle(command, now_ms);
            }
        }
    }

    /// Who has stepped down leads again in another term only, which somebody has to be elected for: so
    /// nobody hears from this node as the leader until then.
    fn abdicate(&mut self) {
        let Behind::Durable(durable) = &self.behind else { return };
        let is_silent = self.stepped_down == Some(self.lead.term);
        if std::mem::replace(&mut self.is_silent, is_silent) != is_silent {
            durable.group.raft.runtime_config().heartbeat(!is_silent);
        }
    }

    fn waits_for_lease(&self) -> bool {
        self.leads() && !self.lead.holds(Instant::now())
    }

    /// How the group is led now, as its engine sees it.
    /// `is_news`: it has said something of its log.
    fn look(&mut self, metrics: &mut Option<Metrics>, is_news: bool, leads: &watch::Sender<Lead>) {
        let (Behind::Durable(durable), Some((server, data))) = (&self.behind, metrics) else {
            return;
        };
        let Some(replication) = &self.shared.replication else { return };
        let (node, looking_at) = (replication.node, Instant::now());
        let (is_member, is_current) = {
            // What it said before is no newer now.
            let is_news = is_news || data.has_changed().unwrap_or(false);
            let (server, data) = (server.borrow_and_update(), data.borrow_and_update());
            let is_alone = server.membership_config.membership().voter_ids().count() == 1;
            if server.vote.leader_id.term != self.lead.term {
                // It has just begun.
                self.acked = Some(self.looked_at);
            }
            if is_news || is_alone {
                self.acked = leads::acked(&server, &data, self.looked_at).max(self.acked);
            }
            self.looked_at = looking_at;
            self.lead = Lead::of(node, &server, durable.applied_term, self.acked);
            self.lead.is_here &= self.stepped_down != Some(self.lead.term);
            let is_member = server.membership_config.membership().get_node(&node).is_some();
            let last = data.last_log.map(|id| id.index);
            let is_current = server.current_leader.is_some()
                && last.map_or(0, |last| last + 1) <= durable.applied;
            (is_member, is_current)
        };
        match (is_member, self.member.is_behind()) {
            (true, true) if is_current => self.member.caught_up(),
            (false, false) => self.member.fall_behind(),
            (true, _) | (false, true) => {}
        }
        let lead = self.lead;
        leads.send_if_modified(|known| std::mem::replace(known, lead) != lead);
        self.led(lead);
    }

    fn led(&mut self, lead: Lead) {
        self.lead = lead;
        let now_ms = self.shared.clock.now_ms();
        let leads = lead.is_here.then_some(lead.term);
        if self.member.term().is_some() && self.member.term() != leads {
            tracing::info!(shard = self.number, "this node leads the shard no more");
            self.member.follow();
            self.peers.end_all();
            self.return_commands();
        }
        if let Some(term) = leads
            && self.member.term().is_none()
        {
            tracing::info!(shard = self.number, term, "this node leads the shard");
            self.link = None;
            self.member.lead(term, Lead::epoch(term), now_ms);
        }
    }

    fn apply(&mut self, committed: Committed) {
        let Behind::Durable(durable) = &mut self.behind else { return };
        let Committed { id, body } = &committed;
        if let Some(body) = body {
            let EntryBody { version, time_ms, bytes, .. } = body;
            let (term, index, bytes) = (id.term, id.index, bytes.len() as u64);
            let entry = Entry { term, index, bytes, version: *version, time_ms: *time_ms };
            match self.member.apply(entry, || body.changes()) {
                Ok(true) => {}
                Ok(false) => {
                    self.waiting = Some(committed);
                    return;
                }
                Err(error) => {
                    // What it holds is not what was committed: nothing of it may be told.
                    tracing::error!(shard = self.number, %error, "the copy of a shard is damaged: the server ends");
                    std::process::abort();
                }
            }
        }
        durable.applied = id.index + 1;
        durable.applied_term = Some(id.term);
    }

    fn replace_copy(&mut self, shard: io::Result<Shard>) {
        self.rebuilding = None;
        match shard {
            Ok(shard) => {
                self.member.replace_copy(shard);
                if let Some(waiting) = self.waiting.take() {
                    self.apply(waiting);
                }
            }
            Err(error) => {
                tracing::error!(shard = self.number, %error, "the copy of a shard cannot be made again: it is tried once more");
                self.begin_rebuilding(REBUILD_PAUSE);
            }
        }
    }

    fn begin_rebuilding(&mut self, pause: Duration) {
        let Behind::Durable(durable) = &self.behind else { return };
        let (log, config, end) =
            (durable.group.log.log().clone(), self.config.clone(), durable.applied);
        self.rebuilding = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            rebuild(log, config, end).await
        }));
    }

    fn heard(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(commands) if !self.leads() => {
                self.link = Some(commands);
                self.member.connect();
            }
            LinkEvent::Connected(_) => {}
            LinkEvent::Told(events) if self.link.is_some() => {
                events.into_iter().for_each(|event| self.member.take(event));
            }
            LinkEvent::Told(_) => {}
            LinkEvent::Lost => {
                self.link = None;
                self.member.disconnect();
            }
        }
    }

    fn peer(&mut self, event: PeerEvent) {
        match event {
            PeerEvent::Join { peer, joined } => {
                let Some(term) = self.member.term().filter(|_| !self.waits_for_lease()) else {
                    return;
                };
                if self.peers.end(peer) {
                    self.member.peer_ended(peer);
                }
                // Who does not wait any more has gone, and says so.
                drop(joined.send(self.peers.join(peer, term)));
            }
            PeerEvent::Commands { peer, stream, commands } => {
                if self.peers.has(peer, stream) {
                    self.commands.extend(commands.into_iter().map(|command| (Some(peer), command)));
                }
            }
            PeerEvent::Ended { peer, stream } => {
                if self.peers.has(peer, stream) {
                    self.end_peer(peer);
                }
            }
        }
    }

    fn end_peer(&mut self, peer: DispatcherId) {
        self.peers.end(peer);
        self.commands.retain(|(from, _)| *from != Some(peer));
        self.member.peer_ended(peer);
    }

    /// Carries out what has come, and does what that wants.
    async fn turn(&mut self) {
        let now_ms = self.shared.clock.now_ms();
        self.member.handle_timeout(now_ms);
        if self.takes_commands() {
            self.carry_out(now_ms);
        }
        let output = self.member.seal();
        self.carry(output).await;
        if self.member.is_awaited() && self.rebuilding.is_none() {
            self.begin_rebuilding(Duration::ZERO);
        }
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
            bytes += weight(&command);
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

    async fn carry(&mut self, output: Output) {
        let Output { told, to_leader, recalls, proposal } = output;
        if let Some(proposal) = proposal {
            self.propose(&proposal).await;
        }
        self.recall(recalls).await;
        self.tell(told).await;
        if !to_leader.is_empty()
            && let Some(link) = &self.link
            && link.try_send(to_leader).is_err()
        {
            // It takes too little, or is gone: it begins anew.
            self.link = None;
            self.member.disconnect();
        }
    }

    async fn propose(&self, proposal: &Proposal) {
        let Behind::Durable(durable) = &self.behind else { return };
        let Proposal { log, version, time_ms } = proposal;
        let outcome = match EntryBody::of_round(log, *version, *time_ms) {
            // What becomes of it is seen when it is applied, or another one leads.
            Ok(body) => match durable.group.raft.client_write_ff(body).await {
                Ok(_outcome) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            tracing::error!(shard = self.number, error, "a round cannot be logged");
        }
    }

    async fn recall(&mut self, recalls: Vec<Recall>) {
        let Behind::Durable(durable) = &self.behind else { return };
        let mut told = Vec::new();
        for recall in recalls {
            let Some(Recall { to, extent, .. }) = durable.room.recall(recall) else { continue };
            let reason = Some("it is not read any more".to_owned());
            let recalled = Recalled { sequences: extent.sequences, reason, bodies: Vec::new() };
            if let Recaller::Dispatcher(dispatcher) = to {
                let recalled = std::sync::Arc::new(recalled);
                told.push((dispatcher, Event::Recalled { shard: self.number, recalled }));
            }
        }
        self.tell(told).await;
    }

    /// Gives dispatchers, and nodes that follow this one, what they are told.
    async fn tell(&mut self, told: Vec<(DispatcherId, Event)>) {
        let mut groups: Vec<(DispatcherId, Vec<Event>)> = Vec::new();
        for (to, event) in told {
            match groups.iter_mut().find(|(known, _)| *known == to) {
                Some((_, group)) => group.push(event),
                None => groups.push((to, vec![event])),
            }
        }
        for (to, group) in groups {
            if is_peer(to) {
                if !self.peers.tell(to, group) {
                    tracing::warn!(
                        shard = self.number,
                        peer = to,
                        "a node takes too little: its stream ends"
                    );
                    self.end_peer(to);
                }
            } else if let Some(dispatcher) = self.shared.dispatchers.get(usize::from(to)) {
                // Fails only when the dispatcher's core has stopped: nobody is there to be told.
                drop(dispatcher.send(group).await);
            }
        }
    }
}
