//! Frames on QUIC streams, each preceded by its length.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream,
    TransportConfig,
};
use tidewire_protocol::frame::length_prefix;
use tidewire_protocol::{ALPN, ErrorCode, Refusal};

use super::{tls, unreachable};
use crate::builder::{CertificateFiles, Trust};
use crate::error::Error;
use crate::link::Link;
use crate::target::Target;

/// Streams that the server may open: one per subscription and watch, the rest share the control
/// stream.
const STREAMS_MAX: u32 = 256;
/// Frames are far smaller than this; a longer one is a fault.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that may be on their way on all streams.
const RECEIVE_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes taken from a stream at once.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How long a close waits for the server to have everything.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Keeps the way through firewalls open, and is answered by a server that was started again meanwhile: so soon it is
/// known that the connection is no more. Whether a server lives at all is the heartbeat's matter.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Memory of the UDP socket.
const UDP_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// Time for the endpoint's own task to send the last packet.
const CLOSE_SENT: Duration = Duration::from_millis(20);

/// QUIC settings for this trust, and this certificate of the client's own.
pub(super) fn client_config(
    trust: &Trust,
    certificate: Option<&CertificateFiles>,
) -> Result<ClientConfig, Error> {
    let mut tls = tls::client_config(trust, certificate)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls)
        .map_err(|error| Error::Config(format!("QUIC cannot be set up: {error}")))?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(STREAMS_MAX.into())
        .max_concurrent_bidi_streams(0_u32.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .keep_alive_interval(Some(KEEP_ALIVE));
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// One QUIC connection with its control stream.
pub(crate) struct Connection {
    endpoint: Endpoint,
    connection: quinn::Connection,
    send: SendStream,
    control: FrameReader,
}

impl Connection {
    pub(super) async fn dial(target: &Target, config: ClientConfig) -> Result<Self, Error> {
        let addresses = tokio::net::lookup_host((target.host.as_str(), target.port))
            .await
            .map_err(|error| unreachable(target, format!("the host is not known: {error}")))?;
        let mut failure = unreachable(target, "the host's name leads to no address");
        for address in addresses {
            match Self::dial_address(target, address, config.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn dial_address(
        target: &Target,
        address: SocketAddr,
        config: ClientConfig,
    ) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| unreachable(target, error.to_string());
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local).map_err(|error| failed(&error))?;
        // As far as the system allows it: a burst that does not fit is lost.
        drop(socket2::SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES));
        let (config_of_endpoint, runtime) =
            (EndpointConfig::default(), Arc::new(quinn::TokioRuntime));
        let endpoint = Endpoint::new(config_of_endpoint, None, socket, runtime)
            .map_err(|error| failed(&error))?;
        let connection = endpoint
            .connect_with(config, address, &target.host)
            .map_err(|error| failed(&error))?
            .await
            .map_err(|error| dial_error(target, &error))?;
        let (send, receive) =
            connection.open_bi().await.map_err(|error| dial_error(target, &error))?;
        Ok(Self { endpoint, connection, send, control: FrameReader::new(receive) })
    }

    pub(super) async fn exchange(&mut self, target: &Target, hello: &[u8]) -> Result<Bytes, Error> {
        let reason = match self.ask(hello).await {
            Ok(frame) => return Ok(frame),
            Err(reason) => reason,
        };
        // The end of a connection takes what was not read of its streams: the code that it carries says the same.
        let closed = self.connection.close_reason();
        match closed.as_ref().and_then(closing_refusal) {
            Some(refusal) => Err(Error::Refused(refusal)),
            None => Err(unreachable(target, closed.as_ref().map_or(reason, closing_words))),
        }
    }

    async fn ask(&mut self, hello: &[u8]) -> Result<Bytes, String> {
        let mut bytes = length_prefix(hello.len()).to_vec();
        bytes.extend_from_slice(hello);
        self.send.write_all(&bytes).await.map_err(|error| error.to_string())?;
        match self.control.next().await? {
            Some(frame) => Ok(frame),
            None => Err("the server closed the control stream".to_owned()),
        }
    }

    pub(super) async fn serve(&mut self, link: &Link) -> String {
        let reason = tokio::select! {
            reason = read_control(&mut self.control, link) => reason,
            reason = write(&mut self.send, link) => reason,
            reason = read_streams(&self.connection, link) => reason,
            reason = read_datagrams(&self.connection, link) => reason,
        };
        // A closed connection ends its streams first; the connection knows why.
        match self.connection.close_reason() {
            Some(closed) => {
                // An ERROR before it may not have been read.
                if let Some(refusal) = closing_refusal(&closed) {
                    link.closed_with(refusal.code);
                }
                closing_words(&closed)
            }
            None => reason,
        }
    }

    pub(super) async fn close(mut self) {
        // What was written may still be on its way; a stream that is gone has nothing left.
        if self.send.finish().is_ok() {
            drop(tokio::time::timeout(CLOSE_TIMEOUT, self.send.stopped()).await);
        }
        self.connection.close(0_u32.into(), b"closed by the client");
        // The server knows already, by the end of the control stream: waiting out QUIC's draining
        // period would only make short commands slow.
        drop(tokio::time::timeout(CLOSE_SENT, self.endpoint.wait_idle()).await);
    }
}

async fn read_control(control: &mut FrameReader, link: &Link) -> String {
    match control.read_all(link).await {
        Ok(()) => "the server closed the control stream".to_owned(),
        Err(reason) => reason,
    }
}

async fn write(send: &mut SendStream, link: &Link) -> String {
    loop {
        let segment = link.next_segment().await;
        if let Err(error) = send.write_chunk(segment.into()).await {
            return format!("the connection broke: {error}");
        }
        link.written();
    }
}

/// Reads the streams that the server opens, all in this one task: nothing of an old connection
/// can arrive once it is dropped.
async fn read_streams(connection: &quinn::Connection, link: &Link) -> String {
    let mut streams = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = connection.accept_uni() => match accepted {
                Ok(stream) => streams.push(read_stream(FrameReader::new(stream), link)),
                Err(error) => return closing_words(&error),
            },
            Some(outcome) = streams.next() => {
                if let Err(reason) = outcome {
                    return reason;
                }
            }
        }
    }
}

