//! QUIC: streams, datagrams, and whom to trust.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, RecvStream, SendStream, ServerConfig};
use tidewire_client::{
    CellKind, Client, ClientFrame, Error, Name, Pattern, ServerFrame, ServerInfo, Start,
    SubscribeOptions, SubscriptionEvent, Trust, WatchOptions, WatchValue,
};

use crate::fake_server::{goaway, info, voted, welcome, within};
use crate::identity::Identity;
use crate::requests::encoded;

struct QuicServer {
    endpoint: Endpoint,
    identity: Identity,
}

impl QuicServer {
    fn listen() -> Self {
        let identity = Identity::new();
        let tls =
            Arc::new(QuicServerConfig::try_from(identity.server_config(b"tidewire/1")).unwrap());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::server(ServerConfig::with_crypto(tls), address).unwrap();
        Self { endpoint, identity }
    }

    fn url(&self) -> String {
        format!("quic://localhost:{}", self.endpoint.local_addr().unwrap().port())
    }

    async fn accept(&self) -> QuicPeer {
        self.accept_as(None).await
    }

    /// The same, as this node in this life of it.
    async fn accept_as(&self, actor: Option<(u64, u64)>) -> QuicPeer {
        let mut peer = self.accept_silently().await;
        peer.send(&[welcome(ServerInfo { actor, ..info() })]).await;
        peer
    }

    /// The next connection, before HELLO is answered.
    async fn accept_silently(&self) -> QuicPeer {
        let incoming = within(self.endpoint.accept()).await.unwrap();
        let connection = within(incoming.into_future()).await.unwrap();
        let (send, receive) = within(connection.accept_bi()).await.unwrap();
        let mut peer = QuicPeer { connection, send, receive, token: None };
        let ClientFrame::Hello { capabilities, token, .. } = peer.next().await else { panic!() };
        assert_eq!(capabilities, ["datagrams", "move"]);
        peer.token = token;
        peer
    }

    async fn pair(&self, trust: Trust) -> (Client, QuicPeer) {
        let builder = Client::builder(&self.url()).unwrap().trust(trust).reconnect_delay_ms(1, 20);
        let (client, peer) = within(async { tokio::join!(builder.connect(), self.accept()) }).await;
        (client.unwrap(), peer)
    }
}

struct QuicPeer {
    connection: quinn::Connection,
    send: SendStream,
    receive: RecvStream,
    /// What it has shown.
    token: Option<String>,
}

impl QuicPeer {
    async fn next(&mut self) -> ClientFrame {
        let mut prefix = [0; 4];
        within(self.receive.read_exact(&mut prefix)).await.unwrap();
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        within(self.receive.read_exact(&mut frame)).await.unwrap();
        ClientFrame::decode(&frame.into()).unwrap()
    }

    async fn send(&mut self, frames: &[ServerFrame]) {
        within(self.send.write_all(&prefixed(frames))).await.unwrap();
    }

    /// Sends frames on a stream of their own.
    async fn open(&self, frames: &[ServerFrame]) -> SendStream {
        let mut stream = within(self.connection.open_uni()).await.unwrap();
        // In two parts, so that a frame arrives in pieces.
        let bytes = prefixed(frames);
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        within(stream.write_all(head)).await.unwrap();
        within(stream.write_all(tail)).await.unwrap();
        stream
    }
}

