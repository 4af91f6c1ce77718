//! Subscriptions to a topic with partitions: one cursor in each, one reply for all of them.

use alloc::format;
use alloc::vec::Vec;

use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use super::session::{Owner, Sub};
use super::subscribe::TopicCursor;
use super::{CursorId, Dispatcher, Target, invalid};
use crate::shard_of_partition;

impl TopicCursor {
    /// What a client resumes from behind this offset, if the topic has partitions.
    pub(super) fn position(&self, epoch: u64, next: u64) -> Option<Position> {
        self.partition.map(|partition| Position(u64::from(partition), epoch, next))
    }
}

impl Dispatcher {
    pub(super) fn subscribe_partitions(
        &mut self,
        slot: usize,
        sub: u32,
        name: &Name,
        partitions: u16,
        start: Start,
        entry: Sub,
    ) -> Result<(), Refusal> {
        check_start(name, partitions, &start)?;
        let owner = self.insert_sub(slot, sub, entry, usize::from(partitions));
        let home = self.policies.home(name);
        for partition in 0..partitions {
            let place = (shard_of_partition(home, partition), name);
            let start = start_in(partition, &start);
            self.follow_topic(owner, place, Some(partition), start);
        }
        self.start_partitions(owner);
        Ok(())
    }

    /// Starts the cursors of a subscription together, once the state of every partition is here.
    pub(super) fn start_partitions(&mut self, owner: Owner) {
        let cursors = self.cursors_of(owner.entry);
        let mut starts = Vec::new();
        for id in &cursors {
            match self.resolve_start(*id) {
                Some(Ok(start)) => starts.push(start),
                Some(Err(refusal)) => return self.refuse_sub(owner, refusal),
                None => {}
            }
        }
        if starts.len() < cursors.len() {
            return;
        }
        let status = starts.iter().map(|(_, started)| started.status).max().unwrap_or(0);
        let mut positions = Vec::new();
        for ((partition, id), (epoch, started)) in (0..).zip(cursors).zip(starts) {
            positions.push(Position(partition, epoch, started.offset));
            self.start_at(id, started.offset);
            self.wake(id);
        }
        self.pattern_opened(owner, status, positions);
    }

    /// What a client of a topic with partitions resumes from behind this offset.
    pub(super) fn partition_position(
        &self,
        id: CursorId,
        epoch: u64,
        next: u64,
    ) -> Option<Position> {
        match &self.cursors.get(id)?.target {
            Target::Topic(target) => target.position(epoch, next),
            Target::Pattern(_) | Target::Watch(_) => None,
        }
    }
}

fn check_start(name: &Name, partitions: u16, start: &Start) -> Result<(), Refusal> {
    match start {
        Start::Offset { .. } => Err(invalid(format!(
            "'{name}' has {partitions} partitions: resume it from positions, not from an offset"
        ))),
        Start::Positions(positions) => {
            let unknown = positions.iter().find(|position| position.0 >= u64::from(partitions));
            match unknown {
                None => Ok(()),
                Some(Position(partition, ..)) => Err(Refusal::new(
                    ErrorCode::OutOfRange,
                    format!("'{name}' has partitions 0 to {}, not {partition}", partitions - 1),
                )),
            }
        }
        Start::Latest | Start::Earliest | Start::Time(_) | Start::Last(_) => Ok(()),
    }
}

/// Where one partition starts; one that is not listed among positions starts at latest.
fn start_in(partition: u16, start: &Start) -> Start {
    let Start::Positions(positions) = start else { return start.clone() };
    let listed = positions.iter().find(|position| position.0 == u64::from(partition));
    listed.map_or(Start::Latest, |Position(_, epoch, offset)| Start::Offset {
        epoch: *epoch,
        offset: *offset,
    })
}
