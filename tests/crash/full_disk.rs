//! A full disk: refused with `storage_full`, nothing acknowledged is lost, and it goes on when there is
//! space again.

use std::sync::Arc;
use std::time::Instant;

use tidewire_client::{AckLevel, BodyBuilder, Client, Error, ErrorCode, Name, PublishOptions};

use crate::CONFIG;
use crate::daemon::{Daemon, PATIENCE, Via};
use crate::volume::volume_or_say;

const VOLUME_MIB: u64 = 1_536;
const BALLAST_BYTES: usize = 640 * 1024 * 1024;
/// Publishes that are tried at most until the disk is full.
const PUBLISHES_MAX: u64 = 20_000;
const PAYLOAD_BYTES: usize = 60_000;

async fn publish(client: &Client, topic: &Name) -> Result<u64, Error> {
    let mut body = BodyBuilder::new();
    body.push(None, &[], Some(&[7; PAYLOAD_BYTES]));
    let options = PublishOptions::default();
    let published = client.publish_body(topic, body.finish(), AckLevel::Disk, options).await?;
    Ok(published.offset.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let files = Arc::new(tempfile::tempdir().unwrap());
    let Some(volume) = volume_or_say(files.path(), VOLUME_MIB) else { return };
    let ballast = volume.path().join("ballast");
    let bytes = vec![1; BALLAST_BYTES];
    std::fs::write(&ballast, bytes).unwrap();
    let data_dir = volume.path().join("data");
    let start = || Daemon::start_over(Arc::clone(&files), data_dir.clone(), CONFIG);
    let daemon = start();
    let client = daemon.connect(Via::Ws).await;
    let topic = Name::parse("big").unwrap();
    let mut acknowledged = 0;
    let refused = loop {
        match publish(&client, &topic).await {
            Ok(offset) => {
                assert_eq!(offset, acknowledged);
                acknowledged += 1;
            }
            Err(error) => break error,
        }
        assert!(acknowledged < PUBLISHES_MAX, "the disk does not get full");
    };
    let refusal = refused.refusal().unwrap_or_else(|| panic!("{refused}"));
    assert_eq!(refusal.code, ErrorCode::StorageFull, "{}", refusal.message);
    // Reading goes on.
    assert_eq!(client.topic_info(&topic).await.unwrap().next, acknowledged);

    std::fs::remove_file(&ballast).unwrap();
    let asked = Instant::now();
    let offset = loop {
        match publish(&client, &topic).await {
            Ok(offset) => break offset,
            Err(error) => assert_eq!(error.code(), "storage_full", "{error}"),
        }
        assert!(asked.elapsed() < PATIENCE, "there is space, and it does not go on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(offset, acknowledged);
    drop(daemon.kill());
    let daemon = start();
    let client = daemon.connect(Via::Ws).await;
    assert_eq!(client.topic_info(&topic).await.unwrap().next, acknowledged + 1);
    drop(daemon);
}
