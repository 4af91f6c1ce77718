//! Cursors whose topic, or shard, has another history from now on: what was sequenced in the memory of
//! a node that is gone, or was removed and made again while it was away. The subscriber is told so by
//! a GAP, and delivery goes on with the new history.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use tidewire_protocol::frame::{Position, Start};

use super::pull::{GAP_EPOCH, Gap, Pull};
use super::session::{OnGap, Owner};
use super::subscribe::Awaited;
use super::{CursorId, Dispatcher, Target, Turn};

impl Dispatcher {
    /// A cursor in a topic has seen another history than the one that is here now.
    pub(super) fn begin_anew(&mut self, id: CursorId) {
        if let Some(Target::Topic(target)) = self.cursors.get_mut(id).map(|c| &mut c.target)
            && target.start.is_none()
        {
            let (start, begins_anew, refused_after) = (Start::Earliest, true, None);
            target.start = Some(Box::new(Awaited { start, begins_anew, refused_after }));
        }
    }

    /// A shard's topics, and its sequences, may have other numbers: nothing that it says reaches a copy before that has been
    /// told anew.
    pub(super) fn renumbered(&mut self, shard: u16) {
        self.topic_ids.retain(|(of, _), _| *of != shard);
        self.recalls.forget_shard(shard);
        if let Some(view) = self.shards.get_mut(usize::from(shard)) {
            view.ready = false;
        }
    }

    /// The commit order of a shard is another one: that of all pattern cursors which have started.
    pub(super) fn begin_log_anew(&mut self, shard: u16) {
        let Some(view) = self.shards.get(usize::from(shard)) else { return };
        let first = view.log.first();
        let followers: Vec<CursorId> = view.by_pattern.values().flatten().copied().collect();
        for id in followers {
            if let Some(Target::Pattern(cursor)) = self.cursors.get_mut(id).map(|c| &mut c.target)
                && cursor.started
            {
                cursor.position = Some(first);
                cursor.skip = None;
                cursor.begins_anew = true;
                self.wake(id);
            }
        }
    }

    /// A cursor in a topic that has no place there: it has not started and so has nothing to send, or the
    /// history is another one. Returns how the turn ends, if it does.
    #[cold]
    pub(super) fn not_started(
        &mut self,
        id: CursorId,
        owner: Owner,
        pull: &mut Pull<'_>,
    ) -> Option<Turn> {
        let Some(Target::Topic(target)) = self.cursors.get(id).map(|cursor| &cursor.target) else {
            return Some(Turn::Ended);
        };
        match target.start.as_ref().is_some_and(|start| start.begins_anew) {
            true => self.new_history(id, owner, pull),
            false => Some(Turn::Done),
        }
    }

    /// Tells the subscriber where the new history goes on for it. Returns how the turn ends, if it
    /// does.
    #[cold]
    pub(super) fn new_history(
        &mut self,
        id: CursorId,
        owner: Owner,
        pull: &mut Pull<'_>,
    ) -> Option<Turn> {
        let Some((first, newest, gap)) = self.new_epoch_gap(id) else { return Some(Turn::Ended) };
        let next = match self.on_gap(owner) {
            OnGap::Continue => first,
            OnGap::Newest => newest,
            OnGap::End => {
                let what =
                    gap.topic.map_or_else(|| "a shard".into(), |name| format!("topic '{name}'"));
                self.end_at_gap(owner, &format!("the history of {what} is another one"));
                return Some(Turn::Ended);
            }
        };
        if !pull.has_room(self, owner) {
            return Some(if pull.budget <= 0 { Turn::More } else { Turn::Blocked });
        }
        let position = gap.position.map(|Position(place, epoch, _)| Position(place, epoch, next));
        self.send_gap(owner.sub, Gap { next, position, ..gap }, pull);
        match self.cursors.get_mut(id).map(|c| &mut c.target) {
            Some(Target::Topic(target)) => {
                (target.next, target.reported, target.start) = (next, next, None);
            }
            Some(Target::Pattern(target)) => {
                (target.position, target.reported) = (Some(next), next);
                target.begins_anew = false;
            }
            Some(Target::Watch(_)) | None => {}
        }
        None
    }

    /// Where the new history of a cursor begins and ends here, and what its GAP says but for where it
    /// goes on.
    fn new_epoch_gap(&self, id: CursorId) -> Option<(u64, u64, Gap)> {
        let (from, next, reason) = (0, 0, GAP_EPOCH);
        match &self.cursors.get(id)?.target {
            Target::Topic(target) => {
                let view = self.topics.get(target.view)?;
                let (topic, epoch) = (Some(view.name.clone()), view.epoch);
                let position = target.position(epoch, next);
                let gap = Gap { topic, epoch, from, next, reason, position };
                Some((view.ring.first(), view.ring.next(), gap))
            }
            Target::Pattern(target) => {
                let view = self.shards.get(usize::from(target.shard))?;
                let epoch = view.epoch;
                let position = Some(Position(u64::from(target.shard), epoch, next));
                let gap = Gap { topic: None, epoch, from, next, reason, position };
                Some((view.log.first(), view.log.next(), gap))
            }
            Target::Watch(_) => None,
        }
    }
}
