//! Blocks: what a shard has logged, as it lies on the disk.
//!
//! `docs/storage.md` draws the format. A block is written once and never changed. It belongs to one
//! shard, in whose log it has a dense index, and to one commit, of which the journal has a dense
//! sequence; so a block that is missing is noticed, wherever it was.

use rmp_serde::Serializer;
use serde::{Deserialize, Serialize};
use tidewire_core::shard::LogEntry;
use tidewire_core::topic::LoggedBatch;

/// The version of the format that is written and read.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the entries.
pub(crate) const HEAD_BYTES: usize = 48;
/// Bytes up to which entries are put into one block; one that is larger has a block of its own.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;

/// What stands before the entries of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The shard that it belongs to.
    pub(crate) shard: u16,
    /// Its place in the shard's log; the first is 0.
    pub(crate) index: u64,
    /// The commit that it was written with; the first is 1.
    pub(crate) commit: u64,
    /// Its place among the blocks of the commit.
    pub(crate) place: u16,
    /// The blocks of the commit.
    pub(crate) blocks: u16,
    /// Cells of the shard have no version above this one.
    pub(crate) version: u64,
    /// The shard's time, Unix milliseconds.
    pub(crate) time_ms: u64,
    /// Number of its entries.
    pub(crate) entries: u32,
}

/// Why bytes are not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBlock {
    #[error("it has {0} bytes, which is less than a block's head")]
    Short(usize),
    #[error("its format is version {0}, and version {VERSION} is known here")]
    Version(u8),
    #[error("its checksum does not fit its bytes")]
    Checksum,
    #[error("entry {0} cannot be read: {1}")]
    Entry(u32, String),
    #[error("{0} bytes follow its last entry")]
    Rest(usize),
}

/// The entries of one block, being collected.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    entries: u32,
    /// Behind the last batch in it.
    pub(crate) next_sequence: Option<u64>,
    /// Of the newest round in it.
    pub(crate) version: u64,
    pub(crate) time_ms: u64,
}

impl Body {
    /// Without entries, of a shard whose cells have no version above this one, at this time.
    pub(crate) fn at(version: u64, time_ms: u64) -> Self {
        Self { version, time_ms, ..Self::default() }
    }

    /// Appends an entry if there is room for it; there always is in an empty one.
    ///
    /// # Errors
    /// When the entry cannot be encoded, which none is known for.
    pub(crate) fn push(&mut self, entry: &LogEntry) -> Result<bool, rmp_serde::encode::Error> {
        let before = self.bytes.len();
        entry.serialize(&mut Serializer::new(&mut self.bytes))?;
        if before > 0 && HEAD_BYTES + self.bytes.len() > BLOCK_BYTES {
            self.bytes.truncate(before);
            return Ok(false);
        }
        if let LogEntry::Batch(LoggedBatch(batch)) = entry {
            self.next_sequence = Some(batch.sequence + 1);
        }
        self.entries += 1;
        Ok(true)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The block with this head, whose times and count are those of the body.
    pub(crate) fn finish(self, head: Head) -> Vec<u8> {
        let mut block = Vec::with_capacity(HEAD_BYTES + self.bytes.len());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&[VERSION, 0]);
        block.extend_from_slice(&head.shard.to_be_bytes());
        block.extend_from_slice(&head.index.to_be_bytes());
        block.extend_from_slice(&head.commit.to_be_bytes());
        block.extend_from_slice(&head.place.to_be_bytes());
        block.extend_from_slice(&head.blocks.to_be_bytes());
        block.extend_from_slice(&self.version.to_be_bytes());
        block.extend_from_slice(&self.time_ms.to_be_bytes());
        block.extend_from_slice(&self.entries.to_be_bytes());
        block.extend_from_slice(&self.bytes);
        let checksum = crc32c::crc32c(block.get(4..).unwrap_or_default()).to_be_bytes();
        if let Some(place) = block.get_mut(..4) {
            place.copy_from_slice(&checksum);
        }
        block
    }
}

/// Takes big-endian numbers from the front of a head.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((number, rest)) => {
                self.0 = rest;
                *number
            }
            None => [0; N],
        }
    }
}

