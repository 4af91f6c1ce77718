//! A look at what is remembered of Raft groups, and at the log of the one without a shard.

use std::collections::BTreeMap;

use super::META;
use super::block;
use super::ends::Ends;
use super::store::Store;
use super::verify::Report;

/// Reads what is remembered of a shard's group, if it has one.
pub(super) fn verify_group(store: &Store, shard: u16, ends: &Ends, report: &mut Report) {
    match store.group(shard) {
        Ok(state) => {
            let term = state.and_then(|state| state.vote).map_or(0, |vote| vote.term);
            let expected = ends.vote(shard);
            if term < expected {
                report.finding(format!(
                    "the last vote of the group of shard {shard} was in term {term}, and once in \
                     {expected}"
                ));
            }
        }
        Err(error) => report.finding(format!("the group of shard {shard}: {error}")),
    }
}

/// Reads the log of the group without a shard; returns the index behind its last block.
pub(super) fn verify_meta(
    store: &Store,
    whole: u64,
    commits: &mut BTreeMap<u64, (u64, u64)>,
    report: &mut Report,
) -> u64 {
    let purged = store.group(META).ok().flatten().map_or(0, |state| state.wanted_from());
    if let Err(error) = store.snapshot(META) {
        report.finding(format!("the group of shard {META}: {error}"));
    }
    let mut next = None;
    for block in store.scan(META, 0) {
        let (key, bytes) = match block {
            Ok(found) => found,
            Err(error) => {
                report.finding(format!("shard {META}: {error}"));
                break;
            }
        };
        // What was purged may be gone, or may never have been here.
        let goes_on = match next {
            None => key.index <= purged,
            Some(next) => key.index == next || (key.index == purged && next < purged),
        };
        if !goes_on {
            report.finding(format!("shard {META} lacks blocks before {}", key.index));
        }
        next = Some(key.index + 1);
        report.blocks += 1;
        report.bytes += bytes.len() as u64;
        match block::open(&bytes) {
            Ok((head, _)) if (head.shard, head.index) != (key.shard, key.index) => {
                let index = key.index;
                report.finding(format!("block {index} of shard {META} says that it is another"));
            }
            Ok((head, _)) if head.commit > whole => {
                let (found, blocks) = commits.entry(head.commit).or_default();
                (*found, *blocks) = (*found + 1, u64::from(head.blocks));
            }
            Ok(_) => {}
            Err(error) => {
                report.finding(format!("block {} of shard {META}: {error}", key.index));
            }
        }
    }
    next.unwrap_or_default().max(purged)
}
