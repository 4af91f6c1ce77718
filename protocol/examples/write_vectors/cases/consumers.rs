//! Consumer groups: GROUP, CONSUME, LEASED and SETTLE.

use bytes::Bytes;
use tidewire_protocol::frame::{GroupOp, SettleOp};
use tidewire_protocol::group::{
    ConsumeOptions, GroupInfo, GroupOptions, SettleOptions, SettleReply,
};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, ServerFrame, wire};

use super::Failure;
use super::group::Group;

/// Three records without key, and with the payloads `a`, `b` and `c`.
const BODY: &[u8] = b"\x93\xc0\xc0\xc4\x01a\x93\xc0\xc0\xc4\x01b\x93\xc0\xc0\xc4\x01c";

pub(crate) fn group() -> Result<Group, Failure> {
    let mut group = Group::new();
    let (jobs, mailers) = (Name::parse("jobs")?, Name::parse("mailers")?);
    groups(&mut group, &jobs, &mailers);
    consumers(&mut group, &jobs, &mailers);
    refused(&mut group);
    Ok(group)
}

fn groups(group: &mut Group, jobs: &Name, mailers: &Name) {
    let ask = |op, options| {
        let (topic, group) = (jobs.clone(), mailers.clone());
        ClientFrame::Group { req: 3, op, topic, group, options }
    };
    let none = GroupOptions::default;
    for (number, op) in
        (0..).zip([GroupOp::Create, GroupOp::Delete, GroupOp::Reset, GroupOp::Status])
    {
        group.both(
            &format!("group operation {number}"),
            &ask(op, none()),
            &format!(r#"[32, 3, {number}, "jobs", "mailers", null]"#),
        );
    }
    let every = GroupOptions {
        start: Some(vec![2, 9, 17]),
        ack_timeout_ms: Some(30_000),
        deliveries_max: Some(5),
        backoff_ms: Some(1_000),
        backoff_max_ms: Some(60_000),
        dead_letter: Some("jobs.dead".into()),
        ordered: Some(true),
    };
    group.both(
        "group with every option",
        &ask(GroupOp::Create, every),
        r#"[32, 3, 0, "jobs", "mailers", {"start": [2, 9, 17], "ack_timeout_ms": 30000,
            "deliveries_max": 5, "backoff_ms": 1000, "backoff_max_ms": 60000,
            "dead_letter": "jobs.dead", "ordered": true}]"#,
    );
    let info = GroupInfo {
        created: true,
        position: 17,
        next: 20,
        lag: 3,
        leased: 2,
        outstanding: 2,
        consumers: 1,
        missed: 4,
        dead: 1,
        redelivered: 6,
        ack_timeout_ms: 30_000,
        deliveries_max: 5,
        backoff_ms: 1_000,
        backoff_max_ms: 60_000,
        dead_letter: Some("jobs.dead".into()),
        ordered: true,
        partitions: Some(4),
    };
    let mut result = Vec::new();
    wire::put_value(&mut result, &info);
    group.both(
        "state of a group",
        &ServerFrame::Ok { req: 3, result: Some(result.into()) },
        r#"[7, 3, {"created": true, "position": 17, "next": 20, "lag": 3, "leased": 2,
            "outstanding": 2, "consumers": 1, "missed": 4, "dead": 1, "redelivered": 6,
            "ack_timeout_ms": 30000, "deliveries_max": 5, "backoff_ms": 1000,
            "backoff_max_ms": 60000, "dead_letter": "jobs.dead", "ordered": true,
            "partitions": 4}]"#,
    );
}

fn consumers(group: &mut Group, jobs: &Name, mailers: &Name) {
    let consume = |in_flight| {
        let (topic, group) = (jobs.clone(), mailers.clone());
        let options = ConsumeOptions { in_flight };
        ClientFrame::Consume { req: 4, sub: 7, topic, group, options }
    };
    group.both("consume", &consume(None), r#"[33, 4, 7, "jobs", "mailers", null]"#);
    group.both(
        "consume some at once",
        &consume(Some(16)),
        r#"[33, 4, 7, "jobs", "mailers", {"in_flight": 16}]"#,
    );
    let leased = |partition| ServerFrame::Leased {
        sub: 7,
        topic: jobs.clone(),
        epoch: 9,
        time_ms: 1_764_000_012_345,
        partition,
        deliveries: vec![(17, 1), (18, 3), (19, 1)],
        body: Bytes::from_static(BODY),
    };
    group.both(
        "leased",
        &leased(None),
        r#"[34, 7, "jobs", 9, 1764000012345, null, [[17, 1], [18, 3], [19, 1]],
            {"bin": "93c0c0c4016193c0c0c4016293c0c0c40163"}]"#,
    );
    group.both(
        "leased of a partition",
        &leased(Some(3)),
        r#"[34, 7, "jobs", 9, 1764000012345, 3, [[17, 1], [18, 3], [19, 1]],
            {"bin": "93c0c0c4016193c0c0c4016293c0c0c40163"}]"#,
    );
    let settle = |op, options| {
        let offsets = vec![(17, 18), (19, 20)];
        ClientFrame::Settle { req: 5, sub: 7, op, offsets, options }
    };
    let none = SettleOptions::default;
    for (number, op) in
        (0..).zip([SettleOp::Ack, SettleOp::Nack, SettleOp::Extend, SettleOp::Reject])
    {
        group.both(
            &format!("settle operation {number}"),
            &settle(op, none()),
            &format!("[35, 5, 7, {number}, [[17, 18], [19, 20]], null]"),
        );
    }
    let every =
        SettleOptions { delay_ms: Some(500), reason: Some("busy".into()), partition: Some(3) };
    group.both(
        "settle with every option",
        &settle(SettleOp::Nack, every),
        r#"[35, 5, 7, 1, [[17, 18], [19, 20]],
            {"delay_ms": 500, "reason": "busy", "partition": 3}]"#,
    );
    let mut result = Vec::new();
    wire::put_value(&mut result, &SettleReply { records: 2 });
    group.both(
        "settled",
        &ServerFrame::Ok { req: 5, result: Some(result.into()) },
        r#"[7, 5, {"records": 2}]"#,
    );
}

fn refused(group: &mut Group) {
    use ErrorCode::{InvalidArgument, InvalidName, Malformed};
    for (name, frame, code) in [
        ("a group operation of no version", r#"[32, 3, 9, "jobs", "g"]"#, InvalidArgument),
        ("a group without a name", r#"[32, 3, 0, "jobs"]"#, Malformed),
        ("a group with a bad name", r#"[32, 3, 0, "jobs", "a b"]"#, InvalidName),
        ("group options that are no map", r#"[32, 3, 0, "jobs", "g", [1]]"#, Malformed),
        ("consume without a group", r#"[33, 3, 7, "jobs"]"#, Malformed),
        ("settle without offsets", "[35, 3, 7, 0]", Malformed),
        ("settle an offset that is no range", "[35, 3, 7, 0, [17]]", Malformed),
    ] {
        group.refuses::<ClientFrame>(name, frame, code, 3);
    }
}
