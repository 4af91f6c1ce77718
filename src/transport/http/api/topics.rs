//! `POST /v1/topics/NAME` and `POST /v1/producers`.

use http::{HeaderMap, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::options::{ProducerInfo, PublishOptions};
use tidewire_protocol::{ClientFrame, Name, Refusal, ServerFrame, wire};

use super::super::Reply;
use super::problem::{fault, invalid, refuse};
use super::query::Query;
use super::records::{body_of, body_of_raw, is_json};
use super::reply::json;
use super::session::Session;
use super::{Asked, unexpected};

/// Media type of records in lines.
const NDJSON: &str = "application/x-ndjson";
/// Media types that a form of a page has: what is sent so was hardly meant for a topic.
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];
/// The key that makes a request safe to repeat (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Where records were appended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Published {
    pub(super) topic: String,
    /// The topic's epoch; 0 of a topic with partitions.
    epoch: u64,
    /// The first record's; none when it is acknowledged before its place is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// The level that was reached: `memory`, `disk` or `quorum`.
    level: String,
    /// `[partition, epoch, offset]` of the first record in each partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<Vec<u64>>>")]
    positions: Option<Vec<(u64, u64, u64)>>,
    /// It was there already, from an earlier request with the same Idempotency-Key.
    duplicate: bool,
}

/// A producer, whose publishes can be repeated safely.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Producer {
    producer: u64,
    /// Publishes that are remembered in each topic.
    window: u64,
    /// It is forgotten when it has published nothing for so long.
    idle_ms: u64,
}

/// Publishes what a request has brought.
pub(super) async fn publish(session: &Session, name: Name, asked: Asked) -> Reply {
    let Asked { headers, mut query, body, .. } = asked;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(content_type) = content_type else {
        return unsupported_media("say what it is with Content-Type");
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let lines = essence.eq_ignore_ascii_case(NDJSON);
    if FORMS.iter().any(|form| essence.eq_ignore_ascii_case(form)) {
        return unsupported_media("a form is no record");
    }
    let key = query.text("key");
    let made = match (lines || is_json(content_type), &key) {
        (true, Some(_)) => Err(invalid("key: it stands in the JSON")),
        (true, None) => body_of(&body, lines),
        (false, key) => Ok(body_of_raw(key.as_deref(), content_type, &body)),
    };
    let frame = made.and_then(|body| {
        let (ack, options) = (ack_of(&mut query)?, options_of(&mut query, &headers)?);
        query.finish()?;
        Ok(ClientFrame::Publish { req: session.req(), topic: name.clone(), ack, body, options })
    });
    let outcome = match frame {
        Ok(frame) => session.ask(frame).await,
        Err(refusal) => Err(refusal),
    };
    match outcome.and_then(|reply| published(name.as_str(), reply)) {
        Ok(published) => json(&published),
        Err(refusal) => refuse(&refusal),
    }
}

/// The reply to PUBLISH, for people and programs.
///
/// # Errors
/// When it is another one.
pub(super) fn published(topic: &str, reply: ServerFrame) -> Result<Published, Refusal> {
    let ServerFrame::PubAck { epoch, offset, level, positions, duplicate, .. } = reply else {
        return Err(unexpected(&reply));
    };
    let positions = positions.map(|all| all.into_iter().map(|at| (at.0, at.1, at.2)).collect());
    let (topic, level) = (topic.to_owned(), level_name(level).to_owned());
    Ok(Published { topic, epoch, offset, level, positions, duplicate })
}

/// Issues a producer.
pub(super) async fn producer(session: &Session) -> Reply {
    let reply = session.ask(ClientFrame::Producer { req: session.req() }).await;
    let info = reply.and_then(|reply| {
        let ServerFrame::Ok { result: Some(result), .. } = &reply else {
            return Err(unexpected(&reply));
        };
        wire::from_slice::<ProducerInfo>(result)
    });
    match info {
        Ok(ProducerInfo { producer, window, idle_ms }) => {
            json(&Producer { producer, window, idle_ms })
        }
        Err(refusal) => refuse(&refusal),
    }
}

fn ack_of(query: &mut Query) -> Result<AckLevel, Refusal> {
    match query.text("ack") {
        None => Ok(AckLevel::Policy),
        Some(text) => ack_named(&text),
    }
}

/// # Errors
/// When it names no level that a request can have.
pub(super) fn ack_named(text: &str) -> Result<AckLevel, Refusal> {
    match text {
        "memory" => Ok(AckLevel::Memory),
        "disk" => Ok(AckLevel::Disk),
        "quorum" => Ok(AckLevel::Quorum),
        "policy" => Ok(AckLevel::Policy),
        other => Err(invalid(format!(
            "ack: memory, disk, quorum, or policy for what the topic's policy says, not '{}'",
            other.escape_default()
        ))),
    }
}

fn level_name(level: u64) -> &'static str {
    match AckLevel::from_number(level) {
        Some(AckLevel::Memory) => "memory",
        Some(AckLevel::Disk) => "disk",
        Some(AckLevel::Quorum) => "quorum",
        Some(AckLevel::None | AckLevel::Policy) | None => "none",
    }
}

