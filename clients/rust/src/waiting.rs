//! Requests that the server has not answered yet.

use std::collections::HashMap;
use std::time::Instant;

use tidewire_protocol::frame::{GroupOp, SettleOp, TallyOp};
use tidewire_protocol::{ClientFrame, ServerFrame};
use tokio::sync::oneshot;

use crate::error::Error;

/// Who gets the reply.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A [`crate::Pending`].
    Reply(oneshot::Sender<Result<ServerFrame, Error>>),
    /// The subscription or watch of this id.
    Opens(u32),
    /// A presence that is declared again after a cut; a refusal is logged.
    Rejoins,
    /// The numbering of publishes.
    Numbers,
    /// No reply comes when the request succeeds.
    Nobody,
}

/// One unanswered request.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) waiter: Waiter,
    /// The request, when it may be sent again after a cut.
    pub(crate) repeat: Option<ClientFrame>,
    /// Whether it counts against the room for requests in flight.
    pub(crate) holds_room: bool,
    /// How often it was sent as it stands there.
    pub(crate) attempts: u32,
    /// Whether it is a publish with a number of this client's own.
    pub(crate) is_numbered_here: bool,
    /// When it was refused for the moment first.
    pub(crate) refused_at: Option<Instant>,
    /// Whether it waits to be sent again, over the same connection.
    pub(crate) is_postponed: bool,
    /// How often it got another number, because the server did not know the producer.
    pub(crate) renumbered: u32,
}

impl Waiting {
    pub(crate) fn new(waiter: Waiter, repeat: Option<ClientFrame>, holds_room: bool) -> Self {
        Self {
            waiter,
            repeat,
            holds_room,
            attempts: 1,
            is_numbered_here: false,
            refused_at: None,
            is_postponed: false,
            renumbered: 0,
        }
    }
}

/// The unanswered requests by id.
#[derive(Debug, Default)]
pub(crate) struct WaitingTable {
    last: u64,
    entries: HashMap<u64, Waiting>,
}

impl WaitingTable {
    /// A request id that was never used. 2^53 ids last for centuries.
    pub(crate) fn next_req(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn insert(&mut self, req: u64, waiting: Waiting) {
        self.entries.insert(req, waiting);
    }

    pub(crate) fn remove(&mut self, req: u64) -> Option<Waiting> {
        self.entries.remove(&req)
    }

    pub(crate) fn get_mut(&mut self, req: u64) -> Option<&mut Waiting> {
        self.entries.get_mut(&req)
    }

    /// Whether something may be answered yet, over the connection that there is.
    pub(crate) fn is_under_way(&self) -> bool {
        self.entries.values().any(|waiting| !waiting.is_postponed)
    }

    /// Takes out every request that must not be sent again on another connection, or that each of these
    /// begins with.
    pub(crate) fn take_unrepeatable(&mut self) -> Vec<Waiting> {
        let stays = |waiting: &Waiting| {
            waiting.repeat.is_some() && !matches!(waiting.waiter, Waiter::Rejoins)
        };
        self.entries.extract_if(|_, waiting| !stays(waiting)).map(|(_, w)| w).collect()
    }

    /// Takes out every request.
    pub(crate) fn take_all(&mut self) -> Vec<Waiting> {
        self.entries.drain().map(|(_, waiting)| waiting).collect()
    }

    /// What waits for an answer was sent to a node that counted as this actor, and may have been counted
    /// there.
    pub(crate) fn note_tried(&mut self, actor: Option<(u64, u64)>) {
        let Some(actor) = actor else { return };
        for waiting in self.entries.values_mut() {
            if let Some(ClientFrame::Incr { options, .. }) = &mut waiting.repeat
                && let Some(numbering) = &mut options.numbering
                && !numbering.tried.contains(&actor)
            {
                numbering.tried.push(actor);
            }
        }
    }

    /// The requests to send again of which this holds, oldest first.
    pub(crate) fn repeats(&self, which: fn(&Waiting) -> bool) -> Vec<(u64, ClientFrame)> {
        let chosen = self.entries.iter().filter(|(_, waiting)| which(waiting));
        let mut repeats: Vec<(u64, ClientFrame)> =
            chosen.filter_map(|(req, waiting)| Some((*req, waiting.repeat.clone()?))).collect();
        repeats.sort_unstable_by_key(|(req, _)| *req);
        repeats
    }
}

/// Whether doing this twice is the same as doing it once, so that it may be sent again when the
/// reply was lost. A publish without a number would be appended twice, an increment without an id
/// or a number counted twice.
pub(crate) fn is_repeatable(frame: &ClientFrame) -> bool {
    match frame {
        ClientFrame::Vote { .. }
        | ClientFrame::Invalidate { .. }
        | ClientFrame::Get { .. }
        | ClientFrame::Presence { .. } => true,
        ClientFrame::Incr { options, .. } => options.id.is_some() || options.numbering.is_some(),
        ClientFrame::Publish { options, .. } => options.producer.is_some(),
        // Made once more with the same rules, it stays as it is.
        ClientFrame::Tally { op, .. } => *op == TallyOp::Create,
        ClientFrame::Group { op, .. } => matches!(op, GroupOp::Create | GroupOp::Status),
        ClientFrame::Settle { op, .. } => *op == SettleOp::Ack,
        ClientFrame::Hello { .. }
        | ClientFrame::Ping { .. }
        | ClientFrame::Pong { .. }
        | ClientFrame::Producer { .. }
        | ClientFrame::Auth { .. }
        | ClientFrame::Subscribe { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Credit { .. }
        | ClientFrame::Watch { .. }
        | ClientFrame::Consume { .. }
        | ClientFrame::Topic { .. } => false,
    }
}
