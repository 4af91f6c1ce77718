//! A disk that does not answer: what needs it is refused at once instead of waiting, what is in memory
//! goes on and says that it is older than was asked for, and everything comes back by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{
    AckLevel, BodyBuilder, CellKind, Client, Error, ErrorCode, Name, PublishOptions, Watch,
    WatchOptions,
};
use tokio::time::timeout;

use crate::daemon::{Daemon, PATIENCE, Via};
use crate::volume::volume_or_say;

const CONFIG: &str = "
[storage]
free_bytes_min = 268435456
[[policy]]
names = 'kept.>'
durability = 'disk'
";
const VOLUME_MIB: u64 = 1_024;
/// Longest that somebody waits for what needs no disk, or is refused.
const AT_ONCE: Duration = Duration::from_secs(3);

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

async fn publish(client: &Client, topic: &str, ack: AckLevel) -> Result<u64, Error> {
    let mut body = BodyBuilder::new();
    body.push(None, &[], Some(b"x"));
    let options = PublishOptions::default();
    let published = client.publish_body(&name(topic), body.finish(), ack, options).await?;
    Ok(published.offset.unwrap())
}

/// The load that the daemon says it has.
fn load(daemon: &Daemon, field: &str) -> u64 {
    let reply = daemon.get("/v1/status");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    status["load"][field].as_u64().unwrap()
}

/// Changes a counter until its watcher is told such an interval between values.
async fn told(client: &Client, watch: &mut Watch, wanted: impl Fn(Option<u64>) -> bool) {
    let asked = Instant::now();
    loop {
        timeout(AT_ONCE, client.incr(&name("likes"), 1)).await.unwrap().unwrap();
        let event = timeout(AT_ONCE, watch.next()).await.unwrap().unwrap();
        if wanted(event.stale_ms) {
            return;
        }
        assert!(asked.elapsed() < PATIENCE, "it still is {:?}", event.stale_ms);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stalls_holds_up_what_needs_it_and_nothing_else() {
    let files = Arc::new(tempfile::tempdir().unwrap());
    let Some(volume) = volume_or_say(files.path(), VOLUME_MIB) else { return };
    let data_dir = volume.path().join("data");
    let start = || Daemon::start_over(Arc::clone(&files), data_dir.clone(), CONFIG);
    let daemon = start();
    let client = daemon.connect(Via::Ws).await;
    assert_eq!(publish(&client, "kept.a", AckLevel::Disk).await.unwrap(), 0);
    client.incr(&name("likes"), 1).await.unwrap();
    let options = WatchOptions::default();
    let mut watch = client.watch(CellKind::Counter, &name("likes"), options).await.unwrap();
    told(&client, &mut watch, |stale_ms| stale_ms.is_none()).await;

    let frozen = volume.freeze();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { publish(&client, "kept.a", AckLevel::Disk).await })
    };
    // The commit takes longer and longer: values go out less often, and say so.
    for interval_ms in [100, 250, 1_000] {
        told(&client, &mut watch, |stale_ms| stale_ms.is_some_and(|told| told >= interval_ms))
            .await;
    }
    let asked = Instant::now();
    let refusal = loop {
        // Whatever needs no disk goes on.
        let in_memory = publish(&client, "memory", AckLevel::Memory);
        timeout(AT_ONCE, in_memory).await.unwrap().unwrap();
        if load(&daemon, "commit_ms") >= 11_000 {
            let refused =
                timeout(AT_ONCE, publish(&client, "kept.b", AckLevel::Disk)).await.unwrap();
            break refused.unwrap_err();
        }
        assert!(asked.elapsed() < PATIENCE, "it is not seen that the disk does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let refusal = refusal.refusal().unwrap_or_else(|| panic!("{refusal}"));
    assert_eq!(refusal.code, ErrorCode::Unavailable, "{}", refusal.message);
    assert!(refusal.message.contains("disk does not answer"), "{}", refusal.message);
    assert!(!waiting.is_finished(), "what is not on disk is not acknowledged");

    drop(frozen);
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap(), 1);
    let thawed = Instant::now();
    while let Err(error) = publish(&client, "kept.b", AckLevel::Disk).await {
        assert!(thawed.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    told(&client, &mut watch, |stale_ms| stale_ms.is_none()).await;
    assert_eq!(load(&daemon, "level"), 0);
    drop(daemon.kill());
    let daemon = start();
    let client = daemon.connect(Via::Ws).await;
    assert_eq!(client.topic_info(&name("kept.a")).await.unwrap().next, 2);
    assert_eq!(client.topic_info(&name("kept.b")).await.unwrap().next, 1);
    drop(daemon);
}
