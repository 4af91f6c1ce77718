//! PUBLISH to CREDIT: topics and subscriptions.

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, Position, Start, TopicOp};
use tidewire_protocol::options::{
    Condition, ProducerInfo, PublishOptions, SubscribeOptions, TopicOptions,
};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame, wire};

use super::Failure;
use super::group::Group;
use super::tree::to_hex;

/// One record `[nil, nil, "hi"]`.
const BODY: &[u8] = &[0x93, 0xc0, 0xc0, 0xc4, 2, b'h', b'i'];

pub(crate) fn group() -> Result<Group, Failure> {
    let news = Name::parse("news")?;
    let literal = Pattern::parse("news")?;
    let mut group = Group::new();
    publishes(&mut group, &news);
    removals(&mut group, &news);
    subscribes(&mut group, &literal);
    patterns(&mut group, &Pattern::parse("poll.*.>")?);
    filters(&mut group, &literal);
    deliveries(&mut group, &news);
    progress(&mut group, &news);
    loose_publishes(&mut group, &news);
    loose_subscribes(&mut group, &news, &literal);
    refused_publishes(&mut group);
    refused_subscribes(&mut group);
    refused_deliveries(&mut group);
    Ok(group)
}

fn publishes(group: &mut Group, news: &Name) {
    let levels =
        [AckLevel::None, AckLevel::Memory, AckLevel::Disk, AckLevel::Quorum, AckLevel::Policy];
    for (number, ack) in levels.into_iter().enumerate() {
        group.both(
            &format!("publish with acknowledgement level {number}"),
            &publish(2, news, ack, PublishOptions::default()),
            &format!(r#"[10, 2, "news", {number}, {{"bin": "93c0c0c4026869"}}, null]"#),
        );
    }
    group.both(
        "publish with a time to live, no reply wanted",
        &publish(0, news, AckLevel::Memory, PublishOptions { ttl_ms: Some(60_000), ..none() }),
        r#"[10, 0, "news", 1, {"bin": "93c0c0c4026869"}, {"ttl_ms": 60000}]"#,
    );
    let every = PublishOptions {
        ttl_ms: Some(1),
        producer: Some(7),
        sequence: Some(0),
        expected_offset: Some(u64::MAX),
        expected_key: Some("k".into()),
    };
    group.both(
        "publish with every option",
        &publish(9_007_199_254_740_991, news, AckLevel::Disk, every),
        r#"[10, 9007199254740991, "news", 2, {"bin": "93c0c0c4026869"}, {"ttl_ms": 1,
            "producer": 7, "sequence": 0, "expected_offset": {"int": "18446744073709551615"},
            "expected_key": "k"}]"#,
    );
    let puback = |offset| {
        let (req, epoch, level, positions) = (2, 1_764_000_000_000, 1, None);
        ServerFrame::PubAck { req, epoch, offset, level, positions, duplicate: false }
    };
    group.both("puback", &puback(Some(41)), "[11, 2, 1764000000000, 41, 1]");
    group.both("puback without offset", &puback(None), "[11, 2, 1764000000000, null, 1]");
    group.reads(
        "puback without positions",
        &puback(Some(41)),
        "[11, 2, 1764000000000, 41, 1, null]",
    );
    let positions = Some(vec![Position(0, 3, 17), Position(5, 3, 0)]);
    let parted = |duplicate| {
        let (epoch, offset, positions) = (0, None, positions.clone());
        ServerFrame::PubAck { req: 2, epoch, offset, level: 1, positions, duplicate }
    };
    let first = parted(false);
    group.both("puback of partitions", &first, "[11, 2, 0, null, 1, [[0, 3, 17], [5, 3, 0]]]");
    group.both(
        "puback of partitions that had it before",
        &parted(true),
        "[11, 2, 0, null, 1, [[0, 3, 17], [5, 3, 0]], true]",
    );
    let (epoch, offset, positions) = (9, Some(41), None);
    let again = ServerFrame::PubAck { req: 2, epoch, offset, level: 1, positions, duplicate: true };
    group.both("puback of a repeated publish", &again, "[11, 2, 9, 41, 1, null, true]");
    group.both("producer", &ClientFrame::Producer { req: 8 }, "[31, 8]");
    let issued = r#"[7, 8, {"producer": 7225344000000064, "window": 1024, "idle_ms": 3600000}]"#;
    let mut result = Vec::new();
    let (producer, window, idle_ms) = (7_225_344_000_000_064, 1_024, 3_600_000);
    wire::put_value(&mut result, &ProducerInfo { producer, window, idle_ms });
    group.both("producer issued", &ServerFrame::Ok { req: 8, result: Some(result.into()) }, issued);
}

