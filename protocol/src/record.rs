//! Records and the bodies they travel in.
//!
//! A body is the encodings of its records one after the other. It is checked once, at the edge,
//! and the same bytes are kept, stored and delivered.

use bytes::Bytes;

use crate::error::{ErrorCode, Refusal};
use crate::wire;

/// Most records in one body.
pub const RECORDS_MAX: usize = 10_000;
/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Most headers of one record.
pub const HEADERS_MAX: u32 = 32;
/// Largest encoded headers in bytes.
pub const HEADERS_BYTES_MAX: usize = 4096;
/// Longest name of a header in bytes.
pub const HEADER_NAME_BYTES_MAX: usize = 128;

/// One record, borrowed from its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The key, for maps, partitions and conflation.
    pub key: Option<&'a str>,
    /// The encoded headers: a map of strings to strings.
    headers: Option<&'a [u8]>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The whole encoding.
    pub encoded: &'a [u8],
}

impl<'a> Record<'a> {
    /// The headers, in their order.
    pub fn headers(&self) -> Headers<'a> {
        let mut rest = self.headers.unwrap_or(&[0x80]);
        let left = rmp::decode::read_map_len(&mut rest).unwrap_or(0);
        Headers { rest, left }
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// Iterates over a record's headers.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (name, rest) = rmp::decode::read_str_from_slice(self.rest).ok()?;
        let (value, rest) = rmp::decode::read_str_from_slice(rest).ok()?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Iterates over the records of a body. Stops at the first that is not valid; use [`validate`]
/// once at the edge and it never is.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// The records of this body.
    #[must_use]
    pub fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (record, rest) = read(self.rest).ok()?;
        self.rest = rest;
        Some(record)
    }
}

/// Checks a body and counts its records.
///
/// # Errors
/// `malformed`, `record_too_large` or `invalid_argument`, naming the record and the rule.
pub fn validate(body: &[u8]) -> Result<usize, Refusal> {
    let mut rest = body;
    let mut count = 0_usize;
    while !rest.is_empty() {
        (_, rest) = read(rest).map_err(|refusal| Refusal {
            message: format!("record {count} of the body: {}", refusal.message),
            ..refusal
        })?;
        count += 1;
        if count > RECORDS_MAX {
            return Err(Refusal::new(
                ErrorCode::InvalidArgument,
                format!("a body holds at most {RECORDS_MAX} records: split it"),
            ));
        }
    }
    if count == 0 {
        return Err(Refusal::new(ErrorCode::InvalidArgument, "a body holds at least one record"));
    }
    Ok(count)
}

fn read(body: &[u8]) -> Result<(Record<'_>, &[u8]), Refusal> {
    let mut rest = body;
    match rmp::decode::read_array_len(&mut rest) {
        Ok(3) => {}
        _ => return Err(wire::malformed("a record is an array [key, headers, payload]")),
    }
    let (key, rest) = next_value(rest)?;
    let (headers, rest) = next_value(rest)?;
    let (payload, rest) = next_value(rest)?;
    let encoded = body.get(..body.len() - rest.len()).unwrap_or_default();
    let record = Record {
        key: key.map(read_key).transpose()?,
        headers: headers.map(check_headers).transpose()?,
        payload: payload.map(read_payload).transpose()?,
        encoded,
    };
    Ok((record, rest))
}

/// The next value's bytes (`None` for nil) and what follows it.
fn next_value(bytes: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Refusal> {
    let len = wire::value_len(bytes).map_err(|broken| wire::malformed(&broken.to_string()))?;
    let (value, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
    Ok(((value != [0xc0]).then_some(value), rest))
}

fn read_key(raw: &[u8]) -> Result<&str, Refusal> {
    let key = wire::read_str(raw).ok_or_else(|| wire::malformed("the key is a string or nil"))?;
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let rule = format!("a key has 1 to {KEY_BYTES_MAX} bytes, this one {}", key.len());
        return Err(Refusal::new(ErrorCode::RecordTooLarge, rule));
    }
    Ok(key)
}

fn read_payload(raw: &[u8]) -> Result<&[u8], Refusal> {
    wire::read_bin(raw).ok_or_else(|| wire::malformed("the payload is binary or nil"))
}

fn check_headers(raw: &[u8]) -> Result<&[u8], Refusal> {
    let mut rest = raw;
    let count = rmp::decode::read_map_len(&mut rest)
        .map_err(|error| wire::malformed(&format!("headers are a map or nil: {error}")))?;
    if count > HEADERS_MAX || raw.len() > HEADERS_BYTES_MAX {
        let rule = format!("at most {HEADERS_MAX} headers in {HEADERS_BYTES_MAX} bytes");
        return Err(Refusal::new(ErrorCode::RecordTooLarge, rule));
    }
    let headers = Headers { rest, left: count };
    let mut read = 0;
    for (name, _) in headers {
        if name.is_empty() || name.len() > HEADER_NAME_BYTES_MAX {
            let rule = format!("a header's name has 1 to {HEADER_NAME_BYTES_MAX} bytes");
            return Err(Refusal::new(ErrorCode::RecordTooLarge, rule));
        }
        read += 1;
    }
    if read != count {
        return Err(wire::malformed("headers are strings"));
    }
    Ok(raw)
}

/// Builds a body record by record.
#[derive(Clone, Debug, Default)]
pub struct BodyBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl BodyBuilder {
    /// An empty body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one record. A `payload` of `None` is a tombstone.
    pub fn push(
        &mut self,
        key: Option<&str>,
        headers: &[(&str, &str)],
        payload: Option<&[u8]>,
    ) -> &mut Self {
        let out = &mut self.bytes;
        wire::put_array(out, 3);
        wire::put_opt(out, key, wire::put_str);
        if headers.is_empty() {
            wire::put_nil(out);
        } else {
            drop(rmp::encode::write_map_len(out, u32::try_from(headers.len()).unwrap_or(u32::MAX)));
            for (name, value) in headers {
                wire::put_str(out, name);
                wire::put_str(out, value);
            }
        }
        wire::put_opt(out, payload, wire::put_bin);
        self.count += 1;
        self
    }

    /// Appends a record as it is encoded.
    pub fn push_encoded(&mut self, record: &Record<'_>) -> &mut Self {
        self.bytes.extend_from_slice(record.encoded);
        self.count += 1;
        self
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// The body.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// A body of one record with nothing but a payload.
#[must_use]
pub fn payload_body(payload: &[u8]) -> Bytes {
    let mut body = BodyBuilder::new();
    body.push(None, &[], Some(payload));
    body.finish()
}
