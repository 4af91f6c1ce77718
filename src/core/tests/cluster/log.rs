//! The replicated log as its engine promises it. Votes and entries are on disk before they count, so
//! a crash takes nothing of them.

use std::rc::Rc;

/// What is in a log.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A leader's first entry.
    Blank,
    Changes {
        changes: Rc<Vec<Vec<u8>>>,
        version: u64,
        time_ms: u64,
    },
}

/// One node's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) term: u64,
    pub(crate) entries: Vec<(u64, Content)>,
    /// Entries that are known to be committed.
    pub(crate) committed: usize,
    /// As a leader: how many entries each node is known to have.
    matched: Vec<usize>,
    pub(crate) leads: bool,
}

impl Log {
    fn end(&self) -> (u64, usize) {
        (self.entries.last().map_or(0, |(term, _)| *term), self.entries.len())
    }
}

/// Lets a node stand for election among those that it can reach, itself included. Returns whether it
/// leads now.
pub(crate) fn elect(logs: &mut [Log], candidate: usize, reachable: &[usize]) -> bool {
    let votes: Vec<usize> = reachable
        .iter()
        .copied()
        .filter(|node| logs[*node].end() <= logs[candidate].end())
        .collect();
    let term = reachable.iter().map(|node| logs[*node].term).max().unwrap_or(0) + 1;
    // Who refuses hears of the term all the same, as does who leads.
    for node in reachable {
        logs[*node].term = term;
        logs[*node].leads = false;
    }
    if votes.len() * 2 <= logs.len() {
        return false;
    }
    let count = logs.len();
    let log = &mut logs[candidate];
    log.leads = true;
    log.matched = vec![0; count];
    log.entries.push((term, Content::Blank));
    log.matched[candidate] = log.entries.len();
    true
}

/// Appends entries at their leader.
pub(crate) fn propose(logs: &mut [Log], leader: usize, contents: Vec<Content>) {
    let log = &mut logs[leader];
    let term = log.term;
    log.entries.extend(contents.into_iter().map(|content| (term, content)));
    log.matched[leader] = log.entries.len();
    commit(log);
}

/// The leader sends a node some of what that lacks. The answer may get lost.
pub(crate) fn replicate(
    logs: &mut [Log],
    leader: usize,
    node: usize,
    entries_max: usize,
    is_answered: bool,
) {
    if logs[leader].term < logs[node].term {
        logs[leader].leads = false;
        return;
    }
    let (term, committed) = (logs[leader].term, logs[leader].committed);
    let same = logs[leader]
        .entries
        .iter()
        .zip(&logs[node].entries)
        .take_while(|((one, _), (other, _))| one == other)
        .count();
    let sent: Vec<(u64, Content)> =
        logs[leader].entries.iter().skip(same).take(entries_max).cloned().collect();
    let has = same + sent.len();
    let follower = &mut logs[node];
    (follower.term, follower.leads) = (term, false);
    if !sent.is_empty() {
        assert!(same >= follower.committed, "a committed entry would be taken back");
        follower.entries.truncate(same);
        follower.entries.extend(sent);
    }
    follower.committed = follower.committed.max(committed.min(has));
    if is_answered {
        logs[leader].matched[node] = has;
        commit(&mut logs[leader]);
    }
}

fn commit(log: &mut Log) {
    let mut matched = log.matched.clone();
    matched.sort_unstable();
    let by_majority = matched[(matched.len() - 1) / 2];
    // Only entries of its own term are committed by counting (Ongaro, Ousterhout 2014, 5.4.2).
    if by_majority > log.committed && log.entries[by_majority - 1].0 == log.term {
        log.committed = by_majority;
    }
}
