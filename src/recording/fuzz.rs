//! The property that fuzzing checks.

use super::format::{FRAME_BYTES_MAX, HEAD_BYTES, MAGIC, PREAMBLE_BYTES, VERSION};
use super::frames_in::{Frame, FramesIn, Next};
use super::frames_out::FramesOut;

/// Bytes are read to their end or to the first that is wrong; frames that are whole and read are written and read
/// again. The input stands for frames: kind, length (u16), payload.
pub fn recording(input: &[u8]) {
    read(input);
    let mut file = Vec::from(*MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    let mut rest = input;
    while let Some(([kind, low, high], behind)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (payload, behind) = behind.split_at(len);
        put(&mut file, *kind, payload);
        rest = behind;
    }
    let Some(frames) = read(&file) else { return };
    let Ok(mut out) = FramesOut::begin(Vec::new(), u64::from(FRAME_BYTES_MAX)) else { return };
    for frame in &frames {
        let put = match frame {
            Frame::Header(header) => out.put(super::format::kind::HEADER, header),
            Frame::Turn(turn) => out.put(super::format::kind::TURN, turn),
            Frame::Hash(mark) => out.put(super::format::kind::HASH, mark),
            Frame::End(end) => out.put(super::format::kind::END, end),
            Frame::SnapshotPiece { .. } => continue,
        };
        assert!(put.is_ok(), "what was read cannot be written: {put:?}");
    }
    let again = read(out.file()).unwrap_or_default();
    let is_piece = |frame: &&Frame| matches!(frame, Frame::SnapshotPiece { .. });
    let frames: Vec<&Frame> = frames.iter().filter(|frame| !is_piece(frame)).collect();
    assert_eq!(format!("{frames:?}"), format!("{again:?}"));
}

/// A frame with a right checksum.
fn put(file: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let len = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind]);
    checksum.update(payload);
    file.extend_from_slice(&len.to_le_bytes());
    file.extend_from_slice(&checksum.finalize().to_le_bytes());
    file.push(kind);
    file.extend_from_slice(payload);
}

/// All frames, if every one of them can be read.
fn read(file: &[u8]) -> Option<Vec<Frame>> {
    let mut reader = FramesIn::begin(file).ok()?;
    let mut frames = Vec::new();
    // A frame has at least its head.
    let frames_max = file.len().saturating_sub(PREAMBLE_BYTES) / HEAD_BYTES;
    loop {
        match reader.read().ok()? {
            Next::Frame(frame) => frames.push(frame),
            Next::Over => return Some(frames),
            Next::Torn { offset, bytes } => {
                assert_eq!(offset + bytes, file.len() as u64, "what is left over is not told");
                return None;
            }
        }
        assert!(frames.len() <= frames_max, "more frames than there is room for");
    }
}
