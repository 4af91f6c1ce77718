//! Blocks: what a shard has logged, as it lies on the disk.
//!
//! `docs/storage.md` draws the format. A block is written once and never changed. It belongs to one
//! shard, in whose log it has a dense index, and to one commit, of which the journal has a dense
//! sequence; so a block that is missing is noticed, wherever it was.

use rmp_serde::Serializer;
use serde::{Deserialize, Serialize};
use tidewire_core::shard::LogEntry;
use tidewire_core::topic::LoggedBatch;

/// The version of the format that a block has which says no more than that a shard has changed; so
/// earlier releases read what a server without a cluster writes.
const VERSION_PLAIN: u8 = 1;
/// The version of the format that also has a term and a kind.
const VERSION: u8 = 2;
/// Bytes before the entries.
pub(crate) const HEAD_BYTES: usize = 48;
/// Bytes before the entries where there is a term.
const HEAD_BYTES_WITH_TERM: usize = HEAD_BYTES + 8;
/// Bytes up to which entries are put into one block; one that is larger has a block of its own.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;

/// What a block says. The numbers are those on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// Changes of a shard, or what a group without a shard keeps.
    #[default]
    Changes = 0,
    /// Nothing: a new leader of a group begins with it.
    Blank = 1,
    /// Who the members of a group are, as it is written by whoever leads groups.
    Membership = 2,
}

impl BlockKind {
    fn of(number: u8) -> Option<Self> {
        [Self::Changes, Self::Blank, Self::Membership]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

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
    /// The term of the leader that has made it; 0 if no group was asked.
    pub(crate) term: u64,
    pub(crate) kind: BlockKind,
}

/// Why bytes are not a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBlock {
    #[error("it has {0} bytes, which is less than a block's head")]
    Short(usize),
    #[error("its format is version {0}, and up to version {VERSION} is known here")]
    Version(u8),
    #[error("it is of kind {0}, which is not known here")]
    Kind(u8),
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
        self.push_within(entry, BLOCK_BYTES)
    }

    /// As [`Self::push`], with room for so many bytes.
    ///
    /// # Errors
    /// As there.
    pub(super) fn push_within(
        &mut self,
        entry: &LogEntry,
        bytes_max: usize,
    ) -> Result<bool, rmp_serde::encode::Error> {
        let before = self.bytes.len();
        entry.serialize(&mut Serializer::new(&mut self.bytes))?;
        if before > 0 && HEAD_BYTES + self.bytes.len() > bytes_max {
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
        let Self { version, time_ms, entries, .. } = self;
        seal(&Head { version, time_ms, entries, ..head }, &self.bytes)
    }

    /// Its entries, encoded, and how many they are.
    pub(crate) fn into_bytes(self) -> (Vec<u8>, u32) {
        (self.bytes, self.entries)
    }
}

/// The block with this head and these entries, which are encoded already.
pub(crate) fn seal(head: &Head, entries: &[u8]) -> Vec<u8> {
    let is_plain = head.term == 0 && head.kind == BlockKind::Changes;
    let version = if is_plain { VERSION_PLAIN } else { VERSION };
    let mut block = Vec::with_capacity(HEAD_BYTES_WITH_TERM + entries.len());
    block.extend_from_slice(&[0; 4]);
    block.extend_from_slice(&[version, head.kind as u8]);
    block.extend_from_slice(&head.shard.to_be_bytes());
    block.extend_from_slice(&head.index.to_be_bytes());
    block.extend_from_slice(&head.commit.to_be_bytes());
    block.extend_from_slice(&head.place.to_be_bytes());
    block.extend_from_slice(&head.blocks.to_be_bytes());
    block.extend_from_slice(&head.version.to_be_bytes());
    block.extend_from_slice(&head.time_ms.to_be_bytes());
    block.extend_from_slice(&head.entries.to_be_bytes());
    if !is_plain {
        block.extend_from_slice(&head.term.to_be_bytes());
    }
    block.extend_from_slice(entries);
    let checksum = crc32c::crc32c(block.get(4..).unwrap_or_default()).to_be_bytes();
    if let Some(place) = block.get_mut(..4) {
        place.copy_from_slice(&checksum);
    }
    block
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
    let [version, kind] = numbers.take();
    if checksum != crc32c::crc32c(block.get(4..).unwrap_or_default()) {
        return Err(BadBlock::Checksum);
    }
    let mut head = Head {
        shard: u16::from_be_bytes(numbers.take()),
        index: u64::from_be_bytes(numbers.take()),
        commit: u64::from_be_bytes(numbers.take()),
        place: u16::from_be_bytes(numbers.take()),
        blocks: u16::from_be_bytes(numbers.take()),
        version: u64::from_be_bytes(numbers.take()),
        time_ms: u64::from_be_bytes(numbers.take()),
        entries: u32::from_be_bytes(numbers.take()),
        ..Head::default()
    };
    match version {
        VERSION_PLAIN => Ok((head, entries)),
        VERSION => {
            head.kind = BlockKind::of(kind).ok_or(BadBlock::Kind(kind))?;
            let (term, entries) =
                entries.split_first_chunk().ok_or(BadBlock::Short(block.len()))?;
            head.term = u64::from_be_bytes(*term);
            Ok((head, entries))
        }
        other => Err(BadBlock::Version(other)),
    }
}

