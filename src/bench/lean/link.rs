//! One lean connection: what is to be sent is gathered and written at once, what comes is read into
//! a buffer that all connections of a thread share.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidewire_client::protocol::CLOSE_STATUS_BASE;
use tidewire_client::protocol::frame::DeliverView;
use tidewire_client::{ClientFrame, ErrorCode, ServerFrame};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::scanner::{BINARY, Found, PONG, Scanner};

/// Read at once; longer than what a server writes in a turn.
const CHUNK_BYTES: usize = 512 * 1024;
/// Longest frame that is waited for; a server's own limit is 16 MiB.
const FRAME_BYTES_MAX: usize = 17 * 1024 * 1024;
/// Longest head of a client's message: two bytes, a 64-bit length and the mask.
const HEAD_BYTES_MAX: usize = 14;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes both ways, plain or encrypted.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Wire for T {}

/// Who takes what comes over a connection.
pub(crate) trait Hear {
    /// The socket was read; what was in it follows.
    fn arrived(&mut self) {}

    /// A DELIVER.
    fn deliver(&mut self, _deliver: &DeliverView<'_>) {}

    /// Any other frame, but no ping.
    fn frame(&mut self, frame: ServerFrame);

    /// The server has asked whether anybody is there, and is answered.
    fn pinged(&mut self) {}

    /// Everything that the read brought was heard.
    fn taken(&mut self) {}
}

/// One connection.
pub(crate) struct Link {
    wire: Box<dyn Wire>,
    scanner: Scanner,
    /// What was read and is not whole yet.
    tail: Vec<u8>,
    /// Messages to be written, and how many of their bytes are.
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl Link {
    pub(super) fn new(wire: Box<dyn Wire>) -> Self {
        Self {
            wire,
            scanner: Scanner::default(),
            tail: Vec::new(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
        }
    }

    /// Puts a frame behind what is to be written.
    pub(crate) fn queue(&mut self, frame: &ClientFrame) {
        put_frame(&mut self.out, frame);
    }

    /// Where messages are gathered, for frames that are made elsewhere.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what is gathered.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.wire).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err("the server takes no more bytes".to_owned())),
                Ok(written) => self.written += written,
                Err(error) => return Poll::Ready(Err(broke(&error))),
            }
            self.unflushed = true;
        }
        self.out.clear();
        self.written = 0;
        if self.unflushed {
            ready!(Pin::new(&mut self.wire).poll_flush(cx)).map_err(|error| broke(&error))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and passes on what is whole.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        hear: &mut impl Hear,
    ) -> Poll<Result<(), String>> {
        BUFFER.with_borrow_mut(|buffer| {
            let held = self.tail.len();
            if buffer.len() < held + CHUNK_BYTES {
                buffer.resize(held + CHUNK_BYTES, 0);
            }
            let Some((head, free)) = buffer.split_at_mut_checked(held) else {
                return Poll::Ready(Err("the buffer is too small".to_owned()));
            };
            head.copy_from_slice(&self.tail);
            let mut free = ReadBuf::new(free);
            ready!(Pin::new(&mut self.wire).poll_read(cx, &mut free))
                .map_err(|error| broke(&error))?;
            let read = free.filled().len();
            if read == 0 {
                return Poll::Ready(Err("the server closed the connection".to_owned()));
            }
            Poll::Ready(self.take(buffer.get(..held + read).unwrap_or_default(), hear))
        })
    }

    fn take(&mut self, bytes: &[u8], hear: &mut impl Hear) -> Result<(), String> {
        hear.arrived();
        let mut end = None;
        let Self { scanner, out, .. } = self;
        let done = scanner.scan(bytes, |found| match found {
            Found::Deliver(deliver) => hear.deliver(&deliver),
            Found::Frame(frame) => match ServerFrame::decode(&Bytes::copy_from_slice(frame)) {
                Ok(ServerFrame::Ping { nonce }) => {
                    hear.pinged();
                    put_frame(out, &ClientFrame::Pong { nonce });
                }
                Ok(frame) => hear.frame(frame),
                Err(bad) => end = Some(format!("the server sent {}", bad.refusal)),
            },
            Found::Ping(payload) => {
                hear.pinged();
                put_message_head(out, PONG, payload.len());
                out.extend_from_slice(payload);
            }
            Found::Close(status, reason) => {
                end = Some(closing_words(status, &String::from_utf8_lossy(reason)));
            }
        })?;
        hear.taken();
        self.tail.clear();
        self.tail.extend_from_slice(bytes.get(done..).unwrap_or_default());
        if self.tail.len() > FRAME_BYTES_MAX {
            return Err(format!("the server sent a frame of over {FRAME_BYTES_MAX} bytes"));
        }
        end.map_or(Ok(()), Err)
    }

    /// Writes what is gathered and reads, until `is_done` or the connection ends.
    ///
    /// # Errors
    /// How the connection ended.
    pub(crate) async fn listen<H: Hear>(
        &mut self,
        hear: &mut H,
        is_done: impl Fn(&H) -> bool,
    ) -> Result<(), String> {
        poll_fn(|cx| {
            loop {
                if is_done(hear) {
                    return Poll::Ready(Ok(()));
                }
                if let Poll::Ready(Err(end)) = self.poll_flush(cx) {
                    return Poll::Ready(Err(end));
                }
                ready!(self.poll_read(cx, hear))?;
            }
        })
        .await
    }
}

fn put_frame(out: &mut Vec<u8>, frame: &ClientFrame) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    put_message_head(out, BINARY, bytes.len());
    out.extend_from_slice(&bytes);
}

/// The head of a client's message whose payload of this length follows as it is: a mask of zeros
/// is a mask. What masks are for (RFC 6455, section 10.3: keeping a page from speaking another
/// protocol to a proxy) is no concern of a bench.
pub(crate) fn put_message_head(out: &mut Vec<u8>, kind: u8, len: usize) {
    const MASKED: u8 = 0x80;
    out.reserve(HEAD_BYTES_MAX + len);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short), _) if short < 126 => out.extend_from_slice(&[kind, MASKED | short]),
        (_, Ok(medium)) => {
            out.extend_from_slice(&[kind, MASKED | 126]);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[kind, MASKED | 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

fn broke(error: &std::io::Error) -> String {
    format!("the connection broke: {error}")
}

fn closing_words(status: Option<u16>, reason: &str) -> String {
    let status = status.unwrap_or(0);
    let code = status.checked_sub(CLOSE_STATUS_BASE).map(u64::from);
    match code.and_then(ErrorCode::from_number) {
        Some(code) => format!("the server closed the connection: {reason} ({code})"),
        None => format!("the server closed the connection: {reason} (status {status})"),
    }
}
