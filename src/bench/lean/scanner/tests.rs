use bytes::Bytes;
use tidewire_client::{Name, ServerFrame};

use super::*;

fn deliver(from: u64, body: &[u8]) -> ServerFrame {
    ServerFrame::Deliver {
        sub: 7,
        topic: Name::parse("a.b").unwrap(),
        epoch: 1,
        from,
        next: from + 1,
        time_ms: 0,
        position: None,
        offsets: None,
        body: Bytes::copy_from_slice(body),
    }
}

fn message(frames: &[ServerFrame]) -> Vec<u8> {
    let mut payload = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut payload));
    let mut out = match payload.len() {
        short @ 0..126 => vec![BINARY, short as u8],
        medium @ 126..0x1_0000 => {
            [&[BINARY, 126], (medium as u16).to_be_bytes().as_slice()].concat()
        }
        long => [&[BINARY, 127], (long as u64).to_be_bytes().as_slice()].concat(),
    };
    out.extend(payload);
    out
}

/// What a stream says that comes in pieces of so many bytes.
fn heard(stream: &[u8], piece: usize) -> Result<Vec<String>, String> {
    let (mut scanner, mut held, mut said) = (Scanner::default(), Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        held.extend_from_slice(piece);
        let done = scanner.scan(&held, |found| {
            said.push(match found {
                Found::Deliver(deliver) => format!("{} {}", deliver.from, deliver.body.len()),
                Found::Frame(frame) => format!("frame {}", frame.len()),
                Found::Ping(payload) => format!("ping {}", payload.len()),
                Found::Close(status, reason) => format!("close {status:?} {}", reason.len()),
            });
        })?;
        held.drain(..done);
    }
    assert!(held.is_empty(), "{} bytes are left", held.len());
    Ok(said)
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let stream = [
        message(&[ServerFrame::Ping { nonce: 1 }, deliver(0, &[1; 10]), deliver(1, &[1; 200])]),
        vec![PING, 2, 8, 9],
        message(&[]),
        message(&[deliver(2, &[1; 70_000])]),
        vec![PONG, 0],
        message(&[deliver(3, &[])]),
        vec![CLOSE, 4, 0x0f, 0xa0, b'n', b'o'],
        vec![CLOSE, 0],
    ]
    .concat();
    let expected = [
        "frame 3",
        "0 10",
        "1 200",
        "ping 2",
        "2 70000",
        "3 0",
        "close Some(4000) 2",
        "close None 0",
    ];
    for piece in [1, 2, 3, 7, 64, 1000, 65_536, stream.len()] {
        assert_eq!(heard(&stream, piece).unwrap(), expected, "in pieces of {piece}");
    }
}

#[test]
fn what_no_tidewire_server_sends_is_an_error() {
    for (stream, words) in [
        (vec![0x81, 1, b'a'], "begins with 0x81"),
        (vec![0x02, 1, 0x90], "begins with 0x02"),
        (vec![BINARY, 0x81, 0, 0, 0, 0, 0x90], "masked"),
        (vec![BINARY, 1, 0xc1], "broken frame"),
        (vec![BINARY, 2, 0x92, 1], "cut off"),
    ] {
        let error = heard(&stream, stream.len()).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}