async fn read_stream(mut stream: FrameReader, link: &Link) -> Result<(), String> {
    stream.read_all(link).await
}

async fn read_datagrams(connection: &quinn::Connection, link: &Link) -> String {
    loop {
        match connection.read_datagram().await {
            Ok(frame) => {
                if let Err(reason) = link.receive(frame) {
                    return reason;
                }
            }
            Err(error) => return closing_words(&error),
        }
    }
}

/// Takes frames off a stream.
struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Gives every frame to the link until the stream ends.
    async fn read_all(&mut self, link: &Link) -> Result<(), String> {
        while let Some(frame) = self.next().await? {
            link.receive(frame)?;
        }
        Ok(())
    }

    /// The next frame; `None` when the stream ends.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(frame) = self.split_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(CHUNK_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return Ok(None),
                // Only this stream is gone; what ends the connection is seen elsewhere.
                Err(error) => {
                    tracing::debug!(%error, "a stream ended");
                    return Ok(None);
                }
            }
        }
    }

    fn split_frame(&mut self) -> Result<Option<Bytes>, String> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if len > FRAME_BYTES_MAX {
            return Err(format!("the server announced a frame of {len} bytes"));
        }
        if self.buffer.len() - 4 < len {
            self.buffer.reserve(len + 4 - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }
}

fn dial_error(target: &Target, error: &ConnectionError) -> Error {
    if let ConnectionError::TransportError(fault) = error
        && let Some(reason) = tls::fault_in_words(&fault.reason)
    {
        return Error::Untrusted { url: target.url(), reason };
    }
    if *error == ConnectionError::TimedOut {
        return unreachable(target, "no answer; is a Tidewire server listening there, on UDP?");
    }
    unreachable(target, closing_words(error))
}

/// What the server refuses by the code that the end carries.
fn closing_refusal(error: &ConnectionError) -> Option<Refusal> {
    let ConnectionError::ApplicationClosed(closed) = error else { return None };
    let code = ErrorCode::from_number(closed.error_code.into_inner())?;
    Some(Refusal::new(code, String::from_utf8_lossy(&closed.reason).into_owned()))
}

fn closing_words(error: &ConnectionError) -> String {
    let ConnectionError::ApplicationClosed(closed) = error else {
        return format!("the connection broke: {error}");
    };
    let reason = String::from_utf8_lossy(&closed.reason);
    match ErrorCode::from_number(closed.error_code.into_inner()) {
        Some(name) => format!("the server closed the connection: {reason} ({name})"),
        None => format!("the server closed the connection: {reason}"),
    }
}
