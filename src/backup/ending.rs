//! How a backup that was sent has ended: whole, or with a reason, or in the middle.

use super::frames::{self, Kind};

/// Bytes at the end of what was sent in which its last frame is found.
pub(crate) const ENDING_BYTES: usize = 8 * 1024;
/// Longest reason that is sent.
pub(super) const REASON_BYTES_MAX: usize = 4 * 1024;

/// How it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its end, so that nothing is missing.
    Whole,
    /// The server has said why there is no more.
    Failed(String),
    /// In the middle.
    Cut,
}

/// How a backup has ended whose last bytes are these, at most [`ENDING_BYTES`] of them.
pub(crate) fn ending(last: &[u8]) -> Ending {
    let last = last.get(last.len().saturating_sub(ENDING_BYTES)..).unwrap_or_default();
    let frames = (0..last.len()).filter_map(|at| {
        let mut rest = last.get(at..)?;
        let (kind, payload) = frames::read(&mut rest).ok()?;
        rest.is_empty().then_some((kind, payload))
    });
    let mut found = frames.filter_map(|(kind, payload)| match kind {
        Kind::End => Some(Ending::Whole),
        Kind::Failed => Some(Ending::Failed(String::from_utf8_lossy(&payload).into_owned())),
        Kind::Header | Kind::Piece | Kind::ShardEnd | Kind::Block => None,
    });
    found.next_back().unwrap_or(Ending::Cut)
}
