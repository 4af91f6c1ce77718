use super::super::testing::{hear, hear_split};
use super::super::websocket::server_message;
use super::*;
use crate::session::{Cell, TOPIC};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::record::BodyBuilder;

const ACCEPT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

fn welcome() -> ServerFrame {
    let info = ServerInfo::default();
    ServerFrame::Welcome { version: 1, capabilities: Vec::new(), session: "c-1".to_owned(), info }
}

fn subscribed() -> ServerFrame {
    ServerFrame::Subscribed {
        req: 1,
        sub: 1,
        status: 0,
        epoch: 1_764_000_000_000,
        offset: 0,
        missing: None,
        positions: None,
    }
}

fn deliver(payloads: &[&[u8]], next: u64, offsets: Option<Vec<u64>>) -> ServerFrame {
    let mut body = BodyBuilder::new();
    for payload in payloads {
        body.push(None, &[], Some(payload));
    }
    ServerFrame::Deliver {
        sub: 1,
        topic: Name::parse(TOPIC).unwrap(),
        epoch: 1_764_000_000_000,
        from: 70_000,
        next: 70_000 + next,
        time_ms: 1_764_000_000_000,
        position: None,
        offsets,
        body: body.finish(),
    }
}

fn encode(frames: &[ServerFrame], envelope: Envelope) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        if envelope == Envelope::Length {
            out.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_be_bytes());
        }
        out.extend_from_slice(&encoded);
    }
    out
}

fn web(frames: &[ServerFrame]) -> Vec<u8> {
    server_message(&encode(frames, Envelope::WebSocket))
}

fn subscriber() -> Tidewire {
    Tidewire::new(Role::Subscriber, Envelope::WebSocket)
}

#[test]
fn records_are_counted_however_the_bytes_are_split() {
    let two = [deliver(&[b"one", &[9; 255]], 2, None), deliver(&[&[8; 70_00]], 1, None)];
    let stream = [
        ACCEPT,
        &web(&[welcome(), subscribed()]),
        &web(&two),
        &web(&[ServerFrame::Ping { nonce: 5 }]),
        &web(&[deliver(&[b""], 9, Some(vec![4]))]),
    ]
    .concat();
    let heard = hear_split(subscriber, &stream);
    assert_eq!((heard.ready, heard.messages.len(), heard.answers.len()), (1, 4, 2));
    assert_eq!(heard.messages[1], [9; 255]);
    assert_eq!(heard.messages[2].len(), 7_000);
}

#[test]
fn frames_behind_lengths_are_read_alike() {
    let frames = [welcome(), subscribed(), deliver(&[b"one", b"two"], 2, None)];
    let stream = encode(&frames, Envelope::Length);
    let heard = hear_split(|| Tidewire::new(Role::Subscriber, Envelope::Length), &stream);
    assert_eq!((heard.ready, heard.messages.len()), (1, 2));
}

#[test]
fn replies_and_updates_give_versions() {
    let counted = |req, version| ServerFrame::Counted {
        req,
        epoch: 1,
        version,
        value: -3,
        applied: 1,
        duplicate: false,
        as_of: None,
    };
    let voted = ServerFrame::Voted {
        req: 900,
        epoch: 1,
        version: 77,
        status: 0,
        revision: 1,
        partition: None,
    };
    let stream = [ACCEPT, &web(&[welcome(), counted(2, 70), counted(3, 500)]), &web(&[voted])];
    let writer = || Tidewire::new(Role::Writer(Cell::Counter, 0), Envelope::WebSocket);
    let heard = hear_split(writer, &stream.concat());
    assert_eq!((heard.ready, heard.replies), (1, vec![(0, 70), (1, 500), (898, 77)]));

    let watching = ServerFrame::Watching { req: 1, sub: 1, epoch: 1, version: 3, info: None };
    let update = ServerFrame::Update { sub: 1, version: 4, flags: 1, value: None };
    let stream = [ACCEPT, &web(&[welcome(), watching, update])].concat();
    let watcher = || Tidewire::new(Role::Watcher(Cell::Tally), Envelope::WebSocket);
    let heard = hear_split(watcher, &stream);
    assert_eq!((heard.ready, heard.updates), (1, vec![4]));
}

#[test]
fn lost_records_refusals_and_broken_frames_are_errors() {
    let gap = ServerFrame::Gap {
        sub: 1,
        topic: None,
        epoch: 1,
        from: 3,
        next: 9,
        reason: 0,
        position: None,
    };
    let refused = ServerFrame::Error {
        req: 1,
        code: 6,
        message: "no".to_owned(),
        retry_after_ms: None,
        sub: None,
        actual: None,
    };
    let mut cut = Vec::new();
    deliver(&[b"one"], 1, None).encode(&mut cut);
    let bad = [
        web(&[gap]),
        web(&[refused]),
        web(&[deliver(&[b"one"], 2, None)]),
        web(&[deliver(&[b"one", b"two"], 1, None)]),
        server_message(&cut[..cut.len() - 1]),
        server_message(&cut[..12]),
        server_message(&[0xc1]),
        server_message(&[0x92, 0x0e, 0xc1]),
    ];
    for (number, bad) in bad.iter().enumerate() {
        let stream = [ACCEPT, bad].concat();
        assert!(hear(&mut subscriber(), &stream, stream.len()).is_err(), "stream {number}");
    }
}

#[test]
fn publish_frames_hold_as_many_records_as_asked() {
    let payloads: Vec<&[u8]> = vec![b"x"; 10];
    let frames = |per_frame| {
        let mut out = Vec::new();
        put_publish(&mut out, Envelope::Length, &payloads, per_frame);
        let mut count = 0;
        let mut rest = out.as_slice();
        while let Some((digits, after)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*digits) as usize;
            let frame = Bytes::copy_from_slice(&after[..len]);
            assert!(matches!(ClientFrame::decode(&frame), Ok(ClientFrame::Publish { .. })));
            rest = &after[len..];
            count += 1;
        }
        count
    };
    assert_eq!((frames(1), frames(4), frames(10)), (10, 3, 1));
}

#[test]
fn appends_go_to_the_logs_of_their_writers_at_the_level_of_the_cell() {
    let append = |cell, writer| {
        let mut out = Vec::new();
        put_increments(&mut out, cell, writer, &[7]);
        // A header of four bytes, the mask, and what is masked by it.
        let (mask, masked) = out[4..].split_at(4);
        let frame = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame = frame.collect::<Bytes>();
        let Ok(ClientFrame::Publish { req, topic, ack, .. }) = ClientFrame::decode(&frame) else {
            panic!("{frame:?}");
        };
        assert_eq!(req, 9);
        (topic.to_string(), ack)
    };
    assert_eq!(append(Cell::Log, 5), ("peers.log".to_owned(), AckLevel::Disk));
    let copied = Cell::Copied { logs: 4 };
    assert_eq!(append(copied, 5), ("peers.log.1".to_owned(), AckLevel::Quorum));
}
