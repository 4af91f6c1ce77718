//! Presence lasts over cuts.

use bytes::Bytes;
use tidewire_client::protocol::frame::PresenceOp;
use tidewire_client::{ClientFrame, Name};

use crate::fake_server::{FakeServer, Peer, error, ok, within};

async fn asked(peer: &mut Peer) -> (u64, PresenceOp, String, Option<Bytes>) {
    match peer.next().await {
        ClientFrame::Presence { req, op, member, data, .. } => (req, op, member, data),
        other => panic!("a PRESENCE expected: {other:?}"),
    }
}

#[tokio::test]
async fn a_member_is_declared_again_after_a_cut_until_it_leaves() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let room = Name::parse("room").unwrap();
    let data = Some(Bytes::from_static(b"blue"));
    let (joined, ()) = tokio::join!(client.presence_join(&room, "ann", data.clone()), async {
        let (req, ..) = asked(&mut peer).await;
        peer.send(&[ok(req)]).await;
    });
    joined.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    let (req, op, member, again) = asked(&mut peer).await;
    assert_eq!((op, member.as_str(), again), (PresenceOp::Join, "ann", data));
    peer.send(&[ok(req)]).await;
    let (left, ()) = tokio::join!(client.presence_leave(&room, "ann"), async {
        let (req, op, ..) = asked(&mut peer).await;
        assert_eq!(op, PresenceOp::Leave);
        peer.send(&[ok(req)]).await;
    });
    left.unwrap();
    drop(peer);
    let mut peer = server.accept().await;
    assert_eq!(peer.next_if_any().await, None);
}

#[tokio::test]
async fn a_member_that_was_refused_is_not_declared_again() {
    let server = FakeServer::listen().await;
    let (client, mut peer) = server.pair().await;
    let room = Name::parse("room").unwrap();
    let (joined, ()) = tokio::join!(client.presence_join(&room, "ann", None), async {
        let (req, ..) = asked(&mut peer).await;
        peer.send(&[error(req, 14, "presence set 'room' is full")]).await;
    });
    assert_eq!(joined.unwrap_err().code(), "limit_exceeded");
    drop(peer);
    let mut peer = within(server.accept()).await;
    assert_eq!(peer.next_if_any().await, None);
}