fn options_of(query: &mut Query, headers: &HeaderMap) -> Result<PublishOptions, Refusal> {
    let numbered = numbering(headers)?;
    Ok(PublishOptions {
        ttl_ms: query.value("ttl_ms", "milliseconds")?,
        producer: numbered.map(|(producer, _)| producer),
        sequence: numbered.map(|(_, sequence)| sequence),
        expected_offset: query.value("expected_offset", "an offset")?,
        expected_key: query.text("expected_key"),
    })
}

/// The producer and the sequence that a key stands for.
fn numbering(headers: &HeaderMap) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(key) = idempotency_key(headers)? else { return Ok(None) };
    parse_numbering(&key).map(Some)
}

/// # Errors
/// When it is not of the form that names a producer and a sequence.
pub(super) fn parse_numbering(key: &str) -> Result<(u64, u64), Refusal> {
    let numbers = key
        .split_once('-')
        .and_then(|(producer, sequence)| Some((producer.parse().ok()?, sequence.parse().ok()?)));
    numbers.ok_or_else(|| {
        invalid(
            "Idempotency-Key: of a publish it is PRODUCER-SEQUENCE, the number that POST /v1/producers gives \
             and one of your own that grows; of any other key nobody would know after a restart",
        )
    })
}

/// The key of a request, without the quotes that the draft asks for.
///
/// # Errors
/// When there are several, or there is nothing in it.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (first, second) = (keys.next(), keys.next());
    let Some(key) = first else { return Ok(None) };
    let text = key.to_str().ok().filter(|_| second.is_none()).map(str::trim);
    let bare = text.and_then(|text| match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(text),
    });
    let bare = bare.filter(|bare| !bare.is_empty() && !bare.contains('"'));
    bare.map(|bare| Some(bare.to_owned()))
        .ok_or_else(|| invalid("Idempotency-Key: one string of visible characters, once"))
}

fn unsupported_media(rule: &str) -> Reply {
    let detail = format!(
        "{rule}: application/json and application/x-ndjson hold records, anything else but a form is the \
         payload of one"
    );
    fault(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unquoted_and_single() {
        let key = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, header::HeaderValue::from_static(value));
            }
            idempotency_key(&headers)
        };
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&["\"a b\""]).unwrap().as_deref(), Some("a b"));
        assert_eq!(key(&["a"]).unwrap().as_deref(), Some("a"));
        for wrong in [&["a", "b"][..], &["\"a"], &["\"\""], &[""]] {
            assert!(key(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_publish_is_numbered() {
        assert_eq!(parse_numbering("17-3").unwrap(), (17, 3));
        for wrong in ["", "17", "-3", "17-", "a-1", "17-3-4"] {
            assert!(parse_numbering(wrong).is_err(), "{wrong}");
        }
    }
}
