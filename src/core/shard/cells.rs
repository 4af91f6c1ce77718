//! A shard's counters, tallies and presence sets, and the maps of its topics as cells.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, CounterOp};
use tidewire_protocol::options::{CounterOptions, GetOptions};
use tidewire_protocol::tally::TallyInfo;
use tidewire_protocol::{ErrorCode, Name, Refusal, wire};

use super::log::LogEntry;
use super::message::{CellValue, DispatcherId, KeyedEntry, Reply, SessionId, Value};
use super::presence::Presence;
use super::{Dispatchers, Shard, Timer, refuse};
use crate::cell::{Change, Counter, Keyed, Tally};
use crate::{HashMap, hash_map};

/// All cells of a shard but the maps, which belong to their topics.
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) counters: HashMap<Name, Counter>,
    pub(super) tallies: HashMap<Name, Tally>,
    pub(super) presence: HashMap<Name, Presence>,
    pub(super) followers: HashMap<(CellKind, Name), Dispatchers>,
    /// Cells that have changed in this round.
    pub(super) changed: BTreeSet<(CellKind, Name)>,
    /// Who is present where, so that the end of a connection finds it.
    pub(super) sessions: BTreeMap<SessionId, BTreeSet<(Name, String)>>,
    pub(super) version: u64,
}

impl Cells {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            counters: hash_map(seed),
            tallies: hash_map(seed),
            presence: hash_map(seed),
            followers: hash_map(seed),
            changed: BTreeSet::new(),
            sessions: BTreeMap::new(),
            version: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.counters.len() + self.tallies.len() + self.presence.len()
    }

    /// The next version. One counter serves all cells of the shard, so a cell's versions grow
    /// even when it is deleted and made again.
    pub(super) fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub(super) fn mark(&mut self, kind: CellKind, name: &Name) {
        self.changed.insert((kind, name.clone()));
    }

    pub(super) fn unfollow(&mut self, dispatcher: DispatcherId, kind: CellKind, name: &Name) {
        let key = (kind, name.clone());
        if let Some(followers) = self.followers.get_mut(&key) {
            followers.remove(dispatcher);
            if followers.is_empty() {
                self.followers.remove(&key);
            }
        }
    }
}

impl Shard {
    pub(super) fn count(
        &mut self,
        name: &Name,
        op: CounterOp,
        operand: i64,
        options: &CounterOptions,
    ) -> Result<Reply, Refusal> {
        check_strong(name, options)?;
        if !self.cells.counters.contains_key(name) {
            self.check_room("counter", name)?;
        }
        let version = self.cells.next_version();
        let now_ms = self.now_ms;
        let fresh = !self.cells.counters.contains_key(name);
        let begins_anew =
            self.cells.counters.get(name).is_some_and(|counter| counter.is_expired(now_ms));
        let counter = self.cells.counters.entry(name.clone()).or_default();
        let applied = counter.apply(op, operand, options, version, now_ms);
        let expires_at_ms = counter.expires_at_ms();
        if fresh {
            self.cell_made(name);
        }
        let counted = match applied {
            Ok(counted) => counted,
            Err(refusal) => {
                if fresh {
                    self.remove_counter(name);
                }
                return Err(about("counter", name, refusal));
            }
        };
        if op == CounterOp::Reset && !counted.duplicate {
            self.remove_counter(name);
        } else {
            self.schedule(expires_at_ms, Timer::Counter(name.clone()));
        }
        if begins_anew {
            self.log(|| LogEntry::CounterRemoved { name: name.clone() });
        }
        if !counted.duplicate {
            self.log_counter(name, options.id.as_deref());
        }
        self.cells.mark(CellKind::Counter, name);
        Ok(Reply::Counted { epoch: self.config.epoch, counted, as_of: None })
    }

    fn remove_counter(&mut self, name: &Name) {
        if self.cells.counters.remove(name).is_some() {
            self.cell_gone(name);
        }
    }

    pub(super) fn expire_counter(&mut self, name: &Name) {
        let now_ms = self.now_ms;
        let due = |counter: &Counter| counter.expires_at_ms().is_some_and(|at_ms| at_ms <= now_ms);
        if self.cells.counters.get(name).is_some_and(due) {
            self.remove_counter(name);
            self.cells.next_version();
            self.log_counter(name, None);
            self.cells.mark(CellKind::Counter, name);
        }
    }

