//! A subscriber that reads nothing costs the others nothing, and learns what it has missed.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tidewire_client::protocol::frame::split_first;
use tidewire_client::{
    AckLevel, BodyBuilder, ClientFrame, Name, Pattern, PublishOptions, ServerFrame, Start,
    SubscribeOptions, SubscriptionEvent,
};
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message};

use crate::daemon::{Daemon, PATIENCE, Via};

const BATCHES: u64 = 400;
const RECORDS: u64 = 100;
const PAYLOAD: usize = 1000;

fn encoded(frame: &ClientFrame) -> Message {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    Message::binary(Bytes::from(bytes))
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_gets_a_gap_and_the_others_everything() {
    // 40 MB pass through a topic that keeps 1 MiB.
    let daemon = Daemon::start("[[policy]]\nnames = \"busy\"\nretention_bytes = 1048576\n");
    let uri = format!("{}/v1/ws", daemon.url(Via::Ws));
    let protocol = http::HeaderValue::from_static("tidewire.v1");
    let (mut slow, _) = ClientBuilder::new()
        .uri(&uri)
        .unwrap()
        .add_header(http::header::SEC_WEBSOCKET_PROTOCOL, protocol)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let hello = ClientFrame::Hello { version: 1, capabilities: vec![], token: None, client: None };
    slow.send(encoded(&hello)).await.unwrap();
    let pattern = Pattern::parse("busy").unwrap();
    let options = SubscribeOptions::default();
    let (start, asked) = (Start::Earliest, options.clone());
    let subscribe =
        ClientFrame::Subscribe { req: 1, sub: 1, pattern: pattern.clone(), start, options: asked };
    slow.send(encoded(&subscribe)).await.unwrap();

    let (publisher, fast) = (daemon.connect(Via::Ws).await, daemon.connect(Via::Quic).await);
    let mut fast = fast.subscribe(&pattern, Start::Earliest, options).await.unwrap();
    let topic = Name::parse("busy").unwrap();
    let before = daemon.resident_bytes();
    let mut next = 0;
    for _ in 0..BATCHES {
        let mut body = BodyBuilder::new();
        for _ in 0..RECORDS {
            body.push(None, &[], Some(&[7; PAYLOAD]));
        }
        let options = PublishOptions::default();
        publisher.publish_body(&topic, body.finish(), AckLevel::Memory, options).await.unwrap();
        // The fast one follows; it would have a gap if the slow one held it up.
        while next < (BATCHES * RECORDS).min(next + RECORDS) {
            let event = timeout(PATIENCE, fast.next()).await.unwrap().unwrap();
            match event {
                SubscriptionEvent::Delivery(delivery) => {
                    assert_eq!(delivery.from, next);
                    next = delivery.next;
                    break;
                }
                SubscriptionEvent::Started(_) => {}
                other => panic!("the fast subscriber got {other:?}"),
            }
        }
    }
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < 40_000_000, "the daemon has grown by {grown} bytes");
    let missed = read_to_the_end(&mut slow).await;
    assert!(missed > 0, "the slow subscriber must be told what it has missed");
}

/// Reads until the newest record; every hole must be named. Returns how many records were missed.
async fn read_to_the_end<S>(slow: &mut tokio_websockets::WebSocketStream<S>) -> u64
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut next, mut missed) = (0, 0);
    while next < BATCHES * RECORDS {
        let message = timeout(PATIENCE, slow.next()).await.unwrap().unwrap().unwrap();
        let mut rest: Bytes = message.into_payload().into();
        while !rest.is_empty() {
            match ServerFrame::decode(&split_first(&mut rest).unwrap()).unwrap() {
                ServerFrame::Deliver { from, next: end, .. } => {
                    assert_eq!(from, next, "no hole without a gap");
                    next = end;
                }
                ServerFrame::Gap { from, next: end, .. } => {
                    assert_eq!(from, next);
                    missed += end - from;
                    next = end;
                }
                ServerFrame::Welcome { .. }
                | ServerFrame::Subscribed { .. }
                | ServerFrame::Ping { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    missed
}
