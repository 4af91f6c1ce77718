//! What follows from the cluster's decisions: copies that are wanted are decided, and the groups that are led
//! here are brought there step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::{ChangeMembers, ServerState};
use tidewire_core::SHARDS;
use tokio::task::JoinHandle;

use super::deciding::decide_here;
use super::founding::only;
use super::group_view::{Led, Wanted};
use super::handing_over::hand_over;
use super::{Replication, Shared, begin, parts};
use crate::cluster::meta::{MemberState, Meta, Step, Why};
use crate::cluster::raft::{Group, Node};
use crate::cluster::{Activity, Cluster, NodeId};
use crate::journal::META;

/// How often it is looked what is to be done; more often while there is something.
const LOOK: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(40);
/// Longest time that a step is waited for.
const STEP: Duration = Duration::from_secs(30);
/// A pause between two groups that a node hands over, so that clients notice one at a time.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(500);
/// A pause before a step that has failed is taken again.
const AGAIN: Duration = Duration::from_secs(2);

/// Steps until the server ends.
pub(super) async fn run(shared: &Shared) {
    let Ok((replication, cluster)) = parts(shared) else { return };
    let mut decided = replication.steering.decided.changes();
    let mut stepper = Stepper {
        shared: Shared::clone(shared),
        under_way: BTreeMap::new(),
        placing: None,
        handed_over_at: None,
    };
    loop {
        let meta = Arc::clone(&decided.borrow_and_update());
        let is_settled = stepper.turn(replication, cluster, &meta);
        let look = if is_settled { LOOK } else { LOOK_AGAIN };
        // Metrics of all groups change with every entry: looking now and then is less.
        drop(tokio::time::timeout(look, decided.changed()).await);
    }
}

struct Stepper {
    shared: Shared,
    /// Steps of groups that are not done yet.
    under_way: BTreeMap<u16, (Step, JoinHandle<()>)>,
    placing: Option<JoinHandle<()>>,
    handed_over_at: Option<Instant>,
}

/// A group that is led here.
struct Mine {
    group: Group,
    led: Led,
    wanted: BTreeSet<NodeId>,
    leader: Option<NodeId>,
    is_under_way: bool,
}

impl Stepper {
    /// Returns whether all that is led here is as it should be.
    fn turn(&mut self, replication: &Replication, cluster: &Cluster, meta: &Arc<Meta>) -> bool {
        self.under_way.retain(|_, (_, step)| !step.is_finished());
        if !meta.is_founded() {
            return true;
        }
        self.place(replication, meta);
        let reachable: BTreeSet<NodeId> =
            meta.nodes.keys().copied().filter(|node| cluster.links.is_reachable(*node)).collect();
        let removed = meta.removed();
        let mut mine = Vec::new();
        for group in replication.groups.all().into_iter().chain(replication.groups.meta()) {
            self.begin(&group, cluster, meta);
            mine.extend(self.mine(group, replication, cluster, meta));
        }
        for one in &mut mine {
            let wanted = one.wanted(cluster, &reachable, &removed, 0);
            one.is_under_way = one.led.view(&wanted).is_under_way();
        }
        let all_under_way = mine.iter().filter(|one| one.is_under_way).count();
        let mut begun = 0;
        let mut waits = BTreeMap::new();
        for one in &mine {
            let others = all_under_way - usize::from(one.is_under_way) + begun;
            let wanted = one.wanted(cluster, &reachable, &removed, others);
            let step = one.next_step(&wanted, meta);
            begun += usize::from(!one.is_under_way && matches!(step, Step::AddLearner(_)));
            if let Some(says) = self.take(one, step, meta) {
                waits.insert(one.group.number, says);
            }
        }
        let is_settled = waits.is_empty();
        replication.steering.set_waits(waits);
        is_settled
    }

    /// Who leads the meta group decides the copies that follow from what was decided.
    fn place(&mut self, replication: &Replication, meta: &Arc<Meta>) {
        let is_busy = self.placing.as_ref().is_some_and(|placing| !placing.is_finished());
        let Some(group) = replication.groups.meta().filter(|_| !is_busy) else { return };
        let leads = {
            let metrics = group.raft.metrics();
            let metrics = metrics.borrow();
            // What it has applied is all that was decided before.
            let applied = metrics.last_applied.map(|id| id.leader_id.term);
            metrics.state == ServerState::Leader && applied == Some(metrics.current_term)
        };
        if let Some(command) = meta.placement_due().filter(|_| leads) {
            let shared = Shared::clone(&self.shared);
            self.placing = Some(tokio::spawn(async move {
                let answer = decide_here(&shared, &command).await;
                tracing::info!(?answer, "the copies of the shards are placed anew");
            }));
        }
    }

