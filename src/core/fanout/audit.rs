//! What is put on record: requests that only few may make, with what has become of them, and requests
//! that nobody may make.

use alloc::collections::VecDeque;

use tidewire_protocol::frame::{GroupOp, TallyOp, TopicOp};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Refusal, ServerFrame};

use super::Dispatcher;
use crate::shard::{Origin, SessionId};

/// Entries that wait to be taken; beyond it they are counted only.
const ENTRIES_MAX: usize = 4_096;

/// Something to be put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Whose request it was.
    pub session: SessionId,
    /// What was asked, and of which name; nothing for a request that the rules do not allow, which the
    /// refusal names.
    pub action: Option<(&'static str, Name)>,
    /// What has become of it.
    pub outcome: Outcome,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Done,
    /// It was refused.
    Refused(Refusal),
    /// The connection was gone before that was known.
    Unknown,
}

/// The records of a dispatcher.
#[derive(Debug, Default)]
pub(super) struct Audits {
    is_on: bool,
    entries: VecDeque<Audited>,
    dropped: u64,
}

impl Audits {
    fn push(&mut self, audited: Audited) {
        if self.entries.len() >= ENTRIES_MAX {
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

    /// Remembers a request of which the outcome is put on record.
    pub(super) fn audit_asked(&mut self, origin: Origin, frame: &ClientFrame) {
        if !self.audits.is_on {
            return;
        }
        let Some(action) = action_of(frame) else { return };
        let session = self.slot(origin.session).and_then(|slot| self.sessions.get_mut(slot));
        if let Some(session) = session {
            session.rest.audited.push((origin.req, action));
        }
    }

    /// A request was refused before a shard was told.
    pub(super) fn audit_refused(&mut self, origin: Origin, refusal: &Refusal) {
        if !self.audits.is_on {
            return;
        }
        let action = self.take_asked(origin);
        let is_denied = refusal.code == ErrorCode::Forbidden;
        if is_denied || action.is_some() {
            let (session, outcome) = (origin.session, Outcome::Refused(refusal.clone()));
            self.audits.push(Audited { session, action, outcome });
        }
    }

    /// A shard has answered a request.
    pub(super) fn audit_answered(&mut self, origin: Origin, frame: Option<&ServerFrame>) {
        if !self.audits.is_on {
            return;
        }
        let Some(action) = self.take_asked(origin) else { return };
        let outcome = match frame {
            Some(ServerFrame::Error { code, message, .. }) => {
                let code = ErrorCode::from_number(*code).unwrap_or(ErrorCode::Internal);
                Outcome::Refused(Refusal::new(code, message.clone()))
            }
            _ => Outcome::Done,
        };
        self.audits.push(Audited { session: origin.session, action: Some(action), outcome });
    }

    /// A connection is gone; what it has asked may have been carried out.
    pub(super) fn audit_gone(
        &mut self,
        session: SessionId,
        asked: impl IntoIterator<Item = (u64, (&'static str, Name))>,
    ) {
        for (_, action) in asked {
            let (action, outcome) = (Some(action), Outcome::Unknown);
            self.audits.push(Audited { session, action, outcome });
        }
    }

    fn take_asked(&mut self, origin: Origin) -> Option<(&'static str, Name)> {
        let slot = self.slot(origin.session)?;
        let asked = &mut self.sessions.get_mut(slot)?.rest.audited;
        let at = asked.iter().position(|(req, _)| *req == origin.req)?;
        Some(asked.remove(at).1)
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
