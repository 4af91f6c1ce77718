//! HTTP/2: many requests and streams of events over one connection.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::daemon::{Daemon, PATIENCE};

struct Client {
    requests: SendRequest<Full<Bytes>>,
    base: String,
}

impl Client {
    async fn connect(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.address()).await.unwrap();
        Self::on(stream, format!("http://{}", daemon.address())).await
    }

    /// Over TLS, where the server chooses among these protocols; and which it has chosen.
    async fn secure(daemon: &Daemon, offered: &[&[u8]]) -> (TlsStream<TcpStream>, Vec<u8>) {
        let mut config = daemon.trust().tls_config().unwrap();
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(daemon.address()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = timeout(PATIENCE, connector.connect(name, stream)).await.unwrap().unwrap();
        let chosen = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
        (stream, chosen)
    }

    async fn on<S>(stream: S, base: String) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { requests, base }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> http::Response<Incoming> {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let mut requests = self.requests.clone();
        timeout(PATIENCE, requests.send_request(request)).await.unwrap().unwrap()
    }

    async fn done(&self, method: &str, path: &str, body: &str) -> Value {
        let reply = self.ask(method, path, body).await;
        assert_eq!(reply.status(), 200);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

#[tokio::test]
async fn requests_and_events_share_a_connection() {
    let daemon = Daemon::start("");
    let client = Client::connect(&daemon).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let reply = client.ask("GET", "/v1/topics/news/events", "").await;
        assert_eq!(reply.status(), 200);
        streams.push(reply.into_body());
    }
    let increments = (0..20).map(|_| client.done("POST", "/v1/counters/c/incr", ""));
    let counted = futures_util::future::join_all(increments).await;
    let mut values: Vec<i64> = counted.iter().map(|one| one["value"].as_i64().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (1..=20).collect::<Vec<i64>>());
    client.done("POST", "/v1/topics/news", r#"{"text": "hello"}"#).await;
    for stream in &mut streams {
        let mut text = String::new();
        while !text.contains("\"text\":\"hello\"") {
            let frame = timeout(PATIENCE, stream.frame()).await.unwrap().unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn over_tls_the_version_is_agreed_on_by_alpn() {
    let daemon = Daemon::start("");
    let (_, chosen) = Client::secure(&daemon, &[b"http/1.1"]).await;
    assert_eq!(chosen, b"http/1.1");
    let (stream, chosen) = Client::secure(&daemon, &[b"http/1.1", b"h2"]).await;
    assert_eq!(chosen, b"h2");
    let client = Client::on(stream, format!("https://{}", daemon.address())).await;
    let reply = client.ask("GET", "/v1/topics/news/events", "").await;
    assert_eq!((reply.status(), reply.version()), (http::StatusCode::OK, http::Version::HTTP_2));
    let mut events = reply.into_body();
    client.done("POST", "/v1/topics/news", r#"{"text": "hello"}"#).await;
    let mut text = String::new();
    while !text.contains("\"text\":\"hello\"") {
        let frame = timeout(PATIENCE, events.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn each_stream_of_events_is_a_connection_of_its_address() {
    let daemon = Daemon::start("[limits]\naddress_connections_max = 3\n");
    let client = Client::connect(&daemon).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let reply = client.ask("GET", "/v1/topics/news/events", "").await;
        assert_eq!(reply.status(), 200);
        streams.push(reply);
    }
    let refused = client.ask("GET", "/v1/topics/news/events", "").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(client.done("POST", "/v1/counters/c/incr", "").await["value"], 1);
}
