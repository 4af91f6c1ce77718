//! Frames: length, checksum, kind, payload.

use super::error::TransferError;

/// No frame is longer, with its kind.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Bytes before the payload: length u32 (of kind and payload), CRC-32C u32 (of the same), kind u8.
pub(super) const HEAD_BYTES: usize = 4 + 4 + 1;

/// What stands before a payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) kind: u8,
    pub(super) payload_bytes: usize,
    checksum: u32,
}

/// A frame of this kind.
///
/// # Errors
/// When the payload is too long.
pub(super) fn encode(kind: u8, payload: &[u8]) -> Result<Vec<u8>, TransferError> {
    let bytes = payload.len() + 1;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
    let length =
        length.ok_or_else(|| TransferError::malformed(format!("a frame has {bytes} bytes")))?;
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&checksum(kind, payload).to_be_bytes());
    frame.push(kind);
    frame.extend_from_slice(payload);
    Ok(frame)
}

impl Before {
    /// # Errors
    /// When no frame is so long.
    pub(super) fn decode(
        [l0, l1, l2, l3, c0, c1, c2, c3, kind]: [u8; HEAD_BYTES],
    ) -> Result<Self, TransferError> {
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            let what = format!("a frame of {length} bytes, and {FRAME_BYTES_MAX} may be");
            return Err(TransferError::malformed(what));
        }
        let checksum = u32::from_be_bytes([c0, c1, c2, c3]);
        Ok(Self { kind, payload_bytes: length - 1, checksum })
    }

    /// # Errors
    /// When it is not the payload that was sent.
    pub(super) fn check(&self, payload: &[u8]) -> Result<(), TransferError> {
        match checksum(self.kind, payload) == self.checksum {
            true => Ok(()),
            false => Err(TransferError::malformed("a checksum is wrong")),
        }
    }
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
}
