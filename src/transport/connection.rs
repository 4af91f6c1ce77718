//! A connection on its core: its outlet, and how it ends.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tidewire_core::shard::SessionId;
use tidewire_protocol::options::IdentityInfo;
use tidewire_protocol::{ErrorCode, Refusal, ServerFrame};
use tokio::sync::Notify;

use super::{http, quic, websocket};
use crate::auth::{ClientCertificate, Credential};
use crate::cluster::Cluster;
use crate::server::{Core, Flow, OwnRates, Seat, Turn, Whose, Woken};

/// How long a server-made end may take: the last frames, the close.
pub(super) const CLOSE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// A connection with a session.
pub(crate) struct Connection {
    pub(super) id: SessionId,
    pub(super) outlet: RefCell<Outlet>,
    /// What it has shown, and who it is; nobody in particular where there are no accounts.
    pub(crate) shown: RefCell<Credential>,
    pub(crate) identity: RefCell<Option<IdentityInfo>>,
    /// Whether what it has shown is somebody's.
    pub(crate) is_somebody: Cell<bool>,
    /// Its place among the connections of its tenant, if it has one.
    pub(crate) seat: RefCell<Option<Seat>>,
    /// Where it comes from, and since when it is there.
    pub(crate) peer: Peer,
    pub(crate) since_ms: u64,
    /// Whether it goes to another node when it is asked to, and when it was asked last.
    pub(crate) moves: bool,
    pub(crate) asked_to_go_ms: Cell<Option<u64>>,
    /// How much it may ask.
    pub(crate) rates: RefCell<OwnRates>,
    /// Whom it shares its turns with.
    pub(crate) flow: RefCell<Rc<Flow>>,
    /// Rung when the connection's requests may be read again, if that is waited for.
    gate: Notify,
    /// Why the server ends the connection, and its bell.
    ending: RefCell<Option<Refusal>>,
    ended: Notify,
    waker: Waker,
    /// Output waits for the socket.
    blocked: Cell<bool>,
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client's address, also if there are proxies between.
    pub(crate) address: IpAddr,
    /// `ws`, `wss`, `quic`, `webtransport`, `http`, `https` or `console`.
    pub(crate) transport: &'static str,
    /// The certificate that it has shown, verified.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
}

/// The connections of a core, by the slots of their sessions.
#[derive(Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Rc<Connection>>>,
    count: usize,
}

