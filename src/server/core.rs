//! One core: a thread with a single-threaded runtime, its shards, its dispatcher, its connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use tidewire_core::fanout::{Dispatcher, SessionOptions};
use tidewire_core::shard::{Command, Event, SessionId};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use super::shard_task;
use super::turns::Turns;
use super::{AnyShard, CoreFigures, Queued, Shared, Stage, Turn, commons, dispatch, replicated};
use crate::transport::{Arrival, Connections, OutBuf};

/// Most bytes of one read: what has come meanwhile is read at once, and published as one batch.
const INBOUND_BYTES: usize = 256 * 1024;

/// What lives on one core and is touched by its thread only.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) number: u8,
    pub(crate) dispatcher: RefCell<Dispatcher>,
    pub(crate) connections: RefCell<Connections>,
    /// Connections whose sockets have become writable.
    pub(crate) woken: Arc<Woken>,
    /// Commands of the dispatcher for shards, which a task of its own passes on.
    pub(super) forward: Notify,
    /// Output memory that no connection needs at the moment.
    pub(crate) spare: RefCell<Vec<OutBuf>>,
    pub(crate) head: RefCell<Vec<u8>>,
    /// What sockets are read into: by all connections in turn, so that idle ones need none.
    pub(crate) inbound: RefCell<Vec<u8>>,
    pub(crate) handshakes: Cell<usize>,
    /// Whose requests are taken next.
    pub(crate) turns: Turns,
    /// Somebody waits until the dispatcher's commands have been passed on.
    pub(crate) held: Cell<bool>,
}

/// Connections that wait for the dispatcher loop, and its bell. Wakers may ring it from anywhere.
#[derive(Default)]
pub(crate) struct Woken {
    list: Mutex<Vec<SessionId>>,
    bell: Notify,
}

impl Woken {
    pub(crate) fn push(&self, id: SessionId) {
        match self.list.lock() {
            Ok(mut list) => list.push(id),
            Err(poisoned) => poisoned.into_inner().push(id),
        }
        self.bell.notify_one();
    }

    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) fn take(&self) -> Vec<SessionId> {
        match self.list.lock() {
            Ok(mut list) => std::mem::take(&mut *list),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        }
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}

impl Core {
    pub(crate) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    pub(crate) fn figures(&self) -> Option<&CoreFigures> {
        self.shared.figures.core(self.number)
    }

    /// Opens a session for a connection that has said HELLO.
    pub(crate) fn open(&self, options: SessionOptions) -> SessionId {
        self.dispatcher.borrow_mut().open(options, self.now_ms())
    }

    /// Forgets a connection.
    pub(crate) fn close(&self, id: SessionId) {
        // While it is known where it came from.
        self.record();
        self.show_refusals();
        self.connections.borrow_mut().remove(id);
        self.dispatcher.borrow_mut().close(id);
        self.forward.notify_one();
        self.woken.ring();
    }

    /// Sends a command to a shard; waits while its queue is full.
    pub(crate) async fn send(&self, shard: u16, command: Command) {
        if let Some(queue) = self.shared.queue_of(shard) {
            // Fails only when the server is stopping.
            drop(queue.send(command.into()).await);
        }
    }

    /// Sends commands of a connection to a shard, in order; waits while its queue is full, or its
    /// flow has no room.
    pub(crate) async fn send_all(&self, shard: u16, commands: &mut Vec<Command>, turn: &mut Turn) {
        let Some(queue) = self.shared.queue_of(shard) else { return };
        let mut room = turn.room(shard, commands.iter().map(Command::requests).sum()).await;
        while !commands.is_empty() {
            let count = commands.len().min(queue.max_capacity());
            if queue.capacity() < count {
                turn.lend();
            }
            // Fails only when the server is stopping.
            let Ok(places) = queue.reserve_many(count).await else { return commands.clear() };
            let is_last = count == commands.len();
            let mut left = count;
            for (place, command) in places.zip(commands.drain(..count)) {
                left -= 1;
                let room = if is_last && left == 0 { room.take() } else { None };
                place.send(Queued { command, room });
            }
        }
    }

    /// The dispatcher has changed: there may be commands for shards and output for connections.
    pub(crate) fn changed(&self) {
        self.forward.notify_one();
        self.woken.ring();
    }
}

/// Runs a core until the server stops.
pub(super) fn run(
    shared: Arc<Shared>,
    number: u8,
    shards: Vec<AnyShard>,
    events: mpsc::Receiver<Vec<Event>>,
    arrivals: mpsc::Receiver<Arrival>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "core {number} does not start");
            return;
        }
    };
    let seed = shared.clock.now_ms();
    let mut dispatcher = Dispatcher::new(number, seed, shared.fanout_limits())
        .with_policies(Arc::new(shared.config.policies()));
    if let Some(replication) = &shared.replication {
        dispatcher = dispatcher.with_issuer(replication.node);
    }
    if shared.audit.is_on() {
        dispatcher = dispatcher.with_audit();
    }
    let core = Rc::new(Core {
        dispatcher: RefCell::new(dispatcher),
        connections: RefCell::default(),
        woken: Arc::default(),
        forward: Notify::new(),
        spare: RefCell::default(),
        head: RefCell::default(),
        inbound: RefCell::new(vec![0; INBOUND_BYTES]),
        handshakes: Cell::new(0),
        turns: Turns::default(),
        held: Cell::new(false),
        number,
        shared: Arc::clone(&shared),
    });
    let local = LocalSet::new();
    for shard in shards {
        match shard {
            AnyShard::Own(task) => {
                local.spawn_local(shard_task::run(Arc::clone(&shared), *task));
            }
            AnyShard::Replicated(task) => {
                local.spawn_local(replicated::run(Arc::clone(&shared), *task));
            }
            AnyShard::Commons(task) => {
                local.spawn_local(commons::run(Arc::clone(&shared), *task));
            }
        }
    }
    local.spawn_local(forward(Rc::clone(&core)));
    local.spawn_local(super::accounts::follow_changes(Rc::clone(&core)));
    local.spawn_local(super::connections::answer(Rc::clone(&core)));
    local.spawn_local(crate::transport::receive(Rc::clone(&core), arrivals));
    local.spawn_local(dispatch::run(Rc::clone(&core), events));
    let mut stop = shared.stop.subscribe();
    local.block_on(&runtime, async {
        // The sender lives as long as `shared`, so this ends by the stage only.
        drop(stop.wait_for(|stage| *stage == Stage::Stopping).await);
        crate::transport::close_all(&core).await;
    });
}

/// Passes the dispatcher's commands on to the shards, in order.
async fn forward(core: Rc<Core>) {
    loop {
        let next = core.dispatcher.borrow_mut().outgoing();
        match next {
            Some((shard, command)) => core.send(shard, command).await,
            None => {
                if core.held.replace(false) {
                    core.connections.borrow().iter().for_each(|held| held.open_gate());
                }
                core.forward.notified().await;
            }
        }
    }
}
