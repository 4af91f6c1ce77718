//! Somebody who follows everything, and remembers what there is of what was told: each event has to
//! continue what came before it.

use std::collections::BTreeMap;

use tidewire_core::shard::{CellValue, DispatcherId, Event, Round};
use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;

/// What a follower has been told.
#[derive(Default)]
pub(crate) struct Told {
    /// Topic: its epoch, its oldest kept offset and the offset behind what was told.
    pub(crate) topics: BTreeMap<Name, (u64, u64, u64)>,
    /// The commit order: behind what was told.
    pub(crate) sequence: Option<u64>,
    pub(crate) log_epoch: u64,
    /// It may have asked for something again, and be answered twice.
    pub(crate) may_ask_twice: bool,
    /// The commit order is told anew.
    pub(crate) renumbered: bool,
    /// Cells: whole values, or entries.
    pub(crate) cells: BTreeMap<(CellKind, Name), Value>,
    pub(crate) numbers: BTreeMap<u32, Name>,
}

pub(crate) type Value = (Vec<u8>, BTreeMap<String, Vec<u8>>);

impl Told {
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::TopicSnapshot { name, topic_id, epoch, next, batches, .. } => {
                let first = batches.first().map_or(next, |batch| batch.base);
                if let Some((known, _, told)) = self.topics.get(&name) {
                    assert!(*known < epoch || next >= *told, "{name} has lost what was told");
                }
                self.topics.insert(name.clone(), (epoch, first, next));
                self.numbers.retain(|_, known| *known != name);
                self.numbers.insert(topic_id, name);
            }
            Event::Appended { batch, first, .. } => {
                if let Some(told) = self.topics.get_mut(&batch.topic)
                    && self.numbers.get(&batch.topic_id) == Some(&batch.topic)
                    && (told.0 != batch.epoch || told.2 != batch.next())
                {
                    assert_eq!((told.0, told.2), (batch.epoch, batch.base), "{}", batch.topic);
                    *told = (batch.epoch, first, batch.next());
                }
                if let Some(sequence) = self.sequence.as_mut().filter(|_| !self.renumbered) {
                    // As dispatchers do: what does not continue comes with the next snapshot.
                    let continues = *sequence == batch.sequence;
                    assert!(continues || self.may_ask_twice, "the commit order has a hole");
                    *sequence += u64::from(continues);
                }
            }
            Event::Trimmed { topic_id, first, .. } => {
                let name = self.numbers.get(&topic_id);
                if let Some(told) = name.and_then(|name| self.topics.get_mut(name)) {
                    told.1 = first;
                }
            }
            Event::LogSnapshot { epoch, base, slots, .. } => {
                let next = base + slots.len() as u64;
                let is_same = self.log_epoch == epoch;
                assert!(!is_same || self.sequence.is_none_or(|told| told <= next));
                (self.log_epoch, self.renumbered) = (epoch, false);
                self.sequence = Some(next);
            }
            Event::Cell { kind, name, value, .. } => {
                let known = self.cells.entry((kind, name)).or_default();
                match value {
                    CellValue::Absent | CellValue::Refused(_) | CellValue::Part(..) => {
                        *known = Value::default();
                    }
                    CellValue::Whole { value, .. } => known.0 = value.to_vec(),
                    CellValue::Entries { full, entries } => {
                        if full {
                            known.1.clear();
                        }
                        for entry in entries {
                            match entry.value {
                                Some(value) => {
                                    known.1.insert(entry.key.to_string(), value.to_vec())
                                }
                                None => known.1.remove(&*entry.key),
                            };
                        }
                    }
                }
            }
            Event::Renumbered { .. } => {
                self.numbers.clear();
                self.renumbered = true;
            }
            _ => {}
        }
    }

    pub(crate) fn take_all(&mut self, follower: DispatcherId, round: Option<Round>) {
        let events = round.into_iter().flat_map(|round| round.events);
        events.filter(|(to, _)| *to == follower).for_each(|(_, event)| self.take(event));
    }
}
