//! Records of a topic as events.

use tidewire_protocol::frame::Start;
use tidewire_protocol::options::{Condition, SubscribeOptions};
use tidewire_protocol::{ClientFrame, Name, Pattern, Refusal, ServerFrame};

use super::super::history::{Began, Gap};
use super::super::place::{Reached, after_event, parse_start};
use super::super::query::Query;
use super::super::records::{Place, read_all};
use super::super::unexpected;
use super::{Goes, Text, interval_ms};

/// Newest record of each key only.
const LATEST: u64 = 1;

/// How far the events of a topic have come.
pub(super) struct TopicEvents {
    reached: Reached,
}

/// The request for what is asked for.
///
/// # Errors
/// When something is not of its form.
pub(super) fn subscribe(
    req: u64,
    sub: u32,
    name: &Name,
    last: Option<String>,
    query: &mut Query,
) -> Result<ClientFrame, Refusal> {
    let given = query.text("start").map(|text| parse_start(&text)).transpose()?;
    let start = match last {
        Some(id) => after_event(&id)?,
        None => given.unwrap_or(Start::Latest),
    };
    let key = query.text("key");
    let filter = key.map(|key| vec![Condition("key".to_owned(), "eq".to_owned(), Some(key))]);
    // Who bounds the rate gets the newest of each key.
    let interval_ms = interval_ms(query)?;
    let mode = interval_ms.is_some().then_some(LATEST);
    let options = SubscribeOptions { filter, interval_ms, mode, ..SubscribeOptions::default() };
    let pattern = Pattern::parse(name.as_str())?;
    Ok(ClientFrame::Subscribe { req, sub, pattern, start, options })
}

impl TopicEvents {
    /// Begins as SUBSCRIBED says.
    ///
    /// # Errors
    /// When it is another reply.
    pub(super) fn begin(text: &mut Text, reply: &ServerFrame) -> Result<Self, Refusal> {
        let Began { reached, gaps } = Began::of(reply)?;
        let id = reached.id();
        for gap in gaps {
            text.event(Some("gap"), id.as_deref(), &gap);
        }
        // So that who loses the connection before the first record misses none.
        if let Some(id) = id {
            text.reached(&id);
        }
        Ok(Self { reached })
    }

    pub(super) fn take(&mut self, text: &mut Text, frame: ServerFrame) -> Goes {
        match frame {
            ServerFrame::Deliver {
                epoch, from, next, time_ms, position, offsets, body, ..
            } => {
                let partition = position.map(|position| position.0);
                let place = Place { partition, epoch, offset: from, time_ms };
                for record in read_all(&body, place, offsets.as_deref()) {
                    self.reached.advance(partition, record.next());
                    text.event(None, self.reached.id().as_deref(), &record);
                }
                self.come_to(text, partition, (epoch, next));
                Goes::On
            }
            ServerFrame::Gap { epoch, from, next, reason, position, .. } => {
                let partition = position.map(|position| position.0);
                self.reached.advance(partition, (epoch, next));
                let gap = Gap::new(epoch, (from, next), partition, reason);
                text.event(Some("gap"), self.reached.id().as_deref(), &gap);
                Goes::On
            }
            ServerFrame::Progress { epoch, next, position, .. } => {
                match position {
                    Some(at) => self.come_to(text, Some(at.0), (at.1, at.2)),
                    None => self.come_to(text, None, (epoch, next)),
                }
                Goes::On
            }
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
            | ServerFrame::Error { .. }
            | ServerFrame::GoAway { .. }) => text.end(&unexpected(&other)),
        }
    }

    /// Tells how far it is, if no event has.
    fn come_to(&mut self, text: &mut Text, partition: Option<u64>, to: (u64, u64)) {
        let before = self.reached.id();
        self.reached.advance(partition, to);
        let id = self.reached.id().filter(|id| before.as_ref() != Some(id));
        if let Some(id) = id {
            text.reached(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidewire_protocol::record::BodyBuilder;

    use super::*;

    fn begun(text: &mut Text, status: u64, offset: u64) -> TopicEvents {
        let reply = ServerFrame::Subscribed {
            req: 1,
            sub: 1,
            status,
            epoch: 7,
            offset,
            missing: (status == 2).then_some((0, offset)),
            positions: None,
        };
        TopicEvents::begin(text, &reply).unwrap()
    }

    fn body(payloads: &[&str]) -> Bytes {
        let mut body = BodyBuilder::new();
        for payload in payloads {
            body.push(None, &[], Some(payload.as_bytes()));
        }
        body.finish()
    }

    fn deliver(from: u64, next: u64, offsets: Option<Vec<u64>>, body: Bytes) -> ServerFrame {
        let topic = Name::parse("t").unwrap();
        let (sub, epoch, time_ms, position) = (1, 7, 9, None);
        ServerFrame::Deliver { sub, topic, epoch, from, next, time_ms, position, offsets, body }
    }

    #[test]
    fn each_record_is_an_event_with_its_place() {
        let mut text = Text::default();
        let mut topic = begun(&mut text, 0, 3);
        assert_eq!(text.0, "id: 7:2\n\n");
        topic.take(&mut text, deliver(3, 5, None, body(&["a", "b"])));
        let ids: Vec<&str> = text.0.lines().filter(|line| line.starts_with("id")).collect();
        assert_eq!(ids, ["id: 7:2", "id: 7:3", "id: 7:4"]);
        assert_eq!(text.0.matches("data: ").count(), 2);
    }

    #[test]
    fn what_a_filter_left_out_moves_the_place() {
        let mut text = Text::default();
        let mut topic = begun(&mut text, 0, 3);
        topic.take(&mut text, deliver(3, 9, Some(vec![2]), body(&["a"])));
        assert!(text.0.contains("id: 7:5\ndata: "), "{}", text.0);
        assert!(text.0.ends_with("\n\nid: 7:8\n\n"), "{}", text.0);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut text = Text::default();
        let mut topic = begun(&mut text, 2, 3);
        assert!(text.0.starts_with("event: gap\nid: 7:2\ndata: {"), "{}", text.0);
        let gap = ServerFrame::Gap {
            sub: 1,
            topic: None,
            epoch: 7,
            from: 3,
            next: 10,
            reason: 0,
            position: None,
        };
        text.0.clear();
        topic.take(&mut text, gap);
        assert!(text.0.starts_with("event: gap\nid: 7:9\ndata: {"), "{}", text.0);
        assert!(text.0.contains("\"from\":3,\"next\":10,\"reason\":\"retention\""), "{}", text.0);
    }
}