fn removals(group: &mut Group, news: &Name) {
    let topic = |op, before_offset, before_time_ms| {
        let options = TopicOptions { before_offset, before_time_ms };
        ClientFrame::Topic { req: 9, op, topic: news.clone(), options }
    };
    let delete = topic(TopicOp::Delete, None, None);
    group.both("delete a topic", &delete, r#"[36, 9, 0, "news", null]"#);
    let offset = topic(TopicOp::Truncate, Some(41), None);
    group.both("truncate a topic", &offset, r#"[36, 9, 1, "news", {"before_offset": 41}]"#);
    let time = topic(TopicOp::Truncate, None, Some(1_764_000_000_000));
    let json = r#"[36, 9, 1, "news", {"before_time_ms": 1764000000000}]"#;
    group.both("truncate a topic by time", &time, json);
}

fn none() -> PublishOptions {
    PublishOptions::default()
}

fn subscribes(group: &mut Group, literal: &Pattern) {
    let starts = [
        ("latest", Start::Latest, "[0]"),
        ("earliest", Start::Earliest, "[1]"),
        (
            "an offset",
            Start::Offset { epoch: 1_764_000_000_000, offset: 42 },
            "[2, 1764000000000, 42]",
        ),
        ("an offset of any epoch", Start::Offset { epoch: 0, offset: 0 }, "[2, 0, 0]"),
        ("a time", Start::Time(1_764_000_012_345), "[3, 1764000012345]"),
        ("the last 10", Start::Last(10), "[4, 10]"),
    ];
    for (what, start, json) in starts {
        group.both(
            &format!("subscribe from {what}"),
            &subscribe(literal, start, SubscribeOptions::default()),
            &format!(r#"[12, 1, 7, "news", {json}, null]"#),
        );
    }
    let subscribed = |status, missing, positions| ServerFrame::Subscribed {
        req: 1,
        sub: 7,
        status,
        epoch: 3,
        offset: 42,
        missing,
        positions,
    };
    group.both("subscribed", &subscribed(0, None, None), "[13, 1, 7, 0, 3, 42, null, null]");
    group.both("subscribed again", &subscribed(1, None, None), "[13, 1, 7, 1, 3, 42, null, null]");
    group.both(
        "subscribed with a gap",
        &subscribed(2, Some((40, 42)), None),
        "[13, 1, 7, 2, 3, 42, [40, 42], null]",
    );
    group.both(
        "subscribed to another epoch",
        &subscribed(3, None, None),
        "[13, 1, 7, 3, 3, 42, null, null]",
    );
    group.both("unsubscribe", &ClientFrame::Unsubscribe { req: 3, sub: 7 }, "[15, 3, 7]");
    group.both("credit", &ClientFrame::Credit { sub: 7, bytes: 65_536 }, "[18, 7, 65536]");
}

fn patterns(group: &mut Group, wide: &Pattern) {
    group.both(
        "subscribe from no positions",
        &subscribe(wide, Start::Positions(vec![]), SubscribeOptions::default()),
        r#"[12, 1, 7, "poll.*.>", [5, []], null]"#,
    );
    let positions = Start::Positions(vec![Position(0, 3, 17), Position(1, 3, u64::MAX)]);
    group.both(
        "subscribe from positions",
        &subscribe(wide, positions, SubscribeOptions::default()),
        r#"[12, 1, 7, "poll.*.>", [5, [[0, 3, 17], [1, 3, {"int": "18446744073709551615"}]]], null]"#,
    );
    let pattern = ServerFrame::Subscribed {
        req: 1,
        sub: u32::MAX,
        status: 0,
        epoch: 0,
        offset: 0,
        missing: None,
        positions: Some(vec![Position(0, 3, 17), Position(1, 3, 0)]),
    };
    group.both(
        "subscribed to a pattern",
        &pattern,
        "[13, 1, 4294967295, 0, 0, 0, null, [[0, 3, 17], [1, 3, 0]]]",
    );
}

fn filters(group: &mut Group, literal: &Pattern) {
    let condition = |field: &str, op: &str, value: Option<&str>| {
        Condition(field.to_owned(), op.to_owned(), value.map(str::to_owned))
    };
    let options = SubscribeOptions {
        mode: Some(1),
        interval_ms: Some(0),
        filter: Some(vec![
            condition("key", "eq", Some("a")),
            condition("key", "ne", Some("")),
            condition("header:type", "prefix", Some("goal")),
            condition("header:type", "exists", None),
            condition("header:test", "absent", None),
        ]),
        credit: Some(1_000_000),
        on_gap: Some(2),
        group: None,
    };
    group.both(
        "subscribe with every option",
        &subscribe(literal, Start::Latest, options),
        r#"[12, 1, 7, "news", [0], {"mode": 1, "interval_ms": 0, "filter": [["key", "eq", "a"],
            ["key", "ne", ""], ["header:type", "prefix", "goal"], ["header:type", "exists", null],
            ["header:test", "absent", null]], "credit": 1000000, "on_gap": 2}]"#,
    );
    let exists = SubscribeOptions {
        filter: Some(vec![condition("key", "exists", None)]),
        ..SubscribeOptions::default()
    };
    group.reads(
        "subscribe with a condition of two elements and an unknown option",
        &subscribe(literal, Start::Latest, exists),
        r#"[12, 1, 7, "news", [0], {"colour": {"of": ["the", "sea"]}, "filter": [["key", "exists"]]}]"#,
    );
}

