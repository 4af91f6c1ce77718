//! Somebody on a node who follows everything there, and finds out every contradiction.

use std::collections::BTreeMap;

use tidewire_core::shard::{CellValue, Event};
use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::record::Records;

/// A record as it was delivered: topic, epoch, offset.
pub(crate) type Place = (Name, u64, u64);

/// What it has been told, in one life of its node.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Topic: epoch, and the offset behind what was told.
    pub(crate) topics: BTreeMap<Name, (u64, u64)>,
    numbers: BTreeMap<(u16, u32), Name>,
    /// Counters, and ballots of tallies.
    pub(crate) values: BTreeMap<(CellKind, Name), Vec<u8>>,
    versions: BTreeMap<(CellKind, Name), u64>,
    /// All records that were delivered as they came, with their payloads.
    pub(crate) records: Vec<(Place, Vec<u8>)>,
}

impl Follower {
    pub(crate) fn take(&mut self, event: &Event) {
        match event {
            Event::TopicSnapshot { shard, name, topic_id, epoch, next, .. } => {
                if let Some((known, told)) = self.topics.get(name) {
                    assert!(known != epoch || next >= told, "{name}: {epoch}:{next} after {told}");
                }
                self.topics.insert(name.clone(), (*epoch, *next));
                self.numbers.retain(|_, known| known != name);
                self.numbers.insert((*shard, *topic_id), name.clone());
            }
            Event::Appended { batch, .. } => {
                if self.numbers.get(&(batch.shard, batch.topic_id)) != Some(&batch.topic) {
                    return;
                }
                let (epoch, next) = self.topics[&batch.topic];
                if epoch == batch.epoch && batch.next() <= next {
                    return;
                }
                assert_eq!((epoch, next), (batch.epoch, batch.base), "a hole in {}", batch.topic);
                self.topics.insert(batch.topic.clone(), (epoch, batch.next()));
                let body = batch.body.warm().unwrap();
                for (offset, record) in (batch.base..).zip(Records::of(body)) {
                    let place = (batch.topic.clone(), epoch, offset);
                    self.records.push((place, record.payload.unwrap().to_vec()));
                }
            }
            Event::Cell { kind, name, version, value: CellValue::Whole { value, .. }, .. } => {
                let cell = (*kind, name.clone());
                let known = self.versions.insert(cell.clone(), *version).unwrap_or(0);
                assert!(known <= *version, "{name}: version {version} after {known}");
                self.values.insert(cell, value.to_vec());
            }
            Event::Renumbered { shard } => self.numbers.retain(|(of, _), _| of != shard),
            _ => {}
        }
    }
}
