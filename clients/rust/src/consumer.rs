//! Consumers: a share of a topic's records, each to be acknowledged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tidewire_protocol::frame::SettleOp;
use tidewire_protocol::group::{ConsumeOptions, SettleOptions};
use tidewire_protocol::record::{Record, Records};
use tidewire_protocol::{ClientFrame, Name};
use tokio::sync::oneshot;

use crate::client::{Client, Handle};
use crate::error::Error;
use crate::pending::Pending;
use crate::reply;
use crate::routes::Route;
use crate::shelf::Shelf;

impl Client {
    /// Consumes a group of a topic: gets records that no other consumer of the group has, each to be
    /// acknowledged. After a cut it goes on by itself; what it had then is delivered again, to
    /// whoever is there.
    ///
    /// # Errors
    /// `not_found` when there is no such group, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: a consumer that was dropped while it opens is ended on the server as well.
    pub async fn consume(
        &self,
        topic: &Name,
        group: &Name,
        options: ConsumeOptions,
    ) -> Result<Consumer, Error> {
        let (opener, opened) = oneshot::channel();
        let shelf = Arc::new(Shelf::new(topic.clone(), group.clone(), options, opener));
        // Made before the first await, so that giving up while it opens ends it.
        let consumer = Consumer { handle: self.handle(), shelf: Arc::clone(&shelf) };
        self.link().open(Route::Consumer(shelf)).await?;
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(consumer)
    }
}

/// A running consumer: a [`Stream`] of [`Job`]s, or [`Consumer::next`] in a loop. Dropping it ends it on the
/// server as well, and what it has not acknowledged goes to others.
#[derive(Debug)]
pub struct Consumer {
    handle: Arc<Handle>,
    shelf: Arc<Shelf>,
}

impl Consumer {
    /// The next record that is this consumer's to do; `None` when it has ended, of which
    /// [`Consumer::end`] says why.
    ///
    /// # Cancellation
    /// Safe: no record is lost.
    pub async fn next(&mut self) -> Option<Job> {
        std::future::poll_fn(|context| self.poll_job(context)).await
    }

    fn poll_job(&mut self, context: &Context<'_>) -> Poll<Option<Job>> {
        let polled = self.shelf.poll_take(context);
        polled.map(|taken| {
            taken.map(|leased| {
                let (handle, shelf) = (Arc::clone(&self.handle), Arc::clone(&self.shelf));
                Job { handle, shelf, leased }
            })
        })
    }

    /// Why it has ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<Error> {
        self.shelf.end_reason()
    }
}

impl Stream for Consumer {
    type Item = Job;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Job>> {
        self.poll_job(context)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.handle.link().abandon_consumer(&self.shelf);
    }
}

/// One record, as it was leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeasedRecord {
    pub(crate) topic: Name,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) deliveries: u64,
    pub(crate) time_ms: u64,
    pub(crate) partition: Option<u64>,
    pub(crate) encoded: Bytes,
}

/// A record that this consumer has to do. One that is dropped without a word is delivered again
/// when its time is over.
#[derive(Debug)]
pub struct Job {
    handle: Arc<Handle>,
    shelf: Arc<Shelf>,
    leased: LeasedRecord,
}

impl Job {
    /// The record.
    #[must_use]
    pub fn record(&self) -> Option<Record<'_>> {
        Records::of(&self.leased.encoded).next()
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Name {
        &self.leased.topic
    }

    /// The topic's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.leased.epoch
    }

    /// The record's offset, in its partition if the topic has several.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.leased.offset
    }

    /// The partition, if the topic has several.
    #[must_use]
    pub fn partition(&self) -> Option<u64> {
        self.leased.partition
    }

    /// The how manieth delivery of the record this is. From 2 on somebody may have done it before.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.leased.deliveries
    }

    /// Unix time at which the record was appended, in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.leased.time_ms
    }

    /// The record is done. Returns whether that counts: not if its time was over and another
    /// consumer has got it, nor if the connection or the node that led the group was lost meanwhile;
    /// the record may be delivered again then.
    ///
    /// # Errors
    /// When the server refuses or the connection is lost for good; the record may be delivered again
    /// then.
    ///
    /// # Cancellation
    /// Safe, as it is for all that settles: what was sent already counts, and otherwise the record is delivered
    /// again when its time is over.
    pub async fn ack(self) -> Result<bool, Error> {
        self.start_ack().await?.await
    }

    /// The same; whether it counts is awaited later.
    ///
    /// # Errors
    /// As [`Job::ack`].
    ///
    /// # Cancellation
    /// As [`Job::ack`].
    pub async fn start_ack(self) -> Result<Pending<bool>, Error> {
        self.settle(SettleOp::Ack, SettleOptions::default()).await
    }

    /// The record is to be delivered again, after a pause (that of the group's rules if `None`).
    ///
    /// # Errors
    /// As [`Job::ack`].
    ///
    /// # Cancellation
    /// As [`Job::ack`].
    pub async fn nack(self, delay_ms: Option<u64>, reason: Option<String>) -> Result<bool, Error> {
        let options = SettleOptions { delay_ms, reason, ..SettleOptions::default() };
        self.settle(SettleOp::Nack, options).await?.await
    }

    /// The record cannot be done by anyone: it becomes a dead letter.
    ///
    /// # Errors
    /// `invalid_argument` when the group has no topic for them; as [`Job::ack`].
    ///
    /// # Cancellation
    /// As [`Job::ack`].
    pub async fn reject(self, reason: Option<String>) -> Result<bool, Error> {
        let options = SettleOptions { reason, ..SettleOptions::default() };
        self.settle(SettleOp::Reject, options).await?.await
    }

    /// The record needs more time: its time begins anew. Returns whether it is still this consumer's.
    ///
    /// # Errors
    /// As [`Job::ack`].
    ///
    /// # Cancellation
    /// As [`Job::ack`].
    pub async fn extend(&self) -> Result<bool, Error> {
        self.settle(SettleOp::Extend, SettleOptions::default()).await?.await
    }

    async fn settle(&self, op: SettleOp, options: SettleOptions) -> Result<Pending<bool>, Error> {
        let (offset, partition) = (self.leased.offset, self.leased.partition);
        let offsets = vec![(offset, offset.saturating_add(1))];
        let options = SettleOptions { partition, ..options };
        // The number of the consumption on the connection that is there then.
        let build = |req| {
            let sub = self.shelf.sub();
            ClientFrame::Settle { req, sub, op, offsets, options }
        };
        let reply = self.handle.link().ask(build).await?;
        Ok(Pending::new(reply, reply::settled))
    }
}
