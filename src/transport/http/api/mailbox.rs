//! What comes to a session of HTTP: replies to whoever asked, and what is followed to whoever follows it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tidewire_core::fanout::{Lane, Sink};
use tidewire_core::shard::SessionId;
use tidewire_protocol::frame::split_first;
use tidewire_protocol::{Refusal, ServerFrame};
use tokio::sync::{Notify, oneshot};

use super::super::figures::HttpFigures;
use crate::server::Core;

/// Bytes that may wait to be taken. Beyond them nothing more is taken from the session, whose cursors then lag
/// as those of any slow connection.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Bytes that a session takes before the next one has its turn.
const SLICE_BYTES: usize = 256 * 1024;

/// The outbound side of a session of HTTP.
pub(in crate::transport) struct Outlet(pub(super) Rc<Mailbox>);

/// Frames that have come and were not taken yet.
pub(super) struct Mailbox {
    asked: RefCell<HashMap<u64, oneshot::Sender<ServerFrame>>>,
    followed: RefCell<HashMap<u32, Rc<Inflow>>>,
    kept_bytes: Cell<usize>,
    /// The dispatcher wants to know whether somebody is there.
    pinged: Cell<bool>,
    ended: RefCell<Option<Refusal>>,
    bell: Notify,
    figures: Arc<HttpFigures>,
}

/// What has come for one subscription or watch.
#[derive(Default)]
pub(super) struct Inflow {
    frames: RefCell<VecDeque<(ServerFrame, usize)>>,
    waker: Cell<Option<Waker>>,
}

impl Outlet {
    /// Takes what the session has, as far as there is room.
    pub(in crate::transport) fn pump(
        &mut self,
        core: &Core,
        id: SessionId,
        now_ms: u64,
    ) -> Poll<io::Result<()>> {
        let mailbox = &*self.0;
        if mailbox.is_full() {
            return Poll::Pending;
        }
        let mut head = core.head.borrow_mut();
        let mut sorter = Sorter(mailbox);
        let mut dispatcher = core.dispatcher.borrow_mut();
        dispatcher.pull(id, SLICE_BYTES, now_ms, &mut head, &mut sorter);
        // Where something is followed, whoever takes it answers by asking for more.
        if mailbox.followed.borrow().is_empty() && mailbox.pinged.take() {
            dispatcher.heard(id, now_ms);
        }
        Poll::Ready(Ok(()))
    }
}

impl Mailbox {
    /// Nothing has come yet; what waits is counted here.
    pub(super) fn new(figures: Arc<HttpFigures>) -> Self {
        Self {
            asked: RefCell::default(),
            followed: RefCell::default(),
            kept_bytes: Cell::default(),
            pinged: Cell::default(),
            ended: RefCell::default(),
            bell: Notify::new(),
            figures,
        }
    }

    fn set_kept(&self, bytes: usize) {
        self.figures.queued(self.kept_bytes.replace(bytes), bytes);
    }

    fn is_full(&self) -> bool {
        self.kept_bytes.get() >= KEPT_BYTES_MAX
    }

    /// Expects the reply to a request.
    pub(super) fn expect(&self, req: u64) -> oneshot::Receiver<ServerFrame> {
        let (sender, receiver) = oneshot::channel();
        self.asked.borrow_mut().insert(req, sender);
        receiver
    }

    /// Expects what comes for a subscription.
    pub(super) fn follow(&self, sub: u32) -> Rc<Inflow> {
        let inflow = Rc::<Inflow>::default();
        self.followed.borrow_mut().insert(sub, Rc::clone(&inflow));
        inflow
    }

    /// Nobody takes what comes for a subscription any more.
    pub(super) fn forget(&self, sub: u32) {
        let Some(inflow) = self.followed.borrow_mut().remove(&sub) else { return };
        let left: usize = inflow.frames.take().iter().map(|(_, bytes)| bytes).sum();
        self.set_kept(self.kept_bytes.get().saturating_sub(left));
    }

    /// The session has ended: nobody gets an answer any more.
    pub(super) fn end(&self, refusal: Refusal) {
        self.ended.borrow_mut().get_or_insert(refusal);
        self.asked.take();
        self.followed.borrow().values().for_each(|inflow| inflow.wake());
        self.bell.notify_waiters();
    }

