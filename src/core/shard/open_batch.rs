//! The batch that a topic is collecting in this round.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::state_hash::StateHasher;

/// A lone publish from this size on is shared; a smaller one is copied, because what it was read
/// with may be much larger and would be kept as long as the batch.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// Publishes of this round that will be one batch.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    /// The first publish, if it is large.
    first: Option<Bytes>,
    joined: Vec<u8>,
    /// Length of the last one: the next is likely to be about as long.
    last_len: usize,
    pub(super) count: u64,
}

impl OpenBatch {
    pub(super) fn len(&self) -> usize {
        self.first.as_ref().map_or_else(|| self.joined.len(), Bytes::len)
    }

    /// What has been taken so far.
    pub(super) fn body(&self) -> &[u8] {
        self.first.as_deref().unwrap_or(&self.joined)
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        // The last length decides about spare room only.
        let Self { first, joined, last_len: _, count } = self;
        hasher.option(first.as_ref(), |hasher, first| hasher.bytes(first));
        hasher.bytes(joined);
        hasher.number(*count);
    }

    pub(super) fn push(&mut self, body: &Bytes, count: u64) {
        if self.count == 0 && body.len() >= SHARED_BYTES_MIN {
            self.first = Some(body.clone());
        } else {
            if self.joined.capacity() == 0 {
                self.joined.reserve(self.last_len.max(body.len()));
            }
            if let Some(first) = self.first.take() {
                self.joined.extend_from_slice(&first);
            }
            self.joined.extend_from_slice(body);
        }
        self.count += count;
    }

    pub(super) fn take(&mut self) -> (Bytes, u64) {
        // Without spare room: a batch is kept for as long as its topic keeps it.
        let joined = || core::mem::take(&mut self.joined).into_boxed_slice().into();
        let body: Bytes = self.first.take().unwrap_or_else(joined);
        self.last_len = body.len();
        (body, core::mem::take(&mut self.count))
    }
}