impl Connections {
    fn insert(&mut self, connection: Rc<Connection>) {
        let slot = connection.id.slot as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            self.count += usize::from(place.is_none());
            *place = Some(connection);
        }
    }

    pub(crate) fn remove(&mut self, id: SessionId) {
        if let Some(place) = self.slots.get_mut(id.slot as usize)
            && place.as_ref().is_some_and(|connection| connection.id == id)
        {
            *place = None;
            self.count -= 1;
        }
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<Rc<Connection>> {
        let connection = self.slots.get(id.slot as usize)?.as_ref()?;
        (connection.id == id).then(|| Rc::clone(connection))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Connection>> {
        self.slots.iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The outbound side of a transport.
pub(super) enum Outlet {
    Web(websocket::Outlet),
    Quic(quic::Outlet),
    Http(http::Outlet),
}

/// Wakes the dispatcher's loop when a socket takes bytes again.
struct Writable {
    id: SessionId,
    woken: Arc<Woken>,
}

impl Wake for Writable {
    fn wake(self: Arc<Self>) {
        self.woken.push(self.id);
    }
}

impl Connection {
    pub(super) fn new(
        core: &Core,
        id: SessionId,
        outlet: Outlet,
        (peer, moves): (Peer, bool),
    ) -> Rc<Self> {
        let waker = Waker::from(Arc::new(Writable { id, woken: Arc::clone(&core.woken) }));
        let connection = Rc::new(Self {
            id,
            outlet: RefCell::new(outlet),
            shown: RefCell::new(Credential::Nothing),
            identity: RefCell::new(None),
            is_somebody: Cell::new(false),
            seat: RefCell::new(None),
            since_ms: core.now_ms(),
            moves,
            asked_to_go_ms: Cell::new(None),
            rates: RefCell::new(core.shared.rates.begin(peer.address)),
            flow: RefCell::new(core.turns.of(Whose::of(None, None, peer.address))),
            peer,
            gate: Notify::new(),
            ending: RefCell::new(None),
            ended: Notify::new(),
            waker,
            blocked: Cell::new(false),
        });
        core.connections.borrow_mut().insert(Rc::clone(&connection));
        connection
    }

    /// Ends the connection for this reason.
    pub(crate) fn end(&self, refusal: Refusal) {
        self.ending.borrow_mut().get_or_insert(refusal);
        self.ended.notify_one();
    }

    /// Waits until the server ends the connection.
    pub(super) async fn ended(&self) -> Refusal {
        loop {
            if let Some(refusal) = self.ending.borrow().clone() {
                return refusal;
            }
            self.ended.notified().await;
        }
    }

    /// The prefix of the tenant that it belongs to.
    pub(crate) fn tenant(&self) -> Option<String> {
        self.seat.borrow().as_ref().map(|seat| seat.tenant().prefix().to_owned())
    }

    /// Counts what it follows, among what its tenant follows.
    pub(super) fn count_subscriptions(&self, core: &Core) {
        if let Some(seat) = &*self.seat.borrow() {
            seat.settle(core.dispatcher.borrow().subscriptions_of(self.id));
        }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Whether the connection's next request may be read now.
    pub(super) fn reads(&self, core: &Core) -> bool {
        !(self.blocked.get() && self.backlogged()) && core.dispatcher.borrow().may_read(self.id)
    }

    /// Waits until the connection's next request may be read.
    pub(super) async fn may_read(&self, core: &Core) {
        while !self.reads(core) {
            core.held.set(true);
            self.gate.notified().await;
        }
    }

    /// Whom it shares its turns with.
    pub(crate) fn flow(&self) -> Rc<Flow> {
        Rc::clone(&self.flow.borrow())
    }

    /// A turn of the connection, which has not begun.
    pub(super) fn turn(&self) -> Turn {
        Turn::of(self.flow())
    }

    /// Lets the readers look again whether they may go on: over QUIC each stream has one.
    pub(crate) fn open_gate(&self) {
        self.gate.notify_waiters();
    }

    fn backlogged(&self) -> bool {
        match &*self.outlet.borrow() {
            Outlet::Web(_) | Outlet::Http(_) => false,
            Outlet::Quic(outlet) => outlet.control_is_backlogged(),
        }
    }
}

/// Lets a connection take what its session has for it, and writes it.
pub(crate) fn pump(core: &Rc<Core>, id: SessionId, now_ms: u64) {
    let Some(connection) = core.connections.borrow().get(id) else { return };
    let mut cx = Context::from_waker(&connection.waker);
    let outcome = match &mut *connection.outlet.borrow_mut() {
        Outlet::Web(outlet) => outlet.pump(core, id, now_ms, &mut cx),
        Outlet::Quic(outlet) => outlet.pump(core, id, now_ms, &mut cx),
        Outlet::Http(outlet) => outlet.pump(core, id, now_ms),
    };
    connection.blocked.set(outcome.is_pending());
    // What has ended has been told.
    connection.count_subscriptions(core);
    if let Poll::Ready(Err(error)) = outcome {
        tracing::debug!(session = ?id, %error, "a connection broke");
        connection.end(Refusal::new(ErrorCode::Unavailable, error.to_string()));
    }
    connection.open_gate();
}

/// Tells every connection of the core that the server is about to stop.
pub(crate) fn say_goodbye(core: &Rc<Core>) {
    let mut nodes = core.shared.cluster.as_ref().map_or_else(Vec::new, Cluster::client_urls);
    let mut dispatcher = core.dispatcher.borrow_mut();
    let ids: Vec<SessionId> = dispatcher.session_ids().collect();
    for id in ids {
        // So that not all go to the same one.
        let by = 1.min(nodes.len());
        nodes.rotate_left(by);
        let frame = ServerFrame::GoAway {
            code: u64::from(ErrorCode::ShuttingDown.number()),
            message: "the server is stopping: connect again, after a random delay".to_owned(),
            grace_ms: core.shared.config.drain_ms,
            nodes: nodes.clone(),
        };
        dispatcher.send(id, 0, &frame);
    }
    drop(dispatcher);
    core.woken.ring();
}

/// Ends every connection of the core and waits, for a bounded time, until they are closed.
pub(crate) async fn close_all(core: &Rc<Core>) {
    let connections: Vec<Rc<Connection>> = core.connections.borrow().iter().cloned().collect();
    for connection in &connections {
        connection.end(Refusal::new(ErrorCode::ShuttingDown, "the server is stopping"));
    }
    let deadline = tokio::time::Instant::now() + CLOSE_TIMEOUT * 2;
    while !core.connections.borrow().is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
