//! What a connection hears for its subscribers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidewire_client::ServerFrame;
use tidewire_client::protocol::frame::DeliverView;

use super::super::{Audience, Faults};
use crate::bench::flow::Flow;
use crate::bench::lean::Hear;
use crate::bench::over_time::OverTime;
use crate::bench::phase::Phase;
use crate::demo::freshness::Clock;
use crate::demo::latency::Latencies;

/// What the connections of one thread have heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) deliveries: u64,
    pub(super) received: u64,
    pub(super) missing: u64,
    pub(super) latency: Latencies,
    pub(super) gaps: Faults,
    pub(super) holes: Faults,
    pub(super) ends: Faults,
}

impl Heard {
    pub(super) fn merge(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.received += other.received;
        self.missing += other.missing;
        self.latency.merge(other.latency);
        self.gaps.merge(other.gaps);
        self.holes.merge(other.holes);
        self.ends.merge(other.ends);
    }
}

/// The subscribers of one connection: `sub` 1 is the first of them.
pub(super) struct Ear {
    first: usize,
    /// The offset that each of them is to get next.
    next: Vec<u64>,
    subscribed: usize,
    record_bytes: u64,
    stamp_at: usize,
    has_ended: bool,
    refusal: Option<String>,
    heard: Rc<RefCell<Heard>>,
    /// This thread's deliveries, for those who look on.
    deliveries: Arc<AtomicU64>,
    flow: Arc<Flow>,
    phase: Arc<Phase>,
    clock: Clock,
    over_time: Option<Arc<OverTime>>,
    burst: Burst,
}

/// What one read brought.
#[derive(Debug, Default)]
struct Burst {
    at_ns: u64,
    is_measured: bool,
    records: u64,
    /// The subscriber that has got the newest delivery.
    last: Option<usize>,
}

impl Ear {
    pub(super) fn new(
        audience: &Audience,
        first: usize,
        count: usize,
        heard: Rc<RefCell<Heard>>,
        deliveries: Arc<AtomicU64>,
    ) -> Self {
        let record_bytes = audience.batch.record_bytes();
        Self {
            first,
            next: vec![0; count],
            subscribed: 0,
            record_bytes: record_bytes as u64,
            stamp_at: record_bytes - audience.batch.payload_bytes,
            has_ended: false,
            refusal: None,
            heard,
            deliveries,
            flow: Arc::clone(&audience.flow),
            phase: Arc::clone(&audience.phase),
            clock: audience.clock,
            over_time: audience.over_time.clone(),
            burst: Burst::default(),
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.subscribed == self.next.len()
    }

    /// Why a subscription was refused.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.clone()
    }

    /// Whether nothing more is to come.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The connection has ended.
    pub(super) fn ended(&self, reason: &str) {
        self.heard.borrow_mut().ends.add(|| reason.to_owned());
    }

    /// Tells how far a subscriber is, if it has got anything since.
    fn reach(&self, at: Option<usize>) {
        if let Some((at, next)) = at.and_then(|at| Some((at, *self.next.get(at)?))) {
            self.flow.reach(self.first + at, next);
        }
    }

    fn hole(&self, at: usize, what: &str) {
        let number = self.first + at;
        self.heard.borrow_mut().holes.add(|| format!("subscriber {number} {what}"));
    }
}

/// The place of a subscription among those of its connection.
fn place(sub: u32) -> usize {
    usize::try_from(sub).unwrap_or(0).wrapping_sub(1)
}

impl Hear for Ear {
    fn arrived(&mut self) {
        let (at_ns, is_measured) = (self.clock.now_ns(), self.phase.is_measuring());
        self.burst = Burst { at_ns, is_measured, records: 0, last: None };
    }

    fn deliver(&mut self, deliver: &DeliverView<'_>) {
        let at = place(deliver.sub);
        let Some(next) = self.next.get_mut(at) else {
            return self.hole(at, "does not exist and got a delivery");
        };
        let records = deliver.next.saturating_sub(deliver.from);
        let expected = std::mem::replace(next, deliver.next);
        if deliver.from != expected {
            self.hole(at, &format!("was at {expected} and got a delivery from {}", deliver.from));
        } else if !deliver.is_dense || deliver.body.len() as u64 != records * self.record_bytes {
            let bytes = deliver.body.len();
            self.hole(at, &format!("got {bytes} bytes as {records} records"));
        }
        if (self.burst.is_measured || self.over_time.is_some())
            && let Some(stamp) = deliver.body.get(self.stamp_at..).and_then(<[u8]>::first_chunk)
        {
            let latency_ns = self.burst.at_ns.saturating_sub(u64::from_be_bytes(*stamp));
            match &self.over_time {
                Some(over_time) => over_time.record(self.burst.at_ns, latency_ns),
                None => self.heard.borrow_mut().latency.record(latency_ns, 1),
            }
        }
        self.burst.records += records;
        if self.burst.last != Some(at) {
            let before = self.burst.last.replace(at);
            self.reach(before);
        }
    }

    fn frame(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Subscribed { sub, offset, .. } => {
                self.subscribed += 1;
                if let Some(next) = self.next.get_mut(place(sub)) {
                    *next = offset;
                }
            }
            ServerFrame::Gap { sub, from, next, .. } => {
                let at = place(sub);
                if let Some(kept) = self.next.get_mut(at) {
                    *kept = next;
                }
                let mut heard = self.heard.borrow_mut();
                heard.missing += next.saturating_sub(from);
                heard.gaps.add(|| format!("records {from} to {next}"));
                drop(heard);
                self.reach(Some(at));
            }
            ServerFrame::Error { message, sub: None, .. } if !self.is_subscribed() => {
                self.refusal.get_or_insert(message);
                self.has_ended = true;
            }
            ServerFrame::Error { message, .. } => self.ended(&message),
            ServerFrame::GoAway { message, .. } => {
                self.ended(&message);
                self.has_ended = true;
            }
            ServerFrame::Welcome { .. }
            | ServerFrame::Ping { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Ok { .. }
            | ServerFrame::PubAck { .. }
            | ServerFrame::Deliver { .. }
            | ServerFrame::Progress { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Value { .. }
            | ServerFrame::Watching { .. }
            | ServerFrame::Leased { .. }
            | ServerFrame::Update { .. } => {}
        }
    }

    fn taken(&mut self) {
        let Burst { is_measured, records, last, .. } = self.burst;
        self.reach(last);
        let mut heard = self.heard.borrow_mut();
        heard.received += records;
        if is_measured {
            heard.deliveries += records;
            self.deliveries.store(heard.deliveries, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
