//! Records in JSON: what is published, and what is read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tidewire_protocol::Refusal;
use tidewire_protocol::record::{BodyBuilder, RECORDS_MAX, Record, Records};

use super::object::Object;
use super::problem::invalid;

/// Header of a record that says what its payload is.
pub(super) const CONTENT_TYPE: &str = "content-type";
/// What [`CONTENT_TYPE`] is of a payload that was given as JSON.
pub(super) const JSON: &str = "application/json";

/// A record to publish: exactly one of `json`, `text`, `base64` and `tombstone`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRecord {
    /// 1 to 256 bytes.
    #[serde(default)]
    key: Option<String>,
    /// Names and values.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The payload as JSON, byte for byte; the header `content-type` says so unless there is one.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<serde_json::Value>")]
    json: Option<Box<RawValue>>,
    /// The payload as text.
    #[serde(default)]
    text: Option<String>,
    /// The payload in Base64.
    #[serde(default)]
    base64: Option<String>,
    /// No payload: it deletes the key from the topic's map.
    #[serde(default)]
    tombstone: bool,
}

/// One record, or several.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it describes what is told apart by its first byte")]
pub(super) enum NewRecords {
    One(NewRecord),
    Several(Vec<NewRecord>),
}

/// A record as it is read: one of `json`, `text`, `base64` and `tombstone`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReadRecord {
    epoch: u64,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u64>,
    /// When its batch was appended, Unix time.
    time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// The payload, if the header `content-type` says that it is JSON, and it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    json: Option<Box<RawValue>>,
    /// The payload, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The payload otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// There is no payload.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tombstone: bool,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) partition: Option<u64>,
    pub(super) epoch: u64,
    pub(super) offset: u64,
    pub(super) time_ms: u64,
}

/// `null` is a value of JSON like any other.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Records in the form that PUBLISH takes: one, a list, or one in each line.
///
/// # Errors
/// When something is none, and which.
pub(super) fn body_of(text: &[u8], by_lines: bool) -> Result<Bytes, Refusal> {
    let records: Vec<Object<NewRecord>> = if by_lines {
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty()).take(RECORDS_MAX + 1);
        let read = |(number, line): (usize, &[u8])| {
            serde_json::from_slice(line)
                .map_err(|error| invalid(format!("line {}: {error}", number + 1)))
        };
        lines.map(read).collect::<Result<_, _>>()?
    } else if text.trim_ascii_start().starts_with(b"[") {
        read_json(text)?
    } else {
        vec![read_json(text)?]
    };
    body_of_all(&records)
}

/// Reads JSON that was sent.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read_json<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|error| invalid(format!("the body: {error}")))
}

/// Reads an object of JSON that was sent.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Refusal> {
    read_json::<Object<T>>(text).map(|Object(object)| object)
}

/// # Errors
/// When there are too few or too many, or one is none.
pub(super) fn body_of_all(records: &[Object<NewRecord>]) -> Result<Bytes, Refusal> {
    if records.is_empty() || records.len() > RECORDS_MAX {
        let count = records.len();
        return Err(invalid(format!("1 to {RECORDS_MAX} records at once, these are {count}")));
    }
    let mut body = BodyBuilder::new();
    for (index, Object(record)) in records.iter().enumerate() {
        record.put(&mut body).map_err(|rule| invalid(format!("record {index}: {rule}")))?;
    }
    Ok(body.finish())
}

/// A body of one record whose payload is as it was sent.
pub(super) fn body_of_raw(key: Option<&str>, content_type: &str, payload: &[u8]) -> Bytes {
    let mut body = BodyBuilder::new();
    body.push(key, &[(CONTENT_TYPE, content_type)], Some(payload));
    body.finish()
}

impl NewRecord {
    fn put(&self, body: &mut BodyBuilder) -> Result<(), String> {
        let Self { key, headers, json, text, base64, tombstone } = self;
        let given = [json.is_some(), text.is_some(), base64.is_some(), *tombstone];
        if given.iter().filter(|is_given| **is_given).count() != 1 {
            return Err("give exactly one of json, text, base64 and tombstone".to_owned());
        }
        let bytes = match (json, text, base64) {
            (Some(json), ..) => Some(json.get().as_bytes().to_vec()),
            (_, Some(text), _) => Some(text.as_bytes().to_vec()),
            (.., Some(base64)) => {
                Some(STANDARD.decode(base64).map_err(|error| format!("base64: {error}"))?)
            }
            (None, None, None) => None,
        };
        let mut all: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if json.is_some() && !headers.contains_key(CONTENT_TYPE) {
            all.push((CONTENT_TYPE, JSON));
        }
        body.push(key.as_deref(), &all, bytes.as_deref());
        Ok(())
    }
}

