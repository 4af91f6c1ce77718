//! What has been leased to one consumer and was not taken yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tidewire_protocol::group::ConsumeOptions;
use tidewire_protocol::record::Records;
use tidewire_protocol::{ClientFrame, Name, ServerFrame};

use crate::consumer::LeasedRecord;
use crate::error::Error;
use crate::inbox::Opener;

/// The client's side of one consumer. The server leases only so much at once, so it is bounded.
#[derive(Debug)]
pub(crate) struct Shelf {
    topic: Name,
    group: Name,
    options: ConsumeOptions,
    state: Mutex<State>,
    reader: AtomicWaker,
}

#[derive(Debug)]
struct State {
    sub: u32,
    opener: Option<Opener>,
    records: VecDeque<LeasedRecord>,
    ended: Option<Error>,
}

impl Shelf {
    pub(crate) fn new(topic: Name, group: Name, options: ConsumeOptions, opener: Opener) -> Self {
        let state = State { sub: 0, opener: Some(opener), records: VecDeque::new(), ended: None };
        Self { topic, group, options, state: Mutex::new(state), reader: AtomicWaker::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next record; `None` when the consumer has ended and everything was taken.
    pub(crate) fn poll_take(&self, context: &Context<'_>) -> Poll<Option<LeasedRecord>> {
        if let Some(taken) = self.take() {
            return Poll::Ready(taken);
        }
        self.reader.register(context.waker());
        // What has come before the reader was known wakes nobody.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    pub(crate) fn sub(&self) -> u32 {
        self.state().sub
    }

    pub(crate) fn is_opening(&self) -> bool {
        self.state().opener.is_some()
    }

    /// Another connection begins. What was leased over the one before and not taken is not this
    /// consumer's any more.
    pub(crate) fn begin(&self) {
        self.state().records.clear();
    }

    /// The CONSUME that starts it under this id.
    pub(crate) fn open(&self, req: u64, sub: u32) -> Option<ClientFrame> {
        let mut state = self.state();
        if state.ended.is_some() {
            return None;
        }
        state.sub = sub;
        let (topic, group, options) =
            (self.topic.clone(), self.group.clone(), self.options.clone());
        Some(ClientFrame::Consume { req, sub, topic, group, options })
    }

    /// The server has answered CONSUME.
    pub(crate) fn opened(&self) {
        let opener = self.state().opener.take();
        opener.map(|opener| opener.send(Ok(())));
    }

    /// Keeps a LEASED for the application.
    pub(crate) fn receive(&self, frame: ServerFrame) {
        let ServerFrame::Leased { topic, epoch, time_ms, partition, deliveries, body, .. } = frame
        else {
            return tracing::debug!(topic = %self.topic, "a frame that is none of a consumer is ignored");
        };
        let mut state = self.state();
        for ((offset, deliveries), record) in deliveries.into_iter().zip(Records::of(&body)) {
            let (topic, encoded) = (topic.clone(), body.slice_ref(record.encoded));
            let leased =
                LeasedRecord { topic, epoch, offset, deliveries, time_ms, partition, encoded };
            // One that was not taken in time comes again.
            state.records.retain(|old| (old.partition, old.offset) != (partition, offset));
            state.records.push_back(leased);
        }
        drop(state);
        self.reader.wake();
    }

    /// `Some(None)` when there will be none any more.
    fn take(&self) -> Option<Option<LeasedRecord>> {
        let mut state = self.state();
        match state.records.pop_front() {
            Some(record) => Some(Some(record)),
            None => state.ended.is_some().then_some(None),
        }
    }

    pub(crate) fn end_reason(&self) -> Option<Error> {
        self.state().ended.clone()
    }

    /// It is over.
    pub(crate) fn end(&self, why: &Error) {
        let mut state = self.state();
        state.ended.get_or_insert_with(|| why.clone());
        let opener = state.opener.take();
        drop(state);
        opener.map(|opener| opener.send(Err(why.clone())));
        self.reader.wake();
    }
}
