//! Subscriptions on patterns: one position per shard, whatever the number of topics.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{DeliverHeader, Position, Start, put_deliver_header};
use tidewire_protocol::{ErrorCode, Pattern, Refusal, ServerFrame};

use super::pull::{GAP_JUMPED, GAP_RETENTION, Pull};
use super::selection::SelectionKey;
use super::session::{Mode, OnGap, Sub};
use super::subscribe::{STATUS_EPOCH, STATUS_FRESH, STATUS_GAP, STATUS_RESUMED};
use super::{CursorId, Dispatcher, Target, Turn, invalid};
use crate::shard::{Command, Interest};
use crate::topic::{Batch, PatternId, Slot, TopicId};
use crate::{HashMap, SHARDS, hash_map};

/// Topics that a `last n` start of a pattern may match.
const LAST_TOPICS_MAX: usize = 1000;
/// Slots that one turn looks at, so that a rare pattern cannot hold up the core.
const SLOTS_PER_TURN: u64 = 4096;

/// A place in one shard's commit order.
#[derive(Debug)]
pub(super) struct PatternCursor {
    pub(super) pattern: PatternId,
    pub(super) shard: u16,
    /// Sequence of the next batch to look at; `None`: caught up.
    pub(super) position: Option<u64>,
    /// First offset to deliver of some topics (`last n` starts).
    skip: HashMap<TopicId, u64>,
    /// Sequence that the client knows as its position.
    pub(super) reported: u64,
    /// Whether the start has been resolved; before that nothing is delivered.
    pub(super) started: bool,
}

impl Dispatcher {
    pub(super) fn subscribe_pattern(
        &mut self,
        slot: usize,
        sub: u32,
        pattern: &Pattern,
        start: Start,
        mut entry: Sub,
    ) -> Result<(), Refusal> {
        if matches!(start, Start::Offset { .. }) {
            return Err(invalid(format!(
                "'{pattern}' matches many topics: resume it from positions, not from an offset"
            )));
        }
        let (pattern_id, is_new) = self.patterns.add(pattern);
        if is_new {
            for view in &mut self.shards {
                view.matches.clear();
            }
        }
        if self.patterns.len() == 1 && is_new {
            for shard in 0..SHARDS {
                self.outgoing.push_back((shard, Command::Follow(self.id, Interest::CommitLog)));
            }
        }
        entry.pattern = Some(pattern.to_string());
        for shard in 0..SHARDS {
            let target = PatternCursor {
                pattern: pattern_id,
                shard,
                position: None,
                skip: hash_map(self.seed),
                reported: 0,
                started: false,
            };
            let followers = self
                .shards
                .get_mut(usize::from(shard))
                .map(|view| view.by_pattern.entry(pattern_id).or_default());
            let at = followers.map_or(0, |followers| followers.len());
            let id = self.insert_cursor(slot, sub, at, Target::Pattern(target));
            if let Some(view) = self.shards.get_mut(usize::from(shard)) {
                view.by_pattern.entry(pattern_id).or_default().push(id);
            }
            entry.cursors.push(id);
        }
        let session = entry.origin.session;
        if let Some(state) = self.sessions.get_mut(slot) {
            state.subs.insert(sub, entry);
            self.subscriptions += 1;
        }
        self.waiting.push((session, sub, start));
        self.start_waiting_patterns();
        Ok(())
    }

    pub(super) fn release_pattern(&mut self, pattern: &str) {
        let Ok(pattern) = Pattern::parse(pattern) else { return };
        let (id, _) = self.patterns.add(&pattern);
        self.patterns.remove(id);
        if self.patterns.remove(id) {
            for view in &mut self.shards {
                view.matches.clear();
            }
        }
        if self.patterns.is_empty() {
            self.drop_logs();
        }
    }

    /// Starts the pattern subscriptions that have been waiting, once every shard's log is here.
    pub(super) fn start_waiting_patterns(&mut self) {
        if !self.shards.iter().all(|view| view.ready) {
            return;
        }
        for (session, sub, start) in core::mem::take(&mut self.waiting) {
            let Some(slot) = self.slot(session) else { continue };
            if let Err(refusal) = self.start_pattern(slot, sub, &start) {
                self.refuse_sub(slot, sub, refusal);
            }
        }
    }

