//! The bare write loop: frames of a fixed length, and nothing else.

use super::{Item, Session, Step};

/// Bytes of a frame: a payload of 128 bytes and 12 around it, as the lean protocols have.
pub(crate) const FRAME_BYTES: usize = 140;
/// Bytes of a frame that are payload.
const PAYLOAD_BYTES: usize = 128;
/// What the writer sends when it has taken the connection.
pub(crate) const GREETING: u8 = b'!';

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    greeted: bool,
}

impl Session for Floor {
    fn opening(&self) -> Vec<u8> {
        Vec::new()
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        if !self.greeted {
            let Some(greeting) = bytes.first() else { return Ok(None) };
            self.greeted = *greeting == GREETING;
            let wrong = || format!("the write loop greets with byte {greeting}");
            return self.greeted.then_some(Some((1, Item::Ready))).ok_or_else(wrong);
        }
        let Some(frame) = bytes.get(..FRAME_BYTES) else { return Ok(None) };
        Ok(frame.get(..PAYLOAD_BYTES).map(|payload| (FRAME_BYTES, Item::Message(payload))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hear, hear_split};
    use super::*;

    #[test]
    fn frames_are_counted_however_the_bytes_are_split() {
        let mut stream = vec![GREETING];
        stream.resize(1 + 3 * FRAME_BYTES, b'x');
        let heard = hear_split(Floor::default, &stream);
        assert_eq!((heard.ready, heard.messages.len()), (1, 3));
        assert_eq!(heard.messages[0].len(), PAYLOAD_BYTES);
    }

    #[test]
    fn another_greeting_is_an_error() {
        assert!(hear(&mut Floor::default(), b"?", 1).is_err());
    }
}
