//! Increments of eventual counters that count once, however often they are sent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidewire_protocol::ClientFrame;
use tidewire_protocol::Name;
use tidewire_protocol::frame::CounterOp;
use tidewire_protocol::options::{CounterOptions, Numbering};

use crate::client::Client;
use crate::error::Error;
use crate::reply::{self, Counted};

/// A numbering of increments. When the connection is lost before an increment was answered, it is sent again
/// over the next one, to whichever node that leads, and counts once. Where that node cannot say whether it was
/// counted, it is refused with `outcome_unknown`, and nothing was counted now.
///
/// A server remembers the newest 64 increments of a numbering, and forgets one that was not used for an hour.
#[derive(Debug)]
pub struct Increments {
    client: Client,
    producer: u64,
    last: AtomicU64,
}

impl Client {
    /// Begins a numbering of increments.
    ///
    /// # Errors
    /// When there is no connection, or the server issues none.
    ///
    /// # Cancellation
    /// Safe: an id that nobody gets is forgotten by the server.
    pub async fn increments(&self) -> Result<Increments, Error> {
        let issued = self.start(|req| ClientFrame::Producer { req }, reply::producer).await?;
        let producer = issued.await?.producer;
        Ok(Increments { client: self.clone(), producer, last: AtomicU64::new(0) })
    }
}

impl Increments {
    /// Adds to an eventual counter.
    ///
    /// # Errors
    /// When the server refuses: `producer_unknown` says that the numbering was forgotten, so begin another
    /// one; `outcome_unknown` that it cannot say whether it was counted before.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out. Its number is not given to
    /// another increment.
    pub async fn add(&self, counter: &Name, delta: i64) -> Result<Counted, Error> {
        let sequence = self.last.fetch_add(1, Relaxed) + 1;
        let (producer, sequence) = (Some(self.producer), Some(sequence));
        let numbering = Numbering { producer, sequence, tried: Vec::new() };
        let options =
            CounterOptions { numbering: Some(numbering.into()), ..CounterOptions::default() };
        self.client.count(counter, CounterOp::Add, delta, options).await
    }
}
