//! The order of keys: of one key one record is out at a time, and the others stand behind it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

/// Keys of which a record is out.
#[derive(Debug, Default)]
pub(super) struct Order {
    keys: BTreeMap<Arc<str>, Line>,
}

#[derive(Debug)]
struct Line {
    /// The record that the others wait for.
    first: u64,
    behind: VecDeque<u64>,
}

impl Order {
    /// Whether a record may be delivered; if not, it stands in line from now on.
    pub(super) fn may_go(&mut self, key: &Arc<str>, offset: u64) -> bool {
        match self.keys.get_mut(key) {
            Some(line) if line.first == offset => true,
            Some(line) => {
                line.behind.push_back(offset);
                false
            }
            None => {
                let line = Line { first: offset, behind: VecDeque::new() };
                self.keys.insert(Arc::clone(key), line);
                true
            }
        }
    }

    /// A record is settled; returns the one that may go now.
    pub(super) fn settled(&mut self, key: &Arc<str>, offset: u64) -> Option<u64> {
        let line = self.keys.get_mut(key).filter(|line| line.first == offset)?;
        match line.behind.pop_front() {
            Some(next) => {
                line.first = next;
                Some(next)
            }
            None => {
                self.keys.remove(key);
                None
            }
        }
    }

    /// The lines: key, first, those behind it.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&Arc<str>, u64, &VecDeque<u64>)> {
        self.keys.iter().map(|(key, line)| (key, line.first, &line.behind))
    }

    pub(super) fn restore(&mut self, key: Arc<str>, first: u64, behind: VecDeque<u64>) {
        self.keys.insert(key, Line { first, behind });
    }
}
