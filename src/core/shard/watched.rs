//! Cells that are followed: their state for who begins, and what each round has changed.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::cells::{encode, entries, info, no_tally};
use super::message::{CellValue, DispatcherId, Event};
use super::{Dispatchers, Shard, refuse, tell};

impl Shard {
    pub(super) fn follow_cell(
        &mut self,
        dispatcher: DispatcherId,
        kind: CellKind,
        name: Name,
    ) -> Event {
        let (version, value) = match self.cell_state(kind, &name) {
            Ok(state) => state,
            Err(refusal) => (0, CellValue::Refused(refusal)),
        };
        if !matches!(value, CellValue::Refused(_)) {
            self.followed(dispatcher, kind, &name);
        }
        let (shard, epoch) = (self.config.shard, self.config.epoch);
        Event::Cell { shard, kind, name, version, epoch, value, snapshot: true }
    }

    fn followed(&mut self, dispatcher: DispatcherId, kind: CellKind, name: &Name) {
        if kind != CellKind::Map {
            let key = (kind, name.clone());
            self.cells.followers.entry(key).or_default().insert(dispatcher);
        } else if let Some(topic) = self.topics.find(name) {
            topic.map_followers.insert(dispatcher);
        }
    }

    fn cell_state(&mut self, kind: CellKind, name: &Name) -> Result<(u64, CellValue), Refusal> {
        Ok(match kind {
            CellKind::Counter => self.whole_value(kind, name),
            CellKind::Tally => {
                let tally = self.cells.tallies.get(name).ok_or_else(|| no_tally(name))?;
                let info = encode(&info(tally));
                match self.whole_value(kind, name) {
                    (version, CellValue::Whole { value, .. }) => {
                        (version, CellValue::Whole { value, info: Some(info) })
                    }
                    (version, CellValue::Part(part, _)) => {
                        (version, CellValue::Part(part, Some(info)))
                    }
                    other => other,
                }
            }
            CellKind::Map => {
                // A map that holds nothing yet may have had a predecessor, which ended before now.
                let empty = self.cells.version;
                let topic = self.map_topic(name)?;
                topic.map().map_or((0, CellValue::Absent), |map| {
                    let version = if map.version() == 0 { empty } else { map.version() };
                    (version, entries(map, None))
                })
            }
            CellKind::Presence => self.cells.presence.get(name).map_or(
                (self.cells.version, CellValue::Entries { full: true, entries: Vec::new() }),
                |set| (set.members.version(), entries(&set.members, None)),
            ),
            CellKind::Topic | CellKind::Rounds => {
                let what = kind.as_str();
                let message = format!("'{name}': {what} cannot be watched; read it with GET");
                return Err(refuse(ErrorCode::Unsupported, message));
            }
        })
    }

    /// The encoded value of a counter or tally.
    fn whole_value(&self, kind: CellKind, name: &Name) -> (u64, CellValue) {
        let absent = (self.cells.version, CellValue::Absent);
        match kind {
            CellKind::Counter => self.cells.counters.get(name).map_or(absent, |counter| {
                let value = encode(&counter.value());
                (counter.version(), CellValue::Whole { value, info: None })
            }),
            CellKind::Tally => self.cells.tallies.get(name).map_or(absent, |tally| {
                let value = match self.part_of(name, tally) {
                    Some(part) => CellValue::Part(Arc::new(part), None),
                    None => CellValue::Whole {
                        value: encode(&tally.standings(self.now_ms)),
                        info: None,
                    },
                };
                (tally.version(), value)
            }),
            CellKind::Map | CellKind::Presence | CellKind::Topic | CellKind::Rounds => absent,
        }
    }

    /// Puts the newest value of each changed cell that somebody follows into the round: one
    /// encoding, however often the cell has changed since the last round.
    pub(super) fn publish_changes(&mut self) {
        for (kind, name) in core::mem::take(&mut self.cells.changed) {
            let followers = self.followers_of(kind, &name);
            let is_followed = !followers.is_empty();
            let Some((version, value)) = self.changes_of(kind, &name, is_followed) else {
                continue;
            };
            let (shard, epoch) = (self.config.shard, self.config.epoch);
            let event = Event::Cell { shard, kind, name, version, epoch, value, snapshot: false };
            tell(&mut self.round.events, followers, &event);
        }
    }

    fn followers_of(&mut self, kind: CellKind, name: &Name) -> Dispatchers {
        let followers = match kind {
            CellKind::Map => self.topics.find(name).map(|topic| topic.map_followers),
            CellKind::Counter
            | CellKind::Tally
            | CellKind::Presence
            | CellKind::Topic
            | CellKind::Rounds => self.cells.followers.get(&(kind, name.clone())).copied(),
        };
        followers.unwrap_or_default()
    }

    /// What followers are told of a cell that has changed. Without any nothing is built, but the
    /// changes of a keyed cell begin here for the next one.
    fn changes_of(
        &mut self,
        kind: CellKind,
        name: &Name,
        is_followed: bool,
    ) -> Option<(u64, CellValue)> {
        match kind {
            CellKind::Map => {
                let topic = self.topics.find(name)?;
                let map = topic.map.as_ref()?;
                let told = core::mem::replace(&mut topic.map_told, map.version());
                is_followed.then(|| (map.version(), entries(map, Some(told))))
            }
            CellKind::Presence => self.presence_changes(name, is_followed),
            CellKind::Counter | CellKind::Tally | CellKind::Topic | CellKind::Rounds => {
                is_followed.then(|| self.whole_value(kind, name))
            }
        }
    }
}
