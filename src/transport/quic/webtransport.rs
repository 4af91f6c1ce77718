//! WebTransport over HTTP/3, the QUIC of browsers: one session on a connection, whose streams and datagrams begin
//! with its number and are those of QUIC otherwise.
//!
//! After draft-ietf-webtrans-http3; the frames of HTTP/3 are those of a library.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use quinn::{RecvStream, SendStream, VarInt as Code};
use tidewire_protocol::{ErrorCode, Refusal, WEBTRANSPORT_PATH};
use web_transport_proto::{
    Capsule, ConnectRequest, ConnectResponse, Frame, Settings, StreamUni, VarInt,
};

use super::super::http::is_allowed_origin;
use super::CLOSE_TIMEOUT;
use crate::server::Core;

/// The application protocol of HTTP/3.
pub(in crate::transport) const ALPN: &[u8] = b"h3";
/// Streams of a browser that are HTTP/3's own: control and header compression.
pub(super) const OWN_STREAMS: u32 = 8;
/// The end of a connection that HTTP/3 has nothing against (RFC 9114, section 8.1).
const NO_ERROR: u32 = 0x100;
/// What a browser has read takes so long to its page: it answers on the way, and a connection that is closed by then
/// is told to the page as lost.
const TO_PAGE: Duration = Duration::from_millis(200);
/// Datagrams are numbered by a quarter of the stream's id (RFC 9297, section 2.1).
const QUARTER: u64 = 4;

/// A QUIC connection, and the session on it if it is a browser's. Clones are the same one.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) quic: quinn::Connection,
    session: Option<Rc<Session>>,
}

struct Session {
    id: u64,
    /// What a stream that is opened here begins with, and a datagram.
    stream_head: Bytes,
    datagram_head: Bytes,
    /// The end of either would be that of the connection.
    _settings: (SendStream, RecvStream),
    connect: Cell<Option<SendStream>>,
}

impl Way {
    pub(super) fn plain(quic: quinn::Connection) -> Self {
        Self { quic, session: None }
    }

    /// The session that streams of the client have to be part of.
    pub(super) fn session_id(&self) -> Option<u64> {
        self.session.as_ref().map(|session| session.id)
    }

    /// What a stream that is opened here begins with.
    pub(super) fn stream_head(&self) -> Bytes {
        self.session.as_ref().map(|session| session.stream_head.clone()).unwrap_or_default()
    }

    /// What a datagram begins with.
    pub(super) fn datagram_head(&self) -> &[u8] {
        self.session.as_ref().map_or(&[], |session| &session.datagram_head)
    }

    /// Ends the connection, and tells a browser's page why. `ends`: the stream with which a browser ends its side.
    pub(super) async fn close(&self, code: u32, reason: &str, ends: Option<&mut RecvStream>) {
        let connect = self.session.as_ref().map(|session| session.connect.take());
        let code = match connect {
            None => code,
            Some(connect) => {
                if let Some(mut connect) = connect {
                    let told = connect.write_all(&closing(code, reason)).await;
                    if told.is_ok() && connect.finish().is_ok() {
                        // A browser ends its side when it has read that; a close from here would overtake it on
                        // the way to the page.
                        drop(tokio::time::timeout(CLOSE_TIMEOUT, self.read_by(ends)).await);
                    }
                }
                NO_ERROR
            }
        };
        self.quic.close(Code::from_u32(code), reason.as_bytes());
    }

    /// Completes when the browser has ended its side of the session, and told its page, or the connection is over.
    async fn read_by(&self, ends: Option<&mut RecvStream>) {
        let told = async {
            match ends {
                Some(ends) => ended(ends).await,
                None => std::future::pending().await,
            }
            tokio::time::sleep(TO_PAGE).await;
        };
        tokio::select! {
            _ = self.quic.closed() => {}
            () = told => {}
        }
    }
}

/// The capsule that ends a session, in a frame.
fn closing(code: u32, reason: &str) -> BytesMut {
    let (mut capsule, mut frame) = (BytesMut::new(), BytesMut::new());
    Capsule::CloseWebTransportSession { code, reason: reason.to_owned() }.encode(&mut capsule);
    Frame::DATA.encode(&mut frame);
    put(&mut frame, capsule.len() as u64);
    frame.extend_from_slice(&capsule);
    frame
}

fn put(buffer: &mut impl BufMut, number: u64) {
    // No length or id of a stream is longer than such a number may be.
    VarInt::from_u64(number).unwrap_or(VarInt::MAX).encode(buffer);
}

