//! Requests that the server could not carry out at the moment, sent again after a pause: the node that
//! led the shard of a name is gone, and another one is about to take its place.
//!
//! A request is sent again only if doing it twice is the same as doing it once, for a limited time, and
//! it keeps its room in flight meanwhile, so there are never more than the server allows.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame};

use crate::backoff::Backoff;
use crate::error::Error;
use crate::link::Link;
use crate::numbering::is_numbered;

/// Bounds of the pause, which doubles as long as nothing is carried out.
const PAUSE_MS: (u64, u64) = (50, 500);

/// Who asks for a longer pause than this is not about to change leaders: the caller is told so.
const ASKED_MS_MAX: u64 = 2_000;

/// What waits to be sent again.
#[derive(Debug)]
pub(crate) struct Repeating {
    /// When; nothing waits if `None`. All of it goes together, so that its order stays.
    at: Option<Instant>,
    backoff: Backoff,
    /// Subscriptions, watches and consumers that do not run at the moment: since when, and whether they
    /// are to be opened then. There are no more than of these.
    openings: HashMap<u32, Opening>,
    /// Whether a publish is among the requests: those behind it wait, for the sake of their order.
    pub(crate) holds_publishes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Opening {
    since: Instant,
    is_due: bool,
}

impl Default for Repeating {
    fn default() -> Self {
        let (shortest, longest) = PAUSE_MS;
        Self {
            at: None,
            backoff: Backoff::new(shortest, longest),
            openings: HashMap::new(),
            holds_publishes: false,
        }
    }
}

impl Repeating {
    /// When what was refused now is sent again. The server may ask for a longer pause.
    fn schedule(&mut self, asked_ms: Option<u64>) {
        let pause =
            if self.at.is_none() { self.backoff.next(fastrand::f64()) } else { Duration::ZERO };
        let asked = Duration::from_millis(asked_ms.unwrap_or(0));
        let at = Instant::now() + pause.max(asked);
        self.at = self.at.max(Some(at));
    }

    /// Something was carried out: the next pause is a short one.
    pub(crate) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    /// A new connection begins: everything is sent on it.
    pub(crate) fn begin(&mut self) {
        self.at = None;
        self.holds_publishes = false;
        for opening in self.openings.values_mut() {
            opening.is_due = false;
        }
    }

    /// It runs, or has ended.
    pub(crate) fn forget_opening(&mut self, sub: u32) {
        self.openings.remove(&sub);
    }

    fn due_openings(&mut self) -> Vec<u32> {
        let due = self.openings.iter_mut().filter(|(_, opening)| opening.is_due);
        let mut due: Vec<u32> = due
            .map(|(sub, opening)| {
                opening.is_due = false;
                *sub
            })
            .collect();
        due.sort_unstable();
        due
    }
}

impl Link {
    /// Keeps a request that was refused for the moment, to be sent again. Returns whether it does.
    pub(crate) fn postpone(&self, req: u64, frame: &ServerFrame) -> bool {
        let ServerFrame::Error { code, retry_after_ms, .. } = frame else { return false };
        let mut traffic = self.traffic();
        let Some(waiting) = traffic.waiting.get_mut(req) else { return false };
        let Some(repeat) = &waiting.repeat else { return false };
        match ErrorCode::from_number(*code) {
            Some(ErrorCode::Unavailable) => {}
            // Its consumer is about to be opened again.
            Some(ErrorCode::SubscriptionUnknown) if self.settles_here(repeat) => {}
            Some(_) | None => return false,
        }
        let since = *waiting.refused_at.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.repeat_for || asks_for_long(*retry_after_ms) {
            return false;
        }
        waiting.is_postponed = true;
        let holds_publishes = is_numbered(repeat);
        traffic.repeating.holds_publishes |= holds_publishes;
        traffic.repeating.schedule(*retry_after_ms);
        drop(traffic);
        self.postponed.notify_one();
        self.settled.notify_one();
        true
    }

    /// Whether it says what became of a record that a consumer of this client has.
    fn settles_here(&self, frame: &ClientFrame) -> bool {
        let ClientFrame::Settle { sub, .. } = frame else { return false };
        self.routes().table.contains_key(sub)
    }

    /// A subscription, watch or consumer was not opened, or was ended, for the moment: it is opened again.
    /// Returns false if that was tried for too long. What ran before is not given up sooner than a
    /// connection is.
    pub(crate) fn postpone_opening(&self, sub: u32, refusal: &Refusal, ran_before: bool) -> bool {
        let at_most = match ran_before {
            true => self.repeat_for.max(self.patience),
            false => self.repeat_for,
        };
        let is_long = !ran_before && asks_for_long(refusal.retry_after_ms);
        let mut traffic = self.traffic();
        let new = Opening { since: Instant::now(), is_due: true };
        let opening = traffic.repeating.openings.entry(sub).or_insert(new);
        opening.is_due = true;
        if opening.since.elapsed() >= at_most || is_long {
            traffic.repeating.forget_opening(sub);
            return false;
        }
        traffic.repeating.schedule(refusal.retry_after_ms);
        drop(traffic);
        self.postponed.notify_one();
        true
    }

    /// Sends again what waits for it, whenever its time has come.
    pub(crate) async fn repeat_when_due(&self) -> Infallible {
        loop {
            let more = self.postponed.notified();
            let at = self.traffic().repeating.at;
            match at {
                None => more.await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => self.send_postponed(),
                    () = more => {}
                },
            }
        }
    }

    fn send_postponed(&self) {
        let mut traffic = self.traffic();
        traffic.repeating.at = None;
        if !traffic.online {
            // The next connection begins with it.
            return;
        }
        traffic.repeating.holds_publishes = false;
        // Consumers first: what they settle refers to them.
        for sub in traffic.repeating.due_openings() {
            let route = self.routes().table.get(&sub).cloned();
            match route {
                Some(route) => traffic.push_opening(sub, &route),
                None => traffic.repeating.forget_opening(sub),
            }
        }
        let freed = traffic.push_repeats_that(|waiting| waiting.is_postponed);
        drop(traffic);
        self.room.add_permits(freed);
        self.roomy.notify_waiters();
        self.filled.notify_one();
    }

    /// There was no connection for too long: what was sent on the last one is given up.
    pub(crate) fn give_up(&self, reason: &str) {
        let lost = self.traffic().waiting.take_all();
        self.fail(lost, &Error::ConnectionLost { reason: reason.to_owned() });
    }
}

fn asks_for_long(retry_after_ms: Option<u64>) -> bool {
    retry_after_ms.is_some_and(|asked_ms| asked_ms > ASKED_MS_MAX)
}

/// Whether a subscription may go on a little later. One that ran before may wait for the copy of its topic
/// on the node that it goes on with, which has not arrived there yet.
pub(crate) fn may_go_on_later(refusal: &Refusal, ran_before: bool) -> bool {
    refusal.code == ErrorCode::Unavailable
        || (ran_before && (refusal.code.is_retryable() || refusal.code == ErrorCode::OutOfRange))
}