    fn start_pattern(&mut self, slot: usize, sub: u32, start: &Start) -> Result<(), Refusal> {
        let cursors = self
            .sessions
            .get(slot)
            .and_then(|session| session.subs.get(&sub))
            .map(|entry| entry.cursors.clone())
            .unwrap_or_default();
        let mut status = match start {
            Start::Positions(_) => STATUS_RESUMED,
            Start::Latest
            | Start::Earliest
            | Start::Offset { .. }
            | Start::Time(_)
            | Start::Last(_) => STATUS_FRESH,
        };
        let mut positions = Vec::new();
        let mut topics = 0;
        for id in cursors {
            let (shard, pattern) = match self.cursors.get(id).map(|cursor| &cursor.target) {
                Some(Target::Pattern(target)) => (target.shard, target.pattern),
                _ => continue,
            };
            let Some(view) = self.shards.get(usize::from(shard)) else { continue };
            let (first, next, epoch) = (view.log.first(), view.log.next(), view.epoch);
            let mut skip = hash_map(self.seed);
            let sequence = match start {
                Start::Latest | Start::Offset { .. } => next,
                Start::Earliest => first,
                Start::Time(time_ms) => view.log.sequence_at_time(*time_ms),
                Start::Last(count) => {
                    let sequence = self.last_of_each(shard, pattern, *count, &mut skip);
                    topics += skip.len();
                    sequence
                }
                Start::Positions(asked) => {
                    let asked = asked.iter().find(|position| position.0 == u64::from(shard));
                    match asked {
                        None => next,
                        Some(Position(_, asked_epoch, _)) if *asked_epoch != epoch => {
                            status = STATUS_EPOCH;
                            first
                        }
                        Some(Position(_, _, sequence)) if *sequence < first => {
                            status = status.max(STATUS_GAP);
                            first
                        }
                        Some(Position(_, _, sequence)) => *sequence,
                    }
                }
            };
            if topics > LAST_TOPICS_MAX {
                return Err(Refusal::new(
                    ErrorCode::LimitExceeded,
                    format!("'last n' is for patterns of at most {LAST_TOPICS_MAX} topics"),
                ));
            }
            positions.push(Position(u64::from(shard), epoch, sequence));
            if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
                // The client may know more than has arrived here: then it waits for it.
                target.position = (sequence != next).then_some(sequence);
                target.skip = skip;
                target.reported = sequence;
                target.started = true;
            }
            self.wake(id);
        }
        self.pattern_opened(slot, sub, status, positions);
        Ok(())
    }

    /// Where the newest `count` records of each matching topic begin: the sequence to start at,
    /// and per topic the first offset to deliver.
    fn last_of_each(
        &mut self,
        shard: u16,
        pattern: PatternId,
        count: u64,
        skip: &mut HashMap<TopicId, u64>,
    ) -> u64 {
        let Some(view) = self.shards.get(usize::from(shard)) else { return 0 };
        let (next, mut start) = (view.log.next(), view.log.next());
        let slots: Vec<(u64, Arc<Batch>)> = view
            .log
            .iter()
            .rev()
            .filter_map(|(sequence, slot)| match slot {
                Slot::Live(batch) => Some((sequence, Arc::clone(batch))),
                Slot::Gone { .. } => None,
            })
            .collect();
        for (sequence, batch) in slots {
            if self.matching(shard, &batch.topic, batch.topic_id).binary_search(&pattern).is_err() {
                continue;
            }
            // Walking backwards, the first batch of a topic that is met is its newest.
            let first =
                *skip.entry(batch.topic_id).or_insert_with(|| batch.next().saturating_sub(count));
            if batch.next() > first {
                start = sequence;
            }
        }
        if count == 0 { next } else { start }
    }

    /// One turn of a pattern cursor.
    pub(super) fn pull_pattern(&mut self, id: CursorId, pull: &mut Pull<'_>) -> Turn {
        let mut looked_at = 0;
        loop {
            let Some(cursor) = self.cursors.get(id) else { return Turn::Ended };
            let (slot, sub) = (cursor.session, cursor.sub);
            let Target::Pattern(target) = &cursor.target else { return Turn::Ended };
            let (shard, pattern) = (target.shard, target.pattern);
            let Some(view) = self.shards.get(usize::from(shard)) else { return Turn::Ended };
            let (first, next) = (view.log.first(), view.log.next());
            let Some(position) = target.position.filter(|position| *position < next) else {
                self.caught_up(id, next);
                return Turn::Done;
            };
            if position < first {
                let turn = self.pattern_gap(id, slot, sub, position, first, pull);
                if turn != Turn::More || pull.budget <= 0 {
                    return turn;
                }
                continue;
            }
            if looked_at >= SLOTS_PER_TURN {
                return Turn::More;
            }
            looked_at += 1;
            let Some(found) = view.log.slot(position).cloned() else { return Turn::Done };
            let (name, topic_id) = found.topic();
            let matched = self.matching(shard, name, topic_id).binary_search(&pattern).is_ok();
            if matched {
                if !pull.has_room(self, slot, sub) {
                    return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
                }
                match found {
                    Slot::Live(batch) => self.deliver_by_pattern(id, slot, sub, &batch, pull),
                    Slot::Gone { topic, epoch, from, next, .. } => {
                        if self.on_gap(slot, sub) != OnGap::Continue {
                            return self.pattern_gap(id, slot, sub, position, position + 1, pull);
                        }
                        let topic = Some(topic);
                        self.send_gap(sub, topic, epoch, (from, next), GAP_RETENTION, pull);
                    }
                }
            }
            self.set_position(id, Some(position + 1));
        }
    }

    /// Nothing is left up to `next`; a position beyond it stays.
    pub(super) fn caught_up(&mut self, id: CursorId, next: u64) {
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.position = target.position.filter(|position| *position > next);
        }
    }

    pub(super) fn set_position(&mut self, id: CursorId, position: Option<u64>) {
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.position = position;
        }
    }

    /// The position has fallen off the commit log. Which topics it would have met is unknown.
    pub(super) fn pattern_gap(
        &mut self,
        id: CursorId,
        slot: usize,
        sub: u32,
        position: u64,
        first: u64,
        pull: &mut Pull<'_>,
    ) -> Turn {
        let Some(Target::Pattern(target)) = self.cursors.get(id).map(|c| &c.target) else {
            return Turn::Ended;
        };
        let shard = target.shard;
        let (epoch, newest) = self
            .shards
            .get(usize::from(shard))
            .map_or((0, first), |view| (view.epoch, view.log.next()));
        let (next, reason) = match self.on_gap(slot, sub) {
            OnGap::Continue => (first, GAP_RETENTION),
            OnGap::Newest => (newest, GAP_JUMPED),
            OnGap::End => {
                self.end_at_gap(slot, sub, &format!("shard {shard}, {position} to {first}"));
                return Turn::Ended;
            }
        };
        // Told when delivery can go on: until then the gap may grow, and it stays one gap.
        if !pull.has_room(self, slot, sub) {
            return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
        }
        self.send_gap(sub, None, epoch, (position, next), reason, pull);
        self.set_position(id, Some(next));
        Turn::More
    }

    fn deliver_by_pattern(
        &mut self,
        id: CursorId,
        slot: usize,
        sub: u32,
        batch: &Arc<Batch>,
        pull: &mut Pull<'_>,
    ) {
        let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) else {
            return;
        };
        let from = target.skip.get(&batch.topic_id).map_or(batch.base, |f| batch.base.max(*f));
        let position = Position(u64::from(batch.shard), batch.epoch, batch.sequence + 1);
        if from >= batch.next() {
            return;
        }
        let filter = self
            .sessions
            .get(slot)
            .and_then(|session| session.subs.get(&sub))
            .and_then(|entry| entry.filter.clone());
        let body = if from == batch.base { batch.body.clone() } else { batch.body_from(from) };
        let (offsets, body, count) = match &filter {
            None => (None, body, batch.next() - from),
            Some((filter_id, filter)) => {
                let key = SelectionKey {
                    shard: batch.shard,
                    topic_id: batch.topic_id,
                    from,
                    next: batch.next(),
                    mode: Mode::Every,
                    filter: Some(*filter_id),
                };
                let batches = core::slice::from_ref(batch);
                let chosen = self.selections.find_or_build(key, batches, Some(filter));
                if chosen.count == 0 {
                    return;
                }
                (chosen.offsets.clone(), chosen.body.clone(), chosen.count)
            }
        };
        if let Some(Target::Pattern(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) {
            target.reported = batch.sequence + 1;
        }
        let header = DeliverHeader {
            sub,
            topic: batch.topic.as_str(),
            epoch: batch.epoch,
            from,
            next: batch.next(),
            time_ms: batch.time_ms,
            position: Some(position),
            offsets: offsets.as_deref(),
            body_len: body.len(),
        };
        self.deliver(slot, sub, &header, &body, count, pull);
    }

    /// Sends one DELIVER and takes it from the credit and the budget.
    pub(super) fn deliver(
        &mut self,
        slot: usize,
        sub: u32,
        header: &DeliverHeader<'_>,
        body: &Bytes,
        records: u64,
        pull: &mut Pull<'_>,
    ) {
        pull.head.clear();
        put_deliver_header(pull.head, header);
        pull.send(sub, body);
        self.stats.deliveries += 1;
        self.stats.records += records;
        self.stats.body_bytes += body.len() as u64;
        if let Some(entry) = self.sessions.get_mut(slot).and_then(|s| s.subs.get_mut(&sub)) {
            let bytes = i64::try_from(body.len()).unwrap_or(i64::MAX);
            entry.credit = entry.credit.map(|credit| credit.saturating_sub(bytes));
        }
    }

    /// Tells how far pattern cursors have come without a match, so that a resume does not begin
    /// where records may be gone by then.
    pub(super) fn pattern_progress(&mut self, id: CursorId) -> Option<ServerFrame> {
        let cursor = self.cursors.get_mut(id)?;
        let Target::Pattern(target) = &mut cursor.target else { return None };
        if !target.started {
            return None;
        }
        let view = self.shards.get(usize::from(target.shard)).filter(|view| view.ready)?;
        let at = target.position.unwrap_or(view.log.next());
        if at == target.reported {
            return None;
        }
        target.reported = at;
        let position = Some(Position(u64::from(target.shard), view.epoch, at));
        Some(ServerFrame::Progress { sub: cursor.sub, topic: None, epoch: 0, next: 0, position })
    }
}
