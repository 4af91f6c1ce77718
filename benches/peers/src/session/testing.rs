//! Feeding a session in pieces, as a socket does.

use super::{Item, Session, feed};

/// What a session made of a stream of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) replies: Vec<(u64, u64)>,
    pub(crate) updates: Vec<u64>,
    pub(crate) answers: Vec<Vec<u8>>,
    pub(crate) ready: usize,
}

impl Heard {
    fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Message(payload) => self.messages.push(payload.to_vec()),
            Item::Reply { id, version } => self.replies.push((id, version)),
            Item::Update(version) => self.updates.push(version),
            Item::Answer(bytes) => self.answers.push(bytes),
            Item::Ready => self.ready += 1,
            Item::Nothing => {}
        }
    }
}

/// Feeds `bytes` in pieces of `size`, keeping what a piece leaves over.
pub(crate) fn hear<S: Session>(
    session: &mut S,
    bytes: &[u8],
    size: usize,
) -> Result<Heard, String> {
    let mut heard = Heard::default();
    let mut kept = Vec::new();
    for piece in bytes.chunks(size) {
        kept.extend_from_slice(piece);
        let taken = feed(session, &kept, |item| heard.take(item))?;
        kept.drain(..taken);
    }
    assert!(kept.is_empty(), "{} bytes are left over: {kept:?}", kept.len());
    Ok(heard)
}

/// Feeds `bytes` whole, byte by byte and in pieces of 7; all must be heard alike.
pub(crate) fn hear_split<S: Session>(make: impl Fn() -> S, bytes: &[u8]) -> Heard {
    let whole = hear(&mut make(), bytes, bytes.len()).unwrap();
    for size in [1, 7] {
        assert_eq!(hear(&mut make(), bytes, size).unwrap(), whole, "in pieces of {size}");
    }
    whole
}
