//! Who gets which record: what is ready goes first, then what was never delivered.

use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::record::{Record, Records};

use super::outstanding::{Entry, State};
use super::{Group, Leased, OUTSTANDING_MAX};
use crate::topic::{Batch, Body, Ring};

/// Records that a member gets in a row before the next one has its turn.
const TURN_RECORDS: usize = 16;

/// What is being handed out.
#[derive(Default)]
struct Hands {
    done: Vec<Leased>,
    /// The batch, and the bytes of it, that the last lease goes on with.
    open: Option<Open>,
    /// Records that the member whose turn it is has got.
    in_turn: usize,
    /// The batch that has to be recalled before it goes on.
    cold: Option<u64>,
}

struct Open {
    batch: Arc<Batch>,
    lease: Leased,
    start: usize,
    end: usize,
}

impl Hands {
    fn close(&mut self) {
        if let Some(Open { batch, mut lease, start, end }) = self.open.take() {
            lease.body = batch.body.warm().map_or_else(Bytes::new, |body| body.slice(start..end));
            self.done.push(lease);
        }
    }
}

/// A record in its batch.
struct Found<'a> {
    batch: &'a Arc<Batch>,
    record: Record<'a>,
    offset: u64,
    start: usize,
}

impl Group {
    /// Leases records to members with room, as far as there are any in memory; returns the sequence
    /// of the cold batch that holds the next one, if one does.
    pub(crate) fn offer(&mut self, ring: &Ring, now_ms: u64) -> (Vec<Leased>, Option<u64>) {
        let mut hands = Hands::default();
        let mut seen = None;
        while self.members.first().is_some()
            && self.offer_ready(ring, now_ms, &mut seen, &mut hands)
        {}
        if hands.cold.is_none() {
            self.offer_new(ring, now_ms, &mut hands);
        }
        hands.close();
        (hands.done, hands.cold)
    }

    /// Leases the first record that is ready; false if there is none in memory.
    fn offer_ready(
        &mut self,
        ring: &Ring,
        now_ms: u64,
        seen: &mut Option<Seen>,
        hands: &mut Hands,
    ) -> bool {
        let Some(offset) = self.outstanding.first_ready() else { return false };
        if let Some(batch) = ring.find(offset)
            && batch.body.is_cold()
        {
            hands.cold = Some(batch.sequence);
            return false;
        }
        match find(ring, offset, seen) {
            Some(found) => self.lease(&found, now_ms, hands),
            None => {
                self.counts.missed += 1;
                self.remove(offset);
            }
        }
        true
    }

    /// Leases records that were never delivered, batch by batch.
    fn offer_new(&mut self, ring: &Ring, now_ms: u64, hands: &mut Hands) {
        while self.members.first().is_some() {
            if self.next < ring.first() {
                self.counts.missed += ring.first() - self.next;
                self.next = ring.first();
            }
            let Some(batch) = ring.find(self.next).cloned() else { return };
            let Body::Warm(body) = &batch.body else {
                hands.cold = Some(batch.sequence);
                return;
            };
            let (mut offset, mut start) = self.place_in(&batch);
            let rest = body.get(start..).unwrap_or_default();
            for record in Records::of(rest) {
                if offset >= self.next {
                    if self.members.first().is_none() || self.outstanding.len() >= OUTSTANDING_MAX {
                        self.place = Some((batch.base, offset, start));
                        return;
                    }
                    self.next = offset + 1;
                    self.lease(&Found { batch: &batch, record, offset, start }, now_ms, hands);
                }
                offset += 1;
                start += record.encoded.len();
            }
            // Whatever the body held, the batch is passed.
            self.next = self.next.max(batch.next());
            self.place = None;
        }
    }

    /// Where to read a batch on: an offset and the bytes before it.
    fn place_in(&self, batch: &Batch) -> (u64, usize) {
        match self.place {
            Some((base, offset, start)) if base == batch.base && offset <= self.next => {
                (offset, start)
            }
            Some(_) | None => (batch.base, 0),
        }
    }

    /// Leases one record to the member whose turn it is, unless another one of its key is out.
    fn lease(&mut self, found: &Found<'_>, now_ms: u64, hands: &mut Hands) {
        let Found { record, offset, .. } = found;
        let Some(member) = self.members.first() else { return };
        let bytes = u32::try_from(record.encoded.len()).unwrap_or(u32::MAX);
        let before = self.outstanding.remove(*offset);
        let key = match self.rules.ordered {
            true => record.key.map(Arc::<str>::from),
            false => None,
        };
        let may_go = key.as_ref().is_none_or(|key| self.order.may_go(key, *offset));
        let last = if may_go { Some(member) } else { before.as_ref().and_then(|entry| entry.last) };
        let reason = before.as_ref().and_then(|entry| entry.reason.clone());
        let deliveries = before.map_or(0, |entry| entry.deliveries) + u32::from(may_go);
        let until_ms = now_ms.saturating_add(self.rules.ack_timeout_ms);
        let state = match may_go {
            true => State::Leased { member, until_ms },
            false => State::Behind,
        };
        self.outstanding.insert(*offset, Entry { state, deliveries, bytes, key, reason, last });
        if !may_go {
            return;
        }
        self.counts.redelivered += u64::from(deliveries > 1);
        self.members.take(bytes);
        hand_over(found, member, deliveries, hands);
        hands.in_turn += 1;
        if self.members.first() != Some(member) {
            hands.in_turn = 0;
        } else if hands.in_turn >= TURN_RECORDS {
            hands.in_turn = 0;
            self.members.rotate();
        }
    }
}

/// Adds a record to the open lease, if it continues that.
fn hand_over(found: &Found<'_>, member: super::MemberId, deliveries: u32, hands: &mut Hands) {
    let Found { batch, record, offset, start } = found;
    let end = start + record.encoded.len();
    if let Some(open) = &mut hands.open
        && open.lease.member == member
        && Arc::ptr_eq(&open.batch, batch)
        && open.end == *start
    {
        open.lease.deliveries.push((*offset, deliveries));
        open.end = end;
        return;
    }
    hands.close();
    let deliveries = Vec::from([(*offset, deliveries)]);
    let lease = Leased { member, time_ms: batch.time_ms, deliveries, body: Bytes::new() };
    hands.open = Some(Open { batch: Arc::clone(batch), lease, start: *start, end });
}

/// Where a record was found: base of its batch, offset, bytes before it.
type Seen = (u64, u64, usize);

/// Finds a record. What is ready is asked for in order, so that a batch is gone through once.
fn find<'a>(ring: &'a Ring, offset: u64, seen: &mut Option<Seen>) -> Option<Found<'a>> {
    let batch = ring.find(offset)?;
    let (first, mut start) = match *seen {
        Some((base, at, start)) if base == batch.base && at <= offset => (at, start),
        Some(_) | None => (batch.base, 0),
    };
    let body = batch.body.warm()?;
    for (at, record) in (first..).zip(Records::of(body.get(start..).unwrap_or_default())) {
        if at == offset {
            *seen = Some((batch.base, at, start));
            return Some(Found { batch, record, offset, start });
        }
        start += record.encoded.len();
    }
    None
}
