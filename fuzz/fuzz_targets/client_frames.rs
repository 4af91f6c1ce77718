//! What a client sends.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidewire_protocol::ClientFrame;
use tidewire_protocol::frame::split_first;

fuzz_target!(|input: &[u8]| tidewire_fuzz::check(input, property));

/// A message is taken apart into frames without a rest, and a frame that is read is the same after it was
/// written again, whether its name is known before or not.
fn property(input: &[u8]) {
    let mut message = Bytes::copy_from_slice(input);
    let mut left = message.len();
    while !message.is_empty() {
        let Ok(bytes) = split_first(&mut message) else { return };
        assert!(!bytes.is_empty() && bytes.len() + message.len() == left);
        left = message.len();
        let Ok(frame) = ClientFrame::decode(&bytes) else { continue };
        let known = ClientFrame::decode_knowing(&bytes, frame.name());
        assert_eq!(known.as_ref(), Ok(&frame), "a known name changes what is read");
        let mut written = Vec::new();
        frame.encode(&mut written);
        let again = Bytes::from(written);
        assert_eq!(split_first(&mut again.clone()).as_ref(), Ok(&again));
        assert_eq!(ClientFrame::decode(&again), Ok(frame));
    }
}
