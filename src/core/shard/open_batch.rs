//! The batch that a topic is collecting in this round.

use bytes::{Bytes, BytesMut};

/// Publishes of this round that will be one batch.
#[derive(Debug, Default)]
pub(super) struct OpenBatch {
    /// The first publish, shared; further ones move it to `joined`.
    first: Option<Bytes>,
    joined: BytesMut,
    pub(super) count: u64,
}

impl OpenBatch {
    pub(super) fn len(&self) -> usize {
        self.first.as_ref().map_or(self.joined.len(), Bytes::len)
    }

    pub(super) fn push(&mut self, body: &Bytes, count: u64) {
        if self.count == 0 {
            self.first = Some(body.clone());
        } else {
            if let Some(first) = self.first.take() {
                self.joined.extend_from_slice(&first);
            }
            self.joined.extend_from_slice(body);
        }
        self.count += count;
    }

    pub(super) fn take(&mut self) -> (Bytes, u64) {
        let body = self.first.take().unwrap_or_else(|| self.joined.split().freeze());
        (body, core::mem::take(&mut self.count))
    }
}
