//! What is applied to a node's copy: entries, and states in the place of them; and the copy that is made again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tidewire_core::member::Entry;
use tidewire_core::shard::Shard;
use tokio::sync::oneshot;

use super::behind::Behind;
use super::rebuild::rebuild;
use super::task::Task;
use crate::cluster::raft::{Committed, EntryBody, Handed, NewState, Says};
use crate::journal::Base;

/// A pause before a copy that could not be made again is tried once more.
const PAUSE: Duration = Duration::from_secs(1);

/// A copy that is being made.
pub(super) type Replacing = Pin<Box<dyn Future<Output = Outcome>>>;

/// What has come of a copy that was to be made.
pub(super) enum Outcome {
    /// It was made again from the log, up to the entry that was applied.
    Again(Box<io::Result<Shard>>),
    /// It is another node's state.
    State(Box<io::Result<Installed>>),
}

/// A state that counts.
pub(super) struct Installed {
    shard: Shard,
    base: Base,
    bytes: u64,
    told: oneshot::Sender<()>,
}

impl Task {
    pub(super) fn take_handed(&mut self, handed: Handed) {
        match handed {
            Handed::Entry(committed) => self.apply(committed),
            Handed::State(state) => self.install(*state),
        }
    }

    fn apply(&mut self, committed: Committed) {
        let Behind::Durable(durable) = &mut self.behind else { return };
        let Committed { id, says } = &committed;
        if let Says::Changes(body) = says {
            let EntryBody { version, time_ms, bytes, .. } = body;
            let (term, index, bytes) = (id.term, id.index, bytes.len() as u64);
            let entry = Entry { term, index, bytes, version: *version, time_ms: *time_ms };
            match self.member.apply(entry, || body.changes()) {
                Ok(true) => {}
                Ok(false) => {
                    self.waiting = Some(committed);
                    return;
                }
                Err(error) => {
                    // What it holds is not what was committed: nothing of it may be told.
                    tracing::error!(shard = self.number, %error, "the copy of a shard is damaged: the server ends");
                    std::process::abort();
                }
            }
        }
        durable.has_applied(committed.id, committed.says);
    }

    /// Puts a state into the place of the copy, which serves as it is until then: records of it that are on
    /// disk only may not be found any more, and whoever waits for some is told anew.
    fn install(&mut self, state: NewState) {
        if self.leads() {
            // Somebody else does, of which the state is the first sign.
            self.follow();
        }
        let NewState { taken, base, installed: told } = state;
        let (blocks, reused) = taken.blocks();
        tracing::info!(
            shard = self.number,
            blocks,
            reused,
            "a state of another node is taken over"
        );
        let config = self.config.clone();
        self.replacing = Some(Box::pin(async move {
            let installed = tokio::task::spawn_blocking(move || taken.install(config)).await;
            let installed = installed.map_err(io::Error::other);
            let installed = installed.and_then(|state| state.map_err(io::Error::other));
            let installed = installed.map(|(shard, bytes)| Installed { shard, base, bytes, told });
            Outcome::State(Box::new(installed))
        }));
    }

    pub(super) fn replaced(&mut self, outcome: Outcome) {
        self.replacing = None;
        let Behind::Durable(durable) = &mut self.behind else { return };
        match outcome {
            Outcome::Again(shard) => match *shard {
                Ok(shard) => {
                    durable.room.made_again();
                    self.member.replace_copy(shard);
                    if let Some(waiting) = self.waiting.take() {
                        self.apply(waiting);
                    }
                }
                Err(error) => {
                    tracing::error!(shard = self.number, %error, "the copy of a shard cannot be made again: it is tried once more");
                    self.make_again(PAUSE);
                }
            },
            Outcome::State(installed) => match *installed {
                Ok(Installed { shard, base, bytes, told }) => {
                    tracing::info!(shard = self.number, last = ?base.last, "another node's state counts here");
                    durable.room.taken_over(bytes);
                    durable.saving.installed(base.last);
                    durable.base = Some(base);
                    self.member.replace_copy(shard);
                    // Who does not wait any more has ended with the server.
                    told.send(()).unwrap_or_default();
                }
                Err(error) => {
                    tracing::error!(shard = self.number, %error, "another node's state does not count here");
                }
            },
        }
    }

    /// Makes the copy again, after a pause.
    pub(super) fn make_again(&mut self, pause: Duration) {
        let Behind::Durable(durable) = &self.behind else { return };
        let (log, config, end) =
            (durable.group.log.log().clone(), self.config.clone(), durable.applied());
        self.replacing = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            Outcome::Again(Box::new(rebuild(log, config, end).await))
        }));
    }
}

/// The copy, once it is made.
pub(super) async fn made(replacing: &mut Option<Replacing>) -> Outcome {
    match replacing {
        Some(replacing) => replacing.as_mut().await,
        None => std::future::pending().await,
    }
}
