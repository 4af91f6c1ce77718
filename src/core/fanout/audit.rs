//! What is put on record: requests that only few may make, with what has become of them, and requests
//! that the rules do not allow.

use alloc::collections::VecDeque;

use tidewire_protocol::frame::{GroupOp, TallyOp, TopicOp};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Refusal, ServerFrame};

use super::Dispatcher;
use crate::access::Identity;
use crate::shard::{Origin, SessionId};
use crate::{HashMap, hash_map};

/// Entries that wait to be taken; beyond it they are counted only.
const ENTRIES_MAX: usize = 4_096;
/// Of these, what anybody can make at will.
const DENIED_MAX: usize = ENTRIES_MAX / 2;
/// Request ids under which shards are asked what is put on record, so that no other reply is taken
/// for theirs. Clients have smaller ids, gathers larger ones.
const OWN_REQUESTS: u64 = 1 << 59;

/// Something to be put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Unix time in milliseconds, of the dispatcher's clock.
    pub at_ms: u64,
    /// Whose request it was.
    pub session: SessionId,
    /// Who that was then; nothing where there are no accounts.
    pub identity: Option<Identity>,
    /// What was asked, and of which name; nothing for a request that the rules do not allow, which the
    /// refusal names.
    pub action: Option<(&'static str, Name)>,
    /// Why it was refused; nothing if it was carried out.
    pub refusal: Option<Refusal>,
}

/// The records of a dispatcher.
#[derive(Debug)]
pub(super) struct Audits {
    is_on: bool,
    entries: VecDeque<Audited>,
    dropped: u64,
    /// What shards have been asked and have not answered yet, by its own request id.
    asked: HashMap<u64, Asked>,
    last: u64,
}

#[derive(Debug)]
struct Asked {
    origin: Origin,
    identity: Option<Identity>,
    action: (&'static str, Name),
}

impl Audits {
    pub(super) fn new(seed: u64) -> Self {
        let (entries, asked) = (VecDeque::new(), hash_map(seed));
        Self { is_on: false, entries, dropped: 0, asked, last: 0 }
    }

    fn push(&mut self, audited: Audited) {
        let max = if audited.action.is_some() { ENTRIES_MAX } else { DENIED_MAX };
        if self.entries.len() >= max {
            self.dropped += 1;
            return;
        }
        self.entries.push_back(audited);
    }
}

impl Dispatcher {
    /// The same, which also puts on record what is asked; [`Self::audited`] hands it out.
    #[must_use]
    pub fn with_audit(mut self) -> Self {
        self.audits.is_on = true;
        self
    }

    /// What is to be put on record next.
    pub fn audited(&mut self) -> Option<Audited> {
        self.audits.entries.pop_front()
    }

    /// What was not put on record because too much waited to be taken.
    #[must_use]
    pub fn audit_dropped(&self) -> u64 {
        self.audits.dropped
    }

    /// The origin under which a request is carried out: one of its own, if what becomes of it is put on
    /// record.
    pub(super) fn audit_asked(&mut self, origin: Origin, frame: &ClientFrame) -> Origin {
        let action = self.audits.is_on.then(|| action_of(frame)).flatten();
        let Some(action) = action else { return origin };
        let identity = self.access(origin.session).map(|access| access.identity.clone());
        self.audits.last += 1;
        let req = OWN_REQUESTS | self.audits.last;
        self.audits.asked.insert(req, Asked { origin, identity, action });
        Origin { req, ..origin }
    }

    /// A request was refused before a shard was told.
    pub(super) fn audit_refused(&mut self, origin: Origin, refusal: &Refusal) {
        if !self.audits.is_on {
            return;
        }
        let asked = self.audits.asked.remove(&origin.req);
        if asked.is_none() && refusal.code != ErrorCode::Forbidden {
            return;
        }
        let identity = self.access(origin.session).map(|access| access.identity.clone());
        self.audits.push(Audited {
            at_ms: self.now_ms,
            session: origin.session,
            identity,
            action: asked.map(|asked| asked.action),
            refusal: Some(refusal.clone()),
        });
    }

    /// A request has been answered. Returns the request id that its client knows, and the answer with
    /// that id.
    pub(super) fn audit_answered(
        &mut self,
        req: u64,
        mut frame: Option<ServerFrame>,
    ) -> (u64, Option<ServerFrame>) {
        if req < OWN_REQUESTS {
            return (req, frame);
        }
        let Some(Asked { origin, identity, action }) = self.audits.asked.remove(&req) else {
            return (0, frame);
        };
        let mut refusal = None;
        match &mut frame {
            Some(ServerFrame::Error { req, code, message, .. }) => {
                *req = origin.req;
                let code = ErrorCode::from_number(*code).unwrap_or(ErrorCode::Internal);
                refusal = Some(Refusal::new(code, message.clone()));
            }
            Some(ServerFrame::Ok { req, .. }) => *req = origin.req,
            _ => {}
        }
        let (at_ms, session, action) = (self.now_ms, origin.session, Some(action));
        self.audits.push(Audited { at_ms, session, identity, action, refusal });
        (origin.req, frame)
    }
}

/// What a request does, if it is one that is put on record.
fn action_of(frame: &ClientFrame) -> Option<(&'static str, Name)> {
    let (action, name) = match frame {
        ClientFrame::Tally { op, tally, .. } => {
            let action = match op {
                TallyOp::Create => "tally.create",
                TallyOp::Open => "tally.open",
                TallyOp::Close => "tally.close",
                TallyOp::Delete => "tally.delete",
            };
            (action, tally)
        }
        ClientFrame::Invalidate { tally, .. } => ("tally.invalidate", tally),
        ClientFrame::Topic { op: TopicOp::Delete, topic, .. } => ("topic.delete", topic),
        ClientFrame::Topic { op: TopicOp::Truncate, topic, .. } => ("topic.truncate", topic),
        ClientFrame::Group { op: GroupOp::Delete, topic, .. } => ("group.delete", topic),
        ClientFrame::Group { op: GroupOp::Reset, topic, .. } => ("group.reset", topic),
        ClientFrame::Group { .. }
        | ClientFrame::Hello { .. }
        | ClientFrame::Auth { .. }
        | ClientFrame::Ping { .. }
        | ClientFrame::Pong { .. }
        | ClientFrame::Publish { .. }
        | ClientFrame::Subscribe { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Credit { .. }
        | ClientFrame::Incr { .. }
        | ClientFrame::Vote { .. }
        | ClientFrame::Get { .. }
        | ClientFrame::Watch { .. }
        | ClientFrame::Presence { .. }
        | ClientFrame::Producer { .. }
        | ClientFrame::Consume { .. }
        | ClientFrame::Settle { .. } => return None,
    };
    Some((action, name.clone()))
}
