//! The replicated log as its engine promises it. Votes and entries are on disk before they count; a crash
//! takes the entries that are not. Entries that a saved state holds go; who lacks them is given the state.

use std::rc::Rc;

use tidewire_core::shard::ShardSnapshot;

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
    /// The saved state holds it.
    Purged,
}

/// One node's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) term: u64,
    pub(crate) entries: Vec<(u64, Content)>,
    /// Entries that are on the disk.
    pub(crate) flushed: usize,
    pub(crate) is_slow: bool,
    /// Entries that went, and the state behind them, encoded.
    pub(crate) purged: usize,
    pub(crate) state: Option<Rc<Vec<u8>>>,
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

    /// Everything is on the disk; a leader counts itself then.
    pub(crate) fn flush(&mut self, node: usize) {
        self.flushed = self.entries.len();
        if self.leads {
            self.matched[node] = self.flushed;
            commit(self);
        }
    }

    /// Returns how many entries it takes.
    pub(crate) fn crash(&mut self) -> u64 {
        self.leads = false;
        let taken = self.entries.len() - self.flushed;
        self.entries.truncate(self.flushed);
        self.committed = self.committed.min(self.flushed);
        taken as u64
    }

    /// The state as of so many entries is on the disk.
    pub(crate) fn save(&mut self, applied: usize, state: &ShardSnapshot) {
        self.state = Some(Rc::new(rmp_serde::to_vec_named(state).unwrap()));
        self.purge(applied);
    }

    fn purge(&mut self, applied: usize) {
        self.purged = applied;
        self.entries[..applied].iter_mut().for_each(|(_, content)| *content = Content::Purged);
    }

    /// The log begins behind the state of another node.
    fn install(&mut self, from: &Self) {
        self.entries = from.entries[..from.purged].to_vec();
        self.state.clone_from(&from.state);
        self.purge(from.purged);
        self.flushed = self.purged;
        self.committed = self.committed.max(self.purged);
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
    true
}

/// Appends entries at their leader.
pub(crate) fn propose(logs: &mut [Log], leader: usize, contents: Vec<Content>) {
    let log = &mut logs[leader];
    let term = log.term;
    log.entries.extend(contents.into_iter().map(|content| (term, content)));
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
    if same < logs[leader].purged {
        assert!(logs[node].purged <= same, "a state is given to a node that has a newer one");
        let from = logs[leader].clone();
        let follower = &mut logs[node];
        (follower.term, follower.leads) = (term, false);
        follower.install(&from);
        return;
    }
    let sent: Vec<(u64, Content)> =
        logs[leader].entries.iter().skip(same).take(entries_max).cloned().collect();
    let has = same + sent.len();
    let follower = &mut logs[node];
    (follower.term, follower.leads) = (term, false);
    if !sent.is_empty() {
        assert!(same >= follower.committed, "a committed entry would be taken back");
        follower.entries.truncate(same);
        follower.flushed = follower.flushed.min(same);
        follower.entries.extend(sent);
    }
    follower.committed = follower.committed.max(committed.min(has));
    if is_answered {
        // It answers for what is on its disk.
        logs[leader].matched[node] = has.min(logs[node].flushed);
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
