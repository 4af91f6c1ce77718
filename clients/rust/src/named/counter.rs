//! A counter.

use tidewire_protocol::Name;
use tidewire_protocol::frame::{CellKind, CounterOp};
use tidewire_protocol::options::{CounterOptions, WatchOptions};

use crate::client::Client;
use crate::error::Error;
use crate::reply::Counted;
use crate::watch::Watch;

/// A counter: a number that everyone adds to. Made by [`Client::counter`].
#[derive(Clone, Debug)]
pub struct Counter {
    client: Client,
    name: Name,
}

impl Client {
    /// The counter of this name.
    ///
    /// # Errors
    /// `invalid_name`.
    pub fn counter(&self, name: impl AsRef<str>) -> Result<Counter, Error> {
        Ok(Counter { client: self.clone(), name: Name::parse(name.as_ref())? })
    }
}

impl Counter {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Adds 1.
    ///
    /// # Errors
    /// As [`Client::incr`].
    ///
    /// # Cancellation
    /// As [`Client::incr`].
    pub async fn incr(&self) -> Result<Counted, Error> {
        self.add(1).await
    }

    /// Adds to it; one that does not exist counts from 0. When the connection is lost before the answer, this
    /// fails, since it may have been counted: [`Counter::add_once`] is sent again.
    ///
    /// # Errors
    /// As [`Client::incr`].
    ///
    /// # Cancellation
    /// As [`Client::incr`].
    pub async fn add(&self, delta: i64) -> Result<Counted, Error> {
        self.client.incr(&self.name, delta).await
    }

    /// Adds to it once, however often this is sent: the server knows increments by their ids (1 to 64 bytes) for ten
    /// minutes.
    ///
    /// # Errors
    /// As [`Client::count`].
    ///
    /// # Cancellation
    /// Safe; when it is not known whether it was counted, the same id again tells.
    pub async fn add_once(&self, delta: i64, id: &str) -> Result<Counted, Error> {
        let options = CounterOptions { id: Some(id.to_owned()), ..CounterOptions::default() };
        self.apply(CounterOp::Add, delta, options).await
    }

    /// Sets it to a number.
    ///
    /// # Errors
    /// As [`Client::count`].
    ///
    /// # Cancellation
    /// As [`Client::count`].
    pub async fn set(&self, number: i64) -> Result<Counted, Error> {
        self.apply(CounterOp::Set, number, CounterOptions::default()).await
    }

    /// Deletes it.
    ///
    /// # Errors
    /// As [`Client::count`].
    ///
    /// # Cancellation
    /// As [`Client::count`].
    pub async fn reset(&self) -> Result<Counted, Error> {
        self.apply(CounterOp::Reset, 0, CounterOptions::default()).await
    }

    /// Any operation, with bounds, a time to live or an id.
    ///
    /// # Errors
    /// As [`Client::count`].
    ///
    /// # Cancellation
    /// As [`Client::count`].
    pub async fn apply(
        &self,
        op: CounterOp,
        operand: i64,
        options: CounterOptions,
    ) -> Result<Counted, Error> {
        self.client.count(&self.name, op, operand, options).await
    }

    /// Its number; `None` when it does not exist.
    ///
    /// # Errors
    /// As [`Client::get_counter`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn get(&self) -> Result<Option<i64>, Error> {
        self.client.get_counter(&self.name).await
    }

    /// Follows its newest number, also of one that does not exist yet.
    ///
    /// # Errors
    /// As [`Client::watch`].
    ///
    /// # Cancellation
    /// As [`Client::watch`].
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        self.client.watch(CellKind::Counter, &self.name, options).await
    }
}
