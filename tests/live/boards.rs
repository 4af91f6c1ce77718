//! A map of 10,000 rows, larger than a frame.

use std::process::Output;

use tidewire_client::{
    AckLevel, BodyBuilder, CellKind, Client, Name, PublishOptions, WatchOptions,
};

use crate::daemon::{ALL, Daemon, Via};

const ROWS: usize = 10_000;

async fn fill(client: &Client, name: &Name) {
    for rows in (0..ROWS).collect::<Vec<_>>().chunks(2_500) {
        let mut body = BodyBuilder::new();
        for row in rows {
            body.push(Some(&format!("row {row:05}")), &[], Some([b'x'; 150].as_slice()));
        }
        let options = PublishOptions::default();
        client.publish_body(name, body.finish(), AckLevel::Memory, options).await.unwrap();
    }
}

#[tokio::test]
async fn a_board_is_read_and_watched_over_every_transport() {
    let daemon = Daemon::start("");
    let name = Name::parse("map.board").unwrap();
    fill(&daemon.connect(Via::Ws).await, &name).await;
    for via in ALL {
        let client = daemon.connect(via).await;
        assert_eq!(client.entries(CellKind::Map, &name).await.unwrap().len(), ROWS, "{via:?}");
        let mut watch = client.watch(CellKind::Map, &name, WatchOptions::default()).await.unwrap();
        let first = watch.next().await.unwrap();
        let tidewire_client::WatchValue::Entries { all, changed } = first.value else { panic!() };
        assert_eq!((all.len(), changed.len()), (ROWS, ROWS), "{via:?}: all at once");
    }
}

#[test]
fn a_board_is_printed_from_a_shell() {
    let daemon = Daemon::start("");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = daemon.connect(Via::Ws).await;
        fill(&client, &Name::parse("map.board").unwrap()).await;
        client.close().await;
    });
    let Output { stdout, status, .. } = daemon.run(&["map", "get", "map.board"]);
    assert!(status.success());
    let lines = String::from_utf8(stdout).unwrap();
    assert_eq!(lines.lines().count(), ROWS);
    assert!(lines.starts_with("row 00000\t"), "{}", &lines[..40]);
}