fn prefixed(frames: &[ServerFrame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let mut one = Vec::new();
        frame.encode(&mut one);
        bytes.extend_from_slice(&(one.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&one);
    }
    bytes
}

#[tokio::test]
async fn a_pinned_certificate_is_accepted_and_frames_travel() {
    let server = QuicServer::listen();
    let (client, mut peer) = server.pair(Trust::Fingerprint(server.identity.fingerprint())).await;
    let tally = Name::parse("t").unwrap();
    let (vote, ()) = tokio::join!(client.vote(&tally, "ann", vec![], None), async {
        let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
        peer.send(&[voted(req, 6)]).await;
    });
    assert_eq!(vote.unwrap().version, 6);
    let closing = tokio::spawn(client.close());
    within(peer.connection.closed()).await;
    within(closing).await.unwrap();
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused() {
    let server = QuicServer::listen();
    let builder = Client::builder(&server.url()).unwrap().trust(Trust::Fingerprint([7; 32]));
    let accepting = async {
        let incoming = server.endpoint.accept().await.unwrap();
        assert!(incoming.await.is_err());
    };
    let (outcome, ()) = within(async { tokio::join!(builder.connect(), accepting) }).await;
    let failure = outcome.unwrap_err();
    assert!(matches!(failure, Error::Untrusted { .. }), "{failure:?}");
    assert!(!failure.is_retryable());
    let words = failure.to_string();
    assert!(words.contains("its fingerprint is "), "{words}");
    assert!(words.ends_with(&format!("not the pinned {}", "07".repeat(32))), "{words}");
}

#[tokio::test]
async fn a_certificate_is_accepted_by_its_ca_file_and_not_without() {
    let server = QuicServer::listen();
    let path = std::env::temp_dir().join(format!("tidewire-ca-{}.pem", std::process::id()));
    std::fs::write(&path, &server.identity.pem).unwrap();
    let (_client, _peer) = server.pair(Trust::CaFile(path.clone())).await;
    let other = QuicServer::listen();
    let builder = Client::builder(&other.url()).unwrap().trust(Trust::CaFile(path.clone()));
    let accepting = async {
        let incoming = other.endpoint.accept().await.unwrap();
        assert!(incoming.await.is_err());
    };
    let (outcome, ()) = within(async { tokio::join!(builder.connect(), accepting) }).await;
    assert!(matches!(outcome.unwrap_err(), Error::Untrusted { .. }));
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_subscription_has_a_stream_of_its_own_and_its_end_ends_nothing_else() {
    let server = QuicServer::listen();
    let (client, mut peer) = server.pair(Trust::Fingerprint(server.identity.fingerprint())).await;
    let news = Pattern::parse("news").unwrap();
    let options = SubscribeOptions::default();
    let (subscription, sub) =
        tokio::join!(client.subscribe(&news, Start::Latest, options), async {
            let ClientFrame::Subscribe { req, sub, .. } = peer.next().await else { panic!() };
            let subscribed = ServerFrame::Subscribed {
                req,
                sub,
                status: 0,
                epoch: 7,
                offset: 0,
                missing: None,
                positions: None,
            };
            let body = tidewire_client::protocol::record::payload_body(&[b'x'; 20_000]);
            let deliver = ServerFrame::Deliver {
                sub,
                topic: Name::parse("news").unwrap(),
                epoch: 7,
                from: 0,
                next: 1,
                time_ms: 1,
                position: None,
                offsets: None,
                body,
            };
            let mut stream = peer.open(&[subscribed, deliver]).await;
            stream.finish().unwrap();
            sub
        });
    let mut subscription = subscription.unwrap();
    assert!(matches!(within(subscription.next()).await, Some(SubscriptionEvent::Started(_))));
    let Some(SubscriptionEvent::Delivery(delivery)) = within(subscription.next()).await else {
        panic!()
    };
    assert_eq!(delivery.records().next().unwrap().1.payload.unwrap().len(), 20_000);
    drop(subscription);
    assert_eq!(peer.next().await, ClientFrame::Unsubscribe { req: 0, sub });
}

#[tokio::test]
async fn an_update_may_come_as_a_datagram() {
    let server = QuicServer::listen();
    let (client, mut peer) = server.pair(Trust::Fingerprint(server.identity.fingerprint())).await;
    let name = Name::parse("likes").unwrap();
    let (watch, sub) =
        tokio::join!(client.watch(CellKind::Counter, &name, WatchOptions::default()), async {
            let ClientFrame::Watch { req, sub, .. } = peer.next().await else { panic!() };
            peer.open(&[ServerFrame::Watching { req, sub, epoch: 1, version: 0, info: None }])
                .await;
            sub
        });
    let mut watch = watch.unwrap();
    let mut frame = Vec::new();
    let value: Option<Bytes> = Some(encoded(&-5_i64));
    ServerFrame::Update { sub, version: 3, flags: 1, value }.encode(&mut frame);
    peer.connection.send_datagram(frame.into()).unwrap();
    let event = within(watch.next()).await.unwrap();
    assert_eq!((event.version, event.value), (3, WatchValue::Counter(-5)));
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_made_again() {
    let server = QuicServer::listen();
    let (client, peer) = server.pair(Trust::Fingerprint(server.identity.fingerprint())).await;
    let mut states = client.states();
    peer.connection.close(34_u32.into(), b"nothing was received for 90 s");
    within(states.wait_for(|state| match state {
        tidewire_client::ConnectionState::Disconnected { reason } => {
            reason.contains("nothing was received for 90 s (idle_timeout)")
        }
        _ => false,
    }))
    .await
    .unwrap();
    let mut peer = server.accept().await;
    let (pong, ()) = tokio::join!(client.ping(), async {
        let ClientFrame::Ping { nonce } = peer.next().await else { panic!() };
        peer.send(&[ServerFrame::Pong { nonce }]).await;
    });
    pong.unwrap();
}

#[tokio::test]
async fn another_node_behind_the_same_address_is_gone_to() {
    let server = QuicServer::listen();
    let trust = Trust::Fingerprint(server.identity.fingerprint());
    let builder = Client::builder(&server.url()).unwrap().trust(trust);
    let one = server.accept_as(Some((1, 5)));
    let (client, mut peer) = within(async { tokio::join!(builder.connect(), one) }).await;
    let client = client.unwrap();
    let vote = client.start_vote(&Name::parse("t").unwrap(), "ann", vec![], None).await.unwrap();
    let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
    peer.send(&[goaway(38, 8_000, &[])]).await;
    let mut other = server.accept_as(Some((2, 1))).await;
    peer.send(&[voted(req, 1)]).await;
    within(vote).await.unwrap();
    within(peer.connection.closed()).await;
    let (pong, ()) = tokio::join!(client.ping(), async {
        let ClientFrame::Ping { nonce } = other.next().await else { panic!() };
        other.send(&[ServerFrame::Pong { nonce }]).await;
    });
    pong.unwrap();
    assert_eq!(client.repeated(), 0);
}

#[tokio::test]
async fn the_code_of_the_end_says_that_a_token_is_refused() {
    let server = QuicServer::listen();
    let given = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&given);
    let builder = Client::builder(&server.url())
        .unwrap()
        .trust(Trust::Fingerprint(server.identity.fingerprint()))
        .reconnect_delay_ms(1, 20)
        .token_source(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(format!("token-{number}")) }
        });
    let (client, peer) = within(async { tokio::join!(builder.connect(), server.accept()) }).await;
    let _client = client.unwrap();
    assert_eq!(peer.token.as_deref(), Some("token-0"));
    // The end overtakes an ERROR on a stream.
    peer.connection.close(12_u32.into(), b"the token has expired");
    let again = server.accept().await;
    assert_eq!(again.token.as_deref(), Some("token-1"));
}

#[tokio::test]
async fn the_code_of_the_end_says_why_the_first_connection_is_refused() {
    let server = QuicServer::listen();
    let builder = Client::builder(&server.url()).unwrap().token("wrong");
    let builder = builder.trust(Trust::Fingerprint(server.identity.fingerprint()));
    let (refused, ()) = within(async {
        tokio::join!(builder.connect(), async {
            let peer = server.accept_silently().await;
            peer.connection.close(12_u32.into(), b"the token is none");
            peer.connection.closed().await;
        })
    })
    .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), "unauthenticated", "{refused}");
    assert!(refused.to_string().contains("the token is none"), "{refused}");
}
