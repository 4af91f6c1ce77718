use alloc::vec::Vec;
use std::string::ToString;

use tidewire_protocol::Pattern;
use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp, Start, TallyOp};
use tidewire_protocol::options::{
    CounterOptions, GetOptions, PublishOptions, SubscribeOptions, WatchOptions,
};
use tidewire_protocol::record::payload_body;
use tidewire_protocol::tally::{TallyKind, TallyRules};

use super::*;
use crate::fanout::{FanoutLimits, Framing, SessionOptions};

/// One of each request.
fn requests() -> Vec<ClientFrame> {
    let name = || Name::parse("a").unwrap();
    let (sub, req, text) = (1, 1, || "somebody".to_string());
    let (start, pattern) = (Start::Latest, Pattern::parse("a.>").unwrap());
    let (ack, options) = (AckLevel::Memory, PublishOptions::default());
    let rules = Some(TallyRules::new(TallyKind::Single, Vec::from([text()])));
    let (op, operand, counting) = (CounterOp::Add, 1, CounterOptions::default());
    let kind = CellKind::Counter;
    Vec::from([
        ClientFrame::Publish { req, topic: name(), ack, body: payload_body(b"x"), options },
        ClientFrame::Incr { req, counter: name(), op, operand, options: counting },
        ClientFrame::Vote {
            req,
            tally: name(),
            voter: text(),
            choices: Vec::new(),
            revision: None,
        },
        ClientFrame::Tally { req, op: TallyOp::Create, tally: name(), rules },
        ClientFrame::Get { req, kind, name: name(), key: None, options: GetOptions::default() },
        ClientFrame::Presence {
            req,
            op: PresenceOp::Join,
            name: name(),
            member: text(),
            data: None,
        },
        ClientFrame::Subscribe { req, sub, pattern, start, options: SubscribeOptions::default() },
        ClientFrame::Unsubscribe { req, sub },
        ClientFrame::Watch { req, sub, kind, name: name(), options: WatchOptions::default() },
        ClientFrame::Credit { sub, bytes: 1 },
        ClientFrame::Ping { nonce: 1 },
        ClientFrame::Pong { nonce: 1 },
        ClientFrame::Producer { req },
    ])
}

#[test]
fn what_is_for_shards_becomes_a_command_and_nothing_else_does() {
    let mut dispatcher = Dispatcher::new(0, 7, FanoutLimits::default());
    let options = SessionOptions { framing: Framing::Bare, datagrams: false };
    let session = dispatcher.open(options, 0);
    for frame in requests() {
        let (expected, shown) = (is_for_shards(&frame), alloc::format!("{frame:?}"));
        let command = dispatcher.request(session, 0, Ok(frame), &|_, _| VoterId([0; 16]));
        assert_eq!(command.is_some(), expected, "{shown}");
    }
    assert_eq!(dispatcher.stats().refusals, 0, "each of them is a valid request");
}