    /// Why the session has ended.
    pub(super) fn ended(&self) -> Option<Refusal> {
        self.ended.borrow().clone()
    }

    /// Waits until the session has ended.
    pub(super) async fn over(&self) -> Refusal {
        loop {
            let rung = self.bell.notified();
            if let Some(refusal) = self.ended() {
                return refusal;
            }
            rung.await;
        }
    }

    /// The next frame of a subscription; nothing more when the session has ended.
    pub(super) fn poll_next(
        &self,
        core: &Core,
        id: SessionId,
        inflow: &Inflow,
        cx: &Context<'_>,
    ) -> Poll<Option<ServerFrame>> {
        let was_full = self.is_full();
        // HTTP asks for more only as far as the socket takes it, so that is an answer. Where the mailbox is full, no
        // ping comes.
        if self.pinged.take() || was_full {
            core.dispatcher.borrow_mut().heard(id, core.now_ms());
        }
        let next = inflow.frames.borrow_mut().pop_front();
        let Some((frame, bytes)) = next else {
            inflow.waker.set(Some(cx.waker().clone()));
            return if self.ended.borrow().is_some() { Poll::Ready(None) } else { Poll::Pending };
        };
        self.set_kept(self.kept_bytes.get().saturating_sub(bytes));
        if was_full && !self.is_full() {
            core.woken.push(id);
        }
        Poll::Ready(Some(frame))
    }

    fn sort(&self, bytes: &Bytes) {
        // The dispatcher makes no frame that cannot be read.
        let Ok(frame) = ServerFrame::decode(bytes) else { return };
        let sub = match &frame {
            ServerFrame::Ping { .. } => {
                self.pinged.set(true);
                return self.followed.borrow().values().for_each(|inflow| inflow.wake());
            }
            ServerFrame::GoAway { .. } => {
                let subs: Vec<u32> = self.followed.borrow().keys().copied().collect();
                return subs.into_iter().for_each(|sub| self.keep(sub, frame.clone(), bytes.len()));
            }
            ServerFrame::Error { sub: Some(sub), .. }
            | ServerFrame::Deliver { sub, .. }
            | ServerFrame::Gap { sub, .. }
            | ServerFrame::Progress { sub, .. }
            | ServerFrame::Update { sub, .. }
            | ServerFrame::Leased { sub, .. } => *sub,
            ServerFrame::Error { sub: None, .. }
            | ServerFrame::Welcome { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Ok { .. }
            | ServerFrame::PubAck { .. }
            | ServerFrame::Subscribed { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Value { .. }
            | ServerFrame::Watching { .. } => 0,
        };
        if let Some(req) = frame.answers() {
            let asked = self.asked.borrow_mut().remove(&req);
            if let Some(asked) = asked {
                // Whoever asked may have gone.
                drop(asked.send(frame));
            }
            return;
        }
        self.keep(sub, frame, bytes.len());
    }

    fn keep(&self, sub: u32, frame: ServerFrame, bytes: usize) {
        if let Some(inflow) = self.followed.borrow().get(&sub) {
            inflow.frames.borrow_mut().push_back((frame, bytes));
            self.set_kept(self.kept_bytes.get() + bytes);
            inflow.wake();
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.set_kept(0);
    }
}

impl Inflow {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Hands each frame to whom it is for.
struct Sorter<'a>(&'a Mailbox);

impl Sink for Sorter<'_> {
    fn is_open(&mut self, _lane: Lane) -> bool {
        true
    }

    fn control(&mut self, _stream: u16, frames: &[u8]) {
        let mut rest = Bytes::copy_from_slice(frames);
        while !rest.is_empty() {
            let Ok(frame) = split_first(&mut rest) else { return };
            self.0.sort(&frame);
        }
    }

    fn frame(&mut self, _lane: Lane, head: &[u8], shared: &Bytes) {
        let mut whole = Vec::with_capacity(head.len() + shared.len());
        whole.extend_from_slice(head);
        whole.extend_from_slice(shared);
        self.0.sort(&whole.into());
    }

    fn finish(&mut self, _sub: u32) {}
}
