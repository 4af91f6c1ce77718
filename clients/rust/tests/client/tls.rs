//! WebSocket over TLS.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tidewire_client::{Client, ConnectionState, Error, Transport, Trust};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_websockets::{Message, ServerBuilder};

use crate::fake_server::{info, welcome, within};
use crate::identity::Identity;

struct TlsServer {
    listener: TcpListener,
    identity: Identity,
}

impl TlsServer {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, identity: Identity::new() }
    }

    fn url(&self) -> String {
        format!("wss://localhost:{}", self.listener.local_addr().unwrap().port())
    }

    /// Takes one connection and says WELCOME; false when the client turns away before.
    async fn welcome_one(&self) -> bool {
        let (tcp, _) = self.listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(self.identity.server_config(b"http/1.1")));
        let Ok(tls) = acceptor.accept(tcp).await else { return false };
        let protocol = HeaderValue::from_static("tidewire.v1");
        let builder = ServerBuilder::new().add_header(SEC_WEBSOCKET_PROTOCOL, protocol).unwrap();
        let Ok((_, mut socket)) = builder.accept(tls).await else { return false };
        socket.next().await.unwrap().unwrap();
        let mut answer = Vec::new();
        welcome(info()).encode(&mut answer);
        socket.send(Message::binary(answer)).await.unwrap();
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
        true
    }

    async fn connect(&self, trust: Trust) -> Result<Client, Error> {
        Client::builder(&self.url()).unwrap().trust(trust).connect().await
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted() {
    let server = TlsServer::listen().await;
    let trust = Trust::Fingerprint(server.identity.fingerprint());
    let using = async {
        let client = server.connect(trust).await.unwrap();
        let state = client.states().borrow().clone();
        client.close().await;
        state
    };
    let (state, welcomed) = within(async { tokio::join!(using, server.welcome_one()) }).await;
    let (session, transport) = ("c-1".to_owned(), Transport::WebSocketTls);
    assert_eq!(state, ConnectionState::Connected { session, transport });
    assert!(welcomed);
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused() {
    let server = TlsServer::listen().await;
    let connecting = server.connect(Trust::Fingerprint([7; 32]));
    let (outcome, welcomed) =
        within(async { tokio::join!(connecting, server.welcome_one()) }).await;
    let failure = outcome.unwrap_err();
    assert!(!welcomed);
    assert!(matches!(failure, Error::Untrusted { .. }), "{failure:?}");
    let words = failure.to_string();
    assert!(words.ends_with(&format!("not the pinned {}", "07".repeat(32))), "{words}");
}

#[tokio::test]
async fn a_self_signed_certificate_is_not_trusted_by_default() {
    let server = TlsServer::listen().await;
    let connecting = server.connect(Trust::System);
    let (outcome, welcomed) =
        within(async { tokio::join!(connecting, server.welcome_one()) }).await;
    let failure = outcome.unwrap_err();
    assert!(!welcomed);
    assert!(matches!(failure, Error::Untrusted { .. }), "{failure:?}");
    assert!(failure.to_string().contains("pin its fingerprint"), "{failure}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_apart() {
    let server = TlsServer::listen().await;
    let answering = async {
        let (mut tcp, _) = server.listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 400 Bad\r\n\r\n").await.unwrap();
    };
    let connecting = server.connect(Trust::Fingerprint([7; 32]));
    let (outcome, ()) = within(async { tokio::join!(connecting, answering) }).await;
    let failure = outcome.unwrap_err();
    assert!(failure.to_string().contains("does the server speak TLS"), "{failure}");
}
