//! HELLO: what two nodes tell each other first, on the first stream that the dialing one opens.
//!
//! Each side writes once: the four bytes `TWCL`, the protocol's major and minor version (16 bits each), the
//! length of what follows (32 bits; all big-endian), and a map in MessagePack. Major versions have to be
//! equal, and so the head stays as it is whatever becomes of the map. Keys that a node does not know are
//! passed over: a minor version may add some. The dialing node speaks first. Who refuses the other closes the
//! connection with a code and a sentence ([`Reason`](super::links::Reason)).

use serde::{Deserialize, Serialize};

use super::gossip::Member;
use super::{NodeAddress, NodeId};

/// Versions of the protocol between nodes.
pub(crate) const VERSION: (u16, u16) = (1, 0);
/// What nodes of this version can do together; raised by what needs all nodes to know it.
pub(crate) const FEATURE_LEVEL: u32 = 1;

const MAGIC: [u8; 4] = *b"TWCL";
pub(super) const HEAD_BYTES: usize = 12;
const BODY_BYTES_MAX: u32 = 4 * 1024;

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Hello {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) address: String,
    pub(crate) client_url: Option<String>,
    pub(crate) version: String,
    pub(crate) feature_level: u32,
    pub(crate) name: String,
}

/// Why a HELLO is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloError {
    /// Another protocol.
    #[error("it does not begin as the protocol between nodes does")]
    Magic,
    /// Another version of it.
    #[error(
        "it speaks version {theirs} of the protocol between nodes, this node version {ours}: update the \
         older one, by way of a release that speaks both"
    )]
    Major {
        /// What the other speaks.
        theirs: u16,
        /// What this node speaks.
        ours: u16,
    },
    /// Too long.
    #[error("its HELLO has {0} bytes, more than {BODY_BYTES_MAX}")]
    Long(u32),
    /// No map, or one that lacks something.
    #[error("its HELLO cannot be read: {0}")]
    Body(String),
}

impl Hello {
    /// Its head and map, spoken in this major version.
    pub(super) fn encode(&self, (major, minor): (u16, u16)) -> Result<Vec<u8>, HelloError> {
        let body =
            rmp_serde::to_vec_named(self).map_err(|error| HelloError::Body(error.to_string()))?;
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        if length > BODY_BYTES_MAX {
            return Err(HelloError::Long(length));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(major.to_be_bytes());
        bytes.extend(minor.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        Ok(bytes)
    }

    /// Reads a head: how many bytes follow it.
    pub(super) fn read_head(head: [u8; HEAD_BYTES], ours: u16) -> Result<usize, HelloError> {
        let [m0, m1, m2, m3, a0, a1, _, _, l0, l1, l2, l3] = head;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(HelloError::Magic);
        }
        let theirs = u16::from_be_bytes([a0, a1]);
        if theirs != ours {
            return Err(HelloError::Major { theirs, ours });
        }
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        match usize::try_from(length) {
            Ok(bytes) if length <= BODY_BYTES_MAX => Ok(bytes),
            Ok(_) | Err(_) => Err(HelloError::Long(length)),
        }
    }

    pub(super) fn read_body(body: &[u8]) -> Result<Self, HelloError> {
        rmp_serde::from_slice(body).map_err(|error| HelloError::Body(error.to_string()))
    }

    /// Who says it.
    pub(super) fn member(&self) -> Result<Member, HelloError> {
        let address = NodeAddress::parse(&self.address)
            .map_err(|rule| HelloError::Body(format!("its address {rule}")))?;
        Ok(Member { node: self.node, incarnation: self.incarnation, address })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            node: NodeId::new(3).unwrap(),
            incarnation: 7,
            address: "node-3.example:7172".to_owned(),
            client_url: None,
            version: "0.1.0".to_owned(),
            feature_level: FEATURE_LEVEL,
            name: "node-3".to_owned(),
        }
    }

    fn read(bytes: &[u8], ours: u16) -> Result<Hello, HelloError> {
        let (head, body) = bytes.split_first_chunk().ok_or(HelloError::Magic)?;
        let length = Hello::read_head(*head, ours)?;
        assert_eq!(length, body.len());
        Hello::read_body(body)
    }

    #[test]
    fn what_is_told_is_understood() {
        assert_eq!(read(&hello().encode((1, 5)).unwrap(), 1), Ok(hello()));
    }

    #[test]
    fn another_major_version_is_refused_with_both_numbers() {
        let refused = read(&hello().encode((2, 0)).unwrap(), 1).unwrap_err();
        assert_eq!(refused, HelloError::Major { theirs: 2, ours: 1 });
        assert!(refused.to_string().contains("version 2") && refused.to_string().contains("1:"));
    }

    #[test]
    fn keys_of_later_are_passed_over() {
        let mut map = serde_json::to_value(hello()).unwrap();
        map["of_later"] = 1.into();
        let body = rmp_serde::to_vec_named(&map).unwrap();
        assert_eq!(Hello::read_body(&body), Ok(hello()));
        map["node"] = 0.into();
        assert!(Hello::read_body(&rmp_serde::to_vec_named(&map).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(head: [u8; HEAD_BYTES], body: Vec<u8>) {
            drop(Hello::read_head(head, 1));
            drop(Hello::read_body(&body).map(|hello| hello.member()));
        }
    }
}
