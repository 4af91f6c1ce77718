//! What connections may do: decided once for each name, and remembered for all with the same rules.

mod table;

pub(super) use table::Accesses;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tidewire_protocol::frame::{PresenceOp, Start};
use tidewire_protocol::group::GroupOptions;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, Refusal};

use super::request::{check_at_most, writable};
use super::session::{Owner, SubId};
use super::shard_request::PERSON_BYTES_MAX;
use super::{Dispatcher, Target};
use crate::access::{Access, LOCAL_ISSUER, Operation, Operations, Voter};
use crate::shard::SessionId;

/// What a session has of it.
#[derive(Debug)]
pub(super) struct SessionAccess {
    pub(super) access: Access,
    /// Place of the permissions among those in use.
    place: usize,
}

impl Dispatcher {
    /// Says who a connection is and what it may do, also in place of what was said before: what it
    /// follows and may not any more ends. A connection of which nothing is said may do everything.
    pub fn set_access(&mut self, id: SessionId, mut access: Access) {
        let Some(slot) = self.slot(id) else { return };
        let (place, permissions) = self.accesses.add(&access.permissions);
        access.permissions = permissions;
        let Some(session) = self.sessions.get_mut(slot) else { return };
        let before = session.rest.access.replace(Box::new(SessionAccess { access, place }));
        self.release_access(before);
        self.end_forbidden(slot);
    }

    /// Says nothing of a connection any more: it may do everything.
    pub fn forget_access(&mut self, id: SessionId) {
        let session = self.slot(id).and_then(|slot| self.sessions.get_mut(slot));
        let access = session.and_then(|session| session.rest.access.take());
        self.release_access(access);
    }

    pub(super) fn release_access(&mut self, access: Option<Box<SessionAccess>>) {
        if let Some(access) = access {
            self.accesses.remove(access.place);
        }
    }

    /// Who a connection is, and what it may do.
    #[must_use]
    pub fn access(&self, id: SessionId) -> Option<&Access> {
        let slot = self.slot(id)?;
        Some(&self.sessions.get(slot)?.rest.access.as_ref()?.access)
    }

    /// Sets of permissions that connections have; equal ones are kept once.
    #[must_use]
    pub fn permissions(&self) -> usize {
        self.accesses.len()
    }

    /// Whether the session may do all of this with a name.
    #[inline]
    pub(super) fn allows(&mut self, slot: usize, needs: Operations, name: &Name) -> bool {
        match self.sessions.get(slot).map(|session| session.rest.access.as_ref()) {
            // Nobody is there.
            None => false,
            Some(None) => true,
            Some(Some(access)) => {
                let place = access.place;
                self.accesses.operations(place, name).has_all(needs)
            }
        }
    }

    /// Whether the rules refuse a request, so that nobody else need be asked about it.
    pub fn refuses(&mut self, id: SessionId, frame: &ClientFrame) -> bool {
        let checked = self.check_access(id, frame).and_then(|()| match frame {
            ClientFrame::Publish { topic: name, .. } | ClientFrame::Incr { counter: name, .. } => {
                writable(name)
            }
            ClientFrame::Vote { tally, voter, .. } => {
                check_at_most("voter", voter, PERSON_BYTES_MAX)?;
                self.person(id, (Operation::Vote, tally), voter).map(drop)
            }
            ClientFrame::Group { options, .. } => self.check_dead_letter(id, options),
            ClientFrame::Hello { .. }
            | ClientFrame::Auth { .. }
            | ClientFrame::Ping { .. }
            | ClientFrame::Pong { .. }
            | ClientFrame::Subscribe { .. }
            | ClientFrame::Unsubscribe { .. }
            | ClientFrame::Credit { .. }
            | ClientFrame::Get { .. }
            | ClientFrame::Watch { .. }
            | ClientFrame::Presence { .. }
            | ClientFrame::Tally { .. }
            | ClientFrame::Producer { .. }
            | ClientFrame::Consume { .. }
            | ClientFrame::Invalidate { .. }
            | ClientFrame::Topic { .. }
            | ClientFrame::Settle { .. } => Ok(()),
        });
        checked.is_err()
    }

