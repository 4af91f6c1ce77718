//! Tenants in a shard: what each has, and what it may not have.
//!
//! How many names a tenant has in all shards together no shard knows. Who hands commands over counts
//! them, asks [`Shard::makes`] first, and tells the shard when there are enough
//! ([`Command::TenantFull`]): a command like any other, so that whoever repeats the commands comes to
//! the same end. Bytes are shared out evenly, and each shard keeps to its own share.

mod census;
mod table;

pub(super) use census::Census;
pub use census::TenantUse;
pub use table::{TenantPlace, TenantShare, TenantTable};

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::{CellKind, CounterOp, PresenceOp, TallyOp};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::groups::GroupAsk;
use super::log::LogEntry;
use super::message::{Command, Interest, Request};
use super::{Shard, refuse};
use crate::partition_in;
use crate::topic::{Ring, Slot, TopicId};

impl Shard {
    /// What each tenant has here, in the order of the table.
    pub fn tenant_uses(&self) -> impl Iterator<Item = (&TenantShare, TenantUse)> {
        self.config.limits.tenants.iter().zip(self.topics.census.iter())
    }

    /// The tenants that it knows.
    #[must_use]
    pub fn tenants(&self) -> &Arc<TenantTable> {
        &self.config.limits.tenants
    }

    /// Takes other tenants in place of those before.
    pub(super) fn set_tenants(&mut self, table: Arc<TenantTable>) {
        self.config.limits.tenants = table;
        self.count_tenants();
    }

    pub(super) fn set_tenant_full(&mut self, prefix: &Name, is_full: bool) {
        Arc::make_mut(&mut self.config.limits.tenants).set_full(prefix, is_full);
    }

    /// Counts what the tenants have anew; a walk over all names and batches.
    pub(super) fn count_tenants(&mut self) {
        let table = &self.config.limits.tenants;
        let mut census = Census::of(table);
        for (_, topic) in &mut self.topics.by_id {
            topic.tenant = table.find(&topic.name);
            census.name_made(topic.tenant);
        }
        if table.is_empty() {
            self.topics.census = census;
            return;
        }
        for (sequence, slot) in self.topics.log.iter() {
            let Slot::Live(batch) = slot else { continue };
            let topic = self.topics.by_id.get(batch.topic_id as usize);
            let tenant = topic.and_then(|topic| topic.tenant);
            let bytes = batch.body.len() as u64;
            census.appended(tenant, (sequence, bytes), &self.topics.log);
        }
        let shard = self.config.shard;
        let tallies = self.cells.tallies.keys().filter(|name| partition_in(name, shard) == 0);
        let cells = self.cells.counters.keys().chain(self.cells.presence.keys()).chain(tallies);
        cells.for_each(|name| census.name_made(table.find(name)));
        self.topics.census = census;
    }

    /// A cell of this name is there now.
    pub(super) fn cell_made(&mut self, name: &Name) {
        self.topics.census.name_made(self.config.limits.tenants.find(name));
    }

    /// A cell of this name was there.
    pub(super) fn cell_gone(&mut self, name: &Name) {
        self.topics.census.name_gone(self.config.limits.tenants.find(name));
    }

    /// Whether a tally counts among its tenant's names: it does in its first partition.
    pub(super) fn counts_tally(&self, name: &Name) -> bool {
        partition_in(name, self.config.shard) == 0
    }

    /// Refuses a new name of a tenant that has all that it may have.
    pub(super) fn check_tenant(&self, what: &str, name: &Name) -> Result<(), Refusal> {
        match self.config.limits.tenants.of(name) {
            Some(TenantShare { prefix, names_max, is_full: true, .. }) => {
                let message = format!(
                    "{what} '{name}' is not created: tenant '{prefix}' has all of its {names_max} \
                     names (names_max of the tenant); delete some, or have the limit raised"
                );
                Err(refuse(ErrorCode::LimitExceeded, message))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Removes the oldest batches of each tenant that keeps more bytes than its share.
    pub(super) fn enforce_tenant_limits(&mut self) {
        let mut evicted: BTreeMap<TopicId, Vec<u64>> = BTreeMap::new();
        while let Some(tenant) = self.topics.census.next_over() {
            loop {
                let (census, log) = (&mut self.topics.census, &self.topics.log);
                let Some(id) = census.oldest_beyond(tenant, log) else { break };
                let Some(sequence) = self.topics.evict(id, Ring::pop) else { break };
                evicted.entry(id).or_default().push(sequence);
            }
        }
        for (id, sequences) in evicted {
            self.tell_trimmed(id, sequences);
            // What was kept beside it then is not known any more when the log is read again.
            if let Some(topic) = self.topics.by_id.get(id as usize) {
                let (topic, first) = (topic.name.clone(), topic.ring.first());
                self.log(|| LogEntry::Truncated { topic, first });
            }
        }
    }

    /// The name that a command makes if nothing else is in its way; none if it is there already.
    #[must_use]
    pub fn makes<'a>(&self, command: &'a Command) -> Option<&'a Name> {
        let topic = |name: &'a Name| self.topics.id_of(name).is_none().then_some(name);
        match command {
            Command::Request(_, request) => self.request_makes(request),
            Command::Publishes(run) => topic(&run.topic),
            Command::DeadLetter(letter) => topic(&letter.to),
            Command::Follow(_, Interest::Topic(name) | Interest::Cell(CellKind::Map, name)) => {
                topic(name)
            }
            Command::Follow(_, Interest::CommitLog | Interest::Cell(..))
            | Command::Unfollow(..)
            | Command::SessionEnded(_)
            | Command::Buried(_)
            | Command::Stored { .. }
            | Command::Recall(..)
            | Command::Recalled(_)
            | Command::Tenants(_)
            | Command::TenantFull { .. }
            | Command::PeerEnded(_) => None,
        }
    }

    fn request_makes<'a>(&self, request: &'a Request) -> Option<&'a Name> {
        let topic = |name: &'a Name| self.topics.id_of(name).is_none().then_some(name);
        let cells = &self.cells;
        match request {
            Request::Publish { topic: name, .. }
            | Request::Get { kind: CellKind::Map, name, .. } => topic(name),
            Request::Counter { name, op: CounterOp::Add | CounterOp::Set, .. } => {
                (!cells.counters.contains_key(name)).then_some(name)
            }
            Request::Tally { name, op: TallyOp::Create, .. } => {
                (self.counts_tally(name) && !cells.tallies.contains_key(name)).then_some(name)
            }
            Request::Presence { name, op: PresenceOp::Join, .. } => {
                (!cells.presence.contains_key(name)).then_some(name)
            }
            Request::Group(request) => match &request.ask {
                GroupAsk::Create { .. } => topic(&request.topic),
                GroupAsk::Delete
                | GroupAsk::Reset { .. }
                | GroupAsk::Status
                | GroupAsk::Consume { .. }
                | GroupAsk::Leave { .. }
                | GroupAsk::Settle { .. } => None,
            },
            Request::Counter { .. }
            | Request::Vote { .. }
            | Request::Tally { .. }
            | Request::Get { .. }
            | Request::Presence { .. }
            | Request::Invalidate { .. }
            | Request::Topic { .. } => None,
        }
    }
}
