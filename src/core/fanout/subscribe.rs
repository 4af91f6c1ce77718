//! SUBSCRIBE and UNSUBSCRIBE: where a cursor starts, and how it ends.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::frame::{Position, Start};
use tidewire_protocol::options::{Filter, SubscribeOptions};
use tidewire_protocol::{ErrorCode, Name, Pattern, Refusal, ServerFrame};

use super::access::needs_to_follow;
use super::filters::FilterId;
use super::session::{Mode, OnGap, Owner, Sub, SubId};
use super::start::{STATUS_GAP, Started};
use super::{Cursor, CursorId, Dispatcher, Target, invalid};
use crate::access::Operations;
use crate::shard::{Origin, SessionId};

/// Longest conflation interval.
pub(super) const INTERVAL_MS_MAX: u64 = 60_000;
/// Interval of `latest` mode if the client names none.
const LATEST_INTERVAL_MS: u64 = 100;

/// A cursor in one topic.
#[derive(Debug)]
pub(super) struct TopicCursor {
    pub(super) view: usize,
    /// Of a topic with partitions: which one.
    pub(super) partition: Option<u16>,
    /// Next record to deliver.
    pub(super) next: u64,
    /// Where to start, until the topic's snapshot has come.
    pub(super) start: Option<Box<Awaited>>,
    /// Offset up to which the client knows its position.
    pub(super) reported: u64,
}

/// A start that waits for the topic's snapshot.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) start: Start,
    /// It had started, and what it has seen is no part of the topic's history any more: the
    /// subscriber is told, and delivery begins anew.
    pub(super) begins_anew: bool,
    /// Snapshots of the topic that must have come before the start is refused.
    pub(super) refused_after: Option<u64>,
}

impl Dispatcher {
    /// Carries out SUBSCRIBE. The reply comes when the topic's state is here.
    pub(super) fn subscribe(
        &mut self,
        origin: Origin,
        sub: u32,
        pattern: &Pattern,
        start: Start,
        options: &SubscribeOptions,
    ) -> Result<(), Refusal> {
        let slot = self.check_sub(origin.session, sub)?;
        let needs = needs_to_follow(&start);
        let entry = Sub { needs, ..self.sub_of(origin, options)? };
        let filter = entry.filter.clone();
        let begun = self.begin_sub(slot, sub, pattern, start, entry);
        if begun.is_err() {
            self.release_filter(filter);
        }
        begun
    }

    fn begin_sub(
        &mut self,
        slot: usize,
        sub: u32,
        pattern: &Pattern,
        start: Start,
        entry: Sub,
    ) -> Result<(), Refusal> {
        let Some(name) = pattern.as_name() else {
            return self.subscribe_pattern(slot, sub, pattern, start, entry);
        };
        let partitions = self.policies.partitions(&name);
        if partitions > 1 {
            return self.subscribe_partitions(slot, sub, &name, partitions, start, entry);
        }
        if matches!(start, Start::Positions(_)) {
            return Err(invalid(format!("'{pattern}' is one topic: start it at an offset")));
        }
        let owner = self.insert_sub(slot, sub, entry, 1);
        let home = self.policies.home(&name);
        let id = self.follow_topic(owner, (home, &name), None, start);
        self.start_cursor(id);
        Ok(())
    }

    /// Takes in a subscription or watch that will have so many cursors.
    pub(super) fn insert_sub(
        &mut self,
        slot: usize,
        sub: u32,
        mut entry: Sub,
        cursors: usize,
    ) -> Owner {
        entry.cursors.reserve_exact(cursors);
        let is_plain = entry.is_plain();
        let entry = self.subs.insert(entry);
        if let Some(session) = self.sessions.get_mut(slot) {
            session.rest.subs.insert(sub, entry);
        }
        Owner { slot, entry, sub, is_plain }
    }

    pub(super) fn cursors_of(&self, entry: SubId) -> Vec<CursorId> {
        self.subs.get(entry).map(|entry| entry.cursors.clone()).unwrap_or_default()
    }