    /// Refuses a frame that asks for what the connection may not do.
    pub(super) fn check_access(
        &mut self,
        id: SessionId,
        frame: &ClientFrame,
    ) -> Result<(), Refusal> {
        let Some(slot) = self.slot(id) else { return Ok(()) };
        if self.sessions.get(slot).is_none_or(|session| session.rest.access.is_none()) {
            return Ok(());
        }
        let needs = needs_of(frame);
        if let ClientFrame::Subscribe { pattern, .. } = frame {
            return match pattern.as_name() {
                Some(name) => self.check_allowed(slot, needs, &name),
                None => self.check_pattern(slot, needs, pattern),
            };
        }
        match frame.name() {
            Some(name) => self.check_allowed(slot, needs, name),
            None => Ok(()),
        }
    }

    fn check_allowed(
        &mut self,
        slot: usize,
        needs: Operations,
        name: &Name,
    ) -> Result<(), Refusal> {
        if self.allows(slot, needs, name) {
            return Ok(());
        }
        let session = self.sessions.get(slot);
        let access = session.and_then(|session| session.rest.access.as_ref());
        let message = access.map_or_else(String::new, |session| {
            let access = &session.access;
            let denied = needs.iter().find_map(|operation| {
                let verdict = access.permissions.explain(operation, name);
                let subject = &access.identity.subject;
                (!verdict.is_allowed).then(|| verdict.refusal(subject, operation, name))
            });
            denied.unwrap_or_default()
        });
        Err(Refusal::new(ErrorCode::Forbidden, message))
    }

    /// Of a pattern with wildcards a connection gets what it may have; where that is nothing, whatever
    /// there is, it is refused.
    fn check_pattern(
        &self,
        slot: usize,
        needs: Operations,
        pattern: &Pattern,
    ) -> Result<(), Refusal> {
        let session = self.sessions.get(slot);
        let Some(access) = session.and_then(|session| session.rest.access.as_ref()) else {
            return Ok(());
        };
        let Access { permissions, identity, .. } = &access.access;
        if permissions.may_allow(needs, pattern) {
            return Ok(());
        }
        let subject = identity.subject.escape_default();
        let within = permissions.tenant.as_ref().map(|tenant| format!(", and {tenant}"));
        let within = within.unwrap_or_default();
        let message =
            format!("'{subject}': no rule allows {needs} on any name of '{pattern}'{within}");
        Err(Refusal::new(ErrorCode::Forbidden, message))
    }

    /// Ends what a session follows or consumes and may not any more.
    fn end_forbidden(&mut self, slot: usize) {
        let Some(session) = self.sessions.get(slot) else { return };
        let id = session.id;
        let subs: Vec<(u32, SubId)> =
            session.rest.subs.iter().map(|(sub, entry)| (*sub, *entry)).collect();
        let consuming: Vec<(u32, Name)> = session
            .rest
            .consuming
            .iter()
            .map(|(sub, consuming)| (*sub, consuming.topic.clone()))
            .collect();
        for (sub, entry) in subs {
            let Some(needs) = self.subs.get(entry).map(|entry| entry.needs) else { continue };
            let Some(name) = self.name_of(entry) else { continue };
            if let Err(refusal) = self.check_allowed(slot, needs, &name) {
                let owner = Owner { slot, entry, sub, is_plain: false };
                let is_told = self.subs.get(entry).is_some_and(|entry| entry.is_open);
                match is_told {
                    true => self.end_with(owner, refusal),
                    // Its request waits for an answer yet.
                    false => self.refuse_sub(owner, refusal),
                }
            }
        }
        let needs = Operations::from_iter([Operation::Group]);
        for (sub, topic) in consuming {
            match self.check_allowed(slot, needs, &topic) {
                Err(refusal) => self.stop_consumer(id, sub, refusal),
                Ok(()) => self.keep_consumer(id, sub),
            }
        }
        self.mark_replied(slot);
    }

