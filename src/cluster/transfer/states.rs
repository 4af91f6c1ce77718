//! The service: states go over a stream of their own, two at a time in each direction, and no faster than they
//! may.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use openraft::error::{Fatal, StreamingError, Unreachable};
use openraft::{AnyError, SnapshotMeta};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::error::TransferError;
use super::figures::{TransferFigures, UnderWay};
use super::pace::Pace;
use crate::cluster::raft::{Groups, Node, NodeId, base_of_meta};
use crate::journal::Base;

/// States that are given, and that are taken, at the same time; others wait.
const STATES_MAX: usize = 2;

/// What this node gives and takes of states. Clones are the same.
#[derive(Clone)]
pub(crate) struct States(Arc<Inner>);

struct Inner {
    giving: Semaphore,
    taking: Semaphore,
    pace: Pace,
    figures: TransferFigures,
}

impl States {
    /// At this pace, all states together.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(Inner {
            giving: Semaphore::new(STATES_MAX),
            taking: Semaphore::new(STATES_MAX),
            pace: Pace::of(bytes_per_second),
            figures: TransferFigures::default(),
        }))
    }

    pub(crate) fn figures(&self) -> &TransferFigures {
        &self.0.figures
    }

    /// Waits until so many bytes may leave this node with what else is given to other nodes.
    pub(crate) async fn paced(&self, bytes: usize) {
        self.pace().wait(bytes).await;
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// The turn of a state that is given.
    pub(super) async fn turn_to_give(&self) -> Result<Turn<'_>, TransferError> {
        self.turn(&self.0.giving, &self.0.figures.giving).await
    }

    /// The turn of a state that is taken.
    pub(super) async fn turn_to_take(&self) -> Result<Turn<'_>, TransferError> {
        self.turn(&self.0.taking, &self.0.figures.taking).await
    }

    async fn turn<'a>(
        &'a self,
        places: &'a Semaphore,
        figure: &'a AtomicU64,
    ) -> Result<Turn<'a>, TransferError> {
        let _waiting = UnderWay::in_figure(&self.0.figures.waiting);
        let place = places
            .acquire()
            .await
            .map_err(|closed| TransferError::Broken(std::io::Error::other(closed)))?;
        Ok(Turn { _place: place, _under_way: UnderWay::in_figure(figure) })
    }
}

/// It is the turn of a state as long as this is there.
pub(super) struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _under_way: UnderWay<'a>,
}

/// What a state stands on, as its group says it. Sources are made with the same.
///
/// # Errors
/// When the group has no entry yet, or its members cannot be encoded.
pub(crate) fn base_of(meta: &SnapshotMeta<NodeId, Node>) -> Result<Base, TransferError> {
    Ok(base_of_meta(meta)?)
}

/// Another attempt may succeed, after a while: a group does not end for it.
impl From<TransferError> for StreamingError<Groups, Fatal<NodeId>> {
    fn from(error: TransferError) -> Self {
        Self::Unreachable(Unreachable::new(&AnyError::new(&error)))
    }
}
