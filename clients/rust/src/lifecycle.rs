//! The link as the connection's task sees it: from one connection to the next.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ErrorCode, Refusal};

use crate::error::Error;
use crate::leaving::Leaving;
use crate::link::Link;
use crate::outbox::Framing;
use crate::routes::Route;
use crate::state::ConnectionState;
use crate::waiting::{Waiter, Waiting};

/// More unanswered requests than this are not kept, whatever the server allows.
const IN_FLIGHT_CEILING: usize = 1 << 20;

impl Link {
    /// Waits for the next bytes to write.
    pub(crate) async fn next_segment(&self) -> Vec<u8> {
        loop {
            let segment = self.traffic().outbox.take();
            match segment {
                Some(segment) => {
                    self.roomy.notify_waiters();
                    return segment;
                }
                None => self.filled.notified().await,
            }
        }
    }

    /// The bytes from [`Self::next_segment`] are with the transport.
    pub(crate) fn written(&self) {
        self.traffic().outbox.written();
        self.settled.notify_one();
    }

    /// Something was received.
    pub(crate) fn heard(&self) {
        self.heard_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    /// How long nothing was received.
    pub(crate) fn silent_for(&self) -> Duration {
        let heard_ms = self.heard_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.age_ms().saturating_sub(heard_ms))
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes the request that is answered by now.
    pub(crate) fn answered(&self, req: u64) -> Option<Waiter> {
        let mut traffic = self.traffic();
        let waiting = traffic.waiting.remove(req)?;
        if waiting.refused_at.is_some_and(|at| at.elapsed() < self.repeat_for) {
            traffic.repeating.succeeded();
        }
        drop(traffic);
        if waiting.holds_room {
            self.room.add_permits(1);
        }
        self.settled.notify_one();
        Some(waiting.waiter)
    }

    pub(crate) fn part(&self, refusal: Refusal) {
        let (code, reason) = (refusal.code.name(), &refusal.message);
        tracing::warn!(code, reason, "the server is about to end the connection");
        let mut traffic = self.traffic();
        traffic.is_unauthenticated |= refusal.code == ErrorCode::Unauthenticated;
        traffic.parting = Some(refusal);
    }

    /// The server has ended the connection with this code.
    pub(crate) fn closed_with(&self, code: ErrorCode) {
        self.traffic().is_unauthenticated |= code == ErrorCode::Unauthenticated;
    }

    /// Whether the server has ended a connection because of who this is, and nobody has looked at that yet.
    pub(crate) fn was_unauthenticated(&self) -> bool {
        std::mem::take(&mut self.traffic().is_unauthenticated)
    }

    /// What the server said before it closed the connection.
    pub(crate) fn take_parting(&self) -> Option<Refusal> {
        self.traffic().parting.take()
    }

    /// The server wants the client to go.
    pub(crate) fn ask_to_go(&self, leaving: Leaving) {
        self.traffic().leaving = Some(leaving);
        self.goaway.notify_one();
    }

    /// Waits until the server wants the client to go.
    pub(crate) async fn asked_to_go(&self) -> Leaving {
        loop {
            let asked = self.goaway.notified();
            if let Some(leaving) = self.traffic().leaving.take() {
                return leaving;
            }
            asked.await;
        }
    }

    /// The server is about to end the connection, and there is no other one: nothing new is written to it.
    pub(crate) fn go_away(&self, refusal: Refusal) {
        let reason = format!("the server goes away: {refusal}");
        let mut traffic = self.traffic();
        traffic.online = false;
        traffic.parting = Some(refusal);
        drop(traffic);
        self.set_state(ConnectionState::Disconnected { reason });
    }

    /// Another connection is there: requests wait until it is taken, and what is written already is answered.
    pub(crate) fn change_over(&self) {
        self.pause();
        self.set_state(ConnectionState::Connecting);
    }

    /// Writes no more requests; what is written already is answered.
    pub(crate) fn pause(&self) {
        self.traffic().online = false;
    }

    /// Waits until nothing is unwritten, or unanswered; what waits to be sent again does not count.
    pub(crate) async fn drained(&self) {
        loop {
            let settled = self.settled.notified();
            if self.is_idle() {
                return;
            }
            settled.await;
        }
    }

    fn is_idle(&self) -> bool {
        let traffic = self.traffic();
        !traffic.waiting.is_under_way() && traffic.outbox.is_idle()
    }

    pub(crate) fn request_close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until the application closes the client.
    pub(crate) async fn close_requested(&self) {
        // The sender lives as long as `self`.
        drop(self.closing.subscribe().wait_for(|closing| *closing).await);
    }

    pub(crate) fn set_state(&self, state: ConnectionState) {
        self.states.send_replace(state);
    }

    /// A new connection is there: everything that goes on after a cut is sent first.
    pub(crate) fn resume(&self, framing: Framing, info: ServerInfo) {
        let mut traffic = self.traffic();
        let in_flight_max = usize::try_from(info.in_flight_max).unwrap_or(usize::MAX);
        let in_flight_max = in_flight_max.clamp(1, IN_FLIGHT_CEILING);
        let before = std::mem::replace(&mut traffic.in_flight_max, in_flight_max);
        self.room.add_permits(in_flight_max.saturating_sub(before));
        // Room that is taken at the moment stays: the server reads late then, no more.
        self.room.forget_permits(before.saturating_sub(in_flight_max));
        let frame_bytes_max = usize::try_from(info.max_frame_bytes)
            .ok()
            .filter(|max| *max > 0)
            .unwrap_or(tidewire_protocol::FRAME_BYTES_MAX);
        traffic.outbox.begin(framing, frame_bytes_max);
        let before = traffic.info.actor;
        traffic.waiting.note_tried(before);
        traffic.info = info;
        (traffic.parting, traffic.leaving) = (None, None);
        traffic.repeating.begin();
        for ((name, member), data) in traffic.members.clone() {
            traffic.push_rejoin(name, member, data);
        }
        let routes: Vec<(u32, Route)> =
            self.routes().table.iter().map(|(sub, route)| (*sub, route.clone())).collect();
        for (sub, route) in routes {
            if let Route::Consumer(shelf) = &route {
                shelf.begin();
            }
            traffic.push_opening(sub, &route);
        }
        traffic.ask_again();
        let freed = traffic.push_repeats();
        traffic.online = true;
        drop(traffic);
        self.room.add_permits(freed);
        self.heard();
        self.filled.notify_one();
    }

    /// The connection is gone: requests that must not be repeated fail.
    pub(crate) fn cut(&self, reason: &str) {
        let mut traffic = self.traffic();
        traffic.online = false;
        traffic.outbox.clear();
        let lost = traffic.waiting.take_unrepeatable();
        drop(traffic);
        self.roomy.notify_waiters();
        self.fail(lost, &Error::ConnectionLost { reason: reason.to_owned() });
    }

    /// The end of this client: `state` is Failed or Closed, and `why` is told to all who wait.
    pub(crate) fn shut(&self, state: ConnectionState, why: &Error) {
        self.set_state(state);
        self.room.close();
        let mut traffic = self.traffic();
        traffic.online = false;
        let lost = traffic.waiting.take_all();
        drop(traffic);
        self.roomy.notify_waiters();
        self.fail(lost, why);
        let routes = std::mem::take(&mut self.routes().table);
        for route in routes.into_values() {
            route.end(why);
        }
    }

    pub(crate) fn fail(&self, lost: Vec<Waiting>, why: &Error) {
        for waiting in lost {
            if waiting.holds_room {
                self.room.add_permits(1);
            }
            match waiting.waiter {
                // A reply that nobody waits for any more is no loss.
                Waiter::Reply(sender) => drop(sender.send(Err(why.clone()))),
                // Subscriptions and watches are opened again after the cut.
                Waiter::Opens(_) | Waiter::Rejoins | Waiter::Numbers | Waiter::Nobody => {}
            }
        }
    }
}