/// Reads the entries of a block, in their order. One that is not about changes has none.
///
/// # Errors
/// When one cannot be read, or something follows the last one.
pub(crate) fn entries(head: &Head, bytes: &[u8]) -> Result<Vec<LogEntry>, BadBlock> {
    match head.kind {
        BlockKind::Changes => {}
        BlockKind::Blank | BlockKind::Membership => return Ok(Vec::new()),
    }
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
        Head { shard: 17, index: 5, commit: 9, place: 1, blocks: 3, ..Head::default() }
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
        fn what_is_written_is_read_back(
            written in proptest::collection::vec(entry(), 1..40),
            term in 0_u64..3,
        ) {
            let mut body = Body { version: 77, time_ms: 88, ..Body::default() };
            for entry in &written {
                prop_assert!(body.push(entry).unwrap());
            }
            let block = body.finish(Head { term, ..head() });
            let (read, bytes) = open(&block).unwrap();
            // An earlier release reads what no group has decided.
            prop_assert_eq!(block[4], if term == 0 { 1 } else { 2 });
            let count = u32::try_from(written.len()).unwrap();
            let expected = Head { version: 77, time_ms: 88, entries: count, term, ..head() };
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

    /// As releases before there were groups have written it, byte for byte.
    #[test]
    fn a_block_of_an_earlier_release_is_read_and_written_again() {
        let mut before = vec![0, 0, 0, 0, 1, 0];
        before.extend_from_slice(&17_u16.to_be_bytes());
        before.extend_from_slice(&5_u64.to_be_bytes());
        before.extend_from_slice(&9_u64.to_be_bytes());
        before.extend_from_slice(&[0, 1, 0, 3]);
        before.extend_from_slice(&77_u64.to_be_bytes());
        before.extend_from_slice(&88_u64.to_be_bytes());
        before.extend_from_slice(&1_u32.to_be_bytes());
        before.extend_from_slice(b"\x81\xaeCounterRemoved\x91\xa1t");
        let checksum = crc32c::crc32c(&before[4..]).to_be_bytes();
        before[..4].copy_from_slice(&checksum);
        let (read, bytes) = open(&before).unwrap();
        assert_eq!(read, Head { version: 77, time_ms: 88, entries: 1, ..head() });
        let LogEntry::CounterRemoved { name } = &entries(&read, bytes).unwrap()[0] else {
            panic!("{read:?}")
        };
        assert_eq!(name.as_str(), "t");
        assert_eq!(seal(&read, bytes), before);
    }

    #[test]
    fn a_block_about_something_else_has_no_changes() {
        for kind in [BlockKind::Blank, BlockKind::Membership] {
            let head = Head { term: 3, kind, ..head() };
            let block = seal(&head, b"who they are");
            let (read, bytes) = open(&block).unwrap();
            assert_eq!((read, bytes), (head, &b"who they are"[..]));
            assert!(entries(&read, bytes).unwrap().is_empty());
        }
        let mut unknown = seal(&Head { term: 3, ..head() }, b"");
        unknown[5] = 3;
        let checksum = crc32c::crc32c(&unknown[4..]).to_be_bytes();
        unknown[..4].copy_from_slice(&checksum);
        assert_eq!(open(&unknown), Err(BadBlock::Kind(3)));
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
