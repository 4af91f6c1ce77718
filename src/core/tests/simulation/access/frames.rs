//! Frames for each operation.

use super::*;
use tidewire_protocol::options::GetOptions;

/// A frame for each operation, on this name.
pub(super) fn frames_of(on: &str) -> Vec<(Operation, ClientFrame)> {
    let mut frames = frames_of_records(on);
    frames.extend(frames_of_people(on));
    frames.extend(frames_of_groups(on));
    frames
}

fn frames_of_records(on: &str) -> Vec<(Operation, ClientFrame)> {
    let (name, req) = (name(on), 4);
    let kind = CellKind::Counter;
    vec![
        (Operation::Publish, publish(&name)),
        (Operation::Subscribe, subscribe(1, on, Start::Latest, 0)),
        (Operation::History, subscribe(2, on, Start::Earliest, 0)),
        (Operation::History, subscribe(3, on, Start::Offset { epoch: 0, offset: 0 }, 0)),
        (
            Operation::Subscribe,
            ClientFrame::Watch {
                req,
                sub: 4,
                kind,
                name: name.clone(),
                options: WatchOptions::default(),
            },
        ),
        (
            Operation::Subscribe,
            ClientFrame::Get {
                req,
                kind,
                name: name.clone(),
                key: None,
                options: GetOptions::default(),
            },
        ),
        (
            Operation::Incr,
            ClientFrame::Incr {
                req,
                counter: name.clone(),
                op: CounterOp::Add,
                operand: 1,
                options: CounterOptions::default(),
            },
        ),
    ]
}

fn frames_of_people(on: &str) -> Vec<(Operation, ClientFrame)> {
    let (name, req) = (name(on), 4);
    let rules = Some(TallyRules::new(TallyKind::Single, vec!["A".into()]));
    let invalid = vec!["voter".to_owned()];
    vec![
        (
            Operation::Admin,
            ClientFrame::Tally { req, op: TallyOp::Create, tally: name.clone(), rules },
        ),
        (
            Operation::Vote,
            ClientFrame::Vote {
                req,
                tally: name.clone(),
                voter: String::new(),
                choices: vec![Choice::Index(0)],
                revision: None,
            },
        ),
        (
            Operation::Admin,
            ClientFrame::Invalidate { req, tally: name.clone(), voters: invalid, hashes: None },
        ),
        (
            Operation::Presence,
            ClientFrame::Presence {
                req,
                op: PresenceOp::Join,
                name: name.clone(),
                member: String::new(),
                data: None,
            },
        ),
    ]
}

pub(super) fn frames_of_groups(on: &str) -> Vec<(Operation, ClientFrame)> {
    let (name, req) = (name(on), 4);
    vec![
        (
            Operation::Group,
            ClientFrame::Group {
                req,
                op: GroupOp::Create,
                topic: name.clone(),
                group: self::name("workers"),
                options: GroupOptions::default(),
            },
        ),
        (
            Operation::Group,
            ClientFrame::Consume {
                req,
                sub: 6,
                topic: name.clone(),
                group: self::name("workers"),
                options: ConsumeOptions::default(),
            },
        ),
        (
            Operation::Admin,
            ClientFrame::Topic {
                req,
                op: TopicOp::Truncate,
                topic: name,
                options: TopicOptions { before_offset: Some(0), before_time_ms: None },
            },
        ),
    ]
}
