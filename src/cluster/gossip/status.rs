//! What nodes say of themselves: it rides along with gossip, and the newest of each node counts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use foca::{BroadcastHandler, Invalidates};
use serde::{Deserialize, Serialize};

use super::member::Member;
use crate::cluster::NodeId;

/// Nodes whose status is kept.
pub(crate) const NODES_MAX: usize = 1024;
/// Longest status; what is longer leaves no room for others in a packet.
const STATUS_BYTES_MAX: usize = 600;
/// Longest name of a node, and longest URL; a longer one is not told to others.
const NAME_CHARS_MAX: usize = 64;
const URL_BYTES_MAX: usize = 256;

/// What a node is about to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Activity {
    /// It looks for the others.
    #[default]
    Joining,
    /// It serves clients.
    Active,
    /// It asks its clients to go.
    Draining,
    /// It is about to stop.
    Leaving,
}

/// How much a node has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct NodeLoad {
    pub(crate) connections: u64,
    /// Thousandths of a core, if the system tells.
    pub(crate) cpu_millicores: Option<u32>,
    pub(crate) memory_bytes: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) feature_level: u32,
    /// What clients of other nodes are told, to reach this one.
    pub(crate) client_url: Option<String>,
    pub(crate) activity: Activity,
    pub(crate) load: NodeLoad,
}

/// The same, with who says it and when.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// Counts what the node has said in this life.
    pub(crate) sequence: u64,
    pub(crate) about: About,
}

impl Status {
    fn age(&self) -> (u64, u64) {
        (self.incarnation, self.sequence)
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StatusError> {
        let bytes = rmp_serde::to_vec(self).map_err(|error| StatusError(error.to_string()))?;
        if bytes.len() > STATUS_BYTES_MAX {
            return Err(StatusError(format!("it has more than {STATUS_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StatusError> {
        if bytes.len() > STATUS_BYTES_MAX {
            return Err(StatusError(format!("it has more than {STATUS_BYTES_MAX} bytes")));
        }
        rmp_serde::from_slice(bytes).map_err(|error| StatusError(error.to_string()))
    }
}

impl About {
    /// What is not too long to be told to others.
    pub(super) fn shortened(mut self) -> Self {
        self.name = self.name.chars().take(NAME_CHARS_MAX).collect();
        self.version = self.version.chars().take(NAME_CHARS_MAX).collect();
        self.client_url = self.client_url.filter(|url| url.len() <= URL_BYTES_MAX);
        self
    }

    /// Whether another one says more than that there is a little more or less to do.
    pub(super) fn differs_noticeably(&self, other: &Self) -> bool {
        let apart = |a: u64, b: u64, least: u64| a.abs_diff(b) > (a.max(b) / 10).max(least);
        let (a, b) = (&self.load, &other.load);
        let cpu = |load: &NodeLoad| u64::from(load.cpu_millicores.unwrap_or(0));
        Self { load: *b, ..self.clone() } != *other
            || apart(a.connections, b.connections, 10)
            || apart(cpu(a), cpu(b), 100)
            || apart(a.memory_bytes, b.memory_bytes, 64 * 1024 * 1024)
    }
}

/// A status that cannot be read or told.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a node's status: {0}")]
pub(super) struct StatusError(String);

/// The newest status of each node.
#[derive(Debug, Default)]
pub(super) struct Statuses(BTreeMap<NodeId, Status>);

impl Statuses {
    pub(super) fn get(&self, node: NodeId) -> Option<&Status> {
        self.0.get(&node)
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        self.0.remove(&node);
    }

    /// Takes a status if it is newer than what is known, and there is room for it.
    fn take(&mut self, status: &Status) -> bool {
        let known = self.0.get(&status.node);
        let is_news = known.is_none_or(|known| status.age() > known.age());
        let has_room = known.is_some() || self.0.len() < NODES_MAX;
        if is_news && has_room {
            self.0.insert(status.node, status.clone());
        }
        is_news && has_room
    }
}

/// What is passed on, and what it makes outdated: what is older of the same node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    node: NodeId,
    age: (u64, u64),
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node && self.age >= other.age
    }
}

/// Looks at each status that comes along.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) own: NodeId,
    pub(super) statuses: Rc<RefCell<Statuses>>,
    /// Whose has changed since it was asked last.
    pub(super) news: Rc<RefCell<Vec<NodeId>>>,
}

impl BroadcastHandler<Member> for Handler {
    type Key = Key;
    type Error = StatusError;

    fn receive_item(
        &mut self,
        data: &[u8],
        sender: Option<&Member>,
    ) -> Result<Option<Key>, StatusError> {
        let status = Status::decode(data)?;
        // What this node says of itself it knows better than others.
        let is_echo = sender.is_some() && status.node == self.own;
        if is_echo || !self.statuses.borrow_mut().take(&status) {
            return Ok(None);
        }
        self.news.borrow_mut().push(status.node);
        Ok(Some(Key { node: status.node, age: status.age() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, incarnation: u64, sequence: u64) -> Status {
        let node = NodeId::new(node).unwrap();
        Status { node, incarnation, sequence, about: About::default() }
    }

    #[test]
    fn the_newest_of_each_node_counts() {
        let mut statuses = Statuses::default();
        assert!(statuses.take(&status(1, 1, 5)));
        assert!(!statuses.take(&status(1, 1, 5)));
        assert!(!statuses.take(&status(1, 1, 4)));
        assert!(statuses.take(&status(1, 2, 1)), "a new life begins to count anew");
        assert!(!statuses.take(&status(1, 1, 9)));
        for node in 2..=NODES_MAX as u64 {
            assert!(statuses.take(&status(node, 1, 1)));
        }
        assert!(!statuses.take(&status(NODES_MAX as u64 + 1, 1, 1)), "there is no room");
        assert!(statuses.take(&status(7, 1, 2)));
    }

    #[test]
    fn a_status_is_read_as_it_was_written_and_is_never_long() {
        let long = About {
            name: "ä".repeat(1000),
            version: "1".repeat(1000),
            client_url: Some("x".repeat(URL_BYTES_MAX + 1)),
            ..About::default()
        };
        let one = Status { about: long.shortened(), ..status(u64::MAX, u64::MAX, u64::MAX) };
        assert_eq!(one.about.client_url, None);
        assert_eq!(Status::decode(&one.encode().unwrap()).unwrap(), one);
        assert!(Status::decode(b"nonsense").is_err());
    }

    #[test]
    fn a_little_more_load_is_no_news() {
        let about = |connections| About {
            load: NodeLoad { connections, ..NodeLoad::default() },
            ..About::default()
        };
        assert!(!about(1000).differs_noticeably(&about(1099)));
        assert!(about(1000).differs_noticeably(&about(1200)));
        let draining = About { activity: Activity::Draining, ..about(1000) };
        assert!(about(1000).differs_noticeably(&draining));
    }
}
