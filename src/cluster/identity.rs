//! Who a node is: its id, the cluster that it belongs to, and where others reach it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest address of a node: what gossip repeats in each packet has to be short.
const ADDRESS_BYTES_MAX: usize = 120;

/// A node of the cluster. It stands in the node's certificate, so nobody else can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct NodeId(u64);

impl NodeId {
    /// Nothing for 0, which is nobody.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for NodeId {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Self::new(number).ok_or("the id of a node is greater than 0")
    }
}

impl From<NodeId> for u64 {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

/// A cluster: 128 random bits that its certificate authority was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(u128);

impl ClusterId {
    /// The cluster with these bits.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// As many of its bits as a number of JSON holds.
    #[must_use]
    pub fn low_bits(self) -> u64 {
        const MASK: u128 = (1 << 53) - 1;
        u64::try_from(self.0 & MASK).unwrap_or(0)
    }

    /// Reads what [`Self`] shows; nothing if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        let is_id = text.len() == 32 && text.bytes().all(is_digit);
        is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl TryFrom<String> for ClusterId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("the id of a cluster is 32 hexadecimal digits")
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.to_string()
    }
}

/// Where a node is reached: a host or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeAddress(Arc<str>);

impl NodeAddress {
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("has at most {ADDRESS_BYTES_MAX} bytes"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("is written as HOST:PORT".to_owned());
        };
        if port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err("ends with a port, 1 to 65535".to_owned());
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address = bare.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let is_of_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let is_name = !host.is_empty() && host.bytes().all(is_of_name);
        if is_address || is_name {
            return Ok(Self(text.into()));
        }
        Err("is written as HOST:PORT, with an address of IPv6 in brackets".to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|rule| format!("the address of a node {rule}"))
    }
}

impl From<NodeAddress> for String {
    fn from(address: NodeAddress) -> Self {
        address.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_of_a_node_is_read_again() {
        let stored = |text: &str| serde_json::from_str::<NodeAddress>(&format!("\"{text}\""));
        assert_eq!(stored("a:1").unwrap(), NodeAddress::parse("a:1").unwrap());
        assert_eq!(serde_json::to_string(&stored("a:1").unwrap()).unwrap(), "\"a:1\"");
        assert!(stored("a").unwrap_err().to_string().contains("HOST:PORT"));
        let id = serde_json::to_string(&ClusterId::new(7)).unwrap();
        assert_eq!(serde_json::from_str::<ClusterId>(&id).unwrap(), ClusterId::new(7));
        assert!(serde_json::from_str::<ClusterId>("\"7\"").is_err());
    }

    #[test]
    fn a_cluster_is_shown_as_it_is_read() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef] {
            let shown = ClusterId::new(bits).to_string();
            assert_eq!(shown.len(), 32);
            assert_eq!(ClusterId::parse(&shown), Some(ClusterId::new(bits)));
        }
        for wrong in ["", "0", &"0".repeat(33), &"A".repeat(32), &"+".repeat(32)] {
            assert_eq!(ClusterId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nobody_is_node_0() {
        assert_eq!(NodeId::new(0), None);
        assert_eq!(NodeId::new(3).map(NodeId::get), Some(3));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for good in ["a:1", "node-1.example:7172", "10.0.0.7:65535", "[::1]:7172"] {
            assert_eq!(NodeAddress::parse(good).unwrap().as_str(), good);
        }
        for wrong in ["", "a", "a:", "a:0", "a:65536", ":1", "::1:7172", "a b:1", "[a]:1", "a:1\n"]
        {
            assert!(NodeAddress::parse(wrong).is_err(), "{wrong}");
        }
        assert!(NodeAddress::parse(&format!("{}:1", "a".repeat(120))).is_err());
    }
}