    /// The session's slot, if it may have another subscription with this id.
    pub(super) fn check_sub(&self, id: SessionId, sub: u32) -> Result<usize, Refusal> {
        let gone = || Refusal::new(ErrorCode::Internal, "the connection is gone");
        let slot = self.slot(id).ok_or_else(gone)?;
        let session = self.sessions.get(slot).ok_or_else(gone)?;
        if sub == 0 {
            return Err(invalid("sub: subscription ids begin at 1".to_string()));
        }
        if session.rest.subs.contains_key(&sub) || session.rest.consuming.contains_key(&sub) {
            let message = format!("subscription id {sub} is in use on this connection");
            return Err(Refusal::new(ErrorCode::SubscriptionExists, message));
        }
        let limit = self.limits.subscriptions_max;
        if session.rest.subs.len() >= limit {
            let message = format!("a connection has at most {limit} subscriptions and watches");
            return Err(Refusal::new(ErrorCode::LimitExceeded, message));
        }
        Ok(slot)
    }

    fn sub_of(&mut self, origin: Origin, options: &SubscribeOptions) -> Result<Sub, Refusal> {
        if options.group.is_some() {
            let message = "option 'group': a group is consumed with CONSUME";
            return Err(Refusal::new(ErrorCode::Unsupported, message));
        }
        let mode = match options.mode {
            None | Some(0) => Mode::Every,
            Some(1) => Mode::Latest,
            Some(other) => return Err(invalid(format!("option 'mode': 0 or 1, not {other}"))),
        };
        let on_gap = match options.on_gap {
            None | Some(0) => OnGap::Continue,
            Some(1) => OnGap::Newest,
            Some(2) => OnGap::End,
            Some(other) => return Err(invalid(format!("option 'on_gap': 0 to 2, not {other}"))),
        };
        let interval_ms = check_interval(options.interval_ms)?;
        let filter = match options.filter.as_deref() {
            None | Some([]) => None,
            Some(conditions) => Some(Filter::parse(conditions)?),
        };
        let filter = filter.map(|filter| self.filters.add(filter));
        Ok(Sub {
            cursors: Vec::new(),
            credit: options.credit.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            filter,
            mode,
            interval_ms: match mode {
                Mode::Every => 0,
                Mode::Latest => interval_ms.unwrap_or(LATEST_INTERVAL_MS),
            },
            on_gap,
            opening: None,
            origin,
            pattern: None,
            needs: Operations::NONE,
            is_open: false,
        })
    }

    pub(super) fn follow_topic(
        &mut self,
        owner: Owner,
        (shard, name): (u16, &Name),
        partition: Option<u16>,
        start: Start,
    ) -> CursorId {
        let view = self.topic_view(shard, name);
        let at = self.topics.get(view).map_or(0, |view| view.followers.len());
        let start = Some(Box::new(Awaited { start, begins_anew: false, refused_after: None }));
        let target = TopicCursor { view, partition, next: 0, start, reported: 0 };
        let id = self.insert_cursor(owner, at, Target::Topic(target));
        if let Some(view) = self.topics.get_mut(view) {
            view.followers.push(id);
        }
        id
    }

    pub(super) fn insert_cursor(&mut self, owner: Owner, at: usize, target: Target) -> CursorId {
        let cursor = Cursor {
            owner,
            at,
            queued: false,
            behind: None,
            opens: false,
            recalls: 0,
            due_ms: 0,
            timer_ms: None,
            target,
        };
        let id = self.cursors.insert(cursor);
        if let Some(entry) = self.subs.get_mut(owner.entry) {
            entry.cursors.push(id);
        }
        id
    }

    /// Resolves where a cursor starts, once its topic's state is here, and answers SUBSCRIBE.
    pub(super) fn start_cursor(&mut self, id: CursorId) {
        let Some(cursor) = self.cursors.get(id) else { return };
        let owner = cursor.owner;
        let Target::Topic(target) = &cursor.target else { return };
        if target.partition.is_some() {
            return self.start_partitions(owner);
        }
        match self.resolve_start(id) {
            Some(Ok((epoch, started))) => {
                self.start_at(id, started.offset);
                self.opened(owner, epoch, started);
                self.wake(id);
            }
            Some(Err(refusal)) => self.refuse_sub(owner, refusal),
            None => {}
        }
    }

