//! A server that asks its clients to go to other nodes: these are there before the old connection is given up.

use tidewire_client::{Client, ClientFrame, ConnectionState, Name};
use tokio::net::TcpListener;

use crate::fake_server::{FakeServer, Peer, goaway, voted, wait_for, welcome, within};

/// `moved` and `shutting_down`.
const MOVED: u64 = 38;
const STOPPING: u64 = 35;

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("ws://{}", listener.local_addr().unwrap())
}

async fn vote_is_taken(client: &Client, peer: &mut Peer, voter: &str) {
    let vote = client.start_vote(&name("t"), voter, vec![], None).await.unwrap();
    let ClientFrame::Vote { req, voter: asked, .. } = peer.next().await else { panic!() };
    assert_eq!(asked, voter);
    peer.send(&[voted(req, 1)]).await;
    within(vote).await.unwrap();
}

#[tokio::test]
async fn the_new_connection_is_there_before_the_old_one_is_given_up() {
    for code in [MOVED, STOPPING] {
        let (one, other) = (FakeServer::listen().await, FakeServer::listen().await);
        let (client, mut peer) = one.pair().await;
        assert_eq!(peer.capabilities, ["move"]);
        let before = client.start_vote(&name("t"), "ann", vec![], None).await.unwrap();
        let ClientFrame::Vote { req, .. } = peer.next().await else { panic!() };
        peer.send(&[goaway(code, 8_000, &[nobody().await, other.url()])]).await;
        let mut next = other.accept_silently().await;
        // As long as the other one has not said WELCOME, this one is asked.
        vote_is_taken(&client, &mut peer, "bob").await;
        next.send(&[welcome(other.info.clone())]).await;
        wait_for(&client, |state| matches!(state, ConnectionState::Connecting)).await;
        let after = tokio::spawn({
            let client = client.clone();
            async move { client.vote(&name("t"), "cid", vec![], None).await }
        });
        assert_eq!(peer.next_if_any().await, None, "nothing new goes to the old one");
        peer.send(&[voted(req, 2)]).await;
        within(before).await.unwrap();
        peer.closed().await;
        let ClientFrame::Vote { req, voter, .. } = next.next().await else { panic!() };
        assert_eq!(voter, "cid");
        next.send(&[voted(req, 3)]).await;
        within(after).await.unwrap().unwrap();
        assert_eq!(client.repeated(), 0);
    }
}

#[tokio::test]
async fn who_reaches_no_other_node_stays() {
    let mut one = FakeServer::listen().await;
    one.info.actor = Some((1, 7));
    let (client, mut peer) = one.pair().await;
    peer.send(&[goaway(MOVED, 8_000, &[nobody().await])]).await;
    // Behind the same address there could be another node, but there is not.
    let mut again = one.accept().await;
    again.closed().await;
    vote_is_taken(&client, &mut peer, "ann").await;
    assert!(matches!(&*client.states().borrow(), ConnectionState::Connected { .. }));
    // The next time there is one.
    peer.send(&[goaway(MOVED, 8_000, &[])]).await;
    one.info.actor = Some((2, 3));
    let mut other = one.accept().await;
    peer.closed().await;
    wait_for(&client, |state| matches!(state, ConnectionState::Connected { .. })).await;
    vote_is_taken(&client, &mut other, "bob").await;
}

#[tokio::test]
async fn who_does_not_want_another_connection_stays() {
    let (one, other) = (FakeServer::listen().await, FakeServer::listen().await);
    let builder = Client::builder(&one.url()).unwrap().reconnect(false);
    let (client, peer) = within(async { tokio::join!(builder.connect(), one.accept()) }).await;
    let (client, mut peer) = (client.unwrap(), peer);
    assert_eq!(peer.capabilities, [""; 0]);
    peer.send(&[goaway(MOVED, 8_000, &[other.url()])]).await;
    vote_is_taken(&client, &mut peer, "ann").await;
    assert!(matches!(&*client.states().borrow(), ConnectionState::Connected { .. }));
}