/// The records of a delivery that begins at this place. `offsets`: which they are behind it, if not all are there.
pub(super) fn read_all<'a>(
    body: &'a Bytes,
    from: Place,
    offsets: Option<&'a [u64]>,
) -> impl Iterator<Item = ReadRecord> + 'a {
    (0..).zip(Records::of(body)).map(move |(index, record)| {
        let behind = match offsets {
            None => index,
            // The dispatcher names one for each record.
            Some(offsets) => {
                let at = usize::try_from(index).ok();
                at.and_then(|at| offsets.get(at).copied()).unwrap_or(index)
            }
        };
        ReadRecord::of(&record, Place { offset: from.offset + behind, ..from })
    })
}

impl ReadRecord {
    /// Where a reader stands that has read it: epoch and offset of the next one.
    pub(super) fn next(&self) -> (u64, u64) {
        (self.epoch, self.offset + 1)
    }

    fn of(record: &Record<'_>, place: Place) -> Self {
        let Place { partition, epoch, offset, time_ms } = place;
        let mut read = Self {
            epoch,
            offset,
            partition,
            time_ms,
            key: record.key.map(str::to_owned),
            headers: record
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            json: None,
            text: None,
            base64: None,
            tombstone: false,
        };
        let Some(payload) = record.payload else {
            read.tombstone = true;
            return read;
        };
        let Ok(text) = std::str::from_utf8(payload) else {
            read.base64 = Some(STANDARD.encode(payload));
            return read;
        };
        let json = record.header(CONTENT_TYPE).is_some_and(is_json);
        read.json = json.then(|| serde_json::from_str(text).ok()).flatten();
        read.text = read.json.is_none().then(|| text.to_owned());
        read
    }
}

/// Whether a media type is that of JSON, whatever its parameters.
pub(super) fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(JSON)
}

#[cfg(test)]
mod tests {
    use tidewire_protocol::record::{Records, validate};

    use super::*;

    fn read(body: &[u8]) -> Vec<serde_json::Value> {
        let place = Place { partition: None, epoch: 1, offset: 2, time_ms: 3 };
        Records::of(body)
            .map(|record| serde_json::to_value(ReadRecord::of(&record, place)).unwrap())
            .collect()
    }

    #[test]
    fn payloads_come_back_as_what_they_were() {
        let sent = br#"[{"json":{"b":1,"a":1.50}},{"json":null},{"key":"k","text":"hi"},
            {"base64":"/w=="},{"key":"k","tombstone":true}]"#;
        let body = body_of(sent, false).unwrap();
        assert_eq!(validate(&body).unwrap(), 5);
        let payloads: Vec<_> = Records::of(&body).map(|record| record.payload).collect();
        assert_eq!(payloads[0], Some(&br#"{"b":1,"a":1.50}"#[..]), "byte for byte");
        let read = read(&body);
        assert_eq!(read[0]["json"]["a"], 1.5);
        assert!(read[1].as_object().unwrap().contains_key("json"));
        assert_eq!((&read[2]["text"], &read[2]["key"]), (&"hi".into(), &"k".into()));
        assert_eq!(read[3]["base64"], "/w==");
        assert_eq!(read[4]["tombstone"], true);
    }

    #[test]
    fn lines_are_records() {
        let body = body_of(b"{\"text\":\"a\"}\n\n{\"text\":\"b\"}\r\n", true).unwrap();
        assert_eq!(validate(&body).unwrap(), 2);
        let refused = body_of(b"{\"text\":\"a\"}\n{\"txet\":\"b\"}", true).unwrap_err();
        assert!(refused.message.contains("line 2") && refused.message.contains("txet"));
    }

    #[test]
    fn a_record_has_one_payload() {
        for wrong in
            [&b"{}"[..], b"{\"text\":\"a\",\"json\":1}", b"[]", b"{\"base64\":\"!\"}", b"x"]
        {
            assert!(body_of(wrong, false).is_err());
        }
    }

    #[test]
    fn what_only_says_that_it_is_json_is_text() {
        let body = body_of_raw(None, JSON, b"{");
        assert_eq!(read(&body)[0]["text"], "{");
    }
}
