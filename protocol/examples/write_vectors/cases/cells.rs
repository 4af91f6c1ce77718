//! INCR, GET, WATCH, UPDATE and PRESENCE: counters, maps and presence sets.

use bytes::Bytes;
use tidewire_protocol::frame::{AsOf, CellKind, CounterOp, PresenceOp, flags};
use tidewire_protocol::options::{CounterOptions, GetOptions, Numbering, TopicInfo, WatchOptions};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, ServerFrame};

use super::Failure;
use super::group::Group;
use super::tree::Tree;

pub(crate) fn group() -> Result<Group, Failure> {
    let likes = Name::parse("post.9.likes")?;
    let mut group = Group::new();
    increments(&mut group, &likes);
    operands(&mut group, &likes);
    counted(&mut group);
    gets(&mut group, &likes);
    eventual(&mut group, &likes);
    values(&mut group)?;
    watches(&mut group, &likes);
    updates(&mut group)?;
    presence(&mut group)?;
    loose(&mut group, &likes);
    refused(&mut group);
    Ok(group)
}

fn increments(group: &mut Group, likes: &Name) {
    let ops = [("add", CounterOp::Add), ("set", CounterOp::Set), ("reset", CounterOp::Reset)];
    for (number, (what, op)) in ops.into_iter().enumerate() {
        let frame = ClientFrame::Incr {
            req: 4,
            counter: likes.clone(),
            op,
            operand: 0,
            options: CounterOptions::default(),
        };
        let json = format!(r#"[20, 4, "post.9.likes", {number}, 0, null]"#);
        group.both(&format!("counter {what}"), &frame, &json);
    }
    let options = CounterOptions {
        min: Some(-10),
        max: Some(i64::MAX),
        strict: Some(true),
        ttl_ms: Some(0),
        id: Some("a1".into()),
        ..CounterOptions::default()
    };
    group.both(
        "counter add with every option",
        &incr(likes, 1, options),
        r#"[20, 4, "post.9.likes", 0, 1, {"min": -10, "max": {"int": "9223372036854775807"},
            "strict": true, "ttl_ms": 0, "id": "a1"}]"#,
    );
}

