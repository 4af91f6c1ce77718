//! A loaded server: its memory budget, and that it comes back by itself.

use std::time::Instant;

use tidewire_client::{
    AckLevel, BodyBuilder, Client, Error, ErrorCode, Name, PublishOptions, Start, SubscribeOptions,
    SubscriptionEvent,
};
use tokio::time::{sleep, timeout};

use crate::accounts::Accounts;
use crate::daemon::{PATIENCE, Via};

const BUDGET_BYTES: u64 = 256 * 1024 * 1024;
const CONFIG: &str = "\
[limits]
memory_max_bytes = 268435456
[[policy]]
names = 'big.>'
retention_bytes = 1073741824
retention_records = 10000000
allow_delete = true
";
const TOPICS: usize = 8;
/// Far more than the budget.
const PUBLISHES_MAX: usize = 8_000;

fn topic(number: usize) -> Name {
    Name::parse(&format!("big.{number}")).unwrap()
}

async fn publish(client: &Client, number: usize) -> Result<(), Error> {
    let mut body = BodyBuilder::new();
    body.push(None, &[], Some(&[7; 64 * 1024]));
    let (topic, options) = (topic(number % TOPICS), PublishOptions::default());
    client.publish_body(&topic, body.finish(), AckLevel::Memory, options).await.map(drop)
}

fn refused_with(error: &Error, code: ErrorCode) -> bool {
    matches!(error, Error::Refused(refusal) if refusal.code == code)
}

#[tokio::test]
async fn what_takes_memory_is_refused_before_there_is_none_and_taken_again_afterwards() {
    let accounts = Accounts::start(CONFIG);
    let [big, own] = ["publish,subscribe,history,admin:big.>", "subscribe,history:$sys.load"];
    let token = accounts.token(&["--subject", "op", "--allow", big, "--allow", own]);
    let daemon = &accounts.daemon;
    let operator = async || daemon.connect_as(Via::Ws, Some(&token)).await;
    let client = operator().await.unwrap();
    let load = tidewire_client::Pattern::parse("$sys.load").unwrap();
    let options = SubscribeOptions::default();
    let mut changes = client.subscribe(&load, Start::Earliest, options).await.unwrap();
    let mut refusal = None;
    for number in 0..PUBLISHES_MAX {
        if let Err(error) = publish(&client, number).await {
            refusal = Some(error);
            break;
        }
    }
    let refusal = refusal.expect("the budget is never used up");
    assert!(refused_with(&refusal, ErrorCode::Overloaded), "{refusal}");
    assert!(refusal.to_string().contains("limits.memory_max_bytes"), "{refusal}");
    let resident = daemon.resident_bytes();
    assert!(resident < BUDGET_BYTES / 100 * 115, "{resident} bytes");
    // Who is there is served, who comes is told, and operators come all the same: they make room.
    client.ping().await.unwrap();
    let other = daemon.connect_as(Via::Ws, Some(&accounts.viewer())).await.unwrap_err();
    assert!(other.to_string().contains("memory budget"), "{other}");
    let operator = operator().await.unwrap();

    for number in 0..TOPICS {
        operator.delete_topic(&topic(number)).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = publish(&client, 0).await {
        assert!(refused_with(&error, ErrorCode::Overloaded), "{error}");
        assert!(Instant::now() < deadline, "still refused: {error}");
        sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut levels = Vec::new();
    while levels.last() != Some(&0) {
        let event = timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
        let SubscriptionEvent::Delivery(delivery) = event else { continue };
        for (_, record) in delivery.records() {
            let line = record.payload.unwrap_or_default();
            let change: serde_json::Value = serde_json::from_slice(line).unwrap();
            levels.push(change["level"].as_u64().unwrap());
        }
    }
    assert!(levels.iter().any(|level| *level >= 2), "{levels:?}");
    assert!(daemon.get("/metrics").contains("tidewire_load_level 0"));
}
