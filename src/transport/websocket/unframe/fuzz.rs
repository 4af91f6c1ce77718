//! The property that fuzzing checks.

use super::{Ended, Unframer};

/// Largest message of these connections in bytes.
const MESSAGE_BYTES_MAX: usize = 512;

/// All that came of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    messages: Vec<Vec<u8>>,
    replies: Vec<u8>,
    end: Option<Ended>,
}

impl Taken {
    fn take(&mut self, unframer: &mut Unframer, read: &[u8]) {
        let mut received = unframer.take(read, &mut self.replies);
        while let Some(message) = received.next_message() {
            assert!(message.len() <= MESSAGE_BYTES_MAX, "a message is longer than allowed");
            self.messages.push(message.to_vec());
        }
        self.end = received.end;
        let begun = unframer.fragments.as_ref().map_or(0, Vec::len);
        assert!(begun <= MESSAGE_BYTES_MAX, "{begun} bytes of a message are held");
        let held = unframer.held.len();
        assert!(held <= MESSAGE_BYTES_MAX + 14, "{held} bytes of a frame are held");
    }
}

/// Bytes say the same however they are cut into reads, and what is held between reads is bounded. The first
/// bytes of the input say where it is cut.
pub fn websocket(input: &[u8]) {
    let Some((cuts, bytes)) = input.split_first_chunk::<4>() else { return };
    let mut whole = Taken::default();
    whole.take(&mut Unframer::new(MESSAGE_BYTES_MAX), bytes);
    let mut parted = Taken::default();
    let mut unframer = Unframer::new(MESSAGE_BYTES_MAX);
    let (mut rest, mut cuts) = (bytes, cuts.iter().cycle());
    while !rest.is_empty() && parted.end.is_none() {
        let cut = cuts.next().map_or(1, |cut| usize::from(*cut) + 1).min(rest.len());
        let (read, behind) = rest.split_at(cut);
        parted.take(&mut unframer, read);
        rest = behind;
    }
    assert_eq!(whole, parted);
}