/// A session that was opened, and the stream whose end is that of it.
pub(super) struct Opened {
    pub(super) way: Way,
    pub(super) ends: RecvStream,
}

/// Shakes hands of HTTP/3, and opens the session that is asked for. `None`: it was refused, or the connection has
/// ended.
pub(super) async fn open(core: &Core, quic: quinn::Connection) -> Option<Opened> {
    let settings = exchange_settings(&quic).await?;
    let (mut connect, mut ends) = quic.accept_bi().await.ok()?;
    let request = ConnectRequest::read(&mut ends).await.ok()?;
    let status = status_of(core, &request);
    ConnectResponse::new(status).write(&mut connect).await.ok()?;
    if status != StatusCode::OK {
        drop(connect.finish());
        drop(tokio::time::timeout(CLOSE_TIMEOUT, connect.stopped()).await);
        quic.close(Code::from_u32(NO_ERROR), b"");
        return None;
    }
    let id = u64::from(Code::from(connect.id()));
    let (mut stream_head, mut datagram_head) = (BytesMut::new(), BytesMut::new());
    StreamUni::WEBTRANSPORT.encode(&mut stream_head);
    put(&mut stream_head, id);
    put(&mut datagram_head, id / QUARTER);
    let session = Session {
        id,
        stream_head: stream_head.freeze(),
        datagram_head: datagram_head.freeze(),
        _settings: settings,
        connect: Cell::new(Some(connect)),
    };
    Some(Opened { way: Way { quic, session: Some(Rc::new(session)) }, ends })
}

async fn exchange_settings(quic: &quinn::Connection) -> Option<(SendStream, RecvStream)> {
    let own = async {
        let mut settings = Settings::default();
        settings.enable_webtransport(1);
        let mut send = quic.open_uni().await.ok()?;
        settings.write(&mut send).await.ok()?;
        Some(send)
    };
    let others = async {
        let mut recv = quic.accept_uni().await.ok()?;
        let settings = Settings::read(&mut recv).await.ok()?;
        (settings.supports_webtransport() > 0).then_some(recv)
    };
    let (own, others) = tokio::join!(own, others);
    Some((own?, others?))
}

/// What a request for a session is answered with: a page of another origin needs to be allowed, as for a WebSocket.
fn status_of(core: &Core, request: &ConnectRequest) -> StatusCode {
    if request.url.path() != WEBTRANSPORT_PATH {
        return StatusCode::NOT_FOUND;
    }
    let mut headers = HeaderMap::new();
    for origin in request.headers.get_all(header::ORIGIN) {
        headers.append(header::ORIGIN, origin.clone());
    }
    if let Ok(host) = HeaderValue::from_str(request.url.authority()) {
        headers.insert(header::HOST, host);
    }
    match is_allowed_origin(&core.shared.config.http.allowed_origins, false, &headers) {
        true => StatusCode::OK,
        false => StatusCode::FORBIDDEN,
    }
}

/// Reads what a client's stream begins with: that it is one of the session.
///
/// # Errors
/// When it is something else, or ends there.
pub(super) async fn read_head(recv: &mut RecvStream, session: u64) -> Result<(), Refusal> {
    let kind = VarInt::read(recv).await.map(VarInt::into_inner);
    let id = VarInt::read(recv).await.map(VarInt::into_inner);
    match (kind, id) {
        (Ok(kind), Ok(id)) if kind == Frame::WEBTRANSPORT.0.into_inner() && id == session => Ok(()),
        (Ok(_), Ok(_)) => Err(Refusal::new(
            ErrorCode::Malformed,
            "a stream is none of the WebTransport session of its connection",
        )),
        (Err(_), _) | (_, Err(_)) => Err(Refusal::new(
            ErrorCode::Malformed,
            "a stream ends before it says which session it is part of",
        )),
    }
}

/// Completes when the client has ended its session.
pub(super) async fn ended(ends: &mut RecvStream) {
    /// What a client says of the end, which nothing depends on, is read in pieces of this size.
    const PIECE_BYTES: usize = 512;
    let mut piece = [0; PIECE_BYTES];
    while let Ok(Some(_)) = ends.read(&mut piece).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_session_is_a_capsule_in_a_data_frame() {
        // DATA, 10 bytes; CLOSE_WEBTRANSPORT_SESSION (0x2843), 6 bytes: code and reason.
        let expected = [0x00, 9, 0x68, 0x43, 6, 0, 0, 0, 7, b'n', b'o'];
        assert_eq!(&closing(7, "no")[..], &expected);
    }
}
