//! `GET /v1/topics/NAME/records`: what a topic keeps, page by page.

use std::rc::Rc;
use std::time::Duration;

use http::header;
use schemars::JsonSchema;
use serde::Serialize;
use tidewire_protocol::frame::{CellKind, Start};
use tidewire_protocol::options::{GetOptions, SubscribeOptions, TopicInfo};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, Refusal, ServerFrame, wire};

use super::super::{Reply, put};
use super::cells;
use super::place::{Reached, parse_start};
use super::problem::{invalid, refuse};
use super::query::{Query, encoded};
use super::records::{Place, ReadRecord, read_all};
use super::reply::json;
use super::session::{Following, Session};
use super::unexpected;

/// Records of a page, if nothing is said, and at most.
pub(super) const LIMIT: usize = 100;
pub(super) const LIMIT_MAX: usize = 1000;
/// Bytes of records after which a page ends.
const PAGE_BYTES: u64 = 1024 * 1024;
/// Longest wait for the next records of a page: they may come from a disk.
const WAIT: Duration = Duration::from_secs(10);
/// What SUBSCRIBED says of what was asked for: not all of it is kept; it may be of another history.
const RESUMED_WITH_GAP: u64 = 2;
const OTHER_EPOCH: u64 = 3;

/// A page of what a topic keeps.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Page {
    topic: String,
    records: Vec<ReadRecord>,
    /// What was to be read and is not kept any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<Gap>,
    /// Where the next page begins: `start` of the next request.
    next_start: String,
    /// The path of the next page.
    next: String,
    /// Whether everything has been read that was there when the page was asked for.
    at_end: bool,
}

/// Records `[from, next)` that are missing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Gap {
    epoch: u64,
    from: u64,
    next: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u64>,
    /// `retention`, `history_changed` or `jumped`.
    reason: String,
}

impl Gap {
    pub(super) fn new(epoch: u64, range: (u64, u64), partition: Option<u64>, reason: u64) -> Self {
        let reason = match reason {
            0 => "retention",
            1 => "history_changed",
            _ => "jumped",
        };
        Self { epoch, from: range.0, next: range.1, partition, reason: reason.to_owned() }
    }
}

/// Reads a page.
pub(super) async fn records(session: &Rc<Session>, name: Name, query: Query) -> Reply {
    match read(session, &name, query).await {
        Ok(page) => {
            let mut reply = json(&page);
            if !page.at_end {
                put(reply.headers_mut(), header::LINK, &format!("<{}>; rel=\"next\"", page.next));
            }
            reply
        }
        Err(refusal) => refuse(&refusal),
    }
}

async fn read(session: &Rc<Session>, name: &Name, mut query: Query) -> Result<Page, Refusal> {
    let start = query.text("start").map_or(Ok(Start::Earliest), |text| parse_start(&text))?;
    let limit = query.value::<usize>("limit", "a number of records")?.unwrap_or(LIMIT);
    query.finish()?;
    if limit == 0 || limit > LIMIT_MAX {
        return Err(invalid(format!("limit: 1 to {LIMIT_MAX} records, not {limit}")));
    }
    if start == Start::Latest {
        return Err(invalid("start: latest has no history; follow it with /events"));
    }
    // Who follows a topic that is not there makes it; who reads it does not.
    let read = cells::get(session.req(), CellKind::Topic, name.clone(), GetOptions::default());
    let (.., info, _) = cells::value_of("topic", name.as_str(), session.ask(read).await?)?;
    let end = end_of(session, name, &wire::from_slice(&info)?).await?;
    let (began, following) = subscribe(session, name, start).await?;
    let Began { reached, gaps } = began;
    let mut page = Reading { records: Vec::new(), gaps, reached, bytes: 0, limit };
    while !page.is_full() && !page.reached.has_come_to(&end) {
        let next = tokio::time::timeout(WAIT, next_frame(&following)).await;
        let late = |_elapsed| {
            let message = format!("the records of '{name}' do not come: try again");
            Refusal::new(ErrorCode::Unavailable, message)
        };
        match next.map_err(late)? {
            Some(frame) => page.take(frame)?,
            None => return Err(session.gone()),
        }
    }
    following.end().await;
    let (next_start, at_end) = (page.reached.start(), page.reached.has_come_to(&end));
    let path = encoded(name.as_str());
    let next = format!("/v1/topics/{path}/records?start={}&limit={limit}", encoded(&next_start));
    let Reading { records, gaps, .. } = page;
    Ok(Page { topic: name.to_string(), records, gaps, next_start, next, at_end })
}

