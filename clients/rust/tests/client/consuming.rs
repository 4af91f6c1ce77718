//! Consumers of groups go on after a cut.

use tidewire_client::protocol::group::{SettleOptions, SettleReply};
use tidewire_client::protocol::record::payload_body;
use tidewire_client::protocol::wire::put_value;
use tidewire_client::{
    Client, ClientFrame, ConsumeOptions, Consumer, Error, Job, Name, ServerFrame,
};

use crate::fake_server::{FakeServer, Peer, error, ok, within};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

async fn consume(client: &Client) -> Result<Consumer, Error> {
    client.consume(&name("jobs"), &name("workers"), ConsumeOptions { in_flight: Some(2) }).await
}

/// The client's CONSUME: request and number.
async fn consumed(peer: &mut Peer) -> (u64, u32) {
    let frame = peer.next().await;
    let ClientFrame::Consume { req, sub, topic, group, options } = frame else {
        panic!("{frame:?}");
    };
    assert_eq!((topic, group, options.in_flight), (name("jobs"), name("workers"), Some(2)));
    (req, sub)
}

fn leased(sub: u32, offset: u64, deliveries: u64) -> ServerFrame {
    let (topic, body) = (name("jobs"), payload_body(b"work"));
    let (epoch, time_ms, partition) = (1, 5, None);
    let deliveries = vec![(offset, deliveries)];
    ServerFrame::Leased { sub, topic, epoch, time_ms, partition, deliveries, body }
}

fn settled(req: u64, records: u64) -> ServerFrame {
    let mut result = Vec::new();
    put_value(&mut result, &SettleReply { records });
    ServerFrame::Ok { req, result: Some(result.into()) }
}

async fn next(consumer: &mut Consumer) -> Job {
    within(consumer.next()).await.unwrap()
}

#[tokio::test]
async fn a_consumer_goes_on_after_a_cut_and_forgets_what_it_had_not_taken() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (consumer, sub) = tokio::join!(consume(&client), async {
        let (req, sub) = consumed(&mut peer).await;
        // What is leased may come before the reply.
        peer.send(&[leased(sub, 3, 1), ok(req), leased(sub, 4, 1)]).await;
        sub
    });
    let mut consumer = consumer.unwrap();
    let job = next(&mut consumer).await;
    assert_eq!((job.offset(), job.deliveries(), job.partition()), (3, 1, None));
    assert_eq!(job.record().unwrap().payload, Some(&b"work"[..]));
    drop(peer);
    let mut peer = server.accept().await;
    let (req, again) = consumed(&mut peer).await;
    assert_eq!(again, sub);
    peer.send(&[ok(req), leased(sub, 4, 2)]).await;
    let other = next(&mut consumer).await;
    assert_eq!((other.offset(), other.deliveries()), (4, 2), "the first lease of it is over");
    let (counts, ()) = tokio::join!(job.ack(), async {
        let frame = peer.next().await;
        let ClientFrame::Settle { req, offsets, options, .. } = frame else { panic!("{frame:?}") };
        assert_eq!((offsets, options), (vec![(3, 4)], SettleOptions::default()));
        peer.send(&[settled(req, 0)]).await;
    });
    assert!(!counts.unwrap(), "another consumer has it");
    drop(consumer);
    assert!(matches!(peer.next().await, ClientFrame::Unsubscribe { .. }));
}

#[tokio::test]
async fn a_group_that_is_not_there_is_an_error_and_one_that_goes_ends_the_consumer() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let (refused, ()) = tokio::join!(consume(&client), async {
        let (req, _) = consumed(&mut peer).await;
        peer.send(&[error(req, 9, "topic 'jobs' has no group 'workers'")]).await;
    });
    assert_eq!(refused.unwrap_err().code(), "not_found");
    let (consumer, ()) = tokio::join!(consume(&client), async {
        let (req, _) = consumed(&mut peer).await;
        peer.send(&[ok(req)]).await;
    });
    let mut consumer = consumer.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    let (req, _) = consumed(&mut peer).await;
    peer.send(&[error(req, 9, "topic 'jobs' has no group 'workers'")]).await;
    assert!(within(consumer.next()).await.is_none());
    assert_eq!(consumer.end().unwrap().code(), "not_found");
}