    /// The name that a subscription or watch is about, unless it is on a pattern.
    fn name_of(&self, entry: SubId) -> Option<Name> {
        let cursor = *self.subs.get(entry)?.cursors.first()?;
        match &self.cursors.get(cursor)?.target {
            Target::Topic(target) => Some(self.topics.get(target.view)?.name.clone()),
            Target::Watch(target) => Some(self.cells.get(target.view)?.name.clone()),
            Target::Pattern(_) => None,
        }
    }

    /// Ends connections whose access has run out.
    pub(super) fn end_expired(&mut self) {
        let now_ms = self.now_ms;
        for (_, session) in &self.sessions {
            let access = session.rest.access.as_ref();
            let expires_at_ms = access.and_then(|access| access.access.expires_at_ms);
            if expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                let message = "the token (or the client's certificate) has expired: connect with \
                               another, or send a token in time with AUTH";
                let refusal = Refusal::new(ErrorCode::Unauthenticated, message);
                self.closing.push((session.id, refusal));
            }
        }
    }

    /// Refuses dead letters for a topic that the connection may not publish to itself.
    pub(super) fn check_dead_letter(
        &mut self,
        id: SessionId,
        options: &GroupOptions,
    ) -> Result<(), Refusal> {
        let (Some(slot), Some(topic)) = (self.slot(id), &options.dead_letter) else {
            return Ok(());
        };
        self.check_allowed(slot, Operations::from_iter([Operation::Publish]), &Name::parse(topic)?)
    }

    /// Who a session means by a name of a voter or a member: itself, unless it may act for others.
    pub(super) fn person<'a>(
        &'a self,
        id: SessionId,
        (operation, on): (Operation, &Name),
        named: &'a str,
    ) -> Result<Voter<'a>, Refusal> {
        let Some(access) = self.access(id) else {
            return Ok(Voter { issuer: LOCAL_ISSUER, subject: named });
        };
        let (issuer, subject) = (&*access.identity.issuer, &*access.identity.subject);
        if named.is_empty() || named == subject {
            return Ok(Voter { issuer, subject });
        }
        if access.permissions.acts_for_others(operation, on) {
            return Ok(Voter { issuer, subject: named });
        }
        let (named, own) = (named.escape_default(), subject.escape_default());
        let operation = operation.as_str();
        let message = format!(
            "'{own}' may not {operation} '{on}' as '{named}': leave the name empty, or use a role \
             with acts_for_others"
        );
        Err(Refusal::new(ErrorCode::Forbidden, message))
    }
}

/// What a subscription needs with the topics that it gets.
pub(super) fn needs_to_follow(start: &Start) -> Operations {
    match start {
        Start::Latest => Operations::from_iter([Operation::Subscribe]),
        Start::Earliest
        | Start::Offset { .. }
        | Start::Time(_)
        | Start::Last(_)
        | Start::Positions(_) => Operations::from_iter([Operation::Subscribe, Operation::History]),
    }
}

/// What a frame needs with the names that it is about.
pub(super) fn needs_of(frame: &ClientFrame) -> Operations {
    let operation = match frame {
        ClientFrame::Publish { .. } => Operation::Publish,
        ClientFrame::Subscribe { start, .. } => return needs_to_follow(start),
        ClientFrame::Get { .. } | ClientFrame::Watch { .. } => Operation::Subscribe,
        ClientFrame::Incr { .. } => Operation::Incr,
        ClientFrame::Vote { .. } => Operation::Vote,
        ClientFrame::Presence { op: PresenceOp::Join, .. } => Operation::Presence,
        ClientFrame::Group { .. } | ClientFrame::Consume { .. } => Operation::Group,
        ClientFrame::Tally { .. } | ClientFrame::Topic { .. } | ClientFrame::Invalidate { .. } => {
            Operation::Admin
        }
        // These are about nothing, or about what was allowed before.
        ClientFrame::Presence { op: PresenceOp::Leave, .. }
        | ClientFrame::Hello { .. }
        | ClientFrame::Auth { .. }
        | ClientFrame::Ping { .. }
        | ClientFrame::Pong { .. }
        | ClientFrame::Credit { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Producer { .. }
        | ClientFrame::Settle { .. } => return Operations::NONE,
    };
    Operations::from_iter([operation])
}