/// Checks a block and reads its head; returns it with the bytes of the entries.
///
/// # Errors
/// When the bytes are not a block, or are damaged.
pub(crate) fn open(block: &[u8]) -> Result<(Head, &[u8]), BadBlock> {
    let Some((head, entries)) = block.split_at_checked(HEAD_BYTES) else {
        return Err(BadBlock::Short(block.len()));
    };
    let mut numbers = Numbers(head);
    let checksum = u32::from_be_bytes(numbers.take());
    let [version, _reserved] = numbers.take();
    if checksum != crc32c::crc32c(block.get(4..).unwrap_or_default()) {
        return Err(BadBlock::Checksum);
    }
    if version != VERSION {
        return Err(BadBlock::Version(version));
    }
    let head = Head {
        shard: u16::from_be_bytes(numbers.take()),
        index: u64::from_be_bytes(numbers.take()),
        commit: u64::from_be_bytes(numbers.take()),
        place: u16::from_be_bytes(numbers.take()),
        blocks: u16::from_be_bytes(numbers.take()),
        version: u64::from_be_bytes(numbers.take()),
        time_ms: u64::from_be_bytes(numbers.take()),
        entries: u32::from_be_bytes(numbers.take()),
    };
    Ok((head, entries))
}

/// Reads the entries of a block, in their order.
///
/// # Errors
/// When one cannot be read, or something follows the last one.
pub(crate) fn entries(head: &Head, bytes: &[u8]) -> Result<Vec<LogEntry>, BadBlock> {
    let mut rest = bytes;
    let mut entries = Vec::new();
    for number in 0..head.entries {
        let entry = LogEntry::deserialize(&mut rmp_serde::Deserializer::new(&mut rest));
        entries.push(entry.map_err(|error| BadBlock::Entry(number, error.to_string()))?);
    }
    match rest.len() {
        0 => Ok(entries),
        left => Err(BadBlock::Rest(left)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tidewire_core::cell::VoterId;
    use tidewire_protocol::Name;

    use super::*;

    fn head() -> Head {
        let (version, time_ms, entries) = (0, 0, 0);
        Head { shard: 17, index: 5, commit: 9, place: 1, blocks: 3, version, time_ms, entries }
    }

    fn entry() -> impl Strategy<Value = LogEntry> {
        let name = "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}";
        let name = name.prop_map(|name| Name::parse(&name).unwrap());
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
        (name, value, any::<(u64, u64, Option<u64>)>(), any::<[u8; 16]>()).prop_map(
            |(name, value, (number, version, at), voter)| match number % 4 {
                0 => LogEntry::MapKey {
                    topic: name,
                    key: format!("key {number}").into(),
                    version,
                    expires_at_ms: at,
                    value: value.map(Bytes::from),
                },
                1 => LogEntry::TopicRemoved { topic: name, epoch: version },
                2 => LogEntry::CounterRemoved { name },
                _ => LogEntry::Ballot {
                    tally: name,
                    voter: VoterId(voter),
                    marks: value.unwrap_or_default().into_iter().map(u16::from).collect(),
                    revision: 7,
                    version,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(written in proptest::collection::vec(entry(), 1..40)) {
            let mut body = Body { version: 77, time_ms: 88, ..Body::default() };
            for entry in &written {
                prop_assert!(body.push(entry).unwrap());
            }
            let block = body.finish(head());
            let (read, bytes) = open(&block).unwrap();
            let count = u32::try_from(written.len()).unwrap();
            let expected = Head { version: 77, time_ms: 88, entries: count, ..head() };
            prop_assert_eq!(read, expected);
            let entries = entries(&read, bytes).unwrap();
            prop_assert_eq!(format!("{entries:?}"), format!("{written:?}"));
        }

        #[test]
        fn a_flipped_bit_is_noticed(written in entry(), bit in any::<proptest::sample::Index>()) {
            let mut body = Body::default();
            prop_assert!(body.push(&written).unwrap());
            let mut block = body.finish(head());
            let bit = bit.index(block.len() * 8);
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&block).is_err());
        }

        #[test]
        fn a_cut_block_is_noticed(written in entry(), cut in any::<proptest::sample::Index>()) {
            let mut body = Body::default();
            prop_assert!(body.push(&written).unwrap());
            let block = body.finish(head());
            prop_assert!(open(&block[..cut.index(block.len())]).is_err());
        }
    }

    #[test]
    fn a_full_block_takes_no_more_and_an_empty_one_takes_anything() {
        let large = LogEntry::MapKey {
            topic: Name::parse("t").unwrap(),
            key: "k".into(),
            version: 1,
            expires_at_ms: None,
            value: Some(vec![7; BLOCK_BYTES].into()),
        };
        let mut body = Body::default();
        assert!(body.push(&large).unwrap());
        assert!(!body.push(&large).unwrap());
        let block = body.finish(head());
        let (head, bytes) = open(&block).unwrap();
        assert_eq!(entries(&head, bytes).unwrap().len(), 1);
    }
}
