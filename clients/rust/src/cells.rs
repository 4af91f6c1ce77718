//! Counters, maps, and reading and watching of any cell.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_protocol::frame::{CellKind, CounterOp};
use tidewire_protocol::options::{CounterOptions, GetOptions, WatchOptions};
use tidewire_protocol::{ClientFrame, ErrorCode, Name};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::error::Error;
use crate::pending::Pending;
use crate::reply::{self, Counted, Entry, Value};
use crate::routes::Route;
use crate::watch::{Watch, WatchValue};
use crate::watch_slot::WatchSlot;

impl Client {
    /// Adds to a counter; one that does not exist counts from 0.
    ///
    /// # Errors
    /// When the server refuses or the connection is lost. It is not sent again then: it would
    /// count twice. [`Client::count`] with an id is.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn incr(&self, counter: &Name, delta: i64) -> Result<Counted, Error> {
        self.count(counter, CounterOp::Add, delta, CounterOptions::default()).await
    }

    /// Adds to, sets or resets a counter. With an `id` in the options it is applied once, however
    /// often it is sent.
    ///
    /// # Errors
    /// When the server refuses or the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out. With an id, the same
    /// again tells.
    pub async fn count(
        &self,
        counter: &Name,
        op: CounterOp,
        operand: i64,
        options: CounterOptions,
    ) -> Result<Counted, Error> {
        self.start_counter(counter, op, operand, options).await?.await
    }

    /// Sends a counter operation whose reply is awaited later.
    ///
    /// # Errors
    /// When there is no connection.
    ///
    /// # Cancellation
    /// Safe: before it returns nothing was sent.
    pub async fn start_counter(
        &self,
        counter: &Name,
        op: CounterOp,
        operand: i64,
        options: CounterOptions,
    ) -> Result<Pending<Counted>, Error> {
        let counter = counter.clone();
        self.start(|req| ClientFrame::Incr { req, counter, op, operand, options }, reply::counted)
            .await
    }

    /// A counter's number; `None` when it does not exist.
    ///
    /// # Errors
    /// When the server refuses.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn get_counter(&self, counter: &Name) -> Result<Option<i64>, Error> {
        let value = self.get(CellKind::Counter, counter, None).await?;
        value.map(|value| value.counter()).transpose()
    }

    /// Every entry of a topic's map or of a presence set, however large it is: what does not fit
    /// a reply is read as the first value of a watch.
    ///
    /// # Errors
    /// When the server refuses: a topic has a map only if its policy says so.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn entries(
        &self,
        kind: CellKind,
        name: &Name,
    ) -> Result<BTreeMap<String, Entry>, Error> {
        match self.get(kind, name, None).await {
            Ok(Some(value)) => value.entries(),
            Ok(None) => Ok(BTreeMap::new()),
            Err(Error::Refused(refusal)) if refusal.code == ErrorCode::LimitExceeded => {
                self.first_entries(kind, name).await
            }
            Err(error) => Err(error),
        }
    }

    async fn first_entries(
        &self,
        kind: CellKind,
        name: &Name,
    ) -> Result<BTreeMap<String, Entry>, Error> {
        let mut watch = self.watch(kind, name, WatchOptions::default()).await?;
        let first = watch.next().await.map(|event| match event.value {
            WatchValue::Entries { all, .. } => all.clone(),
            WatchValue::Absent | WatchValue::Counter(_) | WatchValue::Standings(_) => {
                BTreeMap::new()
            }
        });
        first.ok_or_else(|| watch.end_reason().unwrap_or(Error::Closed))
    }

    /// Reads a value; `None` when there is none. `key` is for one key of a map or presence set.
    ///
    /// # Errors
    /// When the server refuses.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn get(
        &self,
        kind: CellKind,
        name: &Name,
        key: Option<&str>,
    ) -> Result<Option<Value>, Error> {
        self.start_get(kind, name, key).await?.await
    }

    /// The same, as of some increment at least, or from nobody but who leads the name.
    ///
    /// # Errors
    /// When the server refuses.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn get_with(
        &self,
        kind: CellKind,
        name: &Name,
        key: Option<&str>,
        options: GetOptions,
    ) -> Result<Option<Value>, Error> {
        let (name, key) = (name.clone(), key.map(str::to_owned));
        let frame = |req| ClientFrame::Get { req, kind, name, key, options };
        self.start(frame, reply::value).await?.await
    }

    /// Asks for a value that is awaited later.
    ///
    /// # Errors
    /// When there is no connection.
    ///
    /// # Cancellation
    /// Safe: before it returns nothing was sent.
    pub async fn start_get(
        &self,
        kind: CellKind,
        name: &Name,
        key: Option<&str>,
    ) -> Result<Pending<Option<Value>>, Error> {
        let (name, key) = (name.clone(), key.map(str::to_owned));
        let options = GetOptions::default();
        self.start(|req| ClientFrame::Get { req, kind, name, key, options }, reply::value).await
    }

    /// Follows the newest value of a counter, tally, map or presence set. A counter, map or set
    /// that does not exist yet can be watched as well.
    ///
    /// # Errors
    /// When the server refuses, for instance `not_found` for a tally.
    ///
    /// # Cancellation
    /// Safe: a watch that was dropped while it opens is ended on the server as well.
    pub async fn watch(
        &self,
        kind: CellKind,
        name: &Name,
        options: WatchOptions,
    ) -> Result<Watch, Error> {
        let (opener, opened) = oneshot::channel();
        let slot = Arc::new(WatchSlot::new(kind, name.clone(), options, opener));
        // Made before the first await, so that giving up while it opens ends it.
        let watch = Watch::new(self.handle(), Arc::clone(&slot));
        self.link().open(Route::Watch(slot)).await?;
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(watch)
    }
}
