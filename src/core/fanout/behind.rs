//! Cells that may lack what was done since some time, because whoever knows of it is not reached.

use alloc::vec::Vec;

use super::watched::CellView;
use super::{CursorId, Dispatcher, Target};
use crate::shard_of_partition;

impl Dispatcher {
    /// What a shard's cells show is as of this time, or of now again: watchers are told so.
    pub(super) fn set_behind(&mut self, shard: u16, as_of_ms: Option<u64>) {
        match as_of_ms {
            Some(as_of_ms) => self.behind.insert(shard, as_of_ms),
            None => self.behind.remove(&shard),
        };
        let mut woken: Vec<CursorId> = Vec::new();
        let cells: Vec<usize> = self.cells.iter().map(|(index, _)| index).collect();
        for index in cells {
            let Some(view) = self.cells.get(index) else { continue };
            let behind_ms = self.behind_of(view);
            if let Some(view) = self.cells.get_mut(index)
                && view.behind_ms != behind_ms
            {
                view.behind_ms = behind_ms;
                woken.extend(&view.followers);
            }
        }
        woken.into_iter().for_each(|cursor| self.wake(cursor));
    }

    /// As of when a cell is; nothing if that is now.
    pub(super) fn behind_of(&self, view: &CellView) -> Option<u64> {
        if self.behind.is_empty() {
            return None;
        }
        let home = self.policies.home_of_cell(view.kind, &view.name);
        let shards = (0..view.partitions()).map(|partition| shard_of_partition(home, partition));
        shards.filter_map(|shard| self.behind.get(&shard).copied()).min()
    }

    /// As of when the cell is that a cursor watches.
    pub(super) fn behind_at(&self, id: CursorId) -> Option<u64> {
        match &self.cursors.get(id)?.target {
            Target::Watch(target) => self.cells.get(target.view)?.behind_ms,
            Target::Topic(_) | Target::Pattern(_) => None,
        }
    }
}
