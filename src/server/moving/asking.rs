//! A core's part: which of its connections may be asked to go, and asking them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tidewire_protocol::{ErrorCode, ServerFrame};

use super::Reason;
use crate::server::Core;
use crate::transport::Connection;

/// Who was asked is expected to be gone after so long.
const GOING_MS: u64 = 10_000;
/// How long a client may take that goes; it is not ended after that.
const GRACE_MS: u64 = 10_000;

/// Who may be asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) enum Wanted {
    /// Everybody; at once who was here before this time.
    All { here_before_ms: u64 },
    /// Who has said that it knows how to go.
    WhoMoves,
}

/// How many a core has.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Candidates {
    pub(super) core: u8,
    /// Who may be asked now.
    pub(super) there: u64,
    /// Who was asked, and is about to go.
    pub(super) going: u64,
}

/// What the cores are to do.
#[derive(Debug)]
pub(in crate::server) struct Errand {
    pub(super) reason: Reason,
    pub(super) wanted: Wanted,
    /// By core, for each of the connections that are asked where to go.
    pub(super) nodes: BTreeMap<u8, Vec<Arc<[String]>>>,
}

impl Wanted {
    fn is(self, connection: &Connection, now_ms: u64, rest_ms: u64) -> bool {
        let asked_ms = connection.asked_to_go_ms.get();
        let is_rested = now_ms.saturating_sub(asked_ms.unwrap_or(connection.since_ms)) >= rest_ms;
        match self {
            Self::All { here_before_ms } => {
                let was_asked = asked_ms.is_some_and(|asked_ms| asked_ms >= here_before_ms);
                is_rested || (connection.since_ms < here_before_ms && !was_asked)
            }
            Self::WhoMoves => connection.moves && is_rested,
        }
    }
}

impl Core {
    fn may_be_asked(&self, wanted: Wanted, connection: &Connection) -> bool {
        wanted.is(connection, self.now_ms(), self.shared.config.cluster.move_rest_ms)
    }

    /// Those who may be asked, and those who were.
    pub(in crate::server) fn candidates(&self, wanted: Wanted) -> Candidates {
        let now_ms = self.now_ms();
        let connections = self.connections.borrow();
        let (mut there, mut going) = (0, 0);
        for connection in connections.iter() {
            there += u64::from(self.may_be_asked(wanted, connection));
            let asked_ms = connection.asked_to_go_ms.get();
            going +=
                u64::from(asked_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < GOING_MS));
        }
        Candidates { core: self.number, there, going }
    }

    /// Asks as many connections as there are places for.
    pub(in crate::server) fn ask_to_go(&self, errand: &Errand) {
        let Some(places) = errand.nodes.get(&self.number) else { return };
        let connections = self.connections.borrow();
        let chosen: Vec<Rc<Connection>> = connections
            .iter()
            .filter(|connection| self.may_be_asked(errand.wanted, connection))
            .take(places.len())
            .cloned()
            .collect();
        drop(connections);
        let now_ms = self.now_ms();
        let mut dispatcher = self.dispatcher.borrow_mut();
        for (connection, nodes) in chosen.iter().zip(places) {
            connection.asked_to_go_ms.set(Some(now_ms));
            let frame = self.moved(errand.reason, nodes.to_vec());
            dispatcher.send(connection.id(), 0, &frame);
            self.shared.moves.count(errand.reason);
        }
        drop(dispatcher);
        self.woken.ring();
    }

    fn moved(&self, reason: Reason, nodes: Vec<String>) -> ServerFrame {
        let node = &self.shared.config.node;
        let message = match reason {
            Reason::Drained => format!("node '{node}' is drained: go to another node"),
            Reason::Overfull => {
                format!("node '{node}' has more connections than the others: go to one of them")
            }
        };
        let code = u64::from(ErrorCode::Moved.number());
        ServerFrame::GoAway { code, message, grace_ms: GRACE_MS, nodes }
    }
}
