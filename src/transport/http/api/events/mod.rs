//! Server-sent events: what is followed, as text that goes on until one side ends it.

mod cell;
mod topic;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use serde::Serialize;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal, ServerFrame};
use tokio::time::Interval;

use super::super::body::Body;
use super::super::figures::OpenStream;
use super::super::{Reply, put};
use super::link::UnderWay;
use super::problem::{Problem, invalid, refuse};
use super::query::Query;
use super::session::{Following, Session};
use crate::server::Place;
use cell::CellEvents;
use topic::TopicEvents;

/// Media type of events.
const EVENT_STREAM: &str = "text/event-stream";
/// Pause after which a client that has lost the connection is to come back.
const RETRY_MS: u64 = 2_000;
/// The same when the server stops: so that not all come at once.
const RETRY_SPREAD_MS: std::ops::Range<u64> = 500..20_000;
/// Bytes of text beyond which it is sent before more is made.
const TEXT_BYTES: usize = 64 * 1024;
/// Most updates in a second that can be asked for.
const HZ_MAX: f64 = 1000.0;
/// What a client that comes back has seen last.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// The events of one request, as they come.
pub(in crate::transport) struct Events {
    following: Following,
    source: Source,
    text: Text,
    heartbeat: Interval,
    is_over: bool,
    _held: Held,
}

/// What a stream of events takes as long as it is there.
#[derive(Default)]
#[allow(dead_code, reason = "it is held, and given back when it is dropped")]
pub(super) struct Held {
    pub(super) place: Option<Place>,
    pub(super) under_way: Option<UnderWay>,
    pub(super) leash: Rc<()>,
    pub(super) open: Option<OpenStream>,
}

/// What the events are of.
enum Source {
    Topic(TopicEvents),
    Cell(CellEvents),
}

/// Whether more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    Over,
}

impl Events {
    /// The next piece of text.
    pub(in crate::transport) fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while !self.is_over && self.text.0.len() < TEXT_BYTES {
            let Poll::Ready(next) = self.following.poll_next(cx) else { break };
            let goes = match (next, &mut self.source) {
                (None, _) => self.text.end(&self.following.session().gone()),
                (Some(ServerFrame::GoAway { message, .. }), _) => {
                    self.text.retry(spread_retry_ms());
                    let code = ErrorCode::ShuttingDown;
                    self.text.end(&Refusal::new(code, message))
                }
                (Some(ServerFrame::Error { code, message, retry_after_ms, actual, .. }), _) => {
                    let code = ErrorCode::from_number(code);
                    let code = code.unwrap_or(ErrorCode::Internal);
                    self.text.end(&Refusal { code, message, retry_after_ms, actual })
                }
                (Some(frame), Source::Topic(topic)) => topic.take(&mut self.text, frame),
                (Some(frame), Source::Cell(cell)) => cell.take(&mut self.text, frame),
            };
            self.is_over = goes == Goes::Over;
        }
        if !self.text.0.is_empty() {
            self.heartbeat.reset();
            return Poll::Ready(Some(std::mem::take(&mut self.text.0).into()));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        ready!(self.heartbeat.poll_tick(cx));
        Poll::Ready(Some(Bytes::from_static(b": heartbeat\n\n")))
    }
}

fn spread_retry_ms() -> u64 {
    // The standard library draws its keys at random.
    let random = RandomState::new().build_hasher().finish();
    RETRY_SPREAD_MS.start + random % (RETRY_SPREAD_MS.end - RETRY_SPREAD_MS.start)
}

/// What a request for events asks for.
pub(super) struct Wanted {
    pub(super) name: Name,
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
    pub(super) heartbeat: Duration,
    pub(super) held: Held,
}

/// Follows a topic.
pub(super) async fn topic(session: Rc<Session>, wanted: Wanted) -> Reply {
    let Wanted { name, headers, mut query, heartbeat, held } = wanted;
    let following = session.follow();
    let mut text = Text::default();
    text.retry(RETRY_MS);
    let asked = async {
        let last = last_event_id(&headers, &mut query)?;
        let frame = topic::subscribe(session.req(), following.sub, &name, last, &mut query)?;
        query.finish()?;
        TopicEvents::begin(&mut text, &session.ask(frame).await?)
    };
    match asked.await {
        Ok(topic) => stream(following, Source::Topic(topic), text, heartbeat, held),
        Err(refusal) => refuse(&refusal),
    }
}

/// Follows a cell.
pub(super) async fn cell(session: Rc<Session>, kind: CellKind, wanted: Wanted) -> Reply {
    let Wanted { name, headers, mut query, heartbeat, held } = wanted;
    let following = session.follow();
    let mut text = Text::default();
    text.retry(RETRY_MS);
    let asked = async {
        let last = last_event_id(&headers, &mut query)?;
        let frame = cell::watch(session.req(), following.sub, kind, &name, last, &mut query)?;
        query.finish()?;
        CellEvents::begin(&mut text, kind, &name, &session.ask(frame).await?)
    };
    match asked.await {
        Ok(cell) => stream(following, Source::Cell(cell), text, heartbeat, held),
        Err(refusal) => refuse(&refusal),
    }
}

