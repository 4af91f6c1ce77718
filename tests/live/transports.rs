//! Every transport does everything.

use tidewire_client::{
    CellKind, Choice, CounterOp, CounterOptions, Name, Pattern, Start, SubscribeOptions,
    SubscriptionEvent, TallyKind, TallyRules, VoteStatus, WatchOptions, WatchValue,
};
use tokio::time::timeout;

use crate::daemon::{ALL, Daemon, PATIENCE, Via};

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

#[tokio::test]
async fn records_arrive_once_and_in_order_whatever_way_they_took() {
    let daemon = Daemon::start("");
    for publisher in ALL {
        for subscriber in ALL {
            let topic = format!("t.{publisher:?}.{subscriber:?}").to_lowercase();
            let (publisher, subscriber) =
                (daemon.connect(publisher).await, daemon.connect(subscriber).await);
            let pattern = Pattern::parse(&topic).unwrap();
            let options = SubscribeOptions::default();
            let mut subscription =
                subscriber.subscribe(&pattern, Start::Earliest, options).await.unwrap();
            for number in 0..200_u32 {
                publisher.publish(&topic, number.to_string()).await.unwrap();
            }
            let mut expected = 0;
            while expected < 200 {
                let event = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
                let SubscriptionEvent::Delivery(delivery) = event else { continue };
                for (offset, record) in delivery.records() {
                    assert_eq!(offset, expected);
                    assert_eq!(record.payload, Some(expected.to_string().as_bytes()));
                    expected += 1;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_the_tally_that_contains_the_vote() {
    let daemon = Daemon::start("");
    let tally = name("poll.1");
    let options = ["red", "green"].map(str::to_owned).to_vec();
    let rules = TallyRules::new(TallyKind::Single, options);
    let admin = daemon.connect(Via::Ws).await;
    assert!(admin.create_tally(&tally, rules.clone()).await.unwrap().created);
    assert!(!admin.create_tally(&tally, rules).await.unwrap().created);
    let mut votes = 0;
    for voter_via in ALL {
        for watcher_via in ALL {
            let (voters, watchers) =
                (daemon.connect(voter_via).await, daemon.connect(watcher_via).await);
            let mut watch =
                watchers.watch(CellKind::Tally, &tally, WatchOptions::default()).await.unwrap();
            votes += 1;
            let voter = format!("voter {votes}");
            let green = || vec![Choice::Name("green".to_owned())];
            let voted = voters.vote(&tally, &voter, green(), None).await.unwrap();
            assert_eq!(voted.status, VoteStatus::Accepted);
            let again = voters.vote(&tally, &voter, green(), None).await.unwrap();
            assert_eq!(again.status, VoteStatus::Duplicate, "a voter who votes twice counts once");
            loop {
                let event = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
                let (version, value) = (event.version, event.value);
                if version >= voted.version {
                    let WatchValue::Standings(standings) = value else { panic!("no standings") };
                    assert_eq!(standings.counts, [0, votes]);
                    break;
                }
            }
        }
    }
    admin.close_tally(&tally).await.unwrap();
    let late = admin.vote(&tally, "late", vec![Choice::Index(0)], None).await.unwrap_err();
    assert_eq!(late.code(), "tally_closed");
    assert!(late.to_string().contains("poll.1"), "{late}");
}

#[tokio::test]
async fn a_counter_is_clamped_and_its_expiry_is_seen() {
    let daemon = Daemon::start("");
    for via in ALL {
        let client = daemon.connect(via).await;
        let counter = name(&format!("count.{via:?}"));
        let mut watch =
            client.watch(CellKind::Counter, &counter, WatchOptions::default()).await.unwrap();
        let options =
            CounterOptions { max: Some(10), ttl_ms: Some(300), ..CounterOptions::default() };
        let counted = client.count(&counter, CounterOp::Add, 25, options).await.unwrap();
        assert_eq!((counted.value, counted.applied), (10, 10));
        let mut values = Vec::new();
        loop {
            let event = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
            if event.deleted {
                break;
            }
            values.push(event.version);
        }
        assert!(!values.is_empty(), "the value is seen before its expiry");
        assert_eq!(client.get_counter(&counter).await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_certificate_file_is_trusted_and_a_wrong_fingerprint_is_not() {
    let daemon = Daemon::start("");
    for via in [Via::Wss, Via::Quic] {
        daemon.connect_by_ca(via).await.ping().await.unwrap();
        let wrong = tidewire_client::Client::builder(&daemon.url(via))
            .unwrap()
            .trust(tidewire_client::Trust::Fingerprint([7; 32]))
            .connect()
            .await;
        assert!(wrong.is_err(), "{via:?} must not trust another certificate");
    }
}

#[tokio::test]
async fn a_terminated_daemon_says_goodbye_and_ends_with_success() {
    let mut daemon = Daemon::start("drain_ms = 300");
    let client = daemon.connect(Via::Quic).await;
    client.publish("last", "words").await.unwrap();
    daemon.signal("-TERM");
    assert!(daemon.wait().success());
}

#[tokio::test]
async fn subscribing_and_leaving_in_a_tight_loop_holds_up_nobody() {
    let daemon = Daemon::start("");
    let (restless, other) = (daemon.connect(Via::Ws).await, daemon.connect(Via::Quic).await);
    let before = daemon.resident_bytes();
    for round in 0..5_000_u32 {
        let sub = round + 1;
        let pattern = Pattern::parse(&format!("churn.{round}")).unwrap();
        let (start, options) = (Start::Latest, SubscribeOptions::default());
        let subscribe = restless.request(|req| tidewire_client::ClientFrame::Subscribe {
            req,
            sub,
            pattern,
            start,
            options,
        });
        drop(subscribe.await.unwrap());
        let leave = restless.request(|req| tidewire_client::ClientFrame::Unsubscribe { req, sub });
        drop(leave.await.unwrap());
    }
    restless.ping().await.unwrap();
    other.ping().await.unwrap();
    let grown = daemon.resident_bytes().saturating_sub(before);
    assert!(grown < 64_000_000, "the daemon has grown by {grown} bytes");
}
