//! HELLO, WELCOME, PING, PONG, ERROR, GOAWAY, OK, and bytes that are no frames.

use bytes::Bytes;
use tidewire_protocol::options::{IdentityInfo, ServerInfo};
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame, wire};

use super::Failure;
use super::group::Group;

pub(crate) fn group() -> Result<Group, Failure> {
    let mut group = Group::new();
    greetings(&mut group);
    heartbeats(&mut group);
    answers(&mut group);
    loose(&mut group);
    refused(&mut group);
    broken(&mut group);
    Ok(group)
}

fn greetings(group: &mut Group) {
    group.both("hello with nothing optional", &hello(&[], None, None), "[1, 1, [], null, null]");
    group.both(
        "hello with everything",
        &hello(&["datagrams"], Some("s3cret"), Some("acme-app/3")),
        r#"[1, 1, ["datagrams"], "s3cret", "acme-app/3"]"#,
    );
    group.both(
        "hello with a client and no token",
        &hello(&[], None, Some("grüße/1")),
        r#"[1, 1, [], null, "grüße/1"]"#,
    );
    let info = ServerInfo {
        server: "tidewire/0.1.0".into(),
        node: "n1".into(),
        shards: 4,
        max_frame_bytes: 1_048_576,
        heartbeat_ms: 15_000,
        in_flight_max: 1024,
        subscriptions_max: 1000,
        time_ms: 1_764_000_000_000,
        identity: None,
        actor: None,
        nodes: Vec::new(),
    };
    let capabilities = vec!["datagrams".to_owned()];
    group.both(
        "welcome",
        &ServerFrame::Welcome {
            version: 1,
            capabilities: capabilities.clone(),
            session: "c-1".into(),
            info: info.clone(),
        },
        r#"[2, 1, ["datagrams"], "c-1", {"server": "tidewire/0.1.0", "node": "n1", "shards": 4,
            "max_frame_bytes": 1048576, "heartbeat_ms": 15000, "in_flight_max": 1024,
            "subscriptions_max": 1000, "time_ms": 1764000000000}]"#,
    );
    let identity = Some(IdentityInfo {
        issuer: "https://id.example".into(),
        subject: "ann".into(),
        expires_at_ms: Some(1_764_000_060_000),
    });
    let info = ServerInfo { identity, ..info };
    let welcome = ServerFrame::Welcome {
        version: 1,
        capabilities: capabilities.clone(),
        session: "c-1".into(),
        info: info.clone(),
    };
    group.both(
        "welcome of somebody",
        &welcome,
        r#"[2, 1, ["datagrams"], "c-1", {"server": "tidewire/0.1.0", "node": "n1", "shards": 4,
            "max_frame_bytes": 1048576, "heartbeat_ms": 15000, "in_flight_max": 1024,
            "subscriptions_max": 1000, "time_ms": 1764000000000,
            "identity": {"issuer": "https://id.example", "subject": "ann",
                "expires_at_ms": 1764000060000}}]"#,
    );
    welcome_by_a_node(group);
    let auth = ClientFrame::Auth { req: 3, token: "a.b.c".into() };
    group.both("a newer token", &auth, r#"[38, 3, "a.b.c"]"#);
    let info = IdentityInfo { issuer: "local".into(), subject: "shop".into(), expires_at_ms: None };
    let mut result = Vec::new();
    wire::put_value(&mut result, &info);
    let taken = ServerFrame::Ok { req: 3, result: Some(result.into()) };
    group.both(
        "a newer token is taken",
        &taken,
        r#"[7, 3, {"issuer": "local", "subject": "shop"}]"#,
    );
}

fn welcome_by_a_node(group: &mut Group) {
    let (capabilities, session) = (Vec::new(), "c-1".to_owned());
    let nodes = vec!["wss://n2.example:7171".into(), "wss://n3.example:7171".into()];
    let info = ServerInfo { actor: Some((1, 4)), nodes, ..ServerInfo::default() };
    group.both(
        "welcome by a node",
        &ServerFrame::Welcome { version: 1, capabilities, session, info },
        r#"[2, 1, [], "c-1", {"server": "", "node": "", "shards": 0, "max_frame_bytes": 0,
            "heartbeat_ms": 0, "in_flight_max": 0, "subscriptions_max": 0, "time_ms": 0,
            "actor": [1, 4], "nodes": ["wss://n2.example:7171", "wss://n3.example:7171"]}]"#,
    );
}

