//! Looks at shards as they are between two rounds: copies of their states, and lists of their names.

use std::time::Duration;

use tidewire_core::commons::Commons;
use tidewire_core::shard::listing::{Page, Wanted};
use tidewire_core::shard::{Shard, ShardSnapshot};
use tokio::sync::{mpsc, oneshot};

use super::Shared;

/// Somebody wants to look at a shard as it is between two rounds. Whoever cannot show it drops this.
pub(crate) struct Look {
    /// In a cluster: entries of the shard's group that have to be in it. It is waited for them as long as somebody
    /// waits for the look.
    pub(crate) entries: u64,
    pub(crate) at: At,
}

/// What is wanted, and where it goes. Who does not wait any more gets none.
pub(crate) enum At {
    /// All of it.
    State(oneshot::Sender<ShardSnapshot>),
    /// Some of its names.
    Names(Wanted, oneshot::Sender<Page>),
}

/// The same of the names that each node changes by itself.
pub(crate) struct CommonsLook(pub(super) Wanted, oneshot::Sender<Page>);

impl At {
    /// Whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::State(to) => to.is_closed(),
            Self::Names(_, to) => to.is_closed(),
        }
    }

    /// Gives the state to who waits for that.
    pub(super) fn give(self, state: ShardSnapshot) {
        if let Self::State(to) = self {
            drop(to.send(state));
        }
    }

    /// Shows a shard between two rounds.
    pub(super) fn show(self, shard: &Shard) {
        match self {
            Self::State(to) => {
                if let Some(state) = shard.checkpoint() {
                    drop(to.send(state));
                }
            }
            Self::Names(wanted, to) => drop(to.send(shard.list(&wanted))),
        }
    }
}

impl CommonsLook {
    pub(super) fn show(self, commons: &Commons) {
        let Self(wanted, to) = self;
        drop(to.send(commons.list(&wanted)));
    }
}

impl Shared {
    /// The state of a shard as it is between two rounds; `None` when the server is stopping, or has no copy of
    /// it. Blocks.
    pub(crate) fn copy_of(&self, shard: u16) -> Option<ShardSnapshot> {
        let (to, copy) = oneshot::channel();
        let look = Look { entries: 0, at: At::State(to) };
        self.looks.get(usize::from(shard))?.blocking_send(look).ok()?;
        copy.blocking_recv().ok()
    }

    /// The state of a cluster's shard, with so many entries of its group in it at least; `None` when this node has not
    /// got it in time.
    pub(crate) async fn copy_with(
        &self,
        shard: u16,
        entries: u64,
        wait: Duration,
    ) -> Option<ShardSnapshot> {
        let (to, copy) = oneshot::channel();
        let look = Look { entries, at: At::State(to) };
        shown(self.looks.get(usize::from(shard))?, look, copy, wait).await
    }

    /// Some names of a shard; `None` when this node has no copy of it, or does not come to it in time.
    pub(super) async fn names_of(
        &self,
        shard: u16,
        wanted: &Wanted,
        wait: Duration,
    ) -> Option<Page> {
        let (to, page) = oneshot::channel();
        let look = Look { entries: 0, at: At::Names(wanted.clone(), to) };
        shown(self.looks.get(usize::from(shard))?, look, page, wait).await
    }

    /// Some of the names that each node changes by itself.
    pub(super) async fn names_of_commons(&self, wanted: &Wanted, wait: Duration) -> Option<Page> {
        let (to, page) = oneshot::channel();
        shown(&self.commons.looks, CommonsLook(wanted.clone(), to), page, wait).await
    }
}

/// What comes of a look, if it comes in time.
async fn shown<L, T>(
    queue: &mpsc::Sender<L>,
    look: L,
    answer: oneshot::Receiver<T>,
    wait: Duration,
) -> Option<T> {
    let answered = async {
        queue.send(look).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(wait, answered).await.ok().flatten()
}
