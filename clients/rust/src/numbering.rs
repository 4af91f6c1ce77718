//! The numbers of publishes, by which a server knows one that is sent again.

use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::options::ProducerInfo;
use tidewire_protocol::{ClientFrame, ErrorCode, ServerFrame, wire};

use crate::link::Link;
use crate::traffic::Traffic;
use crate::waiting::{Waiter, Waiting};

/// New numbers that a publish gets before its refusal is passed on.
const RENUMBERED_MAX: u32 = 3;

/// The producer that this client is, for one connection after the other.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    state: State,
    /// The last number that was given.
    last: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was published yet, or the server has forgotten this producer.
    #[default]
    Unknown,
    /// The server has been asked for an id.
    Asked,
    /// The id.
    Known(u64),
    /// The server issues none: publishes are not repeated.
    Unavailable,
}

/// Whether a request is to be numbered before it is sent.
pub(crate) fn wants_number(frame: &ClientFrame) -> bool {
    let ClientFrame::Publish { ack, options, .. } = frame else { return false };
    *ack != AckLevel::None && options.producer.is_none() && options.sequence.is_none()
}

/// Whether it is a publish that a server knows again.
pub(crate) fn is_numbered(frame: &ClientFrame) -> bool {
    matches!(frame, ClientFrame::Publish { options, .. } if options.producer.is_some())
}

/// Whether a request waits for the number that it is sent with.
fn lacks_number(waiting: &Waiting) -> bool {
    waiting.repeat.as_ref().is_some_and(wants_number)
}

impl Traffic {
    /// Whether a publish can be sent now; if an id is needed for that, it is asked for.
    pub(crate) fn may_publish(&mut self) -> bool {
        if self.repeating.holds_publishes {
            return false;
        }
        match self.numbering.state {
            State::Known(_) | State::Unavailable => true,
            State::Asked => false,
            State::Unknown => {
                self.ask_for_producer();
                false
            }
        }
    }

    fn ask_for_producer(&mut self) {
        let req = self.waiting.next_req();
        if self.outbox.push(&ClientFrame::Producer { req }).is_ok() {
            let waiting = Waiting::new(Waiter::Numbers, None, false);
            self.waiting.insert(req, waiting);
            self.numbering.state = State::Asked;
        }
    }

    /// Gives the frame its number, if it wants one and there is an id. Returns whether it may be
    /// sent.
    pub(crate) fn number(&mut self, frame: &mut ClientFrame) -> bool {
        if !wants_number(frame) {
            return true;
        }
        let ClientFrame::Publish { options, .. } = frame else { return true };
        match self.numbering.state {
            State::Known(producer) => {
                self.numbering.last += 1;
                options.producer = Some(producer);
                options.sequence = Some(self.numbering.last);
                true
            }
            State::Unavailable => true,
            State::Unknown | State::Asked => false,
        }
    }

    /// A new connection: an id that was asked for on the one before does not come any more.
    pub(crate) fn ask_again(&mut self) {
        match self.numbering.state {
            State::Asked => self.ask_for_producer(),
            // It may be another server.
            State::Unavailable => self.numbering.state = State::Unknown,
            State::Unknown | State::Known(_) => {}
        }
    }
}

impl Link {
    /// The reply to PRODUCER: what has waited for it is sent.
    pub(crate) fn numbered(&self, frame: &ServerFrame) {
        let mut traffic = self.traffic();
        traffic.numbering.state = match producer_in(frame) {
            Some(producer) => State::Known(producer),
            None if is_transient(frame) => State::Unknown,
            None => State::Unavailable,
        };
        let freed = traffic.push_repeats_that(lacks_number);
        drop(traffic);
        self.room.add_permits(freed);
        self.roomy.notify_waiters();
        self.filled.notify_one();
    }

    /// Looks at a refusal of a publish. When the server has only forgotten the producer, and this was
    /// the first attempt, nothing was appended: it is sent again under another id. Returns whether
    /// it is.
    pub(crate) fn renumber(&self, req: u64, frame: &ServerFrame) -> bool {
        let ServerFrame::Error { code, .. } = frame else { return false };
        if ErrorCode::from_number(*code) != Some(ErrorCode::ProducerUnknown) {
            return false;
        }
        let mut traffic = self.traffic();
        let Some(waiting) = traffic.waiting.get_mut(req).filter(|waiting| waiting.is_numbered_here)
        else {
            return false;
        };
        let is_first = waiting.attempts == 1 && waiting.renumbered < RENUMBERED_MAX;
        waiting.renumbered += 1;
        let Some(ClientFrame::Publish { options, .. }) = &mut waiting.repeat else { return false };
        let refused = options.producer;
        if is_first {
            (options.producer, options.sequence) = (None, None);
        }
        if matches!(traffic.numbering.state, State::Known(id) if Some(id) == refused) {
            traffic.ask_for_producer();
        }
        let freed = if is_first { traffic.push_repeats_that(lacks_number) } else { 0 };
        drop(traffic);
        self.room.add_permits(freed);
        self.filled.notify_one();
        is_first
    }
}

/// Whether the server may issue an id later.
fn is_transient(frame: &ServerFrame) -> bool {
    let ServerFrame::Error { code, .. } = frame else { return false };
    ErrorCode::from_number(*code).is_some_and(ErrorCode::is_retryable)
}

fn producer_in(frame: &ServerFrame) -> Option<u64> {
    let ServerFrame::Ok { result: Some(result), .. } = frame else { return None };
    let info: ProducerInfo = wire::from_slice(result).ok()?;
    Some(info.producer).filter(|producer| *producer > 0)
}
