//! Who is connected, asked of all cores at once, and who has to go.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use tidewire_core::fanout::Lag;
use tidewire_core::shard::SessionId;
use tidewire_protocol::{ErrorCode, Refusal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::clock::wall_ms;
use super::moving::{Candidates, Errand, Wanted};
use super::{Core, Shared};
use crate::audit::Entry;
use crate::transport::Connection;

/// A connection, as operators see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ConnectionInfo {
    /// Its name here, in WELCOME and in the log.
    pub(crate) session: String,
    pub(crate) transport: &'static str,
    pub(crate) address: IpAddr,
    /// Unix time at which it said HELLO.
    pub(crate) since_ms: u64,
    /// Who it is; nothing where there are no accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    /// The tenant that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at_ms: Option<u64>,
    /// Subscriptions, watches and consumptions.
    pub(crate) subscriptions: usize,
    /// How far it is behind.
    #[serde(flatten)]
    pub(crate) lag: LagInfo,
}

/// What a connection has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct LagInfo {
    /// Records of topics that it follows by name.
    pub(crate) behind_records: u64,
    /// Batches that its patterns have not got to.
    pub(crate) behind_batches: u64,
    /// Watches whose newest value it lacks.
    pub(crate) behind_watches: u64,
    /// Bytes of replies that wait to be written.
    pub(crate) reply_bytes: u64,
    /// Requests that are not answered.
    pub(crate) in_flight: u64,
}

/// Whom a list of connections is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom {
    All,
    /// So many that are behind the most.
    Slowest(usize),
}

/// Who has asked for something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who {
    pub(crate) session: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
}

/// Which connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Session(String),
    Subject(String),
    Address(IpAddr),
}

/// What all cores are asked; each answers once.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    List(Whom, mpsc::Sender<Vec<ConnectionInfo>>),
    /// End these.
    End(Arc<Which>, mpsc::Sender<usize>),
    /// How many may be asked to go to other nodes.
    Count(Wanted, mpsc::Sender<Candidates>),
    /// Ask some to go.
    Move(Arc<Errand>),
}

impl Which {
    fn is(&self, info: &ConnectionInfo) -> bool {
        match self {
            Self::Session(session) => info.session == *session,
            Self::Subject(subject) => info.subject.as_ref() == Some(subject),
            Self::Address(address) => info.address == address.to_canonical(),
        }
    }
}

impl LagInfo {
    fn of(lag: Lag) -> Self {
        let Lag { records, batches, watches, reply_bytes, in_flight } = lag;
        Self {
            behind_records: records,
            behind_batches: batches,
            behind_watches: watches,
            reply_bytes,
            in_flight,
        }
    }
}

impl Whom {
    fn choose(self, all: &mut Vec<ConnectionInfo>) {
        let Self::Slowest(count) = self else { return };
        all.sort_by_key(|info| (std::cmp::Reverse(info.lag), info.since_ms));
        all.truncate(count);
    }
}

impl Shared {
    /// Who is connected.
    pub(crate) async fn connections(&self, whom: Whom) -> Vec<ConnectionInfo> {
        let (sender, mut receiver) = mpsc::channel(self.dispatchers.len());
        // Fails only when the cores have stopped.
        drop(self.asks.send(Ask::List(whom, sender)));
        let mut all = Vec::new();
        while let Some(some) = receiver.recv().await {
            all.extend(some);
        }
        whom.choose(&mut all);
        all
    }

    /// Ends connections; returns how many.
    pub(crate) async fn end_connections(&self, which: Which) -> usize {
        let (sender, mut receiver) = mpsc::channel(self.dispatchers.len());
        drop(self.asks.send(Ask::End(Arc::new(which), sender)));
        let mut ended = 0;
        while let Some(some) = receiver.recv().await {
            ended += some;
        }
        ended
    }
}

/// The name of a session to people.
pub(crate) fn session_name(id: SessionId) -> String {
    format!("{}-{}-{}", id.dispatcher, id.slot, id.generation)
}

impl Core {
    fn info(&self, connection: &Connection) -> ConnectionInfo {
        let identity = connection.identity.borrow().clone();
        let dispatcher = self.dispatcher.borrow();
        ConnectionInfo {
            session: session_name(connection.id()),
            transport: connection.peer.transport,
            address: connection.peer.address,
            since_ms: connection.since_ms,
            issuer: identity.as_ref().map(|identity| identity.issuer.clone()),
            subject: identity.as_ref().map(|identity| identity.subject.clone()),
            tenant: connection.tenant(),
            expires_at_ms: identity.and_then(|identity| identity.expires_at_ms),
            subscriptions: dispatcher.subscriptions_of(connection.id()),
            lag: LagInfo::of(dispatcher.lag_of(connection.id())),
        }
    }

    /// Who a connection is.
    pub(crate) fn who(connection: &Connection) -> Who {
        let identity = connection.identity.borrow();
        Who {
            session: Some(session_name(connection.id())),
            address: Some(connection.peer.address),
            issuer: identity.as_ref().map(|identity| identity.issuer.clone()),
            subject: identity.as_ref().map(|identity| identity.subject.clone()),
        }
    }

    /// Passes on what the dispatcher has put on record.
    pub(crate) fn record(&self) {
        loop {
            let Some(audited) = self.dispatcher.borrow_mut().audited() else { return };
            let ago_ms = self.now_ms().saturating_sub(audited.at_ms);
            let connection = self.connections.borrow().get(audited.session);
            let who = Who {
                session: Some(session_name(audited.session)),
                address: connection.map(|connection| connection.peer.address),
                issuer: audited.identity.as_ref().map(|who| who.issuer.as_ref().to_owned()),
                subject: audited.identity.as_ref().map(|who| who.subject.as_ref().to_owned()),
            };
            let time_ms = wall_ms().saturating_sub(ago_ms);
            self.shared.audit.record(|| Entry::of(time_ms, audited).by(who));
        }
    }

    fn end_those(&self, which: &Which) -> usize {
        let connections: Vec<Rc<Connection>> = self.connections.borrow().iter().cloned().collect();
        let chosen: Vec<_> =
            connections.iter().filter(|connection| which.is(&self.info(connection))).collect();
        for connection in &chosen {
            let message = "an administrator has ended the connection";
            connection.end(Refusal::new(ErrorCode::Forbidden, message));
        }
        chosen.len()
    }
}

/// Answers what is asked of all cores, until the server ends.
pub(super) async fn answer(core: Rc<Core>) {
    let mut asks = core.shared.asks.subscribe();
    loop {
        match asks.recv().await {
            Ok(Ask::List(whom, reply)) => {
                let connections: Vec<Rc<Connection>> =
                    core.connections.borrow().iter().cloned().collect();
                let mut all = connections.iter().map(|connection| core.info(connection)).collect();
                whom.choose(&mut all);
                // Who has asked may have gone.
                drop(reply.send(all).await);
            }
            Ok(Ask::End(which, reply)) => {
                let ended = core.end_those(&which);
                reply.send(ended).await.unwrap_or_default();
            }
            Ok(Ask::Count(wanted, reply)) => {
                let candidates = core.candidates(wanted);
                reply.send(candidates).await.unwrap_or_default();
            }
            Ok(Ask::Move(errand)) => core.ask_to_go(&errand),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
