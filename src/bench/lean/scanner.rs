//! WebSocket messages (RFC 6455, section 5) and the frames in them, found in the bytes of a stream
//! however they are cut.

use tidewire_client::protocol::frame::DeliverView;
use tidewire_client::protocol::wire::{Broken, value_len};

/// A binary message, whole.
pub(super) const BINARY: u8 = 0x82;
/// A close frame.
const CLOSE: u8 = 0x88;
/// A ping.
const PING: u8 = 0x89;
/// A pong.
pub(super) const PONG: u8 = 0x8a;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A DELIVER.
    Deliver(DeliverView<'a>),
    /// Another frame, whole.
    Frame(&'a [u8]),
    /// A ping of the WebSocket, with what its answer is to hold.
    Ping(&'a [u8]),
    /// The server closes: the status, if it gives one, and its reason.
    Close(Option<u16>, &'a [u8]),
}

/// Where in the stream of messages the next byte stands.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes of the open message that are not scanned yet; 0 between messages.
    message_left: usize,
}

impl Scanner {
    /// Passes on what is whole in `bytes` and returns how many bytes that was. The rest is to be
    /// shown again, with more behind it.
    ///
    /// # Errors
    /// What no Tidewire server sends: text, a message in fragments, a mask, a broken frame.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        mut found: impl FnMut(Found<'_>),
    ) -> Result<usize, String> {
        let mut rest = bytes;
        loop {
            let before = rest.len();
            rest = if self.message_left == 0 {
                self.begin_message(rest, &mut found)?
            } else {
                self.within_message(rest, &mut found)?
            };
            if rest.len() == before {
                return Ok(bytes.len() - before);
            }
        }
    }

    /// Takes the head of a message, or a control frame as a whole, if it is there.
    fn begin_message<'a>(
        &mut self,
        bytes: &'a [u8],
        found: &mut impl FnMut(Found<'_>),
    ) -> Result<&'a [u8], String> {
        let Some((kind, len, payload)) = message_head(bytes)? else { return Ok(bytes) };
        match kind {
            BINARY => {
                self.message_left = len;
                Ok(payload)
            }
            PING | PONG | CLOSE => {
                let Some((control, behind)) = payload.split_at_checked(len) else {
                    return Ok(bytes);
                };
                match (kind, control.split_first_chunk()) {
                    (PING, _) => found(Found::Ping(control)),
                    (CLOSE, Some((status, reason))) => {
                        found(Found::Close(Some(u16::from_be_bytes(*status)), reason));
                    }
                    (CLOSE, None) => found(Found::Close(None, &[])),
                    _ => {}
                }
                Ok(behind)
            }
            other => {
                Err(format!("the server sent a WebSocket frame that begins with {other:#04x}"))
            }
        }
    }

    /// Takes the frames of the open message that are there.
    fn within_message<'a>(
        &mut self,
        bytes: &'a [u8],
        found: &mut impl FnMut(Found<'_>),
    ) -> Result<&'a [u8], String> {
        let (message, behind) = bytes.split_at_checked(self.message_left).unwrap_or((bytes, &[]));
        let is_whole = message.len() == self.message_left;
        let mut rest = message;
        while !rest.is_empty() {
            match next_frame(rest) {
                Ok((frame, after)) => {
                    found(frame);
                    rest = after;
                }
                Err(Broken::Truncated) if !is_whole => break,
                Err(broken) => return Err(format!("the server sent a broken frame: {broken}")),
            }
        }
        self.message_left -= message.len() - rest.len();
        // Either the message is done, or what is left of it ends where the bytes end.
        Ok(if rest.is_empty() && is_whole { behind } else { rest })
    }
}

fn next_frame(message: &[u8]) -> Result<(Found<'_>, &[u8]), Broken> {
    if let Some((deliver, rest)) = DeliverView::split_first(message)? {
        return Ok((Found::Deliver(deliver), rest));
    }
    let (frame, rest) = message.split_at_checked(value_len(message)?).ok_or(Broken::Truncated)?;
    Ok((Found::Frame(frame), rest))
}

/// The first byte, the payload's length, and the bytes behind the head.
type Head<'a> = (u8, usize, &'a [u8]);

/// The head of a message; `None`: not there yet.
fn message_head(bytes: &[u8]) -> Result<Option<Head<'_>>, String> {
    let Some((&[kind, len], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let (len, rest) = match len {
        0..=125 => (Some(u64::from(len)), rest),
        126 => match rest.split_first_chunk() {
            Some((len, rest)) => (Some(u64::from(u16::from_be_bytes(*len))), rest),
            None => (None, rest),
        },
        127 => match rest.split_first_chunk() {
            Some((len, rest)) => (Some(u64::from_be_bytes(*len)), rest),
            None => (None, rest),
        },
        128.. => return Err("the server sent a masked WebSocket frame".to_owned()),
    };
    let Some(len) = len else { return Ok(None) };
    let len = usize::try_from(len)
        .map_err(|error| format!("the server announced a message of {len} bytes: {error}"))?;
    Ok(Some((kind, len, rest)))
}

#[cfg(test)]
mod tests;
