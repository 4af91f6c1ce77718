//! One client: what it has got, and since when it is back.

use std::sync::{Arc, Mutex};

use tidewire_client::{
    Client, Delivery, StartStatus, SubscribedInfo, Subscription, SubscriptionEvent, Watch,
    WatchValue,
};

use super::writers::Written;
use crate::demo::freshness::{Clock, lock};

/// What is known of a client.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The records that it has, all of them from the first, and the votes that it knows of.
    pub(super) records: u64,
    pub(super) votes: u64,
    /// How often it had tried to connect again when it was cut off; nothing before that.
    tried: Option<u64>,
    /// When it was back; attempts that this took; what it had to get then.
    back: Option<Back>,
    pub(super) caught_up_ns: Option<u64>,
    /// What the server did wrong: the first of it.
    pub(super) fault: Option<String>,
}

/// How a client came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back {
    pub(super) at_ns: u64,
    pub(super) attempts: u64,
    records: u64,
    votes: u64,
}

impl Standing {
    /// It is about to be cut off.
    pub(super) fn mark(&mut self, tried: u64) {
        self.tried = Some(tried);
    }

    /// How it came back last.
    pub(super) fn back(&self) -> Option<Back> {
        self.back
    }

    fn fail(&mut self, fault: impl FnOnce() -> String) {
        self.fault.get_or_insert_with(fault);
    }

    /// Its subscription begins, or goes on.
    fn begin(&mut self, info: &SubscribedInfo, now: &Now<'_>) {
        let Some(tried) = self.tried else { return };
        if info.status != StartStatus::Resumed || info.offset != self.records {
            let records = self.records;
            self.fail(|| format!("behind record {records} it went on with {info:?}"));
        }
        self.back = Some(Back {
            at_ns: now.ns,
            attempts: now.attempts.saturating_sub(tried),
            records: now.written.records(),
            votes: now.written.votes(),
        });
        self.caught_up_ns = None;
        self.look(now);
    }

    fn take(&mut self, delivery: &Delivery, now: &Now<'_>) {
        if delivery.from != self.records {
            let (records, from) = (self.records, delivery.from);
            self.fail(|| format!("behind record {records} came {from}"));
        }
        for (offset, record) in delivery.records() {
            let number = record.payload.and_then(|payload| payload.first_chunk().copied());
            let number = number.map(u64::from_be_bytes);
            if number != Some(offset) {
                self.fail(|| format!("at offset {offset} is the record of number {number:?}"));
            }
        }
        self.records = delivery.next;
        self.look(now);
    }

    fn count(&mut self, votes: u64, now: &Now<'_>) {
        if votes < self.votes {
            let before = self.votes;
            self.fail(|| format!("behind {before} votes the tally had {votes}"));
        }
        self.votes = votes;
        self.look(now);
    }

    fn look(&mut self, now: &Now<'_>) {
        let Some(Back { records, votes, .. }) = self.back else { return };
        if self.records >= records && self.votes >= votes {
            self.caught_up_ns.get_or_insert(now.ns);
        }
    }
}

/// How things stand when something comes.
struct Now<'a> {
    ns: u64,
    attempts: u64,
    written: &'a Written,
}

/// A client that follows.
pub(super) struct Follower {
    pub(super) client: Client,
    pub(super) subscription: Subscription,
    pub(super) watch: Watch,
    pub(super) standing: Arc<Mutex<Standing>>,
    pub(super) written: Arc<Written>,
    pub(super) clock: Clock,
}

