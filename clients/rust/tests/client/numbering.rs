//! Publishes carry numbers, so that they are sent again after a cut.

use tidewire_client::{
    AckLevel, Client, ClientFrame, Error, Name, Pending, PublishOptions, Published, ServerFrame,
};

use tidewire_client::protocol::record::payload_body;

use crate::fake_server::{FakeServer, PRODUCER, Peer, error, producer, within};

const PRODUCER_UNKNOWN: u64 = 29;

async fn start(client: &Client, payload: &str) -> Pending<Published> {
    let (topic, body) = (Name::parse("news").unwrap(), payload_body(payload.as_bytes()));
    let options = PublishOptions::default();
    within(client.start_publish(&topic, body, AckLevel::Memory, options)).await.unwrap()
}

/// The next publish: request id, producer and sequence.
async fn publish(peer: &mut Peer) -> (u64, Option<u64>, Option<u64>) {
    let frame = peer.next().await;
    let ClientFrame::Publish { req, options, .. } = frame else { panic!("{frame:?}") };
    (req, options.producer, options.sequence)
}

fn puback(req: u64, offset: u64, duplicate: bool) -> ServerFrame {
    let (epoch, offset, level, positions) = (1, Some(offset), 1, None);
    ServerFrame::PubAck { req, epoch, offset, level, positions, duplicate }
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_with_its_number() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (one, two) = tokio::join!(start(&client, "1"), async {
        // The peer issues the id as soon as it is asked.
        publish(&mut peer).await
    });
    assert_eq!((two.1, two.2), (Some(PRODUCER), Some(1)));
    let second = start(&client, "2").await;
    assert_eq!(publish(&mut peer).await.2, Some(2));
    drop(peer);
    let mut peer = server.accept().await;
    for sequence in [1, 2] {
        let (req, producer, found) = publish(&mut peer).await;
        assert_eq!((producer, found), (Some(PRODUCER), Some(sequence)));
        peer.send(&[puback(req, sequence, sequence == 1)]).await;
    }
    let one = within(one).await.unwrap();
    assert_eq!((one.offset, one.duplicate), (Some(1), true));
    assert!(!within(second).await.unwrap().duplicate);
    let third = start(&client, "3").await;
    let (req, producer, sequence) = publish(&mut peer).await;
    assert_eq!((producer, sequence), (Some(PRODUCER), Some(3)), "no new id is asked for");
    peer.send(&[puback(req, 3, false)]).await;
    within(third).await.unwrap();
}

#[tokio::test]
async fn who_is_forgotten_gets_a_new_id_and_what_was_never_appended_is_sent_again() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (first, (req, ..)) = tokio::join!(start(&client, "1"), publish(&mut peer));
    let second = start(&client, "2").await;
    let (behind, ..) = publish(&mut peer).await;
    peer.numbers = false;
    peer.send(&[error(req, PRODUCER_UNKNOWN, "forgotten")]).await;
    peer.send(&[error(behind, PRODUCER_UNKNOWN, "forgotten")]).await;
    let ClientFrame::Producer { req } = peer.next().await else { panic!() };
    assert_eq!(peer.next_if_any().await, None, "both wait for the new id");
    peer.send(&[producer(req, PRODUCER + 1)]).await;
    for offset in [7, 8] {
        let (req, producer, _) = publish(&mut peer).await;
        assert_eq!(producer, Some(PRODUCER + 1));
        peer.send(&[puback(req, offset, false)]).await;
    }
    assert_eq!(within(first).await.unwrap().offset, Some(7));
    assert_eq!(within(second).await.unwrap().offset, Some(8), "their order stays");
}

#[tokio::test]
async fn a_repeated_publish_of_a_forgotten_producer_is_an_error() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (first, _) = tokio::join!(start(&client, "1"), publish(&mut peer));
    drop(peer);
    let mut peer = server.accept().await;
    let (req, ..) = publish(&mut peer).await;
    peer.send(&[error(req, PRODUCER_UNKNOWN, "whether it was appended cannot be said")]).await;
    let failure = within(first).await.unwrap_err();
    assert_eq!(failure.code(), "producer_unknown", "{failure}");
    // The next one is under an id that is known.
    let (second, (req, ..)) = tokio::join!(start(&client, "2"), publish(&mut peer));
    peer.send(&[puback(req, 2, false)]).await;
    within(second).await.unwrap();
}

#[tokio::test]
async fn a_server_that_issues_no_ids_gets_publishes_once() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    peer.numbers = false;
    let (first, (_, producer, sequence)) = tokio::join!(start(&client, "1"), async {
        let ClientFrame::Producer { req } = peer.next().await else { panic!() };
        peer.send(&[error(req, 3, "frame type 31 is not known")]).await;
        publish(&mut peer).await
    });
    assert_eq!((producer, sequence), (None, None));
    drop(peer);
    let lost = within(first).await.unwrap_err();
    assert!(matches!(lost, Error::ConnectionLost { .. }), "{lost}");
    assert!(lost.is_retryable());
    assert!(lost.to_string().contains("may or may not have been applied"));
}