    fn opened(&mut self, owner: Owner, epoch: u64, started: Started) {
        let Some(entry) = self.subs.get_mut(owner.entry) else { return };
        let frame = ServerFrame::Subscribed {
            req: entry.origin.req,
            sub: owner.sub,
            status: started.status,
            epoch,
            offset: started.offset,
            missing: started.missing,
            positions: started.positions,
        };
        self.open_with(owner.entry, &frame);
    }

    /// Whichever of the subscription's cursors has its turn first sends this before anything else.
    pub(super) fn open_with(&mut self, entry: SubId, frame: &ServerFrame) {
        let Some(entry) = self.subs.get_mut(entry) else { return };
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        entry.opening = Some(bytes);
        for id in &entry.cursors {
            if let Some(cursor) = self.cursors.get_mut(*id) {
                cursor.opens = true;
            }
        }
    }

    /// Answers SUBSCRIBE of a pattern.
    pub(super) fn pattern_opened(&mut self, owner: Owner, status: u64, positions: Vec<Position>) {
        let missing = (status == STATUS_GAP).then_some((0, 0));
        let started = Started { status, offset: 0, missing, positions: Some(positions) };
        self.opened(owner, 0, started);
    }

    /// Ends a subscription that cannot start or go on.
    pub(super) fn refuse_sub(&mut self, owner: Owner, refusal: Refusal) {
        if let Some(id) = self.sessions.get(owner.slot).map(|session| session.id) {
            self.refused(id, &refusal);
        }
        if let Some(session) = self.sessions.get_mut(owner.slot)
            && let Some(entry) = self.subs.get(owner.entry)
        {
            session.refuse(entry.origin, refusal);
        }
        self.end_sub(owner);
    }

    /// Carries out UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, origin: Origin, sub: u32) -> Result<(), Refusal> {
        let slot = self.slot(origin.session).unwrap_or(usize::MAX);
        let Some(owner) = self.owner(slot, sub) else {
            let message = format!("there is no subscription {sub} on this connection");
            return Err(Refusal::new(ErrorCode::SubscriptionUnknown, message));
        };
        self.waiting.retain(|(session, waiting, _)| *session != origin.session || *waiting != sub);
        self.end_sub(owner);
        Ok(())
    }

    /// Removes a subscription or watch and its cursors.
    pub(super) fn end_sub(&mut self, Owner { slot, entry, sub, .. }: Owner) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let Some(entry) = self.subs.try_remove(entry) else { return };
        session.rest.subs.remove(&sub);
        session.end(sub);
        self.unqueue(slot, &entry.cursors);
        for id in &entry.cursors {
            self.unfollow(*id);
            let cursor = self.cursors.remove(*id);
            if let Some(at_ms) = cursor.timer_ms {
                self.timers.remove(&(at_ms, *id));
            }
        }
        self.release_filter(entry.filter);
        if let Some(pattern) = entry.pattern {
            self.release_pattern(pattern);
        }
        self.mark_ready(slot);
    }

    fn release_filter(&mut self, filter: Option<(FilterId, Arc<Filter>)>) {
        if let Some((id, filter)) = filter
            && self.filters.remove(&filter)
        {
            self.selections.forget(id);
        }
    }

    /// Carries out CREDIT. Credit for a subscription that has just ended is no error.
    pub(super) fn credit(&mut self, id: SessionId, sub: u32, bytes: u64) {
        let Some(slot) = self.slot(id) else { return };
        let Some(Owner { entry: id, .. }) = self.owner(slot, sub) else { return };
        let Some(entry) = self.subs.get_mut(id) else { return };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        entry.credit = entry.credit.map(|credit| credit.saturating_add(bytes));
        for cursor in self.cursors_of(id) {
            self.wake(cursor);
        }
    }

    /// The lane of a subscription takes more again.
    pub fn lane_opened(&mut self, id: SessionId, sub: u32) {
        let Some(owner) = self.slot(id).and_then(|slot| self.owner(slot, sub)) else { return };
        for cursor in self.cursors_of(owner.entry) {
            self.wake(cursor);
        }
    }
}

pub(super) fn check_interval(interval_ms: Option<u64>) -> Result<Option<u64>, Refusal> {
    match interval_ms {
        Some(ms) if ms > INTERVAL_MS_MAX => {
            Err(invalid(format!("option 'interval_ms': at most {INTERVAL_MS_MAX}, not {ms}")))
        }
        other => Ok(other),
    }
}
