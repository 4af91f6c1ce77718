//! Output of one connection: small pieces copied together, large ones shared, written in one
//! vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::task::{Poll, ready};

use bytes::Bytes;

/// Shared pieces up to this size are copied: that costs less than another slice in the write.
const COPIED_BYTES_MAX: usize = 1024;
/// Slices of one write.
const SLICES_MAX: usize = 64;
/// Memory that is kept for the next use.
const KEPT_BYTES: usize = 64 * 1024;

/// Bytes on their way out, in order.
#[derive(Debug, Default)]
pub(crate) struct OutBuf {
    /// All copied bytes.
    small: Vec<u8>,
    parts: VecDeque<Part>,
    /// Bytes of the first part that are written already.
    written: usize,
    len: usize,
}

#[derive(Debug)]
enum Part {
    Small(Range<usize>),
    Shared(Bytes),
}

impl OutBuf {
    /// Appends a copy.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.small.len();
        self.small.extend_from_slice(bytes);
        let end = self.small.len();
        match self.parts.back_mut() {
            Some(Part::Small(range)) if range.end == start => range.end = end,
            _ => self.parts.push_back(Part::Small(start..end)),
        }
        self.len += bytes.len();
    }

    /// Appends bytes that others share.
    pub(crate) fn share(&mut self, bytes: &Bytes) {
        if bytes.len() <= COPIED_BYTES_MAX {
            return self.copy(bytes);
        }
        self.parts.push_back(Part::Shared(bytes.clone()));
        self.len += bytes.len();
    }

    /// Begins a piece whose head is known only at its end: keeps room for it.
    pub(crate) fn reserve(&mut self, room: usize) -> Reserved {
        let start = self.small.len();
        self.small.resize(start + room, 0);
        self.parts.push_back(Part::Small(start..start + room));
        Reserved { start, end: start + room, part: self.parts.len() - 1, len: self.len }
    }

    /// Bytes appended since the reservation.
    pub(crate) fn since(&self, reserved: &Reserved) -> usize {
        self.len - reserved.len
    }

    /// Writes the head of a piece, as much as there is room for, right before its content.
    pub(crate) fn fill(&mut self, reserved: &Reserved, head: &[u8]) {
        let start = reserved.end - head.len().min(reserved.end - reserved.start);
        if let Some(place) = self.small.get_mut(start..reserved.end) {
            place.copy_from_slice(head.get(..place.len()).unwrap_or_default());
        }
        if let Some(Part::Small(range)) = self.parts.get_mut(reserved.part) {
            range.start = start;
        }
        self.len += reserved.end - start;
    }

    /// Writes as much as the stream takes.
    pub(crate) fn poll_write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while self.len > 0 {
            let written = match self.parts.len() {
                // A lone record: the list of slices would cost more than what is in it.
                1 => {
                    let mut slices = [IoSlice::new(&[])];
                    self.fill_slices(&mut slices);
                    ready!(write(&slices))?
                }
                _ => {
                    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                    let used = self.fill_slices(&mut slices);
                    ready!(write(slices.get(..used).unwrap_or_default()))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.clear();
        Poll::Ready(Ok(()))
    }

    /// Shows what is to be written first, as far as there are slices; returns how many are used.
    fn fill_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            let skip = if used == 0 { self.written } else { 0 };
            *slice = IoSlice::new(self.bytes(part).get(skip..).unwrap_or_default());
            used += 1;
        }
        used
    }

    fn bytes<'a>(&'a self, part: &'a Part) -> &'a [u8] {
        match part {
            Part::Small(range) => self.small.get(range.clone()).unwrap_or_default(),
            Part::Shared(bytes) => bytes,
        }
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let Some(first) = self.parts.front() else { return };
            let left = self.bytes(first).len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.parts.pop_front();
        }
    }

    fn clear(&mut self) {
        self.small.clear();
        self.small.shrink_to(KEPT_BYTES);
        self.parts.clear();
        self.written = 0;
    }
}

/// A place for a head that is not known yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    start: usize,
    end: usize,
    part: usize,
    len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(out: &mut OutBuf, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let done = out.poll_write(|slices| {
            let mut room = step;
            for slice in slices {
                let taken = slice.len().min(room);
                all.extend_from_slice(&slice[..taken]);
                room -= taken;
            }
            Poll::Ready(Ok(step - room))
        });
        assert!(matches!(done, Poll::Ready(Ok(()))));
        all
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_size_of_the_writes() {
        for step in [1, 3, 1000, 100_000] {
            let mut out = OutBuf::default();
            let shared = Bytes::from(vec![7_u8; 5000]);
            let head = out.reserve(10);
            out.copy(b"abc");
            out.share(&shared);
            out.copy(b"def");
            assert_eq!(out.since(&head), 5006);
            out.fill(&head, b"HEAD");
            out.copy(b"!");
            let expected: Vec<u8> = [b"HEADabc".as_slice(), &shared, b"def!"].concat();
            assert_eq!(drain(&mut out, step), expected, "step {step}");
            assert_eq!(out.len, 0);
        }
    }
}
