//! Frames round-trip, and no bytes at all make a decoder panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidewire_protocol::frame::{
    DeliverView, put_entry, put_update_entries_header, put_update_header, split_first,
};
use tidewire_protocol::wire::Broken;
use tidewire_protocol::{ClientFrame, ErrorCode, ServerFrame};

use super::generated::{client_frame, number, server_frame};

proptest! {
    #[test]
    fn client_frames_round_trip(frame in client_frame()) {
        let bytes = client_bytes(&frame);
        prop_assert_eq!(split_first(&mut bytes.clone()), Ok(bytes.clone()));
        prop_assert_eq!(ClientFrame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn a_known_name_changes_nothing_but_the_cost(frame in client_frame(), other in client_frame()) {
        let bytes = client_bytes(&frame);
        for known in [frame.name(), other.name()] {
            prop_assert_eq!(ClientFrame::decode_knowing(&bytes, known), Ok(frame.clone()));
        }
    }

    #[test]
    fn server_frames_round_trip(frame in server_frame()) {
        let bytes = server_bytes(&frame);
        prop_assert_eq!(split_first(&mut bytes.clone()), Ok(bytes.clone()));
        prop_assert_eq!(ServerFrame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn frames_of_one_message_are_found_in_order(frames in vec(client_frame(), 1..6)) {
        let mut message = Bytes::from(frames.iter().map(client_bytes).collect::<Vec<_>>().concat());
        let mut found = Vec::new();
        while !message.is_empty() {
            found.push(ClientFrame::decode(&split_first(&mut message).unwrap()).unwrap());
        }
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn a_view_of_a_deliver_says_what_decoding_says(frame in server_frame(), behind in vec(any::<u8>(), 0..20)) {
        let bytes = server_bytes(&frame);
        let message = [&bytes, behind.as_slice()].concat();
        let view = DeliverView::split_first(&message).unwrap();
        if let ServerFrame::Deliver { sub, epoch, from, next, offsets, body, .. } = &frame {
            let is_dense = offsets.is_none();
            let expected =
                DeliverView { sub: *sub, epoch: *epoch, from: *from, next: *next, is_dense, body };
            prop_assert_eq!(view, Some((expected, behind.as_slice())));
        } else {
            prop_assert_eq!(view, None);
        }
    }

    #[test]
    fn a_view_of_a_deliver_that_is_cut_off_waits_for_the_rest(frame in server_frame(), cut in any::<Index>()) {
        let bytes = server_bytes(&frame);
        let whole = DeliverView::split_first(&bytes).unwrap().is_some();
        let view = DeliverView::split_first(&bytes[..cut.index(bytes.len())]);
        if whole {
            prop_assert_eq!(view, Err(Broken::Truncated));
        } else {
            prop_assert!(!matches!(view, Ok(Some(_))));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        decode_both(bytes.into());
    }

    #[test]
    fn arbitrary_fields_of_every_type_never_panic(kind in 0..40_u8, fields in vec(any::<u8>(), 0..100)) {
        let head = [0x9f, kind];
        decode_both([&head, fields.as_slice()].concat().into());
    }

    #[test]
    fn mutated_client_frames_never_panic(frame in client_frame(), mutations in mutations()) {
        decode_both(mutated(&client_bytes(&frame), &mutations));
    }

    #[test]
    fn mutated_server_frames_never_panic(frame in server_frame(), mutations in mutations()) {
        decode_both(mutated(&server_bytes(&frame), &mutations));
    }

    #[test]
    fn a_frame_that_is_cut_off_is_a_broken_envelope(frame in client_frame(), at in any::<Index>()) {
        let bytes = client_bytes(&frame);
        let cut = at.index(bytes.len());
        prop_assert!(split_first(&mut bytes.slice(..cut)).is_err());
    }

    #[test]
    fn the_other_sides_frames_are_unknown(client in client_frame(), server in server_frame()) {
        if let Err(bad) = ServerFrame::decode(&client_bytes(&client)) {
            prop_assert_eq!(bad.refusal.code, ErrorCode::UnknownFrame);
        } else {
            let on_both_sides = matches!(client, ClientFrame::Ping { .. } | ClientFrame::Pong { .. });
            prop_assert!(on_both_sides);
        }
        if let Err(bad) = ClientFrame::decode(&server_bytes(&server)) {
            prop_assert_eq!(bad.refusal.code, ErrorCode::UnknownFrame);
        } else {
            let on_both_sides = matches!(server, ServerFrame::Ping { .. } | ServerFrame::Pong { .. });
            prop_assert!(on_both_sides);
        }
    }

    #[test]
    fn an_update_may_be_put_together_from_shared_parts(
        (version, flags) in (number(), number()),
        entries in vec(("\\PC{0,40}", number(), prop::option::of(vec(any::<u8>(), 0..40))), 0..20),
    ) {
        let mut parts = Vec::new();
        put_update_entries_header(&mut parts, 8, version, flags, entries.len());
        let mut value = Vec::new();
        rmp::encode::write_array_len(&mut value, u32::try_from(entries.len()).unwrap()).unwrap();
        for (key, version, data) in &entries {
            put_entry(&mut parts, key, *version, data.as_deref());
            put_entry(&mut value, key, *version, data.as_deref());
        }
        let mut whole = Vec::new();
        put_update_header(&mut whole, 8, version, flags);
        whole.extend_from_slice(&value);
        prop_assert_eq!(&parts, &whole);
        let update = ServerFrame::Update { sub: 8, version, flags, value: Some(value.into()) };
        prop_assert_eq!(ServerFrame::decode(&parts.into()), Ok(update));
    }
}

fn client_bytes(frame: &ClientFrame) -> Bytes {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out.into()
}

fn server_bytes(frame: &ServerFrame) -> Bytes {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out.into()
}

/// Decodes the bytes as they are and every frame that can be split off them.
fn decode_both(mut bytes: Bytes) {
    drop(ClientFrame::decode(&bytes));
    drop(ServerFrame::decode(&bytes));
    if let Ok(Some((_, rest))) = DeliverView::split_first(&bytes) {
        let mut message = bytes.clone();
        split_first(&mut message).unwrap();
        assert_eq!(message, rest);
    }
    while let Ok(frame) = split_first(&mut bytes) {
        drop(ClientFrame::decode(&frame));
        drop(ServerFrame::decode(&frame));
    }
}

#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let marker = prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![
            0x80, 0x90, 0x91, 0xc0, 0xc1, 0xc4, 0xc6, 0xd9, 0xdb, 0xdd, 0xdf
        ])
    ];
    let mutation = prop_oneof![
        4 => (any::<Index>(), marker).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        1 => any::<Index>().prop_map(Mutation::Cut),
    ];
    vec(mutation, 1..6)
}

fn mutated(bytes: &[u8], mutations: &[Mutation]) -> Bytes {
    let mut bytes = bytes.to_vec();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        match mutation {
            Mutation::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Mutation::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes.into()
}