fn deliveries(group: &mut Group, news: &Name) {
    let deliver = |position, offsets, body: &'static [u8]| ServerFrame::Deliver {
        sub: 7,
        topic: news.clone(),
        epoch: 3,
        from: 40,
        next: 41,
        time_ms: 1_764_000_012_345,
        position,
        offsets,
        body: Bytes::from_static(body),
    };
    group.both(
        "deliver",
        &deliver(None, None, BODY),
        r#"[14, 7, "news", 3, 40, 41, 1764000012345, null, null, {"bin": "93c0c0c4026869"}]"#,
    );
    group.both(
        "deliver to a pattern",
        &deliver(Some(Position(1, 3, 18)), None, BODY),
        r#"[14, 7, "news", 3, 40, 41, 1764000012345, [1, 3, 18], null, {"bin": "93c0c0c4026869"}]"#,
    );
    let selected = ServerFrame::Deliver {
        sub: 7,
        topic: news.clone(),
        epoch: 3,
        from: 40,
        next: 400,
        time_ms: 0,
        position: None,
        offsets: Some(vec![0, 300]),
        body: Bytes::from([BODY, BODY].concat()),
    };
    group.both(
        "deliver of selected records",
        &selected,
        r#"[14, 7, "news", 3, 40, 400, 0, null, [0, 300], {"bin": "93c0c0c402686993c0c0c4026869"}]"#,
    );
    let long: Vec<u8> =
        [0x93, 0xc0, 0xc0, 0xc5, 0x01, 0x00].into_iter().chain([0x61; 256]).collect();
    let json = format!(r#"[10, 2, "news", 1, {{"bin": "{}"}}, null]"#, to_hex(&long));
    let frame = ClientFrame::Publish {
        req: 2,
        topic: news.clone(),
        ack: AckLevel::Memory,
        body: long.into(),
        options: none(),
    };
    group.both("publish with a body of 262 bytes", &frame, &json);
    let gap = |reason, position| {
        let (topic, epoch, from, next) = (Some(news.clone()), 3, 10, 40);
        ServerFrame::Gap { sub: 7, topic, epoch, from, next, reason, position }
    };
    for reason in 0..=2 {
        group.both(
            &format!("gap for reason {reason}"),
            &gap(reason, None),
            &format!(r#"[16, 7, "news", 3, 10, 40, {reason}]"#),
        );
    }
    group.both(
        "gap of a partition",
        &gap(0, Some(Position(5, 3, 40))),
        r#"[16, 7, "news", 3, 10, 40, 0, [5, 3, 40]]"#,
    );
    group.reads("gap without position", &gap(0, None), r#"[16, 7, "news", 3, 10, 40, 0, null]"#);
}

fn progress(group: &mut Group, news: &Name) {
    let progress =
        |topic, next, position| ServerFrame::Progress { sub: 7, topic, epoch: 3, next, position };
    group.both(
        "progress of a topic",
        &progress(Some(news.clone()), 10_041, None),
        r#"[17, 7, "news", 3, 10041, null]"#,
    );
    group.both(
        "progress of a pattern",
        &progress(None, 0, Some(Position(1, 3, 99))),
        "[17, 7, null, 3, 0, [1, 3, 99]]",
    );
}

fn loose_publishes(group: &mut Group, news: &Name) {
    let plain = publish(2, news, AckLevel::Memory, none());
    group.reads(
        "publish without trailing fields",
        &plain,
        r#"[10, 2, "news", 1, {"bin": "93c0c0c4026869"}]"#,
    );
    group.reads(
        "publish with empty options",
        &plain,
        r#"[10, 2, "news", 1, {"bin": "93c0c0c4026869"}, {}]"#,
    );
    group.reads(
        "publish with null and unknown options",
        &plain,
        r#"[10, 2, "news", 1, {"bin": "93c0c0c4026869"}, {"ttl_ms": null, "later": [1]}]"#,
    );
    group.reads(
        "publish with a field of a later version",
        &plain,
        r#"[10, 2, "news", 1, {"bin": "93c0c0c4026869"}, null, "later"]"#,
    );
    group.reads_bytes("publish with a bin 16", &plain, "950a02a46e65777301c5000793c0c0c4026869");
    group.reads_bytes(
        "publish with a bin 32",
        &plain,
        "950a02a46e65777301c60000000793c0c0c4026869",
    );
}

fn loose_subscribes(group: &mut Group, news: &Name, literal: &Pattern) {
    let subscribed = subscribe(literal, Start::Earliest, SubscribeOptions::default());
    group.reads("subscribe without trailing fields", &subscribed, r#"[12, 1, 7, "news", [1]]"#);
    group.reads("subscribe with a longer start", &subscribed, r#"[12, 1, 7, "news", [1, 5, "x"]]"#);
    let fresh = ServerFrame::Subscribed {
        req: 1,
        sub: 7,
        status: 0,
        epoch: 3,
        offset: 42,
        missing: None,
        positions: None,
    };
    group.reads("subscribed without trailing fields", &fresh, "[13, 1, 7, 0, 3, 42]");
    let moved = ServerFrame::Progress {
        sub: 7,
        topic: Some(news.clone()),
        epoch: 3,
        next: 9,
        position: None,
    };
    group.reads("progress without trailing fields", &moved, r#"[17, 7, "news", 3, 9]"#);
    group.reads(
        "unsubscribe with a field of a later version",
        &ClientFrame::Unsubscribe { req: 3, sub: 7 },
        "[15, 3, 7, true]",
    );
}

fn refused_publishes(group: &mut Group) {
    use ErrorCode::{InvalidArgument, InvalidName, Malformed};
    let cases = [
        ("publish without request", "[10]", Malformed, 0),
        ("publish with a negative request", r#"[10, -1, "news", 1, {"bin": "00"}]"#, Malformed, 0),
        ("publish without body", r#"[10, 2, "news", 1]"#, Malformed, 2),
        ("publish with a body of text", r#"[10, 2, "news", 1, "hi"]"#, Malformed, 2),
        ("publish to an empty name", r#"[10, 2, "", 1, {"bin": "00"}]"#, InvalidName, 2),
        ("publish to a pattern", r#"[10, 2, "news.*", 1, {"bin": "00"}]"#, InvalidName, 2),
        ("publish to bytes", r#"[10, 2, {"bin": "61"}, 1, {"bin": "00"}]"#, Malformed, 2),
        (
            "publish with an unknown level",
            r#"[10, 2, "news", 5, {"bin": "00"}]"#,
            InvalidArgument,
            2,
        ),
        (
            "publish with options in an array",
            r#"[10, 2, "news", 1, {"bin": "00"}, [5]]"#,
            Malformed,
            2,
        ),
        (
            "publish with a time to live of text",
            r#"[10, 2, "news", 1, {"bin": "00"}, {"ttl_ms": "5"}]"#,
            Malformed,
            2,
        ),
    ];
    for (name, json, code, req) in cases {
        group.refuses::<ClientFrame>(name, json, code, req);
    }
    group.refuses_bytes::<ClientFrame>(
        "publish with numbered options",
        "960a02a46e65777301c401008100 05",
        Malformed,
        2,
    );
    group.refuses_bytes::<ClientFrame>(
        "publish with an option twice",
        "960a02a46e65777301c4010082a674746c5f6d7305a674746c5f6d7306",
        Malformed,
        2,
    );
}

fn refused_subscribes(group: &mut Group) {
    use ErrorCode::{InvalidPattern, Malformed};
    let cases = [
        ("subscribe without start", r#"[12, 1, 7, "news"]"#, Malformed),
        ("subscribe with a start that is a number", r#"[12, 1, 7, "news", 0]"#, Malformed),
        ("subscribe with an empty start", r#"[12, 1, 7, "news", []]"#, Malformed),
        ("subscribe with an unknown start", r#"[12, 1, 7, "news", [6]]"#, Malformed),
        ("subscribe with a start cut short", r#"[12, 1, 7, "news", [2, 3]]"#, Malformed),
        ("subscribe with positions of two", r#"[12, 1, 7, "a.>", [5, [[0, 3]]]]"#, Malformed),
        ("subscribe to a half wildcard", r#"[12, 1, 7, "ne*", [0]]"#, InvalidPattern),
        ("subscribe to a rest in the middle", r#"[12, 1, 7, "a.>.b", [0]]"#, InvalidPattern),
        ("subscribe with a wide id", r#"[12, 1, 4294967296, "news", [0]]"#, Malformed),
        (
            "subscribe with a condition of one element",
            r#"[12, 1, 7, "news", [0], {"filter": [["key"]]}]"#,
            Malformed,
        ),
        ("unsubscribe without id", "[15, 1]", Malformed),
    ];
    for (name, json, code) in cases {
        group.refuses::<ClientFrame>(name, json, code, 1);
    }
    group.refuses::<ClientFrame>("credit without bytes", "[18, 7]", Malformed, 0);
    group.refuses::<ClientFrame>("credit for a negative id", "[18, -7, 1]", Malformed, 0);
}

fn refused_deliveries(group: &mut Group) {
    use ErrorCode::{InvalidName, Malformed};
    let cases = [
        ("deliver without body", r#"[14, 7, "news", 3, 40, 41, 0, null, null]"#, Malformed),
        (
            "deliver from a pattern",
            r#"[14, 7, "*", 3, 40, 41, 0, null, null, {"bin": ""}]"#,
            InvalidName,
        ),
        ("subscribed with half a range", "[13, 1, 7, 2, 3, 42, [40]]", Malformed),
    ];
    for (name, json, code) in cases {
        group.refuses::<ServerFrame>(name, json, code, 0);
    }
}

fn publish(req: u64, topic: &Name, ack: AckLevel, options: PublishOptions) -> ClientFrame {
    ClientFrame::Publish { req, topic: topic.clone(), ack, body: Bytes::from_static(BODY), options }
}

fn subscribe(pattern: &Pattern, start: Start, options: SubscribeOptions) -> ClientFrame {
    ClientFrame::Subscribe { req: 1, sub: 7, pattern: pattern.clone(), start, options }
}
