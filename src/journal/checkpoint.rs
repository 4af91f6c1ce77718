//! Checkpoints: a shard's whole state, so that the log before it can go.
//!
//! One is written beside the commits, in parts. It counts once its record is on the disk; until then the one
//! before it does. `docs/storage.md` draws the format.

use std::io::{self, Read, Write};

use tidewire_core::shard::ShardSnapshot;

use super::base::Base;
use super::store::Parts;

/// Bytes of one part.
const PART_BYTES: usize = 64 * 1024;
/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;
/// The version of the format of records.
const VERSION: u8 = 2;
/// Bytes of a record.
const RECORD_BYTES: usize = CHECKSUM_BYTES + 1 + 8 + 4 + 4 + 8;

/// Which checkpoint of a shard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Blocks of the shard before this index are in it.
    pub(crate) covers: u64,
    /// Number of its first part: another one than that of an earlier checkpoint that covers as much.
    pub(crate) first: u32,
    /// How many parts it has.
    pub(crate) parts: u32,
    /// Bytes of its parts, without their checksums.
    pub(crate) bytes: u64,
}

impl Record {
    /// Nothing is in it.
    pub(super) const NONE: Self = Self { covers: 0, first: 0, parts: 0, bytes: 0 };

    /// Number behind its last part.
    pub(super) fn next_part(&self) -> u32 {
        self.first.saturating_add(self.parts)
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; CHECKSUM_BYTES];
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.covers.to_be_bytes());
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.parts.to_be_bytes());
        bytes.extend_from_slice(&self.bytes.to_be_bytes());
        sealed(bytes)
    }

    /// A record and what it stands on, which lies behind it where there is a group.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn with_base(bytes: &[u8]) -> Result<(Self, Option<Base>), String> {
        match bytes.split_at_checked(RECORD_BYTES) {
            Some((record, base @ [_, ..])) => {
                Ok((Self::from_bytes(record)?, Some(Base::from_bytes(base)?)))
            }
            Some(_) | None => Ok((Self::from_bytes(bytes)?, None)),
        }
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let rest = opened(bytes).ok_or("its checksum does not fit its bytes")?;
        let Some((version, rest)) = rest.split_first() else { return Err("it is empty".into()) };
        if *version != VERSION || bytes.len() != RECORD_BYTES {
            return Err(format!("its format is version {version}, and {VERSION} is known here"));
        }
        let short = || "it is too short".to_owned();
        let (covers, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (first, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (parts, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (length, _) = rest.split_first_chunk().ok_or_else(short)?;
        Ok(Self {
            covers: u64::from_be_bytes(*covers),
            first: u32::from_be_bytes(*first),
            parts: u32::from_be_bytes(*parts),
            bytes: u64::from_be_bytes(*length),
        })
    }
}

/// Puts the checksum of what follows it into the first bytes.
pub(super) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(bytes.get(CHECKSUM_BYTES..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(..CHECKSUM_BYTES) {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
    bytes
}

/// What stands behind a checksum that fits.
pub(super) fn opened(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, rest) = bytes.split_first_chunk()?;
    (u32::from_be_bytes(*checksum) == crc32c::crc32c(rest)).then_some(rest)
}

pub(super) fn write(
    parts: &Parts,
    (covers, first): (u64, u32),
    snapshot: &ShardSnapshot,
) -> io::Result<Record> {
    let (shard, open) = (snapshot.shard(), vec![0; CHECKSUM_BYTES]);
    let mut writer = PartWriter { parts, shard, covers, open, number: first, bytes: 0 };
    rmp_serde::encode::write_named(&mut writer, snapshot).map_err(io::Error::other)?;
    writer.flush()?;
    Ok(Record { covers, first, parts: writer.number - first, bytes: writer.bytes })
}

struct PartWriter<'a> {
    parts: &'a Parts,
    shard: u16,
    covers: u64,
    /// The part that is being filled, behind room for its checksum.
    open: Vec<u8>,
    number: u32,
    bytes: u64,
}

impl Write for PartWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (PART_BYTES + CHECKSUM_BYTES).saturating_sub(self.open.len());
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.open.extend_from_slice(taken);
        self.bytes += taken.len() as u64;
        if self.open.len() >= PART_BYTES + CHECKSUM_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    /// Ends the part.
    fn flush(&mut self) -> io::Result<()> {
        if self.open.len() > CHECKSUM_BYTES {
            let part = std::mem::replace(&mut self.open, vec![0; CHECKSUM_BYTES]);
            self.parts.put(self.shard, self.covers, self.number, sealed(part))?;
            self.number += 1;
        }
        Ok(())
    }
}

/// Reads the checkpoint of a record.
///
/// # Errors
/// When a part is missing or damaged, or what they hold is no state of a shard.
pub(crate) fn read(parts: &Parts, shard: u16, record: Record) -> io::Result<ShardSnapshot> {
    let mut reader = PartReader {
        parts,
        shard,
        record,
        part: Vec::new(),
        at: 0,
        number: record.first,
        bytes: 0,
    };
    let snapshot: ShardSnapshot =
        rmp_serde::from_read(&mut reader).map_err(|error| io::Error::other(error.to_string()))?;
    if reader.number != record.next_part() || reader.bytes != record.bytes {
        return Err(io::Error::other("it does not end where it ends"));
    }
    Ok(snapshot)
}

struct PartReader<'a> {
    parts: &'a Parts,
    shard: u16,
    record: Record,
    part: Vec<u8>,
    at: usize,
    number: u32,
    bytes: u64,
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.part.len() {
            if self.number == self.record.next_part() {
                return Ok(0);
            }
            let number = self.number;
            let sealed = self.parts.get(self.shard, self.record.covers, number)?;
            let missing = || io::Error::other(format!("part {number} is missing"));
            let sealed = sealed.ok_or_else(missing)?;
            let damaged = || io::Error::other(format!("the checksum of part {number} is wrong"));
            self.part = opened(&sealed).ok_or_else(damaged)?.to_vec();
            self.bytes += self.part.len() as u64;
            self.at = 0;
            self.number += 1;
        }
        let rest = self.part.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_flipped_bit_is_noticed() {
        let record = Record { covers: 7, first: 2, parts: 3, bytes: 600_000 };
        let bytes = record.to_bytes();
        assert_eq!(bytes.len(), RECORD_BYTES);
        assert_eq!(Record::from_bytes(&bytes), Ok(record));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::from_bytes(&damaged).is_err(), "bit {bit}");
        }
        assert!(Record::from_bytes(&bytes[..9]).is_err());
    }
}
