//! Takes what the server sends to where it belongs.

use bytes::Bytes;
use tidewire_protocol::frame::split_first;
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame};

use crate::error::{self, Error};
use crate::leaving::Leaving;
use crate::link::Link;
use crate::repeating::may_go_on_later;
use crate::routes::Route;
use crate::waiting::Waiter;

impl Link {
    /// Takes one or more whole frames.
    ///
    /// # Errors
    /// Why the connection cannot go on.
    pub(crate) fn receive(&self, mut message: Bytes) -> Result<(), String> {
        self.heard();
        while !message.is_empty() {
            let frame = split_first(&mut message).map_err(|broken| {
                format!("the server sent something that is no frame: {broken}")
            })?;
            match ServerFrame::decode(&frame) {
                Ok(frame) => self.dispatch(frame)?,
                // A newer server may send more than this client knows.
                Err(bad) if bad.refusal.code == ErrorCode::UnknownFrame => {
                    tracing::debug!(reason = %bad.refusal, "ignored");
                }
                Err(bad) => return Err(format!("the server sent a bad frame: {}", bad.refusal)),
            }
        }
        Ok(())
    }

    fn dispatch(&self, frame: ServerFrame) -> Result<(), String> {
        match frame {
            ServerFrame::Deliver { sub, .. }
            | ServerFrame::Gap { sub, .. }
            | ServerFrame::Progress { sub, .. }
            | ServerFrame::Leased { sub, .. }
            | ServerFrame::Update { sub, .. } => self.route(sub, frame),
            ServerFrame::Ping { nonce } => self.control(&ClientFrame::Pong { nonce }),
            // PING's nonce is a request id here; the heartbeat's is 0.
            ServerFrame::Pong { nonce } => return self.reply(nonce, frame),
            ServerFrame::GoAway { code, message, grace_ms, nodes } => {
                let refusal = error::refusal(code, message, None, None);
                self.ask_to_go(Leaving::new(refusal, grace_ms, nodes));
            }
            ServerFrame::Error { req: 0, code, message, retry_after_ms, sub, actual } => {
                let refusal = error::refusal(code, message, retry_after_ms, actual);
                match sub {
                    Some(sub) => self.refused_route(sub, refusal),
                    None => self.part(refusal),
                }
            }
            ServerFrame::Error { req, .. }
            | ServerFrame::Ok { req, .. }
            | ServerFrame::PubAck { req, .. }
            | ServerFrame::Subscribed { req, .. }
            | ServerFrame::Counted { req, .. }
            | ServerFrame::Voted { req, .. }
            | ServerFrame::Value { req, .. }
            | ServerFrame::Watching { req, .. } => return self.reply(req, frame),
            ServerFrame::Welcome { .. } => tracing::debug!("a second WELCOME is ignored"),
        }
        Ok(())
    }

    /// Takes a delivery; what comes for a subscription that has just been dropped is ignored.
    fn route(&self, sub: u32, frame: ServerFrame) {
        let routes = self.routes();
        match routes.table.get(&sub) {
            Some(Route::Subscription(inbox)) => inbox.receive(frame),
            Some(Route::Watch(slot)) => slot.receive(frame),
            Some(Route::Consumer(shelf)) => shelf.receive(frame),
            None => {}
        }
    }

    /// What has run does not run any more. One that a change of leaders has ended begins again.
    fn refused_route(&self, sub: u32, refusal: Refusal) {
        let is_there = self.routes().table.contains_key(&sub);
        let is_brief = is_there && refusal.code == ErrorCode::Unavailable;
        if !(is_brief && self.postpone_opening(sub, &refusal, true)) {
            self.end_route(sub, &Error::Refused(refusal));
        }
    }

    fn end_route(&self, sub: u32, why: &Error) {
        let route = self.routes().table.remove(&sub);
        self.traffic().repeating.forget_opening(sub);
        if let Some(route) = route {
            route.end(why);
        }
    }

    fn reply(&self, req: u64, frame: ServerFrame) -> Result<(), String> {
        if self.renumber(req, &frame) || self.postpone(req, &frame) {
            return Ok(());
        }
        if matches!(frame, ServerFrame::Error { .. }) {
            self.traffic().note_refused_join(req);
        }
        match self.answered(req) {
            // Nobody waits for a reply whose Pending was dropped.
            Some(Waiter::Reply(sender)) => drop(sender.send(Ok(frame))),
            Some(Waiter::Opens(sub)) => self.opened(sub, frame),
            Some(Waiter::Numbers) => self.numbered(&frame),
            Some(Waiter::Rejoins | Waiter::Nobody) | None => self.unexpected(frame),
        }
        Ok(())
    }

    /// The reply to SUBSCRIBE or WATCH.
    fn opened(&self, sub: u32, frame: ServerFrame) {
        let Some(route) = self.routes().table.get(&sub).cloned() else { return };
        if let ServerFrame::Error { code, message, retry_after_ms, actual, .. } = frame {
            let refusal = error::refusal(code, message, retry_after_ms, actual);
            let ran_before = !route.is_opening();
            let is_brief = may_go_on_later(&refusal, ran_before);
            if !(is_brief && self.postpone_opening(sub, &refusal, ran_before)) {
                self.end_route(sub, &Error::Refused(refusal));
            }
            return;
        }
        self.traffic().repeating.forget_opening(sub);
        match route {
            Route::Subscription(inbox) => inbox.opened(frame),
            Route::Watch(slot) => slot.opened(frame),
            Route::Consumer(shelf) => shelf.opened(),
        }
    }

    /// A reply that no request of this client waits for.
    fn unexpected(&self, frame: ServerFrame) {
        match frame {
            ServerFrame::Error { code, message, retry_after_ms, sub, actual, .. } => {
                let refusal = error::refusal(code, message, retry_after_ms, actual);
                match sub {
                    Some(sub) => self.end_route(sub, &Error::Refused(refusal)),
                    None => tracing::warn!(%refusal, "a request without a reply was refused"),
                }
            }
            ServerFrame::Welcome { .. }
            | ServerFrame::Ping { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::GoAway { .. }
            | ServerFrame::Ok { .. }
            | ServerFrame::PubAck { .. }
            | ServerFrame::Subscribed { .. }
            | ServerFrame::Deliver { .. }
            | ServerFrame::Gap { .. }
            | ServerFrame::Progress { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Value { .. }
            | ServerFrame::Watching { .. }
            | ServerFrame::Leased { .. }
            | ServerFrame::Update { .. } => {}
        }
    }
}
