//! Reading and writing `MessagePack` values without recursion.

use rmp::Marker;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, Refusal};

/// Deepest nesting inside one frame.
pub const DEPTH_MAX: usize = 16;

/// Why the bytes are not one `MessagePack` value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The value goes on beyond the bytes.
    #[error("the value is cut off")]
    Truncated,
    /// A marker that `MessagePack` does not define.
    #[error("byte 0xc1 is not MessagePack")]
    Reserved,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than 16 levels")]
    TooDeep,
}

/// Length in bytes of the first value in `bytes`, found without recursion or allocation.
///
/// # Errors
/// When the bytes do not begin with one whole value of at most [`DEPTH_MAX`] levels.
pub fn value_len(bytes: &[u8]) -> Result<usize, Broken> {
    match head(bytes)? {
        (size, 0) if size <= bytes.len() => Ok(size),
        (_, 0) => Err(Broken::Truncated),
        _ => nested_len(bytes),
    }
}

/// Length of an array or map.
fn nested_len(bytes: &[u8]) -> Result<usize, Broken> {
    let mut at = 0_usize;
    let mut open = [0_u64; DEPTH_MAX];
    let mut depth = 0_usize;
    loop {
        let (size, children) = head(bytes.get(at..).unwrap_or_default())?;
        at = at.checked_add(size).filter(|end| *end <= bytes.len()).ok_or(Broken::Truncated)?;
        if children > 0 {
            *open.get_mut(depth).ok_or(Broken::TooDeep)? = children;
            depth += 1;
            continue;
        }
        // A leaf is complete: close every collection that it completes.
        loop {
            let Some(left) = depth.checked_sub(1).and_then(|top| open.get_mut(top)) else {
                return Ok(at);
            };
            *left -= 1;
            if *left > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

/// Bytes of a value's head (with its content, for leaves) and the number of values inside it.
#[inline]
fn head(bytes: &[u8]) -> Result<(usize, u64), Broken> {
    let first = *bytes.first().ok_or(Broken::Truncated)?;
    match SHAPES.get(usize::from(first)) {
        Some(Shape::Fixed(size, children)) => Ok((usize::from(*size), u64::from(*children))),
        Some(Shape::Counted(width, what)) => counted_head(bytes, usize::from(*width), *what),
        Some(Shape::Reserved) | None => Err(Broken::Reserved),
    }
}

/// The head of a value whose length, or number of parts, stands behind its marker.
fn counted_head(bytes: &[u8], width: usize, what: Counted) -> Result<(usize, u64), Broken> {
    let digits = bytes.get(1..=width).ok_or(Broken::Truncated)?;
    let number = digits.iter().fold(0_u64, |number, digit| number << 8 | u64::from(*digit));
    let leaf = |extra: usize| {
        let content = usize::try_from(number).unwrap_or(usize::MAX);
        (content.saturating_add(1 + width + extra), 0)
    };
    Ok(match what {
        Counted::Bytes => leaf(0),
        Counted::Extension => leaf(1),
        Counted::Items => (1 + width, number),
        Counted::Pairs => (1 + width, 2 * number),
    })
}

/// What a marker says of its value.
#[derive(Clone, Copy)]
enum Shape {
    /// Bytes of the head (with the content, for leaves), and values inside.
    Fixed(u8, u8),
    /// A number of so many bytes follows, and what it counts.
    Counted(u8, Counted),
    /// Not a marker.
    Reserved,
}

/// What the number behind a marker counts.
#[derive(Clone, Copy)]
enum Counted {
    Bytes,
    /// Bytes, behind one byte for the type.
    Extension,
    Items,
    Pairs,
}

/// By marker: a value's length is asked for many times per frame.
static SHAPES: [Shape; 256] = shapes();

#[expect(clippy::indexing_slicing, reason = "it is run by the compiler, which finds a wrong index")]
const fn shapes() -> [Shape; 256] {
    let mut shapes = [Shape::Reserved; 256];
    let mut marker: u8 = 0;
    loop {
        shapes[marker as usize] = shape(Marker::from_u8(marker));
        if marker == u8::MAX {
            return shapes;
        }
        marker += 1;
    }
}

const fn shape(marker: Marker) -> Shape {
    match marker {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::True | Marker::False => {
            Shape::Fixed(1, 0)
        }
        Marker::U8 | Marker::I8 => Shape::Fixed(2, 0),
        Marker::U16 | Marker::I16 | Marker::FixExt1 => Shape::Fixed(3, 0),
        Marker::FixExt2 => Shape::Fixed(4, 0),
        Marker::U32 | Marker::I32 | Marker::F32 => Shape::Fixed(5, 0),
        Marker::FixExt4 => Shape::Fixed(6, 0),
        Marker::U64 | Marker::I64 | Marker::F64 => Shape::Fixed(9, 0),
        Marker::FixExt8 => Shape::Fixed(10, 0),
        Marker::FixExt16 => Shape::Fixed(18, 0),
        Marker::FixStr(len) => Shape::Fixed(1 + len, 0),
        Marker::Str8 | Marker::Bin8 => Shape::Counted(1, Counted::Bytes),
        Marker::Str16 | Marker::Bin16 => Shape::Counted(2, Counted::Bytes),
        Marker::Str32 | Marker::Bin32 => Shape::Counted(4, Counted::Bytes),
        Marker::Ext8 => Shape::Counted(1, Counted::Extension),
        Marker::Ext16 => Shape::Counted(2, Counted::Extension),
        Marker::Ext32 => Shape::Counted(4, Counted::Extension),
        Marker::FixArray(len) => Shape::Fixed(1, len),
        Marker::Array16 => Shape::Counted(2, Counted::Items),
        Marker::Array32 => Shape::Counted(4, Counted::Items),
        Marker::FixMap(len) => Shape::Fixed(1, 2 * len),
        Marker::Map16 => Shape::Counted(2, Counted::Pairs),
        Marker::Map32 => Shape::Counted(4, Counted::Pairs),
        Marker::Reserved => Shape::Reserved,
    }
}

/// A structured value, from one whole `MessagePack` value with nothing behind it.
///
/// # Errors
/// When the bytes are not exactly one such value.
pub fn from_slice<T: DeserializeOwned>(raw: &[u8]) -> Result<T, Refusal> {
    match value_len(raw) {
        Ok(len) if len == raw.len() => {}
        Ok(_) => return Err(malformed("bytes behind the value")),
        Err(broken) => return Err(malformed(&broken.to_string())),
    }
    rmp_serde::from_slice(raw).map_err(|error| malformed(&error.to_string()))
}

/// Appends a structured value, maps by name.
pub fn put_value<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail, and our values hold nothing that cannot be encoded; should
    // that ever break, a nil is a value that every reader refuses with a clear message.
    let start = out.len();
    if rmp_serde::encode::write_named(out, value).is_err() {
        out.truncate(start);
        put_nil(out);
    }
}

pub(crate) fn malformed(message: &str) -> Refusal {
    Refusal::new(ErrorCode::Malformed, message)
}

/// The text of a value that is one string.
pub(crate) fn read_str(raw: &[u8]) -> Option<&str> {
    match rmp::decode::read_str_from_slice(raw) {
        Ok((text, [])) => Some(text),
        _ => None,
    }
}

/// The content of a value that is one binary.
pub(crate) fn read_bin(raw: &[u8]) -> Option<&[u8]> {
    let mut rest = raw;
    let len = rmp::decode::read_bin_len(&mut rest).ok()?;
    (rest.len() == usize::try_from(len).ok()?).then_some(rest)
}

// Writing to a Vec cannot fail, so the results below carry nothing.

/// Appends the head of an array.
pub fn put_array(out: &mut Vec<u8>, len: usize) {
    drop(rmp::encode::write_array_len(out, u32::try_from(len).unwrap_or(u32::MAX)));
}

pub(crate) fn put_uint(out: &mut Vec<u8>, number: u64) {
    drop(rmp::encode::write_uint(out, number));
}

pub(crate) fn put_int(out: &mut Vec<u8>, number: i64) {
    drop(rmp::encode::write_sint(out, number));
}

pub(crate) fn put_bool(out: &mut Vec<u8>, flag: bool) {
    out.push(if flag { Marker::True } else { Marker::False }.to_u8());
}

pub(crate) fn put_nil(out: &mut Vec<u8>) {
    out.push(Marker::Null.to_u8());
}

pub(crate) fn put_str(out: &mut Vec<u8>, text: &str) {
    drop(rmp::encode::write_str(out, text));
}

/// Appends binary.
pub fn put_bin(out: &mut Vec<u8>, content: &[u8]) {
    put_bin_len(out, content.len());
    out.extend_from_slice(content);
}

pub(crate) fn put_bin_len(out: &mut Vec<u8>, len: usize) {
    drop(rmp::encode::write_bin_len(out, u32::try_from(len).unwrap_or(u32::MAX)));
}

pub(crate) fn put_opt<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => put(out, value),
        None => put_nil(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_bombs_and_deep_nesting_are_refused_at_once() {
        assert_eq!(value_len(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Err(Broken::Truncated));
        assert_eq!(value_len(&[0xdf, 0xff, 0xff, 0xff, 0xff, 1]), Err(Broken::Truncated));
        assert_eq!(value_len(&[0xc6, 0xff, 0xff, 0xff, 0xff, 1]), Err(Broken::Truncated));
        assert_eq!(value_len(&[0x91; 200_000]), Err(Broken::TooDeep));
        assert_eq!(value_len(&[0xc1]), Err(Broken::Reserved));
        assert_eq!(value_len(&[]), Err(Broken::Truncated));
    }

    #[test]
    fn a_value_ends_where_its_last_part_ends() {
        assert_eq!(value_len(&[0x92, 1, 0x91, 0xc0, 7]), Ok(4));
        assert_eq!(value_len(&[0x90, 1]), Ok(1));
        assert_eq!(value_len(&[0x81, 0xa1, b'k', 0x90, 1]), Ok(4));
        let mut deep = vec![0x91; DEPTH_MAX];
        deep.push(0xc0);
        assert_eq!(value_len(&deep), Ok(DEPTH_MAX + 1));
    }
}
