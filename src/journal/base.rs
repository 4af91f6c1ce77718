//! What a checkpoint of a shard that a Raft group replicates stands on: the last entry that is in it,
//! and who the members were then. It lies behind the checkpoint's record, in the same value, so that
//! the one never counts without the other.

use super::checkpoint::{opened, sealed};
use super::group_state::EntryId;

/// The version of the format.
const VERSION: u8 = 1;

/// Who the members of a group are since an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) id: EntryId,
    /// As whoever leads groups writes it.
    pub(crate) bytes: Vec<u8>,
}

/// The last entry that is in a checkpoint, and the members as of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) last: EntryId,
    pub(crate) membership: Option<Membership>,
    /// The state came from a leader: so it is committed, whatever is known here, and the log here has
    /// nothing before it that counts.
    pub(crate) is_taken_over: bool,
}

impl Base {
    /// Index of the first block that is not in the checkpoint.
    pub(crate) fn covers(&self) -> u64 {
        self.last.index.saturating_add(1)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, VERSION, u8::from(self.is_taken_over)];
        let id = |bytes: &mut Vec<u8>, id: EntryId| {
            bytes.extend_from_slice(&id.term.to_be_bytes());
            bytes.extend_from_slice(&id.index.to_be_bytes());
        };
        id(&mut bytes, self.last);
        if let Some(membership) = &self.membership {
            id(&mut bytes, membership.id);
            bytes.extend_from_slice(&membership.bytes);
        }
        sealed(bytes)
    }

    /// # Errors
    /// What is wrong with the bytes.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let rest = opened(bytes).ok_or("the checksum of what it stands on does not fit")?;
        let [VERSION, is_taken_over @ (0 | 1), rest @ ..] = rest else {
            return Err("what it stands on has a format that is not known here".to_owned());
        };
        let id = |bytes: &mut &[u8]| {
            let (term, rest) = bytes.split_first_chunk()?;
            let (index, rest) = rest.split_first_chunk()?;
            *bytes = rest;
            let (term, index) = (u64::from_be_bytes(*term), u64::from_be_bytes(*index));
            Some(EntryId { term, index })
        };
        let is_taken_over = *is_taken_over == 1;
        let (mut rest, short) = (rest, "what it stands on is cut off");
        let last = id(&mut rest).ok_or(short)?;
        if rest.is_empty() {
            return Ok(Self { last, membership: None, is_taken_over });
        }
        let since = id(&mut rest).ok_or(short)?;
        let membership = Some(Membership { id: since, bytes: rest.to_vec() });
        Ok(Self { last, membership, is_taken_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_checkpoint_stands_on_is_read_back_and_a_flipped_bit_is_noticed() {
        let (last, id) = (EntryId { term: 3, index: 70 }, EntryId { term: 2, index: 9 });
        for bytes in [None, Some(Vec::new()), Some(b"1, 2 and 3".to_vec())] {
            let membership = bytes.map(|bytes| Membership { id, bytes });
            let base = Base { last, is_taken_over: membership.is_some(), membership };
            let bytes = base.to_bytes();
            assert_eq!(Base::from_bytes(&bytes), Ok(base));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Base::from_bytes(&damaged).is_err(), "bit {bit}");
            }
        }
    }
}
