//! What a node leads, and whether it may: as the engine of the group sees it, or whoever leads the group of
//! a shard in memory.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::behind::{Behind, Metrics};
use super::leader_link::COMMANDS_MAX;
use super::leads::{self, Lead};
use super::task::Task;

/// How often it is looked whether this node may act as the leader again.
const LEASE_LOOK: Duration = Duration::from_millis(20);
/// How often a leader looks how the group is led at least.
const LEADER_LOOK: Duration = Duration::from_millis(200);
/// How often others do.
const FOLLOWER_LOOK: Duration = Duration::from_millis(400);
/// Rounds of a leader that are not committed; beyond them it takes no commands.
const UNDER_WAY_MAX: usize = 64;
/// How long a leader that does not hear from a majority keeps those waiting who ask it for something.
const CUT_OFF: Duration = Duration::from_secs(2);
/// Places that have to be free on the way to the leader before more commands are taken.
const LINK_ROOM: usize = COMMANDS_MAX / 2;

impl Task {
    pub(super) fn leads(&self) -> bool {
        self.member.term().is_some()
    }

    /// Whether commands are carried out, or can be sent on.
    pub(super) fn takes_commands(&self) -> bool {
        if self.leads() {
            return self.lead.holds(Instant::now())
                && self.member.under_way() < UNDER_WAY_MAX
                && !self.is_to_be_saved()
                && !self.is_to_be_copied()
                && !self.resigns();
        }
        self.link.as_ref().is_none_or(|link| link.capacity() >= LINK_ROOM)
    }

    fn is_to_be_saved(&self) -> bool {
        matches!(&self.behind, Behind::Durable(durable) if durable.saving.is_due)
    }

    /// Whether it leads without having heard from a majority for so long that nobody waits any longer.
    fn is_cut_off(&self) -> bool {
        let is_late = self.lead.until.is_none_or(|until| until + CUT_OFF < Instant::now());
        self.leads() && is_late
    }

    /// Whether another node is to lead, as soon as nothing of this one is under way.
    fn resigns(&self) -> bool {
        let term = self.guidance.borrow().resigns;
        term.is_some() && term == self.member.term()
    }

    /// A minority decides nothing: what it has not committed is nobody's to see, and who waits is told so.
    /// It leads again in another term only.
    /// The shard in memory follows its group.
    pub(super) fn step_down(&mut self, leads: &watch::Sender<Lead>) {
        let hands_over = self.resigns() && self.member.under_way() == 0;
        if matches!(self.behind, Behind::Memory) || !(self.is_cut_off() || hands_over) {
            return;
        }
        if !hands_over {
            tracing::warn!(
                shard = self.number,
                "this node hears from too few others to lead the shard"
            );
        }
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
    pub(super) fn abdicate(&mut self) {
        let Behind::Durable(durable) = &self.behind else { return };
        let is_silent = self.stepped_down == Some(self.lead.term);
        if std::mem::replace(&mut self.is_silent, is_silent) != is_silent {
            durable.group.silence(is_silent);
        }
    }

    /// A leader that is alone hears nothing of its engine while nobody asks for anything, and neither does who
    /// hears from no leader.
    pub(super) fn look_again(&self) -> Duration {
        match self.waits_for_lease() {
            true => LEASE_LOOK,
            false if self.leads() => LEADER_LOOK,
            false => FOLLOWER_LOOK,
        }
    }

    pub(super) fn waits_for_lease(&self) -> bool {
        self.leads() && !self.lead.holds(Instant::now())
    }

    /// How the group is led now, as its engine sees it.
    /// `is_news`: it has said something of its log.
    pub(super) fn look(
        &mut self,
        metrics: &mut Option<Metrics>,
        is_news: bool,
        leads: &watch::Sender<Lead>,
    ) {
        let (Behind::Durable(durable), Some((server, data))) = (&self.behind, metrics) else {
            return;
        };
        let Some(replication) = &self.shared.replication else { return };
        let (node, looking_at) = (replication.node, Instant::now());
        let is_led = durable.group.is_led();
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
            let epoch = self.member.copy().map_or(self.lead.epoch, |copy| copy.config().epoch);
            let lead = Lead::of(node, &server, durable.applied_term(), self.acked);
            self.lead = Lead { epoch, leader: lead.leader.filter(|_| is_led), ..lead };
            self.lead.is_here &= self.stepped_down != Some(self.lead.term);
            let is_member = server.membership_config.membership().get_node(&node).is_some()
                && !self.guidance.borrow_and_update().is_outside;
            let last = data.last_log.map(|id| id.index);
            let is_current =
                self.lead.leader.is_some() && last.map_or(0, |last| last + 1) <= durable.applied();
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

    /// This node leads the shard in a term, or not.
    pub(super) fn led(&mut self, lead: Lead) {
        self.lead = lead;
        let now_ms = self.shared.clock.now_ms();
        let leads = lead.is_here.then_some(lead.term);
        if self.leads() && self.member.term() != leads {
            self.follow();
        }
        if let Some(term) = leads
            && self.member.term().is_none()
        {
            tracing::info!(shard = self.number, term, "this node leads the shard");
            self.link = None;
            self.member.lead(term, lead.memory_epoch(), now_ms);
        }
    }

    /// This node leads the shard no more.
    pub(super) fn follow(&mut self) {
        tracing::info!(shard = self.number, "this node leads the shard no more");
        self.member.follow();
        self.peers.end_all();
        self.return_commands();
    }
}