impl Follower {
    /// Takes what comes until it is dropped, or nothing more will come.
    pub(super) async fn follow(mut self) {
        loop {
            tokio::select! {
                event = self.subscription.next() => {
                    let mut standing = lock(&self.standing);
                    let now = Now {
                        ns: self.clock.now_ns(),
                        attempts: self.client.attempts(),
                        written: &self.written,
                    };
                    match event {
                        Some(SubscriptionEvent::Started(info)) => standing.begin(&info, &now),
                        Some(SubscriptionEvent::Delivery(delivery)) => {
                            standing.take(&delivery, &now);
                        }
                        Some(SubscriptionEvent::Progress(_)) => {}
                        Some(SubscriptionEvent::Gap(gap)) => {
                            standing.fail(|| format!("records are missing: {gap:?}"));
                        }
                        Some(SubscriptionEvent::Ended(refusal)) => {
                            return standing.fail(|| format!("its subscription ended: {refusal}"));
                        }
                        None => return standing.fail(|| "its subscription ended".to_owned()),
                    }
                }
                event = self.watch.next() => {
                    let mut standing = lock(&self.standing);
                    let now = Now {
                        ns: self.clock.now_ns(),
                        attempts: self.client.attempts(),
                        written: &self.written,
                    };
                    match event.map(|event| event.value) {
                        Some(WatchValue::Standings(standings)) => {
                            standing.count(standings.ballots, &now);
                        }
                        Some(other @ (WatchValue::Absent
                        | WatchValue::Counter(_)
                        | WatchValue::Entries { .. })) => {
                            standing.fail(|| format!("the tally is {other:?}"));
                        }
                        None => return standing.fail(|| "its watch ended".to_owned()),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidewire_client::Name;
    use tidewire_client::protocol::record::payload_body;

    use super::*;

    fn now(written: &Written, ns: u64) -> Now<'_> {
        Now { ns, attempts: 5, written }
    }

    fn delivery(numbers: std::ops::Range<u64>, from: u64) -> Delivery {
        let next = from + numbers.end - numbers.start;
        let bodies = numbers.map(|number| payload_body(&number.to_be_bytes()));
        let body = Bytes::from(bodies.flat_map(|body| body.to_vec()).collect::<Vec<u8>>());
        let topic = Name::parse("t").unwrap();
        let (offsets, position) = (None, None);
        Delivery { topic, epoch: 1, from, next, time_ms: 0, position, offsets, body }
    }

    fn resumed(offset: u64) -> SubscribedInfo {
        let (missing, positions) = (None, Vec::new());
        let status = StartStatus::Resumed;
        SubscribedInfo { status, epoch: 1, offset, missing, positions }
    }

    #[test]
    fn who_is_back_has_caught_up_with_what_was_acknowledged_then() {
        let written = Written::of(7, 2);
        let mut standing = Standing::default();
        standing.take(&delivery(0..5, 0), &now(&written, 1));
        standing.mark(3);
        standing.begin(&resumed(5), &now(&written, 10));
        standing.take(&delivery(5..7, 5), &now(&written, 20));
        assert_eq!(standing.caught_up_ns, None, "it knows of no votes yet");
        standing.count(2, &now(&written, 30));
        standing.count(3, &now(&written, 40));
        let back = standing.back().unwrap();
        assert_eq!((back.at_ns, back.attempts, standing.caught_up_ns), (10, 2, Some(30)));
        assert_eq!(standing.fault, None);
    }

    #[test]
    fn what_is_missing_or_comes_twice_is_a_fault() {
        let written = Written::of(0, 0);
        let fault = |does: &dyn Fn(&mut Standing)| {
            let mut standing = Standing::default();
            standing.take(&delivery(0..5, 0), &now(&written, 1));
            standing.mark(0);
            does(&mut standing);
            standing.fault.unwrap_or_default()
        };
        let hole = fault(&|standing| standing.take(&delivery(6..7, 6), &now(&written, 2)));
        assert_eq!(hole, "behind record 5 came 6");
        let twice = fault(&|standing| standing.take(&delivery(4..6, 4), &now(&written, 2)));
        assert_eq!(twice, "behind record 5 came 4");
        let repeated = fault(&|standing| standing.take(&delivery(4..5, 5), &now(&written, 2)));
        assert!(repeated.contains("at offset 5 is the record of number Some(4)"), "{repeated}");
        let behind = fault(&|standing| standing.begin(&resumed(3), &now(&written, 2)));
        assert!(behind.contains("behind record 5 it went on"), "{behind}");
    }
}