    /// The node that a cluster is founded on is the first member of all groups.
    fn begin(&mut self, group: &Group, cluster: &Cluster, meta: &Meta) {
        let own = BTreeSet::from([cluster.node]);
        let is_first = meta.nodes.get(&cluster.node).is_some_and(|node| node.joined_revision == 1);
        let placed = meta.placement.groups.get(usize::from(group.number));
        let is_alone = is_first && placed.is_some_and(|placed| placed.copies == own);
        // What a server that was alone has logged stays.
        let is_new = group.log.log().remembered().vote.is_none()
            && group.raft.metrics().borrow().membership_config.nodes().next().is_none();
        if is_alone && is_new && !self.under_way.contains_key(&group.number) {
            let (shared, group) = (Shared::clone(&self.shared), group.clone());
            let number = group.number;
            let step = tokio::spawn(async move {
                let Ok((replication, cluster)) = parts(&shared) else { return };
                if let Err(error) = begin::found(replication, &group, only(cluster)).await {
                    tracing::warn!(group = group.number, %error, "a group does not begin");
                }
            });
            self.under_way.insert(number, (Step::Nothing(Why::Changing), step));
        }
    }

    fn mine(
        &self,
        group: Group,
        replication: &Replication,
        cluster: &Cluster,
        meta: &Meta,
    ) -> Option<Mine> {
        let is_busy = self.under_way.contains_key(&group.number);
        let mut led = Led::of(&group, is_busy)?;
        if group.number == META {
            // All members hold its log, most of them without a vote.
            let members: BTreeSet<NodeId> = meta.members().map(|(node, _)| node).collect();
            led.learners
                .retain(|node| meta.placement.meta.contains(node) || !members.contains(node));
            let wanted = meta.placement.meta.clone();
            return Some(Mine { group, led, wanted, leader: None, is_under_way: false });
        }
        let placed = meta.placement.groups.get(usize::from(group.number))?;
        let may_lose = self.may_lose_memory(&group, replication, cluster, meta);
        // Who is about to stop has just handed it over.
        let about = cluster.roster.node(placed.leader).and_then(|node| node.activity);
        let is_stopping = matches!(about, Some(Activity::Draining | Activity::Leaving));
        let leader = (may_lose && !is_stopping).then_some(placed.leader);
        let wanted = placed.copies.clone();
        Some(Mine { group, led, wanted, leader, is_under_way: false })
    }

    /// Whoever leads a group holds its shard in memory, which ends with that. So it is not handed over only
    /// for the sake of evenness, unless nothing is there or an operator wants it.
    fn may_lose_memory(
        &self,
        group: &Group,
        replication: &Replication,
        cluster: &Cluster,
        meta: &Meta,
    ) -> bool {
        let own = meta.nodes.get(&cluster.node).map(|node| node.state);
        own != Some(MemberState::Active)
            || replication.steering.spreads(self.shared.clock.now_ms())
            || self.shared.figures.is_empty(group.number)
    }

