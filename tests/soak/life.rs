//! The life of one client.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tidewire_client::{
    AckLevel, CellKind, Choice, Client, Name, Pattern, PublishOptions, Start, SubscribeOptions,
    SubscriptionEvent, TallyKind, TallyRules, WatchOptions,
};
use tokio::time::timeout;

use super::daemon::{ALL, Daemon, PATIENCE};

/// Records that a client publishes in each of its topics.
const RECORDS: u64 = 20;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Lives, and dies in one of several ways.
pub(crate) async fn live(daemon: Arc<Daemon>, number: u64) {
    if number.is_multiple_of(8) {
        return shout(&daemon, number).await;
    }
    let via = ALL[usize::try_from(number).unwrap() % ALL.len()];
    let client = daemon.builder(via).reconnect(false).connect().await.unwrap();
    follow_and_publish(&client, &name(&format!("news.{number}"))).await;
    follow_and_publish(&client, &name(&format!("kept.{number}"))).await;
    vote(&client, &name(&format!("poll.{number}"))).await;
    be_present(&client, &name(&format!("room.{number}"))).await;
    match number % 3 {
        0 => client.close().await,
        // The connection is cut with everything open.
        _ => drop(client),
    }
}

async fn follow_and_publish(client: &Client, topic: &Name) {
    let options = SubscribeOptions::default();
    let own = Pattern::parse(topic.as_str()).unwrap();
    let mut all = client.subscribe(&own, Start::Earliest, options.clone()).await.unwrap();
    let wide = Pattern::parse(">").unwrap();
    let _wide = client.subscribe(&wide, Start::Latest, options).await.unwrap();
    for record in 0..RECORDS {
        let (key, payload) = (format!("key {}", record % 4), vec![7; 200]);
        let mut body = tidewire_client::BodyBuilder::new();
        body.push(Some(&key), &[], Some(&payload));
        let options = PublishOptions::default();
        client.publish_body(topic, body.finish(), AckLevel::Policy, options).await.unwrap();
    }
    let mut next = 0;
    while next < RECORDS {
        match timeout(PATIENCE, all.next()).await.unwrap().unwrap() {
            SubscriptionEvent::Delivery(delivery) => next = delivery.next,
            SubscriptionEvent::Started(_) => {}
            other => panic!("{other:?}"),
        }
    }
    drop(all);
    // Nobody follows it any more once the server has heard so.
    client.ping().await.unwrap();
    client.delete_topic(topic).await.unwrap();
}

async fn vote(client: &Client, poll: &Name) {
    let options = ["yes", "no"].map(str::to_owned).to_vec();
    client.create_tally(poll, TallyRules::new(TallyKind::Single, options)).await.unwrap();
    let watch = WatchOptions::default();
    let mut watch = client.watch(CellKind::Tally, poll, watch).await.unwrap();
    let mut version = 0;
    for voter in 0..5 {
        let choices = vec![Choice::Index(voter % 2)];
        let voter = format!("voter {voter}");
        let voted = client.vote(poll, &voter, choices, None).await.unwrap();
        version = voted.version;
    }
    while timeout(PATIENCE, watch.next_version()).await.unwrap().unwrap() < version {}
    client.delete_tally(poll).await.unwrap();
}

async fn be_present(client: &Client, room: &Name) {
    client.presence_join(room, "somebody", None).await.unwrap();
    client.presence_leave(room, "somebody").await.unwrap();
}

/// Somebody who is no client: bytes that mean nothing, half a request, or silence.
async fn shout(daemon: &Arc<Daemon>, number: u64) {
    let address = daemon.address().to_owned();
    let talk = move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let said: &[u8] = match number / 8 % 3 {
            0 => b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: ",
            1 => &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0],
            _ => b"",
        };
        stream.write_all(said).unwrap();
        // Until the server has had enough; how it says so is of no interest here.
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
    };
    tokio::task::spawn_blocking(talk).await.unwrap();
}