    pub(super) fn read(
        &mut self,
        kind: CellKind,
        name: &Name,
        key: Option<&str>,
        options: &GetOptions,
    ) -> Result<Reply, Refusal> {
        if !options.at_least.is_empty() {
            let message = format!(
                "'at_least' is of eventual counters only: a read of {} '{name}' sees all that was \
                 answered before",
                kind.as_str()
            );
            return Err(refuse(ErrorCode::Unsupported, message));
        }
        let (version, value) = match kind {
            CellKind::Counter => {
                self.cells.counters.get(name).map_or((0, Value::Absent), |counter| {
                    (counter.version(), Value::Counter(counter.value()))
                })
            }
            CellKind::Tally => {
                let tally = self.cells.tallies.get(name).ok_or_else(|| no_tally(name))?;
                let value = match self.part_of(name, tally) {
                    Some(part) => Value::Part(Box::new(part), Box::new(info(tally))),
                    None => {
                        let standings = Box::new(tally.standings(self.now_ms));
                        Value::Standings(standings, Box::new(info(tally)))
                    }
                };
                (tally.version(), value)
            }
            CellKind::Rounds => {
                let tally = self.cells.tallies.get(name).ok_or_else(|| no_tally(name))?;
                let value = match tally.incarnation() {
                    Some(incarnation) => tally
                        .profile(self.now_ms)
                        .map(|profile| Value::Ballots { incarnation, profile: Box::new(profile) }),
                    None => tally.rounds(self.now_ms).map(Value::Rounds),
                };
                (tally.version(), value.map_err(|refusal| about("tally", name, refusal))?)
            }
            CellKind::Map => {
                let topic = self.map_topic(name)?;
                let read = topic.map().map(|map| read_keyed(map, key));
                self.drop_unused_topic(name);
                read.unwrap_or((0, Value::Absent))
            }
            CellKind::Presence => self
                .cells
                .presence
                .get(name)
                .map_or((0, Value::Absent), |set| read_keyed(&set.members, key)),
            CellKind::Topic => (0, Value::Topic(Box::new(self.topic_info(name)?))),
        };
        Ok(Reply::Value { kind, epoch: self.config.epoch, version, value, as_of: None })
    }
}

/// Checks that an operation numbers nothing as those of eventual counters are.
fn check_strong(name: &Name, options: &CounterOptions) -> Result<(), Refusal> {
    if options.numbering.is_none() {
        return Ok(());
    }
    let message = format!(
        "counter '{name}' is strong: 'producer', 'sequence' and 'tried' are of eventual counters; \
         give the operation an 'id', which counts once"
    );
    Err(refuse(ErrorCode::Unsupported, message))
}

/// The entries that have changed since a version, or all that exist.
pub(crate) fn entries(keyed: &Keyed, since: Option<u64>) -> CellValue {
    let changes = keyed.changes_since(since);
    CellValue::Entries { full: changes.is_full(), entries: changes.map(copied).collect() }
}

fn copied(change: Change<'_>) -> KeyedEntry {
    let (key, value) = (Arc::clone(change.key), change.value.cloned());
    KeyedEntry { key, version: change.version, value }
}

pub(crate) fn read_keyed(keyed: &Keyed, key: Option<&str>) -> (u64, Value) {
    match key {
        Some(key) => keyed
            .get(key)
            .map_or((0, Value::Absent), |entry| (entry.version, Value::Bytes(entry.value.clone()))),
        None => (keyed.version(), Value::Entries(keyed.changes_since(None).map(copied).collect())),
    }
}

pub(super) fn info(tally: &Tally) -> TallyInfo {
    TallyInfo { options: tally.rules().options.clone(), rules: tally.rules().clone() }
}

pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Bytes {
    let mut out = Vec::new();
    wire::put_value(&mut out, value);
    out.into()
}

pub(super) fn no_tally(name: &Name) -> Refusal {
    let message = format!("there is no tally '{name}': create it with its options first");
    refuse(ErrorCode::NotFound, message)
}

/// Puts the cell's name before a refusal.
pub(super) fn about(what: &str, name: &Name, refusal: Refusal) -> Refusal {
    Refusal { message: format!("{what} '{name}': {}", refusal.message), ..refusal }
}
