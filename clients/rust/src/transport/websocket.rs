//! Frames in binary WebSocket messages.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use rustls::pki_types::ServerName;
use tidewire_protocol::{CLOSE_STATUS_BASE, ErrorCode, WEBSOCKET_PROTOCOL};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::{tls, unreachable};
use crate::error::Error;
use crate::link::Link;
use crate::target::Target;

/// The server may put several frames into a message; a longer one than this is a fault.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the other side may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// One WebSocket.
pub(crate) struct Connection {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
}

impl Connection {
    pub(super) async fn dial(
        target: &Target,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self, Error> {
        let tcp =
            TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|error| {
                unreachable(target, format!("{error}; is a Tidewire server listening there?"))
            })?;
        // Requests are gathered here already; the kernel need not wait for more.
        tcp.set_nodelay(true).map_err(|error| unreachable(target, error.to_string()))?;
        let wire: Box<dyn Wire> = match tls {
            None => Box::new(tcp),
            Some(config) => Box::new(encrypt(target, config, tcp).await?),
        };
        Self::upgrade(target, wire).await
    }

    async fn upgrade(target: &Target, wire: Box<dyn Wire>) -> Result<Self, Error> {
        // What travels is the request line and Host; the wire is there already.
        let url = format!("ws://{}{}", target.authority(), target.path);
        let protocol = HeaderValue::from_static(WEBSOCKET_PROTOCOL);
        let builder = ClientBuilder::new()
            .uri(&url)
            .map_err(|error| Error::Config(format!("invalid server URL '{url}': {error}")))?
            .add_header(SEC_WEBSOCKET_PROTOCOL, protocol)
            .map_err(|error| unreachable(target, error.to_string()))?
            .limits(Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX)));
        let (socket, response) = builder.connect_on(wire).await.map_err(|error| {
            let reason = format!(
                "{error}; the server there does not answer as a Tidewire server at {}",
                target.path
            );
            unreachable(target, reason)
        })?;
        let spoken = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
        if spoken.is_none_or(|spoken| spoken != WEBSOCKET_PROTOCOL) {
            let reason = format!("the server there does not speak {WEBSOCKET_PROTOCOL}");
            return Err(unreachable(target, reason));
        }
        let (sink, stream) = socket.split();
        Ok(Self { sink, stream })
    }

    pub(super) async fn exchange(&mut self, hello: Vec<u8>) -> Result<Bytes, String> {
        self.sink.send(Message::binary(hello)).await.map_err(|error| error.to_string())?;
        next_message(&mut self.stream).await
    }

    pub(super) async fn serve(&mut self, link: &Link) -> String {
        tokio::select! {
            reason = read(&mut self.stream, link) => reason,
            reason = write(&mut self.sink, link) => reason,
        }
    }

    pub(super) async fn close(mut self) {
        // Whether the other side still answers matters to nobody.
        drop(tokio::time::timeout(CLOSE_TIMEOUT, self.sink.close()).await);
    }
}

async fn encrypt(
    target: &Target,
    config: Arc<rustls::ClientConfig>,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let name = ServerName::try_from(target.host.clone())
        .map_err(|error| unreachable(target, format!("the host's name is invalid: {error}")))?;
    tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref())
            .and_then(tls::certificate_fault)
        {
            Some(reason) => Error::Untrusted { url: target.url(), reason },
            None => unreachable(target, format!("no TLS connection: {}", explain(&error))),
        }
    })
}

fn explain(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::InvalidData {
        return format!("{error}; does the server speak TLS on this port? If not, use ws://");
    }
    error.to_string()
}

async fn read(stream: &mut SplitStream<Socket>, link: &Link) -> String {
    loop {
        match next_message(stream).await {
            Ok(message) => {
                if let Err(reason) = link.receive(message) {
                    return reason;
                }
            }
            Err(reason) => return reason,
        }
    }
}

async fn write(sink: &mut SplitSink<Socket, Message>, link: &Link) -> String {
    loop {
        let segment = link.next_segment().await;
        if let Err(error) = sink.send(Message::binary(segment)).await {
            return lost(&error);
        }
        link.written();
    }
}

/// The next binary message. Pings are answered by the library.
async fn next_message(stream: &mut SplitStream<Socket>) -> Result<Bytes, String> {
    loop {
        match stream.next().await {
            Some(Ok(message)) if message.is_binary() => return Ok(message.into_payload().into()),
            Some(Ok(message)) if message.is_ping() || message.is_pong() => {}
            Some(Ok(message)) => {
                let Some((code, reason)) = message.as_close() else {
                    return Err("the server sent text instead of frames".to_owned());
                };
                return Err(closing_words(u16::from(code), reason));
            }
            Some(Err(error)) => return Err(lost(&error)),
            None => return Err("the server closed the connection".to_owned()),
        }
    }
}

fn closing_words(status: u16, reason: &str) -> String {
    let code = status.checked_sub(CLOSE_STATUS_BASE);
    let name = code.and_then(|code| ErrorCode::from_number(u64::from(code)));
    match (name, reason) {
        (Some(name), "") => format!("the server closed the connection ({name})"),
        (Some(name), reason) => format!("the server closed the connection: {reason} ({name})"),
        (None, "") => format!("the server closed the connection (status {status})"),
        (None, reason) => format!("the server closed the connection: {reason} (status {status})"),
    }
}

fn lost(error: &tokio_websockets::Error) -> String {
    format!("the connection broke: {error}")
}