fn heartbeats(group: &mut Group) {
    let boundaries = [
        0,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        4_294_967_295,
        4_294_967_296,
        9_007_199_254_740_991,
        9_007_199_254_740_992,
        9_223_372_036_854_775_807,
        9_223_372_036_854_775_808,
        u64::MAX,
    ];
    for nonce in boundaries {
        let ping = format!(r#"[3, {{"int": "{nonce}"}}]"#);
        group.both(&format!("client ping {nonce}"), &ClientFrame::Ping { nonce }, &ping);
        let pong = format!(r#"[4, {{"int": "{nonce}"}}]"#);
        group.both(&format!("server pong {nonce}"), &ServerFrame::Pong { nonce }, &pong);
    }
    group.both("client pong", &ClientFrame::Pong { nonce: 7 }, "[4, 7]");
    group.both("server ping", &ServerFrame::Ping { nonce: 7 }, "[3, 7]");
}

fn answers(group: &mut Group) {
    let error = |req, code, message: &str, retry_after_ms, sub| ServerFrame::Error {
        req,
        code,
        message: message.to_owned(),
        retry_after_ms,
        sub,
        actual: None,
    };
    group.both(
        "error with nothing optional",
        &error(5, 9, "no tally is named 'p'", None, None),
        r#"[5, 5, 9, "no tally is named 'p'", null, null]"#,
    );
    group.both(
        "error with a time to retry",
        &error(6, 16, "the queue is full", Some(250), None),
        r#"[5, 6, 16, "the queue is full", 250, null]"#,
    );
    group.both(
        "error that ends a subscription",
        &error(0, 33, "too slow", None, Some(u32::MAX)),
        r#"[5, 0, 33, "too slow", null, 4294967295]"#,
    );
    let conflict = Refusal::new(ErrorCode::Conflict, "not as expected").actual(7);
    group.both(
        "error that says what holds",
        &ServerFrame::refuse(4, conflict),
        r#"[5, 4, 11, "not as expected", null, null, 7]"#,
    );
    for code in ErrorCode::ALL {
        let (number, name) = (code.number(), code.name());
        group.both(
            &format!("error {name}"),
            &error(1, number.into(), name, None, None),
            &format!(r#"[5, 1, {number}, "{name}", null, null]"#),
        );
    }
    group.both(
        "error with a code of a later version",
        &error(1, 70_000, "new", None, None),
        r#"[5, 1, 70000, "new", null, null]"#,
    );
    group.both("goaway", &goaway(35, "restart", &[]), r#"[6, 35, "restart", 5000]"#);
    group.both(
        "goaway to other nodes",
        &goaway(38, "drained", &["ws://b:7171", "ws://c:7171"]),
        r#"[6, 38, "drained", 5000, ["ws://b:7171", "ws://c:7171"]]"#,
    );
    group.both("ok without result", &ServerFrame::Ok { req: 9, result: None }, "[7, 9, null]");
    group.both(
        "ok with result",
        &ServerFrame::Ok { req: 9, result: Some(Bytes::from_static(b"\x81\xa1n\x01")) },
        r#"[7, 9, {"n": 1}]"#,
    );
}

fn goaway(code: u64, message: &str, nodes: &[&str]) -> ServerFrame {
    let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
    ServerFrame::GoAway { code, message: message.to_owned(), grace_ms: 5_000, nodes }
}

fn loose(group: &mut Group) {
    group.reads("hello without trailing fields", &hello(&[], None, None), "[1, 1, []]");
    group.reads("hello with null capabilities", &hello(&[], None, None), "[1, 1, null]");
    group.reads(
        "hello with fields of a later version",
        &hello(&[], Some("t"), None),
        r#"[1, 1, [], "t", null, {"zone": ["b"]}, {"bin": "00"}, -1]"#,
    );
    group.reads(
        "ping with a field of a later version",
        &ClientFrame::Ping { nonce: 1 },
        "[3, 1, 2]",
    );
    group.reads("ok without trailing fields", &ServerFrame::Ok { req: 9, result: None }, "[7, 9]");
    let welcome = ServerFrame::Welcome {
        version: 1,
        capabilities: vec![],
        session: "c".into(),
        info: ServerInfo { shards: 2, ..ServerInfo::default() },
    };
    group.reads(
        "welcome with unknown keys and without known ones",
        &welcome,
        r#"[2, 1, [], "c", {"zone": {"name": [1, 2]}, "shards": 2}]"#,
    );
    let ping = ClientFrame::Ping { nonce: 5 };
    let encodings = [
        ("uint 8", "9203cc05"),
        ("uint 16", "9203cd0005"),
        ("uint 32", "9203ce00000005"),
        ("uint 64", "9203cf0000000000000005"),
        ("int 8", "9203d005"),
        ("int 16", "9203d10005"),
        ("int 32", "9203d200000005"),
        ("int 64", "9203d30000000000000005"),
        ("a type in uint 16", "92cd000305"),
        ("an array 16", "dc00020305"),
        ("an array 32", "dd000000020305"),
    ];
    for (what, hex) in encodings {
        group.reads_bytes(&format!("ping with {what}"), &ping, hex);
    }
    group.reads_bytes("hello with a str 8", &hello(&[], Some("t"), None), "94010190d90174");
    group.reads_bytes("hello with a str 16", &hello(&[], Some("t"), None), "94010190da000174");
    group.reads_bytes("hello with a str 32", &hello(&[], Some("t"), None), "94010190db0000000174");

    group.reads_bytes(
        "hello with a float in a field of a later version",
        &hello(&[], None, None),
        "96010190c0c0cb3ff0000000000000",
    );
}

fn refused(group: &mut Group) {
    use ErrorCode::{Malformed, UnknownFrame};
    let cases = [
        ("an empty array", "[]", Malformed, 0),
        ("a map instead of an array", r#"{"type": 3}"#, Malformed, 0),
        ("a number instead of an array", "3", Malformed, 0),
        ("a negative type", "[-3, 1]", Malformed, 0),
        ("a type that is text", r#"["PING", 1]"#, Malformed, 0),
        ("type 0", "[0, 5]", UnknownFrame, 5),
        ("a kept type", r#"[63, 5, "group"]"#, UnknownFrame, 5),
        ("a type of no version", "[4096, 5]", UnknownFrame, 5),
        ("an unknown type without request", "[99]", UnknownFrame, 0),
        ("an unknown type whose first field is text", r#"[99, "x"]"#, UnknownFrame, 0),
        ("a type that only servers send", "[7, 9, null]", UnknownFrame, 9),
        ("a ping without nonce", "[3]", Malformed, 0),
        ("a ping whose nonce is nil", "[3, null]", Malformed, 0),
        ("a ping whose nonce is negative", "[3, -1]", Malformed, 0),
        ("a ping whose nonce is text", r#"[3, "1"]"#, Malformed, 0),
        ("a hello without version", "[1]", Malformed, 0),
        ("a hello whose capabilities are text", r#"[1, 1, "datagrams"]"#, Malformed, 0),
        ("a hello whose token is bytes", r#"[1, 1, [], {"bin": "00"}]"#, Malformed, 0),
    ];
    for (name, json, code, req) in cases {
        group.refuses::<ClientFrame>(name, json, code, req);
    }
    let bytes = [
        ("a ping whose nonce is a float", "9203cb3ff0000000000000"),
        ("a ping whose nonce is an extension", "9203d40100"),
        ("a hello whose token is not UTF-8", "94010190a1ff"),
    ];
    for (name, hex) in bytes {
        group.refuses_bytes::<ClientFrame>(name, hex, Malformed, 0);
    }
    let server = [
        ("a server's frame of a type that only clients send", r#"[24, 1, 1, "a"]"#, UnknownFrame),
        ("an error without message", "[5, 1, 9]", Malformed),
        ("a welcome whose info is an array", r#"[2, 1, [], "c", ["tidewire"]]"#, Malformed),
    ];
    for (name, json, code) in server {
        group.refuses::<ServerFrame>(name, json, code, 0);
    }
}

fn broken(group: &mut Group) {
    let cases = [
        ("nothing", String::new()),
        ("the reserved byte", "c1".to_owned()),
        ("the reserved byte as a field", "9203c1".to_owned()),
        ("a field less than the array says", "9203".to_owned()),
        ("a string that is cut off", "94010190a5 6869".to_owned()),
        ("a length that is cut off", "9203cf00".to_owned()),
        ("an array of four billion elements", "ddffffffff".to_owned()),
        ("a map of four billion entries", "dfffffffff".to_owned()),
        ("a binary of four billion bytes", "c6ffffffff00".to_owned()),
        ("seventeen levels", "91".repeat(17) + "c0"),
        ("a hundred levels", "91".repeat(100) + "c0"),
    ];
    for (name, hex) in cases {
        group.breaks(name, &hex);
    }
}

fn hello(capabilities: &[&str], token: Option<&str>, client: Option<&str>) -> ClientFrame {
    ClientFrame::Hello {
        version: 1,
        capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        token: token.map(str::to_owned),
        client: client.map(str::to_owned),
    }
}
