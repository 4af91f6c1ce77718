//! The blocks in which a state's records lie, of a shard whose log is that of a group: they are looked through, so that a
//! backup which lacks some is known to lack them where it is made.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use tidewire_core::shard::ShardSnapshot;
use tidewire_core::topic::StoredBatch;

use crate::journal::{Reads, batches_of, without_commit};

/// The blocks of a shard's log that hold records of this state, in order: index and bytes. An error at the end says
/// what was not found.
pub(crate) fn kept_blocks(
    reads: &Reads,
    snapshot: &ShardSnapshot,
) -> impl Iterator<Item = io::Result<(u64, Vec<u8>)>> + use<> {
    let extents: Vec<Range<u64>> =
        snapshot.extents().iter().map(|extent| extent.blocks.clone()).collect();
    let (reads, shard) = (reads.clone(), snapshot.shard());
    let scanned = extents.into_iter().flat_map(move |blocks| reads.scan(shard, blocks));
    let mut left = Left { shard, batches: snapshot.stored().into() };
    let mut scanned = scanned.map(|block| block.map(|(key, bytes)| (key.index, bytes)));
    let mut has_ended = false;
    std::iter::from_fn(move || {
        while !has_ended {
            match scanned.next() {
                Some(Ok((index, block))) => match left.look(index, &block) {
                    Ok(None) => {}
                    Ok(Some(block)) => return Some(Ok((index, block))),
                    Err(what) => return Some(Err(left.refusal(index, &what))),
                },
                Some(Err(error)) => return Some(Err(error)),
                None => has_ended = true,
            }
        }
        left.batches.pop_front().map(|missing| {
            left.batches.clear();
            let StoredBatch { topic, base, .. } = missing;
            let what =
                format!("records of topic '{topic}' are not in its log, from offset {base} on");
            Err(io::Error::other(format!("shard {shard}: {what}")))
        })
    })
}

/// The batches that have not been found.
struct Left {
    shard: u16,
    batches: VecDeque<StoredBatch>,
}

impl Left {
    /// Looks into a block. Returns it, without its place among the commits of this node, if it holds some.
    fn look(&mut self, index: u64, block: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let before = self.batches.len();
        for found in batches_of(block, self.shard, index)? {
            if self.batches.front() == Some(&found) {
                self.batches.pop_front();
            }
        }
        let has_any = self.batches.len() < before;
        if has_any { without_commit(block).map(Some) } else { Ok(None) }
    }

    fn refusal(&self, index: u64, what: &str) -> io::Error {
        io::Error::other(format!("block {index} of shard {}: {what}", self.shard))
    }
}
