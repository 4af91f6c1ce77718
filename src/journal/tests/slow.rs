//! Groups whose disk writes when it is let: what goes on meanwhile, and what waits for it.

use std::sync::mpsc::{self as threads, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;

use super::groups::entry;
use super::power::{Cuttable, Left, Node, made, node};
use crate::journal::message::Message;
use crate::journal::{Done, EntryId, GroupLog, Vote};

/// Groups over a disk that makes a commit for each `go`.
pub(crate) struct Slow {
    node: Node,
    disk: Cuttable,
    go: Sender<()>,
    _directory: tempfile::TempDir,
}

impl Slow {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        made(&data);
        let (go, gate) = threads::channel();
        let gate = Some(Arc::new(Mutex::new(gate)));
        let disk = Cuttable { gate, ..Cuttable::default() };
        let node = node(disk.clone(), &data);
        Self { node, disk, go, _directory: directory }
    }

    pub(crate) fn log(&self) -> GroupLog {
        self.node.logs[3].clone()
    }

    pub(crate) fn go(&self) {
        self.go.send(()).unwrap();
    }

    /// Lets it write all that is left.
    pub(crate) fn stop(self) {
        drop(self.go);
        self.node.queue.send(Message::Stop).unwrap();
        self.node.committer.join().unwrap();
    }
}

const fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, index }
}

async fn append(log: &GroupLog, term: u64, index: u64) {
    log.append(vec![entry(term, index, 100)], Done::new(drop)).await.unwrap();
}

#[tokio::test]
async fn entries_can_be_read_before_they_are_on_the_disk_and_waited_for() {
    let slow = Slow::start();
    let log = slow.log();
    append(&log, 1, 0).await;
    append(&log, 1, 1).await;
    assert_eq!((log.last(), log.stored()), (Some(id(1, 1)), None));
    assert!(log.waits_for() > Duration::ZERO);
    assert_eq!(log.read(0..2, usize::MAX).unwrap().len(), 2);
    let (mut first, mut all) = (Box::pin(log.stored_upto(0)), Box::pin(log.all_stored()));
    assert!(first.as_mut().now_or_never().is_none() && all.as_mut().now_or_never().is_none());
    slow.go();
    first.await.unwrap();
    slow.go();
    all.await.unwrap();
    assert_eq!((log.stored(), log.waits_for()), (Some(id(1, 1)), Duration::ZERO));
    slow.stop();
}

#[tokio::test]
async fn who_waits_is_told_that_entries_were_taken_back_or_not_written() {
    let slow = Slow::start();
    let log = slow.log();
    append(&log, 1, 0).await;
    append(&log, 1, 1).await;
    let mut all = Box::pin(log.all_stored());
    assert!(all.as_mut().now_or_never().is_none());
    let (truncated, ()) = tokio::join!(log.truncate(1), async {
        let error = all.await.unwrap_err().to_string();
        assert!(error.contains("taken back"), "{error}");
        (0..3).for_each(|_| slow.go());
    });
    truncated.unwrap();
    log.stored_upto(0).await.unwrap();
    assert_eq!((log.last(), log.stored()), (Some(id(1, 0)), Some(id(1, 0))));

    // Another one in its place is not on the disk because the one before it was.
    {
        let mut held = slow.disk.held.lock().unwrap();
        held.cut = Some((held.commits(), Left::Nothing));
    }
    append(&log, 2, 1).await;
    slow.go();
    let error = log.stored_upto(1).await.unwrap_err().to_string();
    assert!(error.contains("may not be on the disk"), "{error}");
    assert!(log.save_vote(Vote { term: 3, node: None, is_leader: false }).await.is_err());
    slow.stop();
}
