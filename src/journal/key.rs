//! Keys of the database, and blocks put together from the values below them.

use std::io;

use super::store::{Reads, to_io};

/// Where a block lies: the shard and its index there, so that a shard's blocks lie in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) shard: u16,
    pub(crate) index: u64,
}

impl Key {
    pub(super) fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        let (shard, index) = (self.shard.to_be_bytes(), self.index.to_be_bytes());
        for (place, byte) in bytes.iter_mut().zip(shard.into_iter().chain(index)) {
            *place = byte;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (shard, index) = bytes.split_first_chunk()?;
        let (shard, index) = (u16::from_be_bytes(*shard), index.try_into().ok()?);
        Some(Self { shard, index: u64::from_be_bytes(index) })
    }
}

/// Where a value of a block lies.
pub(super) fn value_key(block: Key, number: u32) -> Vec<u8> {
    match number {
        0 => block.to_bytes().to_vec(),
        number => part_key(block.shard, block.index, number),
    }
}

/// Blocks, put together from their values.
pub(super) struct Blocks {
    pub(super) reads: Reads,
    pub(super) values: std::iter::Peekable<sled::Iter>,
}

impl Iterator for Blocks {
    type Item = io::Result<(Key, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = match self.values.next()? {
            Ok(found) => found,
            Err(error) => return Some(Err(to_io(error))),
        };
        let Some(block) = Key::from_bytes(&key) else {
            return Some(Err(io::Error::other("a key of the journal is not one of a block")));
        };
        let mut bytes = value.to_vec();
        // One that is missing shows in the checksum.
        let belongs = |found: &sled::Result<(sled::IVec, sled::IVec)>| {
            found
                .as_ref()
                .is_ok_and(|(other, _)| other.len() > key.len() && other.starts_with(&key))
        };
        while let Some(Ok((_, more))) = self.values.next_if(belongs) {
            bytes.extend_from_slice(&more);
        }
        Some(self.reads.count_use(block).map(|()| (block, bytes)))
    }
}

pub(super) fn part_key(shard: u16, covers: u64, number: u32) -> Vec<u8> {
    let mut key = Key { shard, index: covers }.to_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}
