//! Whose requests a core takes next.
//!
//! Connections of one identity, or without accounts those of one address, are one flow. Flows take
//! turns: of each at most one connection has its requests looked at at a time, and while several
//! flows ask for something its turn is short. So who has many connections, or sends much on one,
//! waits behind itself and not in front of the others (start-time fair queueing with equal quanta,
//! kept by the run queue of the core's tasks: deficit round robin, Shreedhar and Varghese 1995).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tidewire_core::access::Identity;
use tidewire_core::is_durable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::rates::network;
use crate::webhook::PLACES;

/// Requests of a turn while others wait for theirs.
const TURN_REQUESTS: u32 = 64;
/// Requests of a flow that wait for shards meanwhile.
const ROOM_REQUESTS: u32 = 512;
/// So long after two flows have had turns one after the other, several are taken to ask.
const CONTENDED_MS: u64 = 20;
/// With so many flows it is looked which ones nobody is in.
const FLOWS_PRUNED_MIN: usize = 256;

/// Who is served as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// A person or a program with an account, of this tenant or of none.
    Identity(Option<String>, Identity),
    /// All others of an address; of IPv6, of one /64.
    Address(IpAddr),
}

impl Whose {
    pub(crate) fn of(tenant: Option<&str>, identity: Option<&Identity>, address: IpAddr) -> Self {
        match identity {
            Some(identity) => Self::Identity(tenant.map(str::to_owned), identity.clone()),
            None => Self::Address(network(address)),
        }
    }
}

/// The connections of one of them on this core.
#[derive(Debug)]
pub(crate) struct Flow {
    number: u64,
    /// Whoever holds it has the flow's turn.
    turn: Arc<Semaphore>,
    /// Requests that shards have not taken on yet, while several flows ask: those in memory, and those on
    /// disk, which may have to wait for it.
    room_in_memory: Arc<Semaphore>,
    room_on_disk: Arc<Semaphore>,
    /// Those that ask the webhook's application.
    asking: Semaphore,
}

impl Flow {
    /// Waits until the flow may ask the webhook's application something. `weight`: how many of
    /// [`PLACES`] places that takes.
    pub(super) async fn asking(&self, weight: u32) -> Option<SemaphorePermit<'_>> {
        // Fails only when the semaphore is closed, which nobody does.
        self.asking.acquire_many(weight.min(PLACES)).await.ok()
    }
}

/// The flows of a core: those that connections are in, and some that they have left.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    flows: RefCell<HashMap<Whose, Weak<Flow>>>,
    prune_at: Cell<usize>,
    last_number: Cell<u64>,
    /// The flow that had the last turn, and until when several are taken to ask.
    last: Cell<u64>,
    contended_until_ms: Cell<u64>,
}

impl Turns {
    /// The flow of somebody.
    pub(crate) fn of(&self, whose: Whose) -> Rc<Flow> {
        let mut flows = self.flows.borrow_mut();
        if let Some(flow) = flows.get(&whose).and_then(Weak::upgrade) {
            return flow;
        }
        // Each look at all of them is paid for by as many that were added.
        if flows.len() >= self.prune_at.get().max(FLOWS_PRUNED_MIN) {
            flows.retain(|_, flow| flow.strong_count() > 0);
            self.prune_at.set(2 * flows.len());
        }
        self.last_number.set(self.last_number.get() + 1);
        let turn = Arc::new(Semaphore::new(1));
        let room = || Arc::new(Semaphore::new(ROOM_REQUESTS as usize));
        let (room_in_memory, room_on_disk) = (room(), room());
        let number = self.last_number.get();
        let asking = Semaphore::new(PLACES as usize);
        let flow = Rc::new(Flow { number, turn, room_in_memory, room_on_disk, asking });
        flows.insert(whose, Rc::downgrade(&flow));
        flow
    }

    /// Whether several flows ask for something, now that this one has its turn.
    fn are_contended(&self, number: u64, now_ms: u64) -> bool {
        if self.last.replace(number) != number {
            self.contended_until_ms.set(now_ms + CONTENDED_MS);
        }
        now_ms < self.contended_until_ms.get()
    }
}

/// The turn of a connection.
#[derive(Debug)]
pub(crate) struct Turn {
    flow: Rc<Flow>,
    held: Option<OwnedSemaphorePermit>,
    left: u32,
    is_contended: bool,
}

impl Turn {
    /// A turn that has not begun.
    pub(crate) fn of(flow: Rc<Flow>) -> Self {
        Self { flow, held: None, left: 0, is_contended: false }
    }

    /// Waits until the connection's turn has come.
    pub(crate) async fn begin(&mut self, turns: &Turns, now_ms: u64) {
        if self.held.is_some() {
            return;
        }
        // Fails only when the semaphore is closed, which nobody does.
        self.held = Arc::clone(&self.flow.turn).acquire_owned().await.ok();
        self.is_contended = turns.are_contended(self.flow.number, now_ms);
        self.left = if self.is_contended { TURN_REQUESTS } else { u32::MAX };
    }

