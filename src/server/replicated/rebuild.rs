//! A copy that is made again from its group's log, behind the last checkpoint.

use std::io;

use tidewire_core::shard::{Shard, ShardConfig};

use crate::cluster::raft::EntryBody;
use crate::journal::{BlockKind, Checkpoint, GroupEntry, GroupLog};

/// Bytes that are read at once.
const READ_BYTES: usize = 1024 * 1024;

/// The shard as of the entries before `end`.
///
/// # Errors
/// When an entry is missing or cannot be read.
pub(super) async fn rebuild(log: GroupLog, config: ShardConfig, end: u64) -> io::Result<Shard> {
    let (saved, known) = (log.clone(), config.clone());
    let resumed = tokio::task::spawn_blocking(move || resume(&saved, known)).await;
    let (mut shard, mut next) = (Shard::new(config), 0);
    // What is held is needed until the end.
    let mut _held = None;
    if let Some((resumed, checkpoint)) = resumed.map_err(io::Error::other)?? {
        (shard, next) = (resumed, checkpoint.base().covers());
        _held = Some(checkpoint);
    }
    while next < end {
        let entries = log.fetch(next..end, READ_BYTES).await?;
        if entries.is_empty() {
            let what = format!("entry {next} of shard {} is not there", shard.number());
            return Err(io::Error::other(what));
        }
        for entry in entries {
            next = entry.id.index + 1;
            repeat(&mut shard, entry)?;
        }
        drop(shard.seal());
        tokio::task::yield_now().await;
    }
    Ok(shard)
}

/// The shard as of the checkpoint that counts, if there is one.
fn resume(log: &GroupLog, config: ShardConfig) -> io::Result<Option<(Shard, Checkpoint)>> {
    let Some(checkpoint) = log.checkpoint()? else { return Ok(None) };
    let shard = Shard::resume(checkpoint.read()?, config).map_err(io::Error::other)?;
    Ok(Some((shard, checkpoint)))
}

fn repeat(shard: &mut Shard, entry: GroupEntry) -> io::Result<()> {
    let GroupEntry { id, kind, version, time_ms, entries, bytes } = entry;
    if kind != BlockKind::Changes {
        return Ok(());
    }
    let length = bytes.len() as u64;
    let body = EntryBody { version, time_ms, entries, bytes };
    let changes = body.changes().map_err(io::Error::other)?;
    shard.replicate(changes, version, time_ms).map_err(io::Error::other)?;
    shard.recover_block(id.index, length);
    Ok(())
}
