//! Publishing and subscribing.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, CellKind, Start, TopicOp};
use tidewire_protocol::options::{PublishOptions, SubscribeOptions, TopicInfo, TopicOptions};
use tidewire_protocol::record::payload_body;
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, Refusal, ServerFrame};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::error::Error;
use crate::inbox::Inbox;
use crate::pending::Pending;
use crate::reply::{self, Published};
use crate::routes::Route;
use crate::subscription::Subscription;
use crate::waiting::Waiter;

impl Client {
    /// Publishes one record without key and headers, acknowledged when it is as safe as the policy of
    /// the topic says.
    ///
    /// # Errors
    /// When the name is invalid, the server refuses, or the connection is lost for good. A publish
    /// whose connection is lost is sent again on the next one; it carries a number by which the
    /// server knows it, so it is appended once. Only when the server does not know that any more
    /// (`producer_unknown`, `sequence_too_old`) it may or may not have been.
    ///
    /// # Cancellation
    /// Safe: a publish that waits for a connection or for room is never sent, and gives its place back; one that was
    /// sent is appended once, and its acknowledgement is ignored.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<Published, Error> {
        let topic = Name::parse(topic)?;
        let body = payload_body(payload.as_ref());
        self.publish_body(&topic, body, AckLevel::Policy, PublishOptions::default()).await
    }

    /// Publishes the records of a body, as made by [`crate::BodyBuilder`]: all or none.
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn publish_body(
        &self,
        topic: &Name,
        body: Bytes,
        ack: AckLevel,
        options: PublishOptions,
    ) -> Result<Published, Error> {
        self.start_publish(topic, body, ack, options).await?.await
    }

    /// Sends a publish whose acknowledgement is awaited later. With [`AckLevel::None`] there is
    /// none: the [`Pending`] is complete at once, and a refusal of the server is logged only.
    ///
    /// # Errors
    /// When there is no connection, or the body is larger than the server accepts.
    ///
    /// # Cancellation
    /// Safe: before it returns nothing was sent.
    pub async fn start_publish(
        &self,
        topic: &Name,
        body: Bytes,
        ack: AckLevel,
        options: PublishOptions,
    ) -> Result<Pending<Published>, Error> {
        let topic = topic.clone();
        let build = |req| ClientFrame::Publish { req, topic, ack, body, options };
        if ack != AckLevel::None {
            return Ok(Pending::new(self.link().publish(build).await?, reply::published));
        }
        self.link().send(|_, req| (build(req), Waiter::Nobody)).await?;
        let (sender, receiver) = oneshot::channel();
        let sent = ServerFrame::PubAck {
            req: 0,
            epoch: 0,
            offset: None,
            level: 0,
            positions: None,
            duplicate: false,
        };
        // The receiver is right here.
        drop(sender.send(Ok(sent)));
        Ok(Pending::new(receiver, reply::published))
    }

    /// Subscribes to a topic, or to all topics that match a pattern. The first event is
    /// [`crate::SubscriptionEvent::Started`].
    ///
    /// `options.credit` is the window: how many bytes may be on their way or unread, 4 MiB unless
    /// given. It is kept up by the subscription itself.
    ///
    /// # Errors
    /// When the server refuses. A subscription that has started ends with an event instead.
    ///
    /// # Cancellation
    /// Safe: a subscription that was dropped while it opens is ended on the server as well.
    pub async fn subscribe(
        &self,
        pattern: &Pattern,
        start: Start,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let (opener, opened) = oneshot::channel();
        let inbox = Arc::new(Inbox::new(pattern.clone(), start, options, opener));
        // Made before the first await, so that giving up while it opens ends it.
        let subscription = Subscription::new(self.handle(), Arc::clone(&inbox));
        self.link().open(Route::Subscription(inbox)).await?;
        opened.await.unwrap_or(Err(Error::Closed))?;
        Ok(subscription)
    }

    /// What the server keeps of a topic.
    ///
    /// # Errors
    /// `not_found` when there is no such topic, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn topic_info(&self, topic: &Name) -> Result<TopicInfo, Error> {
        match self.get(CellKind::Topic, topic, None).await? {
            Some(value) => value.topic(),
            None => Err(not_found("topic", topic)),
        }
    }

    /// Deletes a topic with its records, its map and its groups, if its policy allows it. A topic
    /// that somebody follows stays, empty, and its offsets go on. Returns what it was.
    ///
    /// # Errors
    /// `forbidden` when the policy does not allow it, `not_found` when there is no such topic, or
    /// when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn delete_topic(&self, topic: &Name) -> Result<TopicInfo, Error> {
        self.change_topic(topic, TopicOp::Delete, TopicOptions::default()).await
    }

    /// Removes the oldest records of a topic, if its policy allows it: those before an offset, or
    /// appended before a time. What was appended together goes together, so some may stay.
    ///
    /// # Errors
    /// As [`Client::delete_topic`].
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn truncate_topic(
        &self,
        topic: &Name,
        options: TopicOptions,
    ) -> Result<TopicInfo, Error> {
        self.change_topic(topic, TopicOp::Truncate, options).await
    }

    async fn change_topic(
        &self,
        topic: &Name,
        op: TopicOp,
        options: TopicOptions,
    ) -> Result<TopicInfo, Error> {
        let topic = topic.clone();
        let build = |req| ClientFrame::Topic { req, op, topic, options };
        self.start(build, reply::topic).await?.await
    }
}

pub(crate) fn not_found(what: &str, name: &Name) -> Error {
    let message = format!("{what} '{name}' does not exist");
    Error::Refused(Refusal::new(ErrorCode::NotFound, message))
}