fn stream(
    following: Following,
    source: Source,
    text: Text,
    every: Duration,
    mut held: Held,
) -> Reply {
    held.leash = following.session().leash();
    held.open = Some(following.session().count_stream());
    let mut heartbeat = tokio::time::interval(every);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    heartbeat.reset();
    let events = Events { following, source, text, heartbeat, is_over: false, _held: held };
    let mut reply = Response::new(Body::Events(Box::new(events)));
    let headers = reply.headers_mut();
    put(headers, header::CONTENT_TYPE, EVENT_STREAM);
    put(headers, header::CACHE_CONTROL, "no-store");
    put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Proxies that know it pass each piece on as it comes.
    put(headers, header::HeaderName::from_static("x-accel-buffering"), "no");
    reply
}

/// What the client has seen last, as a header that EventSource sends, or a parameter.
fn last_event_id(headers: &HeaderMap, query: &mut Query) -> Result<Option<String>, Refusal> {
    let given = query.text("last_event_id");
    let header = headers.get(LAST_EVENT_ID).map(|value| value.to_str().map(str::to_owned));
    match header.transpose() {
        // A client that comes back knows better than the URL that it was given at first.
        Ok(header) => Ok(header.or(given).filter(|id| !id.is_empty())),
        Err(_error) => Err(invalid("Last-Event-ID: it is no id that an event had here")),
    }
}

/// The pause between updates that is asked for.
///
/// # Errors
/// When it is asked for in two ways, or out of bounds.
fn interval_ms(query: &mut Query) -> Result<Option<u64>, Refusal> {
    let interval_ms = query.value::<u64>("interval_ms", "milliseconds")?;
    let Some(hz) = query.value::<f64>("max_hz", "updates in a second")? else {
        return Ok(interval_ms);
    };
    if interval_ms.is_some() {
        return Err(invalid("max_hz and interval_ms say the same: give one of them"));
    }
    if !(hz > 0.0 && hz <= HZ_MAX) {
        return Err(invalid(format!("max_hz: more than 0 and at most {HZ_MAX}, not {hz}")));
    }
    let pause = Duration::try_from_secs_f64(1.0 / hz).unwrap_or(Duration::MAX);
    Ok(Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
}

/// Text that has been made and not been sent.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    /// An event; `message`, if it has no name.
    fn event<T: Serialize>(&mut self, name: Option<&str>, id: Option<&str>, data: &T) {
        if let Some(name) = name {
            self.line("event", name);
        }
        if let Some(id) = id {
            self.line("id", id);
        }
        // JSON has no line ends of its own. It fails only for maps whose keys are no strings.
        self.line("data", &serde_json::to_string(data).unwrap_or_default());
        self.0.push('\n');
    }

    /// How far the client has come, without an event.
    fn reached(&mut self, id: &str) {
        self.line("id", id);
        self.0.push('\n');
    }

    fn retry(&mut self, pause_ms: u64) {
        self.line("retry", &pause_ms.to_string());
        self.0.push('\n');
    }

    /// Why nothing more comes.
    fn end(&mut self, refusal: &Refusal) -> Goes {
        self.event(Some("end"), None, &Problem::of(refusal));
        Goes::Over
    }

    fn line(&mut self, field: &str, value: &str) {
        for part in [field, ": ", value, "\n"] {
            self.0.push_str(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_block() {
        let mut text = Text::default();
        text.event(Some("gap"), Some("1:2"), &"a\nb");
        text.reached("1:3");
        assert_eq!(text.0, "event: gap\nid: 1:2\ndata: \"a\\nb\"\n\nid: 1:3\n\n");
    }

    #[test]
    fn updates_in_a_second_are_a_pause() {
        let interval = |text| interval_ms(&mut Query::parse(Some(text)).unwrap());
        assert_eq!(interval("max_hz=4").unwrap(), Some(250));
        assert_eq!(interval("interval_ms=20").unwrap(), Some(20));
        assert_eq!(interval("").unwrap(), None);
        for wrong in ["max_hz=0", "max_hz=-1", "max_hz=nan", "max_hz=1&interval_ms=2", "max_hz=1e9"]
        {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_client_says_when_it_comes_back_counts() {
        let mut headers = HeaderMap::new();
        let last = |headers: &HeaderMap, text| {
            last_event_id(headers, &mut Query::parse(Some(text)).unwrap()).unwrap()
        };
        assert_eq!(last(&headers, "last_event_id=1:1").as_deref(), Some("1:1"));
        headers.insert(LAST_EVENT_ID, header::HeaderValue::from_static("1:7"));
        assert_eq!(last(&headers, "last_event_id=1:1").as_deref(), Some("1:7"));
    }
}
