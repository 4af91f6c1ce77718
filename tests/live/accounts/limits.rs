//! Who asks too much, or connects too often.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_refused_and_others_are_not() {
    let accounts = Accounts::start("[limits]\nsubject_requests_per_s = 40\n");
    let flooder = accounts.daemon.connect_as(Via::Ws, Some(&accounts.viewer())).await.unwrap();
    let beside = accounts.daemon.connect_as(Via::Quic, Some(&accounts.viewer())).await.unwrap();
    let other = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let (mut taken, mut limited) = (0, None);
    for _ in 0..400 {
        match flooder.publish("user.ann.inbox", "x").await {
            Ok(_) => taken += 1,
            Err(error) => limited = Some(error),
        }
    }
    let limited = limited.unwrap();
    let refusal = limited.refusal().unwrap();
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    let wait_ms = refusal.retry_after_ms.unwrap();
    assert!((1..=1_000).contains(&wait_ms), "{wait_ms}");
    assert!(taken >= 40, "{taken}: as many as in a second come at once");
    // The same person by another way, while the first goes on; then somebody else.
    let both = tokio::join!(
        async {
            for _ in 0..40 {
                drop(flooder.publish("user.ann.inbox", "x").await);
            }
        },
        async {
            let mut refused = 0;
            for _ in 0..40 {
                refused += usize::from(beside.publish("user.ann.inbox", "x").await.is_err());
            }
            refused
        }
    );
    assert!(both.1 > 0, "it is one subject");
    other.publish("news", "x").await.unwrap();
    let metrics = accounts.daemon.get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with("tidewire_rate_limited_total "));
    let count: u64 = line.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert!(count > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_share_of_the_connections() {
    let daemon = Daemon::start("[limits]\naddress_connections_max = 3\n");
    let mut clients = Vec::new();
    for via in [Via::Ws, Via::Quic, Via::Wss] {
        clients.push(daemon.connect_as(via, None).await.unwrap());
    }
    for via in ALL {
        assert!(daemon.connect_as(via, None).await.is_err(), "{via:?}");
    }
    clients.pop().unwrap().close().await;
    let began = Instant::now();
    while let Err(error) = daemon.connect_as(Via::Ws, None).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
