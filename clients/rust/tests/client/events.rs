//! What the client tells `tracing`: what happens to the connection and to subscriptions, and neither secrets nor
//! payloads.

use std::io;
use std::sync::{Arc, Mutex};

use tidewire_client::{Client, ConnectionState, ServerFrame};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::fake_server::{FakeServer, error, goaway, wait_for, within};
use crate::subscriptions::{deliver, started};

const SECRET: &str = "a-secret-token";
const PAYLOAD: &str = "what-nobody-else-may-read";

/// Lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The line with these words has all of these fields.
    fn tell(&self, words: &str, fields: &[&str]) {
        let text = self.text();
        let is_it = |line: &&str| line.contains(words) && fields.iter().all(|f| line.contains(f));
        assert!(text.lines().any(|line| is_it(&line)), "no '{words}' with {fields:?} in\n{text}");
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Everything that is told on this thread, which is that of the test's runtime.
fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn connections_are_told_with_their_fields_and_without_secrets() {
    let (lines, _guard) = listen();
    let (one, other) = (FakeServer::listen().await, FakeServer::listen().await);
    let builder = Client::builder(&one.url()).unwrap().token(SECRET).reconnect_delay_ms(1, 20);
    let (client, mut peer) = within(async { tokio::join!(builder.connect(), one.accept()) }).await;
    let client = client.unwrap();
    let url = format!("url=\"{}\"", one.url());
    lines.tell("connected", &[&url, "session=\"c-1\"", "took_ms="]);
    peer.send(&[goaway(38, 8_000, &[other.url()])]).await;
    let there = other.accept().await;
    peer.closed().await;
    wait_for(&client, |state| matches!(state, ConnectionState::Connected { .. })).await;
    lines.tell("GOAWAY", &["code=\"moved\"", "grace_ms=8000", "nodes=1"]);
    lines.tell("moved", &[&format!("from=\"{}\"", one.url()), "to=\""]);
    drop((there, other));
    let mut peer = one.accept_silently().await;
    let elsewhere = |state: &ConnectionState| matches!(state, ConnectionState::Connecting);
    wait_for(&client, elsewhere).await;
    lines.tell("disconnected", &["reason=", "held_ms="]);
    peer.send(&[error(0, 12, "the token has expired")]).await;
    drop((peer, one));
    wait_for(&client, |state| !elsewhere(state)).await;
    lines.tell("the server does not accept the token", &[&url]);
    assert!(!lines.text().contains(SECRET), "{}", lines.text());
}

#[tokio::test]
async fn gaps_are_told_and_payloads_are_not() {
    let (lines, _guard) = listen();
    let server = FakeServer::listen().await;
    let (mut subscription, mut peer, sub) = started(&server, 100_000).await;
    let topic = Some(tidewire_client::Name::parse("news").unwrap());
    let (epoch, from, next, reason, position) = (7, 101, 150, 0, None);
    let gap = ServerFrame::Gap { sub, topic, epoch, from, next, reason, position };
    peer.send(&[deliver(sub, 100, &[PAYLOAD.as_bytes()]), gap]).await;
    for _ in 0..2 {
        within(subscription.next()).await.unwrap();
    }
    lines.tell("gap", &["topic=\"news\"", "from=101", "next=150", "reason=Retention"]);
    assert!(!lines.text().contains(PAYLOAD), "{}", lines.text());
}
