//! What the client's handles and the connection's task share.
//!
//! Locks are taken in this order and never held across an await: traffic, routes, inbox or slot.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ClientFrame, Name, ServerFrame};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot, watch};

use crate::error::Error;
use crate::inbox::Inbox;
use crate::routes::{Route, Routes};
use crate::shelf::Shelf;
use crate::state::ConnectionState;
use crate::traffic::{IN_FLIGHT_MAX, Traffic};
use crate::waiting::Waiter;
use crate::watch_slot::WatchSlot;

/// The shared half of a client.
#[derive(Debug)]
pub(crate) struct Link {
    /// How long a request waits for a connection.
    pub(crate) patience: Duration,
    /// How long a request is sent again and again.
    pub(crate) repeat_for: Duration,
    /// Places for requests that wait for a connection.
    offline: Semaphore,
    /// They are sent in the order in which they were begun.
    turn: tokio::sync::Mutex<()>,
    traffic: Mutex<Traffic>,
    routes: Mutex<Routes>,
    /// Room for requests in flight.
    pub(crate) room: Semaphore,
    /// Something is there to be written.
    pub(crate) filled: Notify,
    /// Something was written, so that requests that wait for room may try again.
    pub(crate) roomy: Notify,
    /// Something was answered or written; whoever drains the connection looks again.
    pub(crate) settled: Notify,
    /// Something waits to be sent again.
    pub(crate) postponed: Notify,
    /// The server asks to go away.
    pub(crate) goaway: Notify,
    pub(crate) states: watch::Sender<ConnectionState>,
    pub(crate) closing: watch::Sender<bool>,
    pub(crate) born: Instant,
    pub(crate) heard_ms: AtomicU64,
    /// How often it was tried to connect again.
    pub(crate) attempts: AtomicU64,
}

/// How far a request got.
enum Attempt {
    Sent,
    /// The outbox is full, or the number of a publish is not known yet.
    NotYet,
    Offline,
}

impl Link {
    pub(crate) fn new((patience, offline_max): (Duration, usize), repeat_for: Duration) -> Self {
        Self {
            patience,
            repeat_for,
            offline: Semaphore::new(offline_max.min(Semaphore::MAX_PERMITS)),
            turn: tokio::sync::Mutex::new(()),
            traffic: Mutex::new(Traffic::new()),
            routes: Mutex::default(),
            room: Semaphore::new(IN_FLIGHT_MAX),
            filled: Notify::new(),
            roomy: Notify::new(),
            settled: Notify::new(),
            postponed: Notify::new(),
            goaway: Notify::new(),
            states: watch::Sender::new(ConnectionState::Connecting),
            closing: watch::Sender::new(false),
            born: Instant::now(),
            heard_ms: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn states(&self) -> watch::Receiver<ConnectionState> {
        self.states.subscribe()
    }

    pub(crate) fn info(&self) -> ServerInfo {
        self.traffic().info.clone()
    }

    // ---- requests ----

    /// Sends a request as soon as there is a connection, room in flight and room in the outbox.
    /// `build` is called once, when all three are there.
    pub(crate) async fn send(
        &self,
        build: impl FnOnce(&Self, u64) -> (ClientFrame, Waiter),
    ) -> Result<(), Error> {
        self.send_when(Traffic::has_room, build).await
    }

    /// The same, as soon as the traffic is ready for it.
    pub(crate) async fn send_when(
        &self,
        is_ready: fn(&mut Traffic) -> bool,
        build: impl FnOnce(&Self, u64) -> (ClientFrame, Waiter),
    ) -> Result<(), Error> {
        let mut build = Some(build);
        // Held by who has waited for a connection, until the request is sent.
        let mut turn = None;
        loop {
            let Ok(room) = self.room.acquire().await else { return Err(self.over()) };
            // Created before looking, so that no wake-up in between is missed.
            let roomy = self.roomy.notified();
            match self.try_send(room, is_ready, &mut build)? {
                Attempt::Sent => return Ok(()),
                Attempt::NotYet => roomy.await,
                Attempt::Offline => turn = Some(self.await_connection(turn).await?),
            }
        }
    }

    fn try_send(
        &self,
        room: SemaphorePermit<'_>,
        is_ready: fn(&mut Traffic) -> bool,
        build: &mut Option<impl FnOnce(&Self, u64) -> (ClientFrame, Waiter)>,
    ) -> Result<Attempt, Error> {
        let mut traffic = self.traffic();
        if !traffic.online {
            return Ok(Attempt::Offline);
        }
        if !is_ready(&mut traffic) {
            drop(traffic);
            self.filled.notify_one();
            return Ok(Attempt::NotYet);
        }
        if let Some(build) = build.take() {
            let req = traffic.waiting.next_req();
            let (frame, waiter) = build(self, req);
            traffic.push_request(req, frame, waiter, || room.forget())?;
        }
        drop(traffic);
        self.filled.notify_one();
        Ok(Attempt::Sent)
    }

    /// Sends a request and returns where its reply will be.
    pub(crate) async fn ask(
        &self,
        build: impl FnOnce(u64) -> ClientFrame,
    ) -> Result<oneshot::Receiver<Result<ServerFrame, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.send(|_, req| (build(req), Waiter::Reply(sender))).await?;
        Ok(receiver)
    }

    /// Sends a publish that is numbered, so that it is sent again after a cut, and returns where its
    /// acknowledgement will be.
    pub(crate) async fn publish(
        &self,
        build: impl FnOnce(u64) -> ClientFrame,
    ) -> Result<oneshot::Receiver<Result<ServerFrame, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        let is_ready = |traffic: &mut Traffic| traffic.has_room() && traffic.may_publish();
        self.send_when(is_ready, |_, req| (build(req), Waiter::Reply(sender))).await?;
        Ok(receiver)
    }

