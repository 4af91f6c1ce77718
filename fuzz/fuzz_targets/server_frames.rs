//! What a server sends: a client has to bear anything.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidewire_protocol::ServerFrame;
use tidewire_protocol::frame::{DeliverView, split_first};

fuzz_target!(|input: &[u8]| tidewire_fuzz::check(input, property));

/// A frame that is read is the same after it was written again, and the view of a DELIVER says what decoding it
/// says.
fn property(input: &[u8]) {
    let view = DeliverView::split_first(input);
    let mut message = Bytes::copy_from_slice(input);
    let Ok(bytes) = split_first(&mut message) else { return };
    let Ok(frame) = ServerFrame::decode(&bytes) else { return };
    if let ServerFrame::Deliver { sub, epoch, from, next, offsets, body, .. } = &frame {
        if let Ok(Some((view, rest))) = view {
            assert_eq!((view.sub, view.epoch, view.from, view.next), (*sub, *epoch, *from, *next));
            assert_eq!((view.is_dense, view.body), (offsets.is_none(), &body[..]));
            assert_eq!(rest, &message[..]);
        }
    } else {
        assert!(!matches!(view, Ok(Some(_))), "{frame:?} is taken for a DELIVER");
    }
    let mut written = Vec::new();
    frame.encode(&mut written);
    let again = Bytes::from(written);
    assert_eq!(split_first(&mut again.clone()).as_ref(), Ok(&again));
    assert_eq!(ServerFrame::decode(&again), Ok(frame));
}
