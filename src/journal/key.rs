//! Keys of the database.

/// Where a block lies: the shard and its index there, so that a shard's blocks lie in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) shard: u16,
    pub(crate) index: u64,
}

impl Key {
    /// Bytes of a key.
    pub(super) const BYTES: usize = 10;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
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

pub(super) fn part_key(shard: u16, covers: u64, number: u32) -> Vec<u8> {
    let mut key = Key { shard, index: covers }.to_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}
