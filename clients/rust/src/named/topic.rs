//! A topic.

use bytes::Bytes;
use tidewire_protocol::frame::{AckLevel, Start};
use tidewire_protocol::options::{PublishOptions, SubscribeOptions, TopicInfo, TopicOptions};
use tidewire_protocol::record::{BodyBuilder, payload_body};
use tidewire_protocol::{Name, Pattern};

use crate::client::Client;
use crate::error::Error;
use crate::history::{HistoryPage, Page};
use crate::named::Group;
use crate::pending::Pending;
use crate::reply::Published;
use crate::subscription::Subscription;

/// A topic: a log of records. Made by [`Client::topic`].
#[derive(Clone, Debug)]
pub struct Topic {
    client: Client,
    name: Name,
}

impl Client {
    /// The topic of this name.
    ///
    /// # Errors
    /// `invalid_name`.
    pub fn topic(&self, name: impl AsRef<str>) -> Result<Topic, Error> {
        Ok(Topic { client: self.clone(), name: Name::parse(name.as_ref())? })
    }
}

impl Topic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Publishes one record without key and headers.
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn publish(&self, payload: impl AsRef<[u8]>) -> Result<Published, Error> {
        self.publish_records(payload_body(payload.as_ref())).await
    }

    /// Publishes one record with a key.
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn publish_keyed(
        &self,
        key: &str,
        payload: impl AsRef<[u8]>,
    ) -> Result<Published, Error> {
        let mut body = BodyBuilder::new();
        body.push(Some(key), &[], Some(payload.as_ref()));
        self.publish_records(body.finish()).await
    }

    /// Publishes up to 10,000 records together, in order: all or none. With keys and headers:
    /// [`Topic::publish_body`].
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn publish_batch<P: AsRef<[u8]>>(
        &self,
        payloads: impl IntoIterator<Item = P>,
    ) -> Result<Published, Error> {
        let mut body = BodyBuilder::new();
        for payload in payloads {
            body.push(None, &[], Some(payload.as_ref()));
        }
        self.publish_records(body.finish()).await
    }

    async fn publish_records(&self, body: Bytes) -> Result<Published, Error> {
        self.publish_body(body, AckLevel::Policy, PublishOptions::default()).await
    }

    /// As [`Client::publish_body`].
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn publish_body(
        &self,
        body: Bytes,
        ack: AckLevel,
        options: PublishOptions,
    ) -> Result<Published, Error> {
        self.client.publish_body(&self.name, body, ack, options).await
    }

    /// As [`Client::start_publish`].
    ///
    /// # Errors
    /// As [`Client::start_publish`].
    ///
    /// # Cancellation
    /// As [`Client::start_publish`].
    pub async fn start_publish(
        &self,
        body: Bytes,
        ack: AckLevel,
        options: PublishOptions,
    ) -> Result<Pending<Published>, Error> {
        self.client.start_publish(&self.name, body, ack, options).await
    }

    /// Follows it from a start on.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    ///
    /// # Cancellation
    /// As [`Client::subscribe`].
    pub async fn subscribe(&self, start: Start) -> Result<Subscription, Error> {
        self.subscribe_with(start, SubscribeOptions::default()).await
    }

    /// The same with a filter, a mode or a window.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    ///
    /// # Cancellation
    /// As [`Client::subscribe`].
    pub async fn subscribe_with(
        &self,
        start: Start,
        options: SubscribeOptions,
    ) -> Result<Subscription, Error> {
        let pattern = Pattern::parse(self.name.as_str())?;
        self.client.subscribe(&pattern, start, options).await
    }

    /// As [`Client::history`].
    ///
    /// # Errors
    /// As [`Client::history`].
    ///
    /// # Cancellation
    /// As [`Client::history`].
    pub async fn history(&self, page: Page, limit: u64) -> Result<HistoryPage, Error> {
        self.client.history(&self.name, page, limit).await
    }

    /// What the server keeps of it.
    ///
    /// # Errors
    /// As [`Client::topic_info`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn info(&self) -> Result<TopicInfo, Error> {
        self.client.topic_info(&self.name).await
    }

    /// As [`Client::delete_topic`].
    ///
    /// # Errors
    /// As [`Client::delete_topic`].
    ///
    /// # Cancellation
    /// As [`Client::delete_topic`].
    pub async fn delete(&self) -> Result<TopicInfo, Error> {
        self.client.delete_topic(&self.name).await
    }

    /// As [`Client::truncate_topic`].
    ///
    /// # Errors
    /// As [`Client::delete_topic`].
    ///
    /// # Cancellation
    /// As [`Client::delete_topic`].
    pub async fn truncate(&self, options: TopicOptions) -> Result<TopicInfo, Error> {
        self.client.truncate_topic(&self.name, options).await
    }

    /// A consumer group of it.
    ///
    /// # Errors
    /// `invalid_name`.
    pub fn group(&self, name: impl AsRef<str>) -> Result<Group, Error> {
        Ok(Group::new(self.client.clone(), self.name.clone(), Name::parse(name.as_ref())?))
    }
}
