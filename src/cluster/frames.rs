//! Frames on the streams between nodes: a length, big-endian, and so many bytes.

use std::io;

use quinn::{ReadExactError, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame that is sent or taken.
pub(crate) const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A value as a frame. Fields go by their names, so that newer nodes may add some.
///
/// # Errors
/// When it cannot be encoded, or is too long.
pub(crate) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    let mut serializer = rmp_serde::Serializer::new(&mut frame).with_struct_map();
    value.serialize(&mut serializer).map_err(io::Error::other)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        let what = format!("a frame of {length} bytes, and {FRAME_BYTES_MAX} may be sent");
        return Err(io::Error::other(what));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    if let Some(head) = frame.get_mut(..4) {
        head.copy_from_slice(&length.to_be_bytes());
    }
    Ok(frame)
}

/// Sends a value.
///
/// # Errors
/// When it cannot be encoded, or the stream has ended.
pub(crate) async fn send(stream: &mut SendStream, value: &impl Serialize) -> io::Result<()> {
    stream.write_all(&encode(value)?).await.map_err(io::Error::other)
}

/// The next value; none when the stream has ended.
///
/// # Errors
/// When the stream was broken off, or holds something else.
pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut RecvStream) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match stream.read_exact(&mut head).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(io::Error::other(error)),
    }
    let length = usize::try_from(u32::from_be_bytes(head)).map_err(io::Error::other)?;
    if length > FRAME_BYTES_MAX {
        let what = format!("a frame of {length} bytes, and {FRAME_BYTES_MAX} are taken");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.map_err(io::Error::other)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    rmp_serde::from_slice(&bytes).map(Some).map_err(invalid)
}
