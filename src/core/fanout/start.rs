//! Where subscriptions to topics start.

use alloc::format;
use alloc::vec::Vec;

use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::{ErrorCode, Refusal};

use super::subscribe::Awaited;
use super::view::TopicView;
use super::{CursorId, Dispatcher, Target};

/// Where delivery starts.
pub(super) struct Started {
    pub(super) status: u64,
    pub(super) offset: u64,
    pub(super) missing: Option<(u64, u64)>,
    pub(super) positions: Option<Vec<Position>>,
}

pub(super) const STATUS_FRESH: u64 = 0;
pub(super) const STATUS_RESUMED: u64 = 1;
pub(super) const STATUS_GAP: u64 = 2;
pub(super) const STATUS_EPOCH: u64 = 3;

impl Dispatcher {
    /// Where a cursor starts, in which epoch; `None` while that is not known yet, or when it has
    /// started.
    pub(super) fn resolve_start(
        &mut self,
        id: CursorId,
    ) -> Option<Result<(u64, Started), Refusal>> {
        let cursor = self.cursors.get(id)?;
        let Target::Topic(target) = &cursor.target else { return None };
        let view = self.topics.get(target.view).filter(|view| view.ready)?;
        let Awaited { start, begins_anew, refused_after } = target.start.as_deref()?;
        if *begins_anew {
            return None;
        }
        // A client that comes from another core or node may know more than has arrived here. The
        // shard has the last word.
        let beyond = matches!(start, Start::Offset { epoch, offset }
            if *offset > view.ring.next() && (*epoch == 0 || *epoch == view.epoch));
        if beyond && refused_after.is_none_or(|snapshots| view.answered < snapshots) {
            if refused_after.is_none() {
                let snapshots = self.ask_again(target.view);
                if let Some(Target::Topic(target)) = self.cursors.get_mut(id).map(|c| &mut c.target)
                    && let Some(awaited) = &mut target.start
                {
                    awaited.refused_after = snapshots;
                }
            }
            return None;
        }
        let epoch = view.epoch;
        Some(resolve(view, start).map(|started| (epoch, started)))
    }

    pub(super) fn start_at(&mut self, id: CursorId, offset: u64) {
        if let Some(Target::Topic(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            (target.next, target.reported, target.start) = (offset, offset, None);
        }
    }
}

/// Where a start lies in a topic.
fn resolve(view: &TopicView, start: &Start) -> Result<Started, Refusal> {
    let (first, next) = (view.ring.first(), view.ring.next());
    let fresh = |offset| Started { status: STATUS_FRESH, offset, missing: None, positions: None };
    Ok(match start {
        Start::Latest | Start::Positions(_) => fresh(next),
        Start::Earliest => fresh(first),
        Start::Time(time_ms) => fresh(view.ring.offset_at_time(*time_ms)),
        Start::Last(count) => fresh(next.saturating_sub(*count).max(first)),
        Start::Offset { epoch, .. } if *epoch != 0 && *epoch != view.epoch => {
            Started { status: STATUS_EPOCH, ..fresh(first) }
        }
        Start::Offset { offset, .. } if *offset > next => {
            let name = &view.name;
            let message = format!("offset {offset} is beyond topic '{name}', which ends at {next}");
            return Err(Refusal::new(ErrorCode::OutOfRange, message));
        }
        Start::Offset { offset, .. } if *offset < first => {
            let missing = Some((*offset, first));
            Started { status: STATUS_GAP, missing, ..fresh(first) }
        }
        Start::Offset { offset, .. } => Started { status: STATUS_RESUMED, ..fresh(*offset) },
    })
}