/// Where the topic ends now.
async fn end_of(session: &Rc<Session>, name: &Name, info: &TopicInfo) -> Result<Reached, Refusal> {
    if info.partitions.is_none() {
        return Ok(Reached::One { epoch: 0, next: info.next });
    }
    // Only who follows the partitions is told where each of them ends.
    let (began, following) = subscribe(session, name, Start::Latest).await?;
    following.end().await;
    Ok(began.reached)
}

async fn next_frame(following: &Following) -> Option<ServerFrame> {
    std::future::poll_fn(|cx| following.poll_next(cx)).await
}

async fn subscribe(
    session: &Rc<Session>,
    name: &Name,
    start: Start,
) -> Result<(Began, Following), Refusal> {
    let following = session.follow();
    let subscribe = ClientFrame::Subscribe {
        req: session.req(),
        sub: following.sub,
        pattern: Pattern::parse(name.as_str())?,
        start,
        options: SubscribeOptions { credit: Some(PAGE_BYTES), ..SubscribeOptions::default() },
    };
    match session.ask(subscribe).await {
        Ok(reply) => Ok((Began::of(&reply)?, following)),
        Err(refusal) => {
            following.end().await;
            Err(refusal)
        }
    }
}

/// Where a subscription has begun, and what it lacks of what was asked for.
pub(super) struct Began {
    pub(super) reached: Reached,
    pub(super) gaps: Vec<Gap>,
}

impl Began {
    /// As SUBSCRIBED says.
    ///
    /// # Errors
    /// When it is another reply.
    pub(super) fn of(reply: &ServerFrame) -> Result<Self, Refusal> {
        let ServerFrame::Subscribed { status, epoch, offset, missing, positions, .. } = reply
        else {
            return Err(unexpected(reply));
        };
        let gaps = match (*status, missing) {
            (RESUMED_WITH_GAP, missing) => {
                vec![Gap::new(*epoch, missing.unwrap_or_default(), None, 0)]
            }
            (OTHER_EPOCH, _) => vec![Gap::new(*epoch, (0, *offset), None, 1)],
            (_, _) => Vec::new(),
        };
        Ok(Self { reached: Reached::of(*epoch, *offset, positions.as_deref()), gaps })
    }
}

/// A page that is being read.
struct Reading {
    records: Vec<ReadRecord>,
    gaps: Vec<Gap>,
    reached: Reached,
    bytes: u64,
    limit: usize,
}

impl Reading {
    fn is_full(&self) -> bool {
        self.records.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn take(&mut self, frame: ServerFrame) -> Result<(), Refusal> {
        match frame {
            ServerFrame::Deliver { epoch, from, time_ms, position, offsets, body, .. } => {
                let partition = position.map(|position| position.0);
                self.bytes += body.len() as u64;
                let place = Place { partition, epoch, offset: from, time_ms };
                let room = self.limit.saturating_sub(self.records.len());
                for record in read_all(&body, place, offsets.as_deref()).take(room) {
                    self.reached.advance(partition, record.next());
                    self.records.push(record);
                }
                Ok(())
            }
            ServerFrame::Gap { epoch, from, next, reason, position, .. } => {
                let partition = position.map(|position| position.0);
                self.gaps.push(Gap::new(epoch, (from, next), partition, reason));
                self.reached.advance(partition, (epoch, next));
                Ok(())
            }
            ServerFrame::Error { code, message, retry_after_ms, actual, .. } => {
                let code = ErrorCode::from_number(code).unwrap_or(ErrorCode::Internal);
                Err(Refusal { code, message, retry_after_ms, actual })
            }
            // The server is about to stop, and answers until then.
            ServerFrame::GoAway { .. } => Ok(()),
            other @ (ServerFrame::Welcome { .. }
            | ServerFrame::Ping { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Ok { .. }
            | ServerFrame::PubAck { .. }
            | ServerFrame::Subscribed { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Value { .. }
            | ServerFrame::Watching { .. }
            | ServerFrame::Leased { .. }
            | ServerFrame::Update { .. }
            | ServerFrame::Progress { .. }) => Err(unexpected(&other)),
        }
    }
}
