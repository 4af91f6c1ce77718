use super::*;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Feeds the bytes in pieces of this size.
fn feed(bytes: &[u8], step: usize) -> (Vec<Bytes>, Vec<u8>, Option<Ended>) {
    let mut unframer = Unframer::new(100_000);
    let (mut messages, mut replies, mut end) = (Vec::new(), Vec::new(), None);
    for piece in bytes.chunks(step) {
        let mut received = unframer.take(piece, &mut replies);
        end = received.end;
        messages.extend(std::iter::from_fn(|| received.next_message()));
        if end.is_some() {
            break;
        }
    }
    (messages, replies, end)
}

#[test]
fn messages_are_the_same_however_the_bytes_come() {
    let long: Vec<u8> = (0..70_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let payloads = [&b""[..], b"a", b"bc", &long[..125], &long[..126], &long[..300], &long];
    let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(0x82, payload)).collect();
    for step in [1, 2, 7, 100, 4096, bytes.len()] {
        let (messages, replies, end) = feed(&bytes, step);
        assert!(messages.iter().map(|message| &message[..]).eq(payloads), "step {step}");
        assert!(replies.is_empty() && end.is_none());
    }
}

#[test]
fn fragments_are_joined_and_pings_between_them_answered() {
    let bytes = [
        frame(0x02, b"one "),
        frame(0x89, b"are you there"),
        frame(0x00, b"two "),
        frame(0x8A, b"a pong that nobody asked for"),
        frame(0x80, b"three"),
        frame(0x82, b"four"),
    ]
    .concat();
    for step in [1, 5, bytes.len()] {
        let (messages, replies, end) = feed(&bytes, step);
        assert_eq!(messages, [&b"one two three"[..], b"four"]);
        assert_eq!(replies, [&[PONG, 13][..], b"are you there"].concat());
        assert_eq!(end, None);
    }
}

#[test]
fn a_close_is_answered_with_its_status_and_nothing_after_it_counts() {
    let close = [&1000_u16.to_be_bytes()[..], b"bye"].concat();
    let bytes = [frame(0x82, b"last"), frame(0x88, &close), frame(0x82, b"too late")].concat();
    let (messages, replies, end) = feed(&bytes, bytes.len());
    assert_eq!(messages, [&b"last"[..]]);
    assert_eq!(replies, [&[CLOSE, 5][..], &close].concat());
    assert_eq!(end, Some(Ended::Closed));
}

#[test]
fn what_the_rfc_forbids_ends_the_connection() {
    let unmasked = vec![0x82, 1, b'x'];
    let long_ping = frame(0x89, &[0; 126]);
    let broken: [(Vec<u8>, u16); 13] = [
        (unmasked, 1002),
        (frame(0xC2, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x8B, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x09, b"x"), 1002),
        (long_ping, 1002),
        ([frame(0x02, b"x"), frame(0x82, b"y")].concat(), 1002),
        (frame(0x88, b"x"), 1002),
        (frame(0x88, &1005_u16.to_be_bytes()), 1002),
        (frame(0x88, &[0x03, 0xE8, 0xFF]), 1002),
        (frame(0x81, b"text"), 1003),
        (frame(0x82, &[0; 100_001]), 1009),
    ];
    for (bytes, status) in broken {
        for step in [1, bytes.len()] {
            let (_, _, end) = feed(&bytes, step);
            let Some(Ended::Broken(seen, _)) = end else { panic!("{end:?} for {bytes:?}") };
            assert_eq!(seen, status);
        }
    }
    let halves = [frame(0x02, &[0; 60_000]), frame(0x80, &[0; 60_000])].concat();
    let (_, _, end) = feed(&halves, halves.len());
    assert!(matches!(end, Some(Ended::Broken(1009, _))), "fragments count together: {end:?}");
}

#[test]
fn a_promised_length_takes_no_memory() {
    let mut unframer = Unframer::new(usize::MAX);
    let mut head = vec![0x82, 0x80 | 127];
    head.extend((1_u64 << 62).to_be_bytes());
    head.extend(MASK);
    head.extend(b"little");
    let received = unframer.take(&head, &mut Vec::new());
    assert!(received.end.is_none() && unframer.held.capacity() < 100);
}

#[test]
fn nothing_is_held_between_whole_frames() {
    let mut unframer = Unframer::new(1000);
    drop(unframer.take(&frame(0x82, &[7; 500]), &mut Vec::new()));
    assert_eq!(unframer.held.capacity(), 0);
}