    /// Counts a request; whether the turn is over before it.
    pub(crate) fn is_over(&mut self) -> bool {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }

    /// Waits until so many requests of the flow have room on their way to a shard; nobody waits while
    /// no other flow asks.
    pub(super) async fn room(&mut self, shard: u16, requests: u32) -> Option<OwnedSemaphorePermit> {
        if !self.is_contended {
            return None;
        }
        let requests = requests.min(ROOM_REQUESTS);
        let room = match is_durable(shard) {
            true => Arc::clone(&self.flow.room_on_disk),
            false => Arc::clone(&self.flow.room_in_memory),
        };
        if let Ok(room) = Arc::clone(&room).try_acquire_many_owned(requests) {
            return Some(room);
        }
        self.lend();
        // Fails only when the semaphore is closed, which nobody does.
        room.acquire_many_owned(requests).await.ok()
    }

    /// Lets others of the flow have their turns while the connection waits for a shard: they may have to do
    /// with another one.
    pub(super) fn lend(&mut self) {
        self.held = None;
    }

    /// Lets others of the flow have their turns, because the connection's is over, has nothing more to
    /// ask or has to wait. While several flows ask, all others come first: who is woken at once would
    /// run before those who have yielded.
    pub(crate) async fn end(&mut self) {
        if self.is_contended {
            tokio::task::yield_now().await;
        }
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    use tidewire_core::SHARDS;

    fn whose(subject: &str) -> Whose {
        let identity = Identity { issuer: "local".into(), subject: subject.into() };
        Whose::of(None, Some(&identity), IpAddr::from([127, 0, 0, 1]))
    }

    fn begins(turn: &mut Turn, turns: &Turns, now_ms: u64) -> bool {
        let begin = std::pin::pin!(turn.begin(turns, now_ms));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        matches!(begin.poll(&mut cx), Poll::Ready(()))
    }

    #[test]
    fn one_connection_of_a_flow_has_its_turn_at_a_time() {
        let turns = Turns::default();
        let mut first = Turn::of(turns.of(whose("ann")));
        let mut second = Turn::of(turns.of(whose("ann")));
        let mut other = Turn::of(turns.of(whose("bob")));
        assert!(begins(&mut first, &turns, 0));
        assert!(!begins(&mut second, &turns, 0), "ann waits behind ann");
        assert!(begins(&mut other, &turns, 0), "and not in front of bob");
        first.held = None;
        assert!(begins(&mut second, &turns, 0));
    }

    #[test]
    fn turns_are_short_only_while_several_ask() {
        let turns = Turns::default();
        let requests = |turn: &mut Turn, now_ms| {
            assert!(begins(turn, &turns, now_ms));
            let requests = (0..10_000).take_while(|_| !turn.is_over()).count();
            turn.held = None;
            requests
        };
        let (mut ann, mut bob) =
            (Turn::of(turns.of(whose("ann"))), Turn::of(turns.of(whose("bob"))));
        requests(&mut ann, 0);
        assert_eq!(requests(&mut ann, CONTENDED_MS), 10_000, "alone");
        assert_eq!(requests(&mut bob, 100), TURN_REQUESTS as usize);
        assert_eq!(requests(&mut ann, 110), TURN_REQUESTS as usize);
        assert_eq!(requests(&mut ann, 110 + CONTENDED_MS), 10_000, "bob is silent again");
    }

    #[test]
    fn what_waits_for_the_disk_takes_no_room_in_memory() {
        let turns = Turns::default();
        let mut turn = Turn::of(turns.of(whose("ann")));
        assert!(begins(&mut turn, &turns, 0));
        let mut has_room = |shard, requests| {
            let room = std::pin::pin!(turn.room(shard, requests));
            match room.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(room) => room,
                Poll::Pending => None,
            }
        };
        let held = has_room(SHARDS, 10 * ROOM_REQUESTS);
        assert!(held.is_some(), "a large one takes all there is");
        assert!(has_room(SHARDS + 1, 1).is_none(), "the disk's room is taken");
        assert!(has_room(0, 1).is_some());
        drop(held);
        assert!(has_room(SHARDS, 1).is_some());
    }

    #[test]
    fn flows_that_nobody_is_in_are_forgotten() {
        let turns = Turns::default();
        let kept = turns.of(whose("ann"));
        for number in 0..10 * FLOWS_PRUNED_MIN {
            turns.of(whose(&number.to_string()));
        }
        assert!(turns.flows.borrow().len() <= 2 * FLOWS_PRUNED_MIN);
        assert_eq!(turns.of(whose("ann")).number, kept.number);
    }
}
