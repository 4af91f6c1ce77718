//! Frames of clients: what the dispatcher does itself, and what becomes a command for a shard.

use alloc::format;
use alloc::string::String;

use tidewire_protocol::frame::{BadFrame, PresenceOp};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Refusal, ServerFrame};

use super::publishing::check_spread;
use super::reply::encoded;
use super::{Dispatcher, invalid};
use crate::COMMONS;
use crate::access::Voter;
use crate::cell::VoterId;
use crate::shard::{Command, Origin, Request, SessionId};

/// Largest request id: what a JavaScript number holds exactly.
const REQUEST_ID_MAX: u64 = (1 << 53) - 1;

/// Makes the keyed hash of a voter that the core works with.
pub type HashVoter<'a> = &'a dyn Fn(&Name, Voter<'_>) -> VoterId;

impl Dispatcher {
    /// Takes one frame of a connection, after its HELLO. What a shard has to do is returned, with
    /// the shard's number; the caller sends it there, and [`Self::more_commands`] where they go,
    /// before it takes the next frame.
    pub fn request(
        &mut self,
        id: SessionId,
        stream: u16,
        frame: Result<ClientFrame, BadFrame>,
        hash_voter: HashVoter<'_>,
    ) -> Option<(u16, Command)> {
        let frame = match frame {
            Ok(frame) => frame,
            Err(BadFrame { req, refusal, wants_reply }) => {
                self.refuse(Origin { session: id, stream, req }, refusal, wants_reply);
                return None;
            }
        };
        match frame {
            ClientFrame::Hello { .. } => {
                let refusal = Refusal::new(ErrorCode::HelloRequired, "HELLO comes once only");
                self.refuse(Origin { session: id, stream, req: 0 }, refusal, true);
                None
            }
            ClientFrame::Auth { req, .. } => {
                // Only who can check a token hands it over, by `set_access`.
                let message = "AUTH: the server has no accounts";
                let refusal = Refusal::new(ErrorCode::Unsupported, message);
                self.refuse(Origin { session: id, stream, req }, refusal, false);
                None
            }
            ClientFrame::Ping { nonce } => {
                self.send(id, stream, &ServerFrame::Pong { nonce });
                None
            }
            ClientFrame::Pong { .. } => None,
            ClientFrame::Credit { sub, bytes } => {
                self.credit(id, sub, bytes);
                None
            }
            request @ (ClientFrame::Publish { .. }
            | ClientFrame::Subscribe { .. }
            | ClientFrame::Unsubscribe { .. }
            | ClientFrame::Incr { .. }
            | ClientFrame::Vote { .. }
            | ClientFrame::Get { .. }
            | ClientFrame::Watch { .. }
            | ClientFrame::Presence { .. }
            | ClientFrame::Tally { .. }
            | ClientFrame::Producer { .. }
            | ClientFrame::Group { .. }
            | ClientFrame::Consume { .. }
            | ClientFrame::Settle { .. }
            | ClientFrame::Topic { .. }
            | ClientFrame::Invalidate { .. }) => {
                let origin = Origin { session: id, stream, req: request.req().unwrap_or(0) };
                let asked = self.audit_asked(origin, &request);
                let admitted = check_id(origin.req);
                match admitted.and_then(|()| self.admit(asked, request, hash_voter)) {
                    Ok(command) => command,
                    Err(refusal) => {
                        self.audit_refused(asked, &refusal);
                        self.refuse(origin, refusal, false);
                        None
                    }
                }
            }
        }
    }

    /// Answers a refusal; one without a request id is sent only if it concerns the envelope.
    fn refuse(&mut self, origin: Origin, refusal: Refusal, even_without_id: bool) {
        self.refused(origin.session, &refusal);
        if origin.req != 0 || even_without_id {
            self.send(origin.session, origin.stream, &ServerFrame::refuse(origin.req, refusal));
        }
    }

    fn admit(
        &mut self,
        origin: Origin,
        frame: ClientFrame,
        hash_voter: HashVoter<'_>,
    ) -> Result<Option<(u16, Command)>, Refusal> {
        self.check_access(origin.session, &frame)?;
        match frame {
            ClientFrame::Subscribe { sub, pattern, start, options, .. } => {
                self.subscribe(origin, sub, &pattern, start, &options)?;
                Ok(None)
            }
            frame @ (ClientFrame::Group { .. }
            | ClientFrame::Consume { .. }
            | ClientFrame::Settle { .. }) => self.group_frame(origin, frame),
            ClientFrame::Unsubscribe { sub, .. } if self.consumes(origin.session, sub) => {
                Ok(self.stop_consuming(origin, sub))
            }
            ClientFrame::Unsubscribe { req, sub } => {
                self.unsubscribe(origin, sub)?;
                self.send(origin.session, origin.stream, &ServerFrame::Ok { req, result: None });
                Ok(None)
            }
            ClientFrame::Watch { sub, kind, name, options, .. } => {
                self.watch(origin, sub, kind, &name, options)?;
                Ok(None)
            }
            ClientFrame::Producer { req } => {
                let result = Some(encoded(&self.issue_producer()?));
                self.send(origin.session, origin.stream, &ServerFrame::Ok { req, result });
                Ok(None)
            }
            request @ (ClientFrame::Hello { .. }
            | ClientFrame::Auth { .. }
            | ClientFrame::Ping { .. }
            | ClientFrame::Pong { .. }
            | ClientFrame::Credit { .. }
            | ClientFrame::Publish { .. }
            | ClientFrame::Incr { .. }
            | ClientFrame::Vote { .. }
            | ClientFrame::Get { .. }
            | ClientFrame::Presence { .. }
            | ClientFrame::Topic { .. }
            | ClientFrame::Invalidate { .. }
            | ClientFrame::Tally { .. }) => {
                let asked = self.shard_request(origin.session, request, hash_voter)?;
                let Some((name, request)) = asked else { return Ok(None) };
                let (home, partitions) = self.route(&name);
                if partitions > 1 {
                    check_spread(&request, partitions)?;
                }
                let shard = self.place_of(&request, &name, home);
                if let Some(session) =
                    self.slot(origin.session).and_then(|slot| self.sessions.get_mut(slot))
                {
                    session.rest.in_flight += 1;
                    if matches!(request, Request::Presence { op: PresenceOp::Join, .. }) {
                        session.rest.present.insert(shard);
                    }
                }
                if partitions > 1 {
                    return Ok(self.split(origin, shard, partitions, request));
                }
                Ok(Some((shard, Command::Request(origin, request))))
            }
        }
    }
}

/// Where requests for a name go.
#[derive(Clone, Debug)]
pub(super) struct Route {
    name: Name,
    /// Its shard, and how many partitions it has.
    shard: u16,
    partitions: u16,
}

impl Dispatcher {
    /// Where a request goes for a name that is at home in this shard.
    fn place_of(&self, request: &Request, name: &Name, home: u16) -> u16 {
        match request {
            // Presence is in memory, whatever the policy says.
            Request::Presence { .. } => self.policies.home_of_presence(name),
            Request::Get { kind, .. } => self.policies.home_of_cell(*kind, name),
            Request::Counter { .. } if self.policies.is_eventual(name) => COMMONS,
            Request::Counter { .. }
            | Request::Publish { .. }
            | Request::Vote { .. }
            | Request::Tally { .. }
            | Request::Group(_)
            | Request::Invalidate { .. }
            | Request::Topic { .. } => home,
        }
    }

    /// Where requests for this name go. The next request is likely to be for the same name.
    pub(super) fn route(&mut self, name: &Name) -> (u16, u16) {
        match &self.routed {
            Some(route) if route.name == *name => (route.shard, route.partitions),
            _ => {
                let (shard, partitions) =
                    (self.policies.home(name), self.policies.partitions(name));
                self.routed = Some(Route { name: name.clone(), shard, partitions });
                (shard, partitions)
            }
        }
    }
}

/// Whether a shard, not the dispatcher, carries the request out: [`Dispatcher::request`] makes
/// commands of these, and of no others.
#[must_use]
pub fn is_for_shards(frame: &ClientFrame) -> bool {
    match frame {
        ClientFrame::Publish { .. }
        | ClientFrame::Incr { .. }
        | ClientFrame::Vote { .. }
        | ClientFrame::Get { .. }
        | ClientFrame::Presence { .. }
        | ClientFrame::Tally { .. }
        | ClientFrame::Group { .. }
        | ClientFrame::Consume { .. }
        | ClientFrame::Settle { .. }
        | ClientFrame::Topic { .. }
        | ClientFrame::Invalidate { .. } => true,
        ClientFrame::Hello { .. }
        | ClientFrame::Auth { .. }
        | ClientFrame::Ping { .. }
        | ClientFrame::Pong { .. }
        | ClientFrame::Credit { .. }
        | ClientFrame::Subscribe { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Watch { .. }
        | ClientFrame::Producer { .. } => false,
    }
}

fn check_id(req: u64) -> Result<(), Refusal> {
    if req > REQUEST_ID_MAX {
        return Err(invalid(format!("req: a request id is at most {REQUEST_ID_MAX}")));
    }
    Ok(())
}

pub(super) fn writable(name: &Name) -> Result<(), Refusal> {
    if name.is_system() {
        let message = format!("'{name}': names that start with '$' belong to the server");
        return Err(Refusal::new(ErrorCode::Forbidden, message));
    }
    Ok(())
}

pub(super) fn check_at_most(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.is_empty() { Ok(()) } else { check_len(what, text, max) }
}

pub(super) fn check_len(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > max {
        let len = text.len();
        let message: String = format!("{what}: 1 to {max} bytes, this one has {len}");
        return Err(invalid(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
