//! The property that fuzzing checks.

use super::block::{BadBlock, BlockKind, Body, entries, open, seal};

/// Bytes with a right checksum are a block or are refused; what is one is the same after it was written again.
pub fn block(input: &[u8]) {
    let refused = open(input).err();
    let mut block = input.to_vec();
    let checksum = crc32c::crc32c(block.get(4..).unwrap_or_default()).to_be_bytes();
    if let Some(place) = block.get_mut(..4) {
        assert!(place == checksum || refused.is_some(), "a wrong checksum is believed");
        place.copy_from_slice(&checksum);
    }
    let (head, bytes) = match open(&block) {
        Ok(opened) => opened,
        Err(refused) => {
            assert_ne!(refused, BadBlock::Checksum);
            return;
        }
    };
    if head.kind != BlockKind::Changes {
        assert_eq!(open(&seal(&head, bytes)), Ok((head, bytes)), "what was written is another");
        return;
    }
    let Ok(read) = entries(&head, bytes) else { return };
    let mut body = Body::at(head.version, head.time_ms);
    // What was written otherwise than it is written here may need more room.
    if !read.iter().all(|entry| body.push(entry).unwrap_or(false)) {
        return;
    }
    let again = body.finish(head);
    let found = open(&again).and_then(|(head, bytes)| Ok((head, entries(&head, bytes)?)));
    match found {
        Ok(found) => assert_eq!(format!("{found:?}"), format!("{:?}", (head, read))),
        Err(refused) => assert_eq!(format!("{refused}"), "", "what was written is refused"),
    }
}