fn operands(group: &mut Group, likes: &Name) {
    let boundaries = [
        1,
        127,
        128,
        32_767,
        32_768,
        2_147_483_648,
        i64::MAX,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_768,
        -32_769,
        -2_147_483_648,
        -2_147_483_649,
        -9_007_199_254_740_991,
        -9_007_199_254_740_992,
        i64::MIN,
    ];
    for operand in boundaries {
        group.both(
            &format!("counter add {operand}"),
            &incr(likes, operand, CounterOptions::default()),
            &format!(r#"[20, 4, "post.9.likes", 0, {{"int": "{operand}"}}, null]"#),
        );
    }
}

fn counted(group: &mut Group) {
    let counted = |value, applied, duplicate| ServerFrame::Counted {
        req: 4,
        epoch: 3,
        version: 12,
        value,
        applied,
        duplicate,
        as_of: None,
    };
    group.both("counted", &counted(41, 1, false), "[21, 4, 3, 12, 41, 1, false]");
    group.both("counted before", &counted(41, 1, true), "[21, 4, 3, 12, 41, 1, true]");
    group.both(
        "counted to the lowest value",
        &counted(i64::MIN, -5, false),
        r#"[21, 4, 3, 12, {"int": "-9223372036854775808"}, -5, false]"#,
    );
}

/// What eventual counters, and reads that may be stale, have beyond.
fn eventual(group: &mut Group, likes: &Name) {
    let numbering = Numbering { producer: Some(7), sequence: Some(3), tried: vec![(1, 4), (2, 9)] };
    let numbered =
        CounterOptions { numbering: Some(numbering.into()), ..CounterOptions::default() };
    group.both(
        "counter add that was tried before",
        &incr(likes, 1, numbered),
        r#"[20, 4, "post.9.likes", 0, 1, {"producer": 7, "sequence": 3, "tried": [[1, 4], [2, 9]]}]"#,
    );
    let counted = ServerFrame::Counted {
        req: 4,
        epoch: 3,
        version: 12,
        value: 41,
        applied: 1,
        duplicate: false,
        as_of: Some((1, 4, 77)),
    };
    group.both(
        "counted by a node for itself",
        &counted,
        "[21, 4, 3, 12, 41, 1, false, [1, 4, 77]]",
    );
    let kind = CellKind::Counter;
    let get = |options| ClientFrame::Get { req: 5, kind, name: likes.clone(), key: None, options };
    group.both(
        "get a counter as of an increment",
        &get(GetOptions { at_least: vec![(1, 4, 77)], linearizable: None }),
        r#"[24, 5, 1, "post.9.likes", null, {"at_least": [[1, 4, 77]]}]"#,
    );
    group.both(
        "get a counter from its leader only",
        &get(GetOptions { at_least: Vec::new(), linearizable: Some(true) }),
        r#"[24, 5, 1, "post.9.likes", null, {"linearizable": true}]"#,
    );
    for is_stale in [false, true] {
        let mut value = Vec::new();
        tidewire_protocol::wire::put_value(&mut value, &-7);
        let (value, as_of) = (Some(value.into()), Some(AsOf { as_of_ms: 1_000, is_stale }));
        group.both(
            if is_stale { "value that may be stale" } else { "value as of a time" },
            &ServerFrame::Value { req: 5, kind: 1, epoch: 3, version: 12, value, as_of },
            &format!("[25, 5, 1, 3, 12, -7, 1000, {is_stale}]"),
        );
    }
}

fn gets(group: &mut Group, likes: &Name) {
    let kinds = [
        CellKind::Counter,
        CellKind::Tally,
        CellKind::Map,
        CellKind::Presence,
        CellKind::Topic,
        CellKind::Rounds,
    ];
    for (number, kind) in (1..).zip(kinds) {
        group.both(
            &format!("get a {}", kind.as_str()),
            &ClientFrame::Get {
                req: 5,
                kind,
                name: likes.clone(),
                key: None,
                options: GetOptions::default(),
            },
            &format!(r#"[24, 5, {number}, "post.9.likes", null]"#),
        );
        group.both(
            &format!("watch a {}", kind.as_str()),
            &watch(likes, kind, WatchOptions::default()),
            &format!(r#"[26, 6, 8, {number}, "post.9.likes", null]"#),
        );
    }
    group.both(
        "get one key of a map",
        &ClientFrame::Get {
            req: 5,
            kind: CellKind::Map,
            name: likes.clone(),
            key: Some("k".into()),
            options: GetOptions::default(),
        },
        r#"[24, 5, 3, "post.9.likes", "k"]"#,
    );
}

fn values(group: &mut Group) -> Result<(), Failure> {
    let cases = [
        ("nothing", 1, "null"),
        ("a counter", 1, "-7"),
        ("one key of a map", 3, r#"{"bin": "6869"}"#),
        ("entries", 3, r#"[["a", 4, {"bin": "6869"}], ["b", 9, {"bin": ""}]]"#),
        ("an empty presence set", 4, "[]"),
    ];
    for (what, kind, json) in cases {
        let value = encoded(json)?;
        group.both(
            &format!("value of {what}"),
            &ServerFrame::Value { req: 5, kind, epoch: 3, version: 12, value, as_of: None },
            &format!("[25, 5, {kind}, 3, 12, {json}]"),
        );
    }
    for (what, partitions, json) in
        [("a topic", None, ""), ("a topic with partitions", Some(8), r#", "partitions": 8"#)]
    {
        let policy = "news".into();
        let info = TopicInfo { first: 10, next: 42, bytes: 4096, batches: 7, policy, partitions };
        let mut value = Vec::new();
        tidewire_protocol::wire::put_value(&mut value, &info);
        let value = Some(value.into());
        group.both(
            &format!("value of {what}"),
            &ServerFrame::Value { req: 5, kind: 5, epoch: 3, version: 0, value, as_of: None },
            &format!(
                r#"[25, 5, 5, 3, 0, {{"first": 10, "next": 42, "bytes": 4096, "batches": 7,
                    "policy": "news"{json}}}]"#
            ),
        );
    }
    Ok(())
}

fn watches(group: &mut Group, likes: &Name) {
    let options = WatchOptions {
        interval_ms: Some(100),
        key: Some("k".into()),
        epoch: Some(3),
        version: Some(12),
    };
    group.both(
        "watch with every option",
        &watch(likes, CellKind::Map, options),
        r#"[26, 6, 8, 3, "post.9.likes", {"interval_ms": 100, "key": "k", "epoch": 3, "version": 12}]"#,
    );
    let watching = ServerFrame::Watching { req: 6, sub: 8, epoch: 3, version: 12, info: None };
    group.both("watching", &watching, "[27, 6, 8, 3, 12, null]");
    group.both("unsubscribe a watch", &ClientFrame::Unsubscribe { req: 7, sub: 8 }, "[15, 7, 8]");
}

fn updates(group: &mut Group) -> Result<(), Failure> {
    let every = flags::FULL | flags::DELETED | flags::STALE | flags::PROVISIONAL;
    let cases = [
        ("of a counter", flags::FULL, "42"),
        ("of a lowest counter", flags::FULL, r#"{"int": "-9223372036854775808"}"#),
        ("of all entries", flags::FULL, r#"[["a", 4, {"bin": "6869"}]]"#),
        ("of changed entries", 0, r#"[["a", 4, {"bin": "6869"}], ["b", 5, null]]"#),
        ("of nothing changed", 0, "[]"),
        ("that it is deleted", flags::FULL | flags::DELETED, "null"),
        ("with every flag", every, "1"),
        ("of a part of all entries", flags::FULL | flags::MORE, r#"[["a", 4, {"bin": "6869"}]]"#),
        ("of a part of changed entries", flags::MORE, r#"[["a", 4, null]]"#),
    ];
    for (what, flags, json) in cases {
        group.both(
            &format!("update {what}"),
            &ServerFrame::Update { sub: 8, version: 12, flags, value: encoded(json)? },
            &format!("[28, 8, 12, {flags}, {json}]"),
        );
    }
    Ok(())
}

fn presence(group: &mut Group) -> Result<(), Failure> {
    let presence = |op, data: Option<&'static [u8]>| -> Result<ClientFrame, Failure> {
        Ok(ClientFrame::Presence {
            req: 9,
            op,
            name: Name::parse("room.1")?,
            member: "ann".into(),
            data: data.map(Bytes::from_static),
        })
    };
    let join = presence(PresenceOp::Join, None)?;
    group.both("presence join", &join, r#"[29, 9, 0, "room.1", "ann", null]"#);
    group.reads("presence join without data", &join, r#"[29, 9, 0, "room.1", "ann"]"#);
    group.both(
        "presence join with data",
        &presence(PresenceOp::Join, Some(b"hi"))?,
        r#"[29, 9, 0, "room.1", "ann", {"bin": "6869"}]"#,
    );
    group.both(
        "presence join with empty data",
        &presence(PresenceOp::Join, Some(b""))?,
        r#"[29, 9, 0, "room.1", "ann", {"bin": ""}]"#,
    );
    group.both(
        "presence leave",
        &presence(PresenceOp::Leave, None)?,
        r#"[29, 9, 1, "room.1", "ann", null]"#,
    );
    Ok(())
}

fn loose(group: &mut Group, likes: &Name) {
    let add = incr(likes, 5, CounterOptions::default());
    group.reads("counter add without trailing fields", &add, r#"[20, 4, "post.9.likes", 0, 5]"#);
    group.reads(
        "counter add with an unknown option",
        &add,
        r#"[20, 4, "post.9.likes", 0, 5, {"step": [2]}]"#,
    );
    group.reads_bytes(
        "counter add of an int 64",
        &add,
        "9614 04ac706f73742e392e6c696b657300d30000000000000005c0",
    );
    group.reads_bytes(
        "counter add of a negative int 64",
        &incr(likes, -1, CounterOptions::default()),
        "9514 04ac706f73742e392e6c696b657300d3ffffffffffffffff",
    );
    let get = ClientFrame::Get {
        req: 5,
        kind: CellKind::Counter,
        name: likes.clone(),
        key: None,
        options: GetOptions::default(),
    };
    group.reads("get without trailing fields", &get, r#"[24, 5, 1, "post.9.likes"]"#);
    group.reads(
        "get with a field of a later version",
        &get,
        r#"[24, 5, 1, "post.9.likes", null, null, 1]"#,
    );
    let watch = watch(likes, CellKind::Counter, WatchOptions::default());
    group.reads("watch without trailing fields", &watch, r#"[26, 6, 8, 1, "post.9.likes"]"#);
    let nothing =
        ServerFrame::Value { req: 5, kind: 1, epoch: 3, version: 0, value: None, as_of: None };
    group.reads("value without trailing fields", &nothing, "[25, 5, 1, 3, 0]");
    let watching = ServerFrame::Watching { req: 6, sub: 8, epoch: 3, version: 12, info: None };
    group.reads("watching without trailing fields", &watching, "[27, 6, 8, 3, 12]");
    let gone = ServerFrame::Update { sub: 8, version: 13, flags: 3, value: None };
    group.reads("update without trailing fields", &gone, "[28, 8, 13, 3]");
}

fn refused(group: &mut Group) {
    use ErrorCode::{InvalidArgument, InvalidName, Malformed};
    let cases = [
        ("counter without operand", r#"[20, 4, "a", 0]"#, Malformed),
        ("counter with an unknown operation", r#"[20, 4, "a", 3, 1]"#, InvalidArgument),
        (
            "counter with an operand over 63 bits",
            r#"[20, 4, "a", 0, {"int": "9223372036854775808"}]"#,
            Malformed,
        ),
        ("counter without token", r#"[20, 4, "a..b", 0, 1]"#, InvalidName),
        ("counter with options of text", r#"[20, 4, "a", 0, 1, "min"]"#, Malformed),
        ("counter with a time to live below 0", r#"[20, 4, "a", 0, 1, {"ttl_ms": -1}]"#, Malformed),
        ("get of kind 0", r#"[24, 4, 0, "a"]"#, InvalidArgument),
        ("get of kind 7", r#"[24, 4, 7, "a"]"#, InvalidArgument),
        ("get without name", "[24, 4, 1]", Malformed),
        ("get with a key of bytes", r#"[24, 4, 3, "a", {"bin": "6b"}]"#, Malformed),
        ("watch of a pattern", r#"[26, 4, 8, 1, "a.>"]"#, InvalidName),
        ("watch without kind", "[26, 4, 8]", Malformed),
        ("presence with an unknown operation", r#"[29, 4, 2, "a", "ann"]"#, InvalidArgument),
        ("presence without member", r#"[29, 4, 0, "a"]"#, Malformed),
        ("presence with data of text", r#"[29, 4, 0, "a", "ann", "hi"]"#, Malformed),
    ];
    for (name, json, code) in cases {
        group.refuses::<ClientFrame>(name, json, code, 4);
    }
    let server = [
        ("counted without duplicate", "[21, 4, 3, 12, 41, 1]"),
        ("counted with a number for duplicate", "[21, 4, 3, 12, 41, 1, 0]"),
        ("update without flags", "[28, 8, 12]"),
    ];
    for (name, json) in server {
        group.refuses::<ServerFrame>(name, json, Malformed, 0);
    }
}

fn incr(counter: &Name, operand: i64, options: CounterOptions) -> ClientFrame {
    ClientFrame::Incr { req: 4, counter: counter.clone(), op: CounterOp::Add, operand, options }
}

fn watch(name: &Name, kind: CellKind, options: WatchOptions) -> ClientFrame {
    ClientFrame::Watch { req: 6, sub: 8, kind, name: name.clone(), options }
}

/// The encoding of one value; `None` for nil.
fn encoded(json: &str) -> Result<Option<Bytes>, Failure> {
    let tree = Tree::of_json(json)?;
    if tree == Tree::Nil { Ok(None) } else { Ok(Some(tree.to_bytes()?.into())) }
}
