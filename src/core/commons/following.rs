//! Dispatchers of this node that follow something: how it is, and what each round has changed.

use alloc::format;
use alloc::vec::Vec;

use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::Commons;
use crate::COMMONS;
use crate::cell::attendance::{MemberChange, SetChanges};
use crate::shard::{
    CellValue, DispatcherId, Dispatchers, Event, Interest, KeyedEntry, encode_value, entries_of,
};

impl Commons {
    pub(super) fn follow(&mut self, dispatcher: DispatcherId, interest: Interest) {
        let Interest::Cell(kind, name) = interest else { return };
        let (version, value) = match kind {
            CellKind::Counter => (self.version, self.counter_value(&name)),
            CellKind::Presence => self.presence.members(&name).map_or_else(
                || (0, CellValue::Entries { full: true, entries: Vec::new() }),
                |members| (members.version(), entries_of(members, None)),
            ),
            CellKind::Tally | CellKind::Map | CellKind::Topic | CellKind::Rounds => {
                let message = format!("'{name}': {} is not followed here", kind.as_str());
                (0, CellValue::Refused(Refusal::new(ErrorCode::Internal, message)))
            }
        };
        if !matches!(value, CellValue::Refused(_)) {
            self.followers.entry((kind, name.clone())).or_default().insert(dispatcher);
        }
        self.behind.tell(COMMONS, dispatcher, &mut self.events);
        self.tell(dispatcher, kind, name, (version, value), true);
    }

    pub(super) fn unfollow(&mut self, dispatcher: DispatcherId, interest: Interest) {
        let Interest::Cell(kind, name) = interest else { return };
        let key = (kind, name);
        if let Some(followers) = self.followers.get_mut(&key) {
            followers.remove(dispatcher);
            if followers.is_empty() {
                self.followers.remove(&key);
            }
        }
    }

    fn counter_value(&self, name: &Name) -> CellValue {
        let value = self.counters.value(name).map(|value| encode_value(&value));
        value.map_or(CellValue::Absent, |value| CellValue::Whole { value, info: None })
    }

    /// Tells followers what has changed since the last round.
    pub(super) fn publish_changes(&mut self) {
        let counters: Vec<Name> = self.counters.take_changed().collect();
        self.version += u64::from(self.is_changed || !counters.is_empty());
        self.is_changed = false;
        for name in counters {
            let followers = self.followers.get(&(CellKind::Counter, name.clone())).copied();
            for dispatcher in followers.unwrap_or_default().iter() {
                let value = (self.version, self.counter_value(&name));
                self.tell(dispatcher, CellKind::Counter, name.clone(), value, false);
            }
        }
        for SetChanges { set, version, full, members } in self.presence.take_changed() {
            let followers = self.followers.get(&(CellKind::Presence, set.clone())).copied();
            for dispatcher in followers.unwrap_or_default().iter() {
                let entries = members.iter().map(entry).collect();
                let value = (version, CellValue::Entries { full, entries });
                self.tell(dispatcher, CellKind::Presence, set.clone(), value, false);
            }
        }
    }

    fn tell(
        &mut self,
        to: DispatcherId,
        kind: CellKind,
        name: Name,
        (version, value): (u64, CellValue),
        snapshot: bool,
    ) {
        let (shard, epoch) = (COMMONS, self.epoch());
        let event = Event::Cell { shard, kind, name, version, epoch, value, snapshot };
        self.events.push((to, event));
    }

    /// What is shown may be stale, or is so no more.
    pub(super) fn look_at_freshness(&mut self) {
        let is_alone = self.members.is_empty();
        let (as_of_ms, is_stale) = match self.has_ended() {
            true => (self.ended_ms, true),
            false if is_alone => (0, false),
            false => self.freshness(),
        };
        match (self.behind.is_there(), is_stale) {
            (false, true) => {
                let followers = self.followers.values().copied();
                let to = followers.fold(Dispatchers::default(), Dispatchers::union);
                self.behind.begin(COMMONS, as_of_ms, to, &mut self.events);
            }
            (true, false) => self.behind.end(COMMONS, &mut self.events),
            (true, true) | (false, false) => {}
        }
    }
}

fn entry(MemberChange { member, version, data }: &MemberChange) -> KeyedEntry {
    KeyedEntry { key: alloc::sync::Arc::clone(member), version: *version, value: data.clone() }
}