    /// Starts a subscription or watch.
    pub(crate) async fn open(&self, route: Route) -> Result<(), Error> {
        self.send(|link, req| {
            let sub = link.routes().insert(route.clone());
            // A route that was just made always has a frame to open it with.
            let frame = route.open(req, sub).unwrap_or(ClientFrame::Unsubscribe { req: 0, sub });
            (frame, Waiter::Opens(sub))
        })
        .await
    }

    /// Waits for a connection, one request after the other. `turn`: this one's, if it has come before.
    async fn await_connection<'a>(
        &'a self,
        turn: Option<tokio::sync::MutexGuard<'a, ()>>,
    ) -> Result<tokio::sync::MutexGuard<'a, ()>, Error> {
        let Ok(_place) = self.offline.try_acquire() else {
            let reason = "as many requests wait for a connection as may, offline_requests_max";
            return Err(Error::NotConnected { reason: reason.to_owned() });
        };
        let mut states = self.states();
        let usable = async {
            let turn = match turn {
                Some(turn) => turn,
                None => self.turn.lock().await,
            };
            let is_usable = |state: &ConnectionState| match state {
                ConnectionState::Connecting | ConnectionState::Disconnected { .. } => false,
                ConnectionState::Connected { .. }
                | ConnectionState::Failed { .. }
                | ConnectionState::Closed => true,
            };
            // The sender is in this link.
            drop(states.wait_for(is_usable).await);
            turn
        };
        match tokio::time::timeout(self.patience, usable).await {
            Ok(turn) => Ok(turn),
            Err(_elapsed) => {
                let reason = match &*self.states.borrow() {
                    ConnectionState::Disconnected { reason } => reason.clone(),
                    ConnectionState::Connecting
                    | ConnectionState::Connected { .. }
                    | ConnectionState::Failed { .. }
                    | ConnectionState::Closed => "connecting takes too long".to_owned(),
                };
                Err(Error::NotConnected { reason })
            }
        }
    }

    /// Why nothing can be sent any more.
    fn over(&self) -> Error {
        match &*self.states.borrow() {
            ConnectionState::Failed { reason } => Error::Failed { reason: reason.clone() },
            ConnectionState::Connecting
            | ConnectionState::Connected { .. }
            | ConnectionState::Disconnected { .. }
            | ConnectionState::Closed => Error::Closed,
        }
    }

    // ---- the connection's own frames ----

    /// Sends a frame that has no reply and waits for nothing; dropped while there is no connection.
    pub(crate) fn control(&self, frame: &ClientFrame) {
        let mut traffic = self.traffic();
        if traffic.online && traffic.outbox.has_control_room() {
            // Such frames are a few bytes long, far below any limit.
            let pushed = traffic.outbox.push(frame);
            debug_assert!(pushed.is_ok(), "{frame:?}");
            drop(traffic);
            self.filled.notify_one();
        }
    }

    /// Gives a subscription credit for what was read.
    pub(crate) fn grant(&self, sub: u32, bytes: u64) {
        self.control(&ClientFrame::Credit { sub, bytes });
    }

    /// Starts a subscription that was not read fast enough again, where it stopped.
    pub(crate) fn reopen(&self, inbox: &Arc<Inbox>) {
        let mut traffic = self.traffic();
        let mut routes = self.routes();
        if !inbox.restart() {
            return;
        }
        let before = inbox.sub();
        // A new id, because frames of the old one may still be on their way.
        if routes.table.remove(&before).is_none() {
            return;
        }
        let sub = routes.insert(Route::Subscription(Arc::clone(inbox)));
        inbox.renumber(sub);
        drop(routes);
        if traffic.online {
            let pushed = traffic.outbox.push(&ClientFrame::Unsubscribe { req: 0, sub: before });
            debug_assert!(pushed.is_ok());
            traffic.push_opening(sub, &Route::Subscription(Arc::clone(inbox)));
            drop(traffic);
            self.filled.notify_one();
        }
    }

    pub(crate) fn abandon_subscription(&self, inbox: &Arc<Inbox>) {
        let held = |route: &Route| matches!(route, Route::Subscription(i) if Arc::ptr_eq(i, inbox));
        self.abandon(inbox.sub(), held);
    }

    pub(crate) fn abandon_watch(&self, slot: &Arc<WatchSlot>) {
        let held = |route: &Route| matches!(route, Route::Watch(s) if Arc::ptr_eq(s, slot));
        self.abandon(slot.sub(), held);
    }

    pub(crate) fn abandon_consumer(&self, shelf: &Arc<Shelf>) {
        let held = |route: &Route| matches!(route, Route::Consumer(s) if Arc::ptr_eq(s, shelf));
        self.abandon(shelf.sub(), held);
    }

    /// Ends a subscription, watch or consumer whose handle was dropped.
    fn abandon(&self, sub: u32, is_it: impl Fn(&Route) -> bool) {
        let mut routes = self.routes();
        if routes.table.get(&sub).is_some_and(is_it) {
            routes.table.remove(&sub);
            drop(routes);
            self.control(&ClientFrame::Unsubscribe { req: 0, sub });
        }
    }

    // ---- presence ----

    pub(crate) fn forget_member(&self, name: &Name, member: &str) {
        self.traffic().members.remove(&(name.clone(), member.to_owned()));
    }
}
