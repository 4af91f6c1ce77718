//! HTTP/2: many requests and streams of events over one connection.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::time::timeout;

use crate::daemon::{Daemon, PATIENCE};

struct Client {
    requests: SendRequest<Full<Bytes>>,
    base: String,
}

impl Client {
    async fn connect(daemon: &Daemon) -> Self {
        let stream = tokio::net::TcpStream::connect(daemon.address()).await.unwrap();
        let (requests, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { requests, base: format!("http://{}", daemon.address()) }
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
