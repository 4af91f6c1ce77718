//! The records of an exported file, one after the other.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tidewire_client::protocol::record::{Records, validate};
use tidewire_client::protocol::wire::{Broken, value_len};
use tidewire_client::{BodyBuilder, Record};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::cli::CliError;
use crate::cli::lines::Lines;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest record: one of that length is over any server's limit anyway.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One record in the protocol's encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded(Bytes);

impl Encoded {
    /// The record; there is one, because it was checked when it was read.
    pub(super) fn record(&self) -> Option<Record<'_>> {
        Records::of(&self.0).next()
    }
}

/// Where records come from.
pub(super) enum Source<R> {
    Json { lines: Lines<R>, number: u64, open: bool },
    Raw { reader: R, buffer: BytesMut, number: u64, open: bool },
}

impl<R: AsyncRead + Unpin> Source<R> {
    pub(super) fn of(reader: R, raw: bool) -> Self {
        match raw {
            true => Self::Raw { reader, buffer: BytesMut::new(), number: 0, open: true },
            false => Self::Json { lines: Lines::new(reader), number: 0, open: true },
        }
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read, or a record is broken: which one, and what is wrong.
    pub(super) async fn next(&mut self) -> Result<Option<Encoded>, CliError> {
        match self {
            Self::Json { lines, number, open } => loop {
                if let Some(line) = lines.pop() {
                    *number += 1;
                    if line.is_empty() {
                        continue;
                    }
                    let record = parse(&line);
                    return record.map(Some).map_err(|what| broken("line", *number, &what));
                }
                if !*open {
                    return Ok(None);
                }
                *open = lines.read().await?;
            },
            Self::Raw { reader, buffer, number, open } => loop {
                match split_record(buffer) {
                    Ok(Some(record)) => {
                        *number += 1;
                        return Ok(Some(record));
                    }
                    Ok(None) if !*open && buffer.is_empty() => return Ok(None),
                    Ok(None) if !*open => {
                        return Err(broken("record", *number + 1, "the file ends within it"));
                    }
                    Ok(None) => {
                        buffer.reserve(CHUNK_BYTES);
                        let read = reader.read_buf(buffer).await;
                        let read = read.map_err(|error| {
                            CliError::usage(format!("the input cannot be read: {error}"))
                        })?;
                        *open = read > 0;
                    }
                    Err(what) => return Err(broken("record", *number + 1, &what)),
                }
            },
        }
    }
}

fn broken(unit: &str, number: u64, what: &str) -> CliError {
    CliError::usage(format!("{unit} {number} is no record: {what}"))
}

/// Takes a whole record from the front, if there is one.
fn split_record(buffer: &mut BytesMut) -> Result<Option<Encoded>, String> {
    let len = match value_len(buffer) {
        Ok(len) => len,
        Err(Broken::Truncated) if buffer.len() <= RECORD_BYTES_MAX => return Ok(None),
        Err(broken) => return Err(broken.to_string()),
    };
    let record = buffer.split_to(len).freeze();
    validate(&record).map_err(|refusal| refusal.message)?;
    Ok(Some(Encoded(record)))
}

/// A line as `export` writes it; what else stands there is passed over.
#[derive(Deserialize)]
struct Line {
    key: Option<String>,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Option<String>>,
    payload_base64: Option<String>,
}

/// `null` and absent are not the same.
fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn parse(line: &[u8]) -> Result<Encoded, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let payload = match (line.payload, line.payload_base64) {
        (Some(payload), None) => payload.map(String::into_bytes),
        (None, Some(text)) => {
            Some(STANDARD.decode(text).map_err(|error| format!("payload_base64: {error}"))?)
        }
        (None, None) => {
            return Err("it has neither 'payload' nor 'payload_base64' (null deletes a key)".into());
        }
        (Some(_), Some(_)) => return Err("it has 'payload' and 'payload_base64'".into()),
    };
    let headers = line.headers.unwrap_or_default();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut body = BodyBuilder::new();
    body.push(line.key.as_deref(), &headers, payload.as_deref());
    let record = body.finish();
    validate(&record).map_err(|refusal| refusal.message)?;
    Ok(Encoded(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], raw: bool) -> Result<Vec<Encoded>, String> {
        let mut source = Source::of(input, raw);
        let mut records = Vec::new();
        while let Some(record) = source.next().await.map_err(|error| error.message)? {
            records.push(record);
        }
        Ok(records)
    }

    #[tokio::test]
    async fn lines_become_records_and_a_broken_one_is_named() {
        let lines = br#"{"key": "k", "headers": {"a": "b"}, "payload": "hi", "offset": 7}

{"key": "k", "payload": null}
{"payload_base64": "/w=="}
"#;
        let records = all(lines, false).await.unwrap();
        let shown: Vec<_> = records
            .iter()
            .filter_map(Encoded::record)
            .map(|record| (record.key, record.header("a"), record.payload))
            .collect();
        assert_eq!(shown[0], (Some("k"), Some("b"), Some(&b"hi"[..])));
        assert_eq!(shown[1], (Some("k"), None, None));
        assert_eq!(shown[2], (None, None, Some(&[0xff][..])));
        for (bad, what) in [
            (&b"{\"payload\": \"x\"}\n{"[..], "line 2"),
            (b"{}", "neither"),
            (b"{\"payload\": \"a\", \"payload_base64\": \"\"}", "and"),
            (b"{\"payload_base64\": \"?\"}", "payload_base64"),
            (b"{\"key\": \"\", \"payload\": \"a\"}", "key"),
            (b"[1]", "line 1"),
        ] {
            let error = all(bad, false).await.unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }

    #[tokio::test]
    async fn raw_records_are_split_wherever_the_reads_end() {
        let mut body = BodyBuilder::new();
        for number in 0..3_000 {
            body.push(Some(&format!("{number}")), &[], Some(&vec![7; number % 300]));
        }
        let body = body.finish();
        assert_eq!(all(&body, true).await.unwrap().len(), 3_000);
        let cut = all(&body[..body.len() - 1], true).await.unwrap_err();
        assert!(cut.contains("record 3000") && cut.contains("ends within"), "{cut}");
        let other = all(b"\x01\x02", true).await.unwrap_err();
        assert!(other.contains("record 1 is no record"), "{other}");
    }
}
