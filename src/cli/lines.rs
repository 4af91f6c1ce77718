//! Lines of any bytes, gathered as they can be read.

use std::collections::VecDeque;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::CliError;

/// Longest line: a record of that length is over any server's limit anyway.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads lines, without their ends.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    begun: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(64 * 1024, reader);
        Self { reader, begun: Vec::new(), ready: VecDeque::new() }
    }

    /// The next line that was read.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// Reads what is there, waiting for something; false at the end of the input. May be
    /// cancelled without losing a byte.
    pub(crate) async fn read(&mut self) -> Result<bool, CliError> {
        let failed = |message: String| CliError { exit_code: 2, message };
        let chunk = self
            .reader
            .fill_buf()
            .await
            .map_err(|error| failed(format!("cannot read standard input: {error}")))?;
        let (len, more) = (chunk.len(), !chunk.is_empty());
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.last() == Some(&b'\n') {
                self.ready.push_back(without_end(std::mem::take(&mut self.begun)));
            }
        }
        self.reader.consume(len);
        if self.begun.len() > LINE_BYTES_MAX {
            return Err(failed(format!("a line is longer than {LINE_BYTES_MAX} bytes")));
        }
        if !more && !self.begun.is_empty() {
            self.ready.push_back(without_end(std::mem::take(&mut self.begun)));
        }
        Ok(more)
    }
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bytes_without_their_ends() {
        for capacity in [1, 3, 1024] {
            let mut lines = Lines::new(&b"one\r\n\n\xff\xfe\nlast"[..]);
            lines.reader = BufReader::with_capacity(capacity, &b"one\r\n\n\xff\xfe\nlast"[..]);
            while lines.read().await.unwrap() {}
            let read: Vec<Vec<u8>> = std::iter::from_fn(|| lines.pop()).collect();
            assert_eq!(read, [&b"one"[..], b"", b"\xff\xfe", b"last"]);
        }
    }
}