    /// Takes a step, unless the last one is under way. Returns what the group waits for.
    fn take(&mut self, one: &Mine, step: Step, meta: &Meta) -> Option<String> {
        if let Some((step, _)) = self.under_way.get(&one.group.number) {
            return Some(describe(step));
        }
        match &step {
            Step::Nothing(Why::Settled) => return None,
            Step::Nothing(why) => return Some(why.to_string()),
            Step::TransferLeadership(_) if !self.may_hand_over(one.group.number) => {
                return Some("other groups of this node are handed over first".to_owned());
            }
            Step::TransferLeadership(_)
            | Step::AddLearner(_)
            | Step::ChangeVoters(_)
            | Step::RemoveLearner(_) => {}
        }
        let said = describe(&step);
        tracing::info!(group = one.group.number, "{said}");
        if matches!(step, Step::TransferLeadership(_)) {
            self.handed_over_at = Some(Instant::now());
        }
        let address = |node: &NodeId| {
            meta.nodes.get(node).map_or_else(String::new, |known| known.address.as_str().to_owned())
        };
        let address = match &step {
            Step::AddLearner(node) => address(node),
            Step::ChangeVoters(_)
            | Step::RemoveLearner(_)
            | Step::TransferLeadership(_)
            | Step::Nothing(_) => String::new(),
        };
        let (shared, group) = (Shared::clone(&self.shared), one.group.clone());
        let (term, taken) = (one.led.term, step.clone());
        let task = tokio::spawn(async move {
            let carried_out = carry_out(&shared, &group, term, taken, address);
            let failure = match tokio::time::timeout(STEP, carried_out).await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure,
                Err(_late) => "it takes too long".to_owned(),
            };
            tracing::warn!(group = group.number, failure, "a step is to be taken again");
            tokio::time::sleep(AGAIN).await;
        });
        self.under_way.insert(one.group.number, (step, task));
        Some(said)
    }

    /// One after the other, unless the shards are empty, so that nobody notices.
    fn may_hand_over(&self, group: u16) -> bool {
        let figures = &self.shared.figures;
        if group < SHARDS && figures.is_empty(group) && figures.is_empty(SHARDS + group) {
            return true;
        }
        let mut steps = self.under_way.values();
        let is_one = steps.any(|(step, _)| matches!(step, Step::TransferLeadership(_)));
        !is_one && self.handed_over_at.is_none_or(|at| at.elapsed() >= HAND_OVER_PAUSE)
    }
}

impl Mine {
    fn wanted<'a>(
        &'a self,
        cluster: &Cluster,
        reachable: &'a BTreeSet<NodeId>,
        removed: &'a BTreeSet<NodeId>,
        others_under_way: usize,
    ) -> Wanted<'a> {
        let (own, copies, leader) = (cluster.node, &self.wanted, self.leader);
        Wanted { own, copies, leader, reachable, removed, others_under_way }
    }

    fn next_step(&self, wanted: &Wanted<'_>, meta: &Meta) -> Step {
        let step = self.led.view(wanted).next_step();
        match &step {
            // It learns that it has no vote any more before it is told nothing.
            Step::RemoveLearner(node)
                if wanted.reachable.contains(node) && !self.led.caught_up.contains(node) =>
            {
                Step::Nothing(Why::CatchingUp(*node))
            }
            Step::Nothing(Why::Settled) if self.group.number == META => {
                let members = self.group.raft.metrics().borrow().membership_config.clone();
                let is_missing =
                    |node: &NodeId| members.membership().get_node(&node.get()).is_none();
                let missing = meta.members().map(|(node, _)| node).find(is_missing);
                missing.map_or(step, Step::AddLearner)
            }
            Step::AddLearner(_)
            | Step::ChangeVoters(_)
            | Step::RemoveLearner(_)
            | Step::TransferLeadership(_)
            | Step::Nothing(_) => step,
        }
    }
}

async fn carry_out(
    shared: &Shared,
    group: &Group,
    term: u64,
    step: Step,
    address: String,
) -> Result<(), String> {
    let changed = match step {
        Step::AddLearner(node) => {
            group.raft.add_learner(node.get(), Node::new(address), false).await
        }
        Step::ChangeVoters(voters) => {
            let voters: BTreeSet<u64> = voters.into_iter().map(NodeId::get).collect();
            // Those that vote no more are told so before they are told nothing.
            group.raft.change_membership(voters, true).await
        }
        Step::RemoveLearner(node) => {
            let gone = ChangeMembers::RemoveNodes(BTreeSet::from([node.get()]));
            group.raft.change_membership(gone, true).await
        }
        Step::TransferLeadership(to) => return hand_over(shared, group, term, to).await,
        Step::Nothing(_) => return Ok(()),
    };
    changed.map(drop).map_err(|error| error.to_string())
}

fn describe(step: &Step) -> String {
    match step {
        Step::AddLearner(node) => format!("node {node} is sent a copy"),
        Step::ChangeVoters(voters) => {
            let voters: Vec<String> = voters.iter().map(NodeId::to_string).collect();
            format!("nodes {} are to vote", voters.join(", "))
        }
        Step::RemoveLearner(node) => format!("node {node} gets no more entries"),
        Step::TransferLeadership(node) => format!("node {node} is to lead"),
        Step::Nothing(why) => why.to_string(),
    }
}

const _: () = assert!(META >= SHARDS, "the meta group is none of a shard");
