//! A WebSocket server that does nothing by itself but say WELCOME.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tidewire_client::protocol::frame::split_first;
use tidewire_client::protocol::options::ProducerInfo;
use tidewire_client::protocol::wire::put_value;
use tidewire_client::{Client, ClientFrame, ConnectionState, ServerFrame, ServerInfo};
use tokio::net::{TcpListener, TcpStream};
use tokio_websockets::{Message, ServerBuilder, WebSocketStream};

/// Every wait of these tests is bounded by this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens in time")
}

pub(crate) fn info() -> ServerInfo {
    ServerInfo {
        server: "fake/1".to_owned(),
        max_frame_bytes: 64 * 1024,
        heartbeat_ms: 5_000,
        in_flight_max: 4,
        ..ServerInfo::default()
    }
}

pub(crate) struct FakeServer {
    listener: TcpListener,
    pub(crate) info: ServerInfo,
}

impl FakeServer {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, info: info() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address())
    }

    /// The next connection, before HELLO is answered.
    pub(crate) async fn accept_silently(&self) -> Peer {
        let (tcp, _) = within(self.listener.accept()).await.unwrap();
        let protocol = HeaderValue::from_static("tidewire.v1");
        let builder = ServerBuilder::new().add_header(SEC_WEBSOCKET_PROTOCOL, protocol).unwrap();
        let (request, socket) = within(builder.accept(tcp)).await.unwrap();
        assert_eq!(request.uri().path(), "/v1/ws");
        assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], "tidewire.v1");
        let capabilities = Vec::new();
        let mut peer = Peer { socket, frames: VecDeque::new(), numbers: true, capabilities };
        let hello = peer.next().await;
        let ClientFrame::Hello { version: 1, capabilities, .. } = hello else {
            panic!("{hello:?}")
        };
        peer.capabilities = capabilities;
        peer
    }

    /// The next connection, welcomed.
    pub(crate) async fn accept(&self) -> Peer {
        let mut peer = self.accept_silently().await;
        peer.send(&[welcome(self.info.clone())]).await;
        peer
    }

    /// A client and the server's end of its connection.
    pub(crate) async fn pair(&self) -> (Client, Peer) {
        let builder = Client::builder(&self.url()).unwrap().reconnect_delay_ms(1, 20);
        let (client, peer) = within(async { tokio::join!(builder.connect(), self.accept()) }).await;
        (client.unwrap(), peer)
    }
}

pub(crate) fn welcome(info: ServerInfo) -> ServerFrame {
    let (session, capabilities) = ("c-1".to_owned(), Vec::new());
    ServerFrame::Welcome { version: 1, capabilities, session, info }
}

/// The server's end of one connection.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
    frames: VecDeque<ClientFrame>,
    /// Whether it answers PRODUCER by itself.
    pub(crate) numbers: bool,
    /// What it has said that it knows.
    pub(crate) capabilities: Vec<String>,
}

/// The id that clients get as producers.
pub(crate) const PRODUCER: u64 = 4711;

pub(crate) fn producer(req: u64, producer: u64) -> ServerFrame {
    let mut result = Vec::new();
    let info = ProducerInfo { producer, window: 1_024, idle_ms: 3_600_000 };
    put_value(&mut result, &info);
    ServerFrame::Ok { req, result: Some(result.into()) }
}

impl Peer {
    /// The next frame of the client.
    pub(crate) async fn next(&mut self) -> ClientFrame {
        within(self.try_next()).await.expect("the connection is still there")
    }

    /// The next frame of the client; `None` when it has closed the connection.
    pub(crate) async fn try_next(&mut self) -> Option<ClientFrame> {
        while self.frames.is_empty() {
            let message = self.socket.next().await?.ok()?;
            if message.is_close() {
                return None;
            }
            if message.is_binary() {
                let mut bytes: Bytes = message.into_payload().into();
                while !bytes.is_empty() {
                    let frame = split_first(&mut bytes).unwrap();
                    match ClientFrame::decode(&frame).unwrap() {
                        ClientFrame::Producer { req } if self.numbers => {
                            self.send(&[producer(req, PRODUCER)]).await;
                        }
                        frame => self.frames.push_back(frame),
                    }
                }
            }
        }
        self.frames.pop_front()
    }

    /// The next frame if the client sends one within a moment.
    pub(crate) async fn next_if_any(&mut self) -> Option<ClientFrame> {
        tokio::time::timeout(Duration::from_millis(100), self.try_next()).await.ok().flatten()
    }

    /// Sends frames in one message.
    pub(crate) async fn send(&mut self, frames: &[ServerFrame]) {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode(&mut bytes);
        }
        self.send_bytes(bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        within(self.socket.send(Message::binary(bytes))).await.unwrap();
    }

    /// Waits until the client closes the connection.
    pub(crate) async fn closed(&mut self) {
        within(async { while self.try_next().await.is_some() {} }).await;
    }
}

pub(crate) async fn wait_for(client: &Client, wanted: impl FnMut(&ConnectionState) -> bool) {
    within(client.states().wait_for(wanted)).await.unwrap();
}

pub(crate) fn ok(req: u64) -> ServerFrame {
    ServerFrame::Ok { req, result: None }
}

pub(crate) fn error(req: u64, code: u64, message: &str) -> ServerFrame {
    ServerFrame::Error {
        req,
        code,
        message: message.to_owned(),
        retry_after_ms: None,
        sub: None,
        actual: None,
    }
}

/// The server wants the client to go to one of these.
pub(crate) fn goaway(code: u64, grace_ms: u64, nodes: &[String]) -> ServerFrame {
    let (message, nodes) = ("drained".to_owned(), nodes.to_vec());
    ServerFrame::GoAway { code, message, grace_ms, nodes }
}

pub(crate) fn voted(req: u64, version: u64) -> ServerFrame {
    ServerFrame::Voted { req, epoch: 1, version, status: 0, revision: 1, partition: None }
}
