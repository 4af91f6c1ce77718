//! Topics and tallies with partitions.

use tidewire_client::protocol::record::payload_body;
use tidewire_client::{
    AckLevel, ClientFrame, Name, Pattern, Position, PublishOptions, ServerFrame, Start,
    SubscribeOptions, SubscriptionEvent,
};

use crate::fake_server::{FakeServer, Peer, within};

async fn asked(peer: &mut Peer) -> (u64, u32, Start) {
    match peer.next().await {
        ClientFrame::Subscribe { req, sub, start, .. } => (req, sub, start),
        other => panic!("a SUBSCRIBE expected: {other:?}"),
    }
}

fn subscribed(req: u64, sub: u32, positions: &[Position]) -> ServerFrame {
    let (missing, positions) = (None, Some(positions.to_vec()));
    ServerFrame::Subscribed { req, sub, status: 0, epoch: 0, offset: 0, missing, positions }
}

#[tokio::test]
async fn a_subscription_goes_on_in_each_partition_after_a_cut() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let news = Pattern::parse("news").unwrap();
    let options = SubscribeOptions::default();
    let start = [Position(0, 7, 10), Position(1, 8, 20), Position(2, 7, 30)];
    let (subscription, sub) =
        tokio::join!(client.subscribe(&news, Start::Latest, options), async {
            let (req, sub, _) = asked(&mut peer).await;
            peer.send(&[subscribed(req, sub, &start)]).await;
            sub
        });
    let mut subscription = subscription.unwrap();
    let topic = Name::parse("news").unwrap();
    peer.send(&[
        ServerFrame::Deliver {
            sub,
            topic: topic.clone(),
            epoch: 8,
            from: 20,
            next: 21,
            time_ms: 1,
            position: Some(Position(1, 8, 21)),
            offsets: None,
            body: payload_body(b"x"),
        },
        ServerFrame::Gap {
            sub,
            topic: Some(topic),
            epoch: 7,
            from: 30,
            next: 44,
            reason: 0,
            position: Some(Position(2, 7, 44)),
        },
    ])
    .await;
    let started = within(subscription.next()).await.unwrap();
    let SubscriptionEvent::Started(info) = started else { panic!("{started:?}") };
    assert_eq!(info.positions, start);
    let delivered = within(subscription.next()).await.unwrap();
    assert!(matches!(delivered, SubscriptionEvent::Delivery(_)), "{delivered:?}");
    let gap = within(subscription.next()).await.unwrap();
    let SubscriptionEvent::Gap(gap) = gap else { panic!("{gap:?}") };
    assert_eq!(gap.position, Some(Position(2, 7, 44)));
    drop(peer);
    let mut peer = server.accept().await;
    let (_, _, resumed) = asked(&mut peer).await;
    let expected = [Position(0, 7, 10), Position(1, 8, 21), Position(2, 7, 44)];
    assert_eq!(resumed, Start::Positions(expected.to_vec()));
}

#[tokio::test]
async fn an_acknowledgement_and_a_ballot_name_their_partitions() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let name = Name::parse("news").unwrap();
    let positions = vec![Position(3, 7, 40)];
    let body = payload_body(b"x");
    let publish = client.publish_body(&name, body, AckLevel::Memory, PublishOptions::default());
    let (published, ()) = tokio::join!(publish, async {
        let ClientFrame::Publish { req, .. } = peer.next().await else { panic!() };
        let (offset, positions) = (None, Some(positions.clone()));
        peer.send(&[ServerFrame::PubAck {
            req,
            epoch: 0,
            offset,
            level: 1,
            positions,
            duplicate: false,
        }])
        .await;
    });
    assert_eq!(published.unwrap().positions, positions);
    let (voted, ()) = tokio::join!(client.vote(&name, "ann", Vec::new(), None), async {
        let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
        let partition = Some(3);
        let reply =
            ServerFrame::Voted { req, epoch: 7, version: 9, status: 0, revision: 1, partition };
        peer.send(&[reply]).await;
    });
    assert_eq!(voted.unwrap().partition, Some(3));
}
