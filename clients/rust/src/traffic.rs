//! Requests on their way, and what is sent first on a new connection.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewire_protocol::frame::PresenceOp;
use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Refusal};

use crate::error::Error;
use crate::leaving::Leaving;
use crate::numbering::{Numbering, wants_number};
use crate::outbox::Outbox;
use crate::repeating::Repeating;
use crate::routes::Route;
use crate::waiting::{Waiter, Waiting, WaitingTable, is_repeatable};

/// Unanswered requests, unless the server allows another number.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;
/// Members that one client stands for.
const MEMBERS_MAX: usize = 65_536;

/// One connection's traffic, and what outlives it.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Whether requests may be written.
    pub(crate) online: bool,
    pub(crate) waiting: WaitingTable,
    pub(crate) outbox: Outbox,
    pub(crate) info: ServerInfo,
    pub(crate) in_flight_max: usize,
    /// Presence to declare again after a cut: set and member, with what the member gave.
    pub(crate) members: BTreeMap<(Name, String), Option<Bytes>>,
    pub(crate) numbering: Numbering,
    pub(crate) repeating: Repeating,
    /// Requests that were sent again, each time.
    pub(crate) repeated: u64,
    /// What the server said before it closed.
    pub(crate) parting: Option<Refusal>,
    /// It was that the token is none, or has expired.
    pub(crate) is_unauthenticated: bool,
    /// The server wants the client to go, and nobody has looked at that yet.
    pub(crate) leaving: Option<Leaving>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            online: false,
            waiting: WaitingTable::default(),
            outbox: Outbox::new(),
            info: ServerInfo::default(),
            in_flight_max: IN_FLIGHT_MAX,
            members: BTreeMap::new(),
            numbering: Numbering::default(),
            repeating: Repeating::default(),
            repeated: 0,
            parting: None,
            is_unauthenticated: false,
            leaving: None,
        }
    }

    /// Whether a request may be written.
    pub(crate) fn has_room(&mut self) -> bool {
        self.outbox.has_room()
    }

    /// Writes a request and waits for its reply. `hold` keeps the room it takes.
    pub(crate) fn push_request(
        &mut self,
        req: u64,
        mut frame: ClientFrame,
        waiter: Waiter,
        hold: impl FnOnce(),
    ) -> Result<(), Error> {
        let is_numbered_here = wants_number(&frame);
        self.number(&mut frame);
        self.check_members(&frame)?;
        self.outbox.push(&frame)?;
        self.note_join(&frame);
        if !matches!(waiter, Waiter::Nobody) {
            let repeat = is_repeatable(&frame).then_some(frame);
            let waiting = Waiting::new(waiter, repeat, true);
            self.waiting.insert(req, Waiting { is_numbered_here, ..waiting });
            hold();
        }
        Ok(())
    }

    fn check_members(&self, frame: &ClientFrame) -> Result<(), Refusal> {
        let ClientFrame::Presence { op: PresenceOp::Join, name, member, .. } = frame else {
            return Ok(());
        };
        let is_known = || self.members.contains_key(&(name.clone(), member.clone()));
        if self.members.len() < MEMBERS_MAX || is_known() {
            return Ok(());
        }
        let rule = format!("a client has at most {MEMBERS_MAX} members present: connect another");
        Err(Refusal::new(ErrorCode::LimitExceeded, rule))
    }

    /// A member that was declared is declared again after a cut.
    fn note_join(&mut self, frame: &ClientFrame) {
        if let ClientFrame::Presence { op: PresenceOp::Join, name, member, data, .. } = frame {
            self.members.insert((name.clone(), member.clone()), data.clone());
        }
    }

    /// A join that the server refuses is not said again, whether somebody waits for the answer or not.
    pub(crate) fn note_refused_join(&mut self, req: u64) {
        let Some(waiting) = self.waiting.get_mut(req) else { return };
        if let Waiter::Reply(_) = waiting.waiter
            && let Some(ClientFrame::Presence { op: PresenceOp::Join, name, member, .. }) =
                &waiting.repeat
        {
            self.members.remove(&(name.clone(), member.clone()));
        }
    }

    pub(crate) fn push_opening(&mut self, sub: u32, route: &Route) {
        let req = self.waiting.next_req();
        let Some(frame) = route.open(req, sub) else { return };
        if let Err(refusal) = self.outbox.push(&frame) {
            return route.end(&refusal.into());
        }
        let waiting = Waiting::new(Waiter::Opens(sub), None, false);
        self.waiting.insert(req, waiting);
    }

    pub(crate) fn push_rejoin(&mut self, name: Name, member: String, data: Option<Bytes>) {
        let req = self.waiting.next_req();
        let op = PresenceOp::Join;
        let frame = ClientFrame::Presence { req, op, name, member, data };
        // It fitted before; when the server takes smaller frames now, the member is not there.
        if self.outbox.push(&frame).is_ok() {
            let waiting = Waiting::new(Waiter::Rejoins, Some(frame), false);
            self.waiting.insert(req, waiting);
        }
    }

    /// Sends again what may be sent again; returns the room of what no longer fits.
    pub(crate) fn push_repeats(&mut self) -> usize {
        // Members were declared again just now.
        self.push_repeats_that(|waiting| !matches!(waiting.waiter, Waiter::Rejoins))
    }

    /// The same for those of which this holds. A publish whose number is not known waits for it.
    pub(crate) fn push_repeats_that(&mut self, which: fn(&Waiting) -> bool) -> usize {
        let mut freed = 0;
        for (req, mut frame) in self.waiting.repeats(which) {
            let is_renumbered = wants_number(&frame);
            if !self.number(&mut frame) {
                continue;
            }
            let Err(refusal) = self.outbox.push(&frame) else {
                self.repeated += 1;
                if let Some(waiting) = self.waiting.get_mut(req) {
                    waiting.is_postponed = false;
                    waiting.attempts = if is_renumbered { 1 } else { waiting.attempts + 1 };
                    waiting.repeat = is_repeatable(&frame).then_some(frame);
                }
                continue;
            };
            let Some(waiting) = self.waiting.remove(req) else { continue };
            freed += usize::from(waiting.holds_room);
            if let Waiter::Reply(sender) = waiting.waiter {
                drop(sender.send(Err(refusal.into())));
            }
        }
        freed
    }
}
