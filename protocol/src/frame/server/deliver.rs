//! DELIVER without a copy, for readers that take very many and decode few.

use crate::frame::number;
use crate::wire::{self, Broken};

/// A DELIVER, borrowed from the message that holds it. The topic is not checked to be a name, and
/// the body not to be records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverView<'a> {
    /// The subscription.
    pub sub: u32,
    /// The topic's epoch.
    pub epoch: u64,
    /// First offset that it covers.
    pub from: u64,
    /// The offset after the last one that it covers.
    pub next: u64,
    /// Whether the body holds every record of the range: no filter, no conflation.
    pub is_dense: bool,
    /// The records' encodings, one after the other.
    pub body: &'a [u8],
}

impl<'a> DeliverView<'a> {
    /// Splits a DELIVER off a message of one or more frames. `None`: the first frame is another
    /// one, or has not the form of a DELIVER.
    ///
    /// # Errors
    /// `Truncated` when the message is cut off within the frame, and what else breaks an envelope.
    pub fn split_first(message: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Broken> {
        let mut rest = message;
        let Some(mut fields) = array_len(&mut rest)? else { return Ok(None) };
        let Some(kind) = uint(&mut rest, &mut fields)? else { return Ok(None) };
        if kind != number::DELIVER {
            return Ok(None);
        }
        let sub = uint(&mut rest, &mut fields)?.and_then(|sub| u32::try_from(sub).ok());
        skip(&mut rest, &mut fields)?;
        let epoch = uint(&mut rest, &mut fields)?;
        let from = uint(&mut rest, &mut fields)?;
        let next = uint(&mut rest, &mut fields)?;
        let _time_ms = uint(&mut rest, &mut fields)?;
        skip(&mut rest, &mut fields)?;
        let offsets = skip(&mut rest, &mut fields)?;
        let body = wire::read_bin(skip(&mut rest, &mut fields)?);
        while fields > 0 {
            skip(&mut rest, &mut fields)?;
        }
        let (Some(sub), Some(epoch), Some(from), Some(next), Some(body)) =
            (sub, epoch, from, next, body)
        else {
            return Ok(None);
        };
        let is_dense = matches!(offsets, [] | [0xc0]);
        Ok(Some((Self { sub, epoch, from, next, is_dense, body }, rest)))
    }
}

/// The length of an array; `None` if the value is none.
fn array_len(rest: &mut &[u8]) -> Result<Option<u32>, Broken> {
    let first = *rest.first().ok_or(Broken::Truncated)?;
    if !matches!(first, 0x90..=0x9f | 0xdc | 0xdd) {
        return Ok(None);
    }
    match rmp::decode::read_array_len(rest) {
        Ok(len) => Ok(Some(len)),
        Err(_cut) => Err(Broken::Truncated),
    }
}

/// The next field, if there is one and it is an unsigned integer.
fn uint(rest: &mut &[u8], fields: &mut u32) -> Result<Option<u64>, Broken> {
    let mut value = skip(rest, fields)?;
    Ok(rmp::decode::read_int(&mut value).ok())
}

/// The next field's bytes; empty when there is none.
fn skip<'a>(rest: &mut &'a [u8], fields: &mut u32) -> Result<&'a [u8], Broken> {
    let Some(left) = fields.checked_sub(1) else { return Ok(&[]) };
    *fields = left;
    let len = wire::value_len(rest)?;
    let (value, behind) = rest.split_at_checked(len).ok_or(Broken::Truncated)?;
    *rest = behind;
    Ok(value)
}
