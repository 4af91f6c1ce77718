//! A live map.

use std::collections::BTreeMap;

use tidewire_protocol::Name;
use tidewire_protocol::frame::{AckLevel, CellKind};
use tidewire_protocol::options::{PublishOptions, WatchOptions};
use tidewire_protocol::record::BodyBuilder;

use crate::client::Client;
use crate::error::Error;
use crate::reply::{Entry, Published};
use crate::watch::Watch;

/// The newest value per key of the topic of this name; the server's policy says which topics keep one. Made by
/// [`Client::map`].
#[derive(Clone, Debug)]
pub struct Map {
    client: Client,
    name: Name,
}

impl Client {
    /// The map of the topic of this name.
    ///
    /// # Errors
    /// `invalid_name`.
    pub fn map(&self, name: impl AsRef<str>) -> Result<Map, Error> {
        Ok(Map { client: self.clone(), name: Name::parse(name.as_ref())? })
    }
}

impl Map {
    /// Its name, which is that of its topic.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Publishes a record with this key.
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<Published, Error> {
        self.put(key, Some(value.as_ref()), PublishOptions::default()).await
    }

    /// The same for so long: the entry expires then.
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn set_for(
        &self,
        key: &str,
        value: impl AsRef<[u8]>,
        ttl_ms: u64,
    ) -> Result<Published, Error> {
        let options = PublishOptions { ttl_ms: Some(ttl_ms), ..PublishOptions::default() };
        self.put(key, Some(value.as_ref()), options).await
    }

    /// Publishes a tombstone: the key is gone.
    ///
    /// # Errors
    /// As [`Client::publish`].
    ///
    /// # Cancellation
    /// As [`Client::publish`].
    pub async fn delete(&self, key: &str) -> Result<Published, Error> {
        self.put(key, None, PublishOptions::default()).await
    }

    async fn put(
        &self,
        key: &str,
        value: Option<&[u8]>,
        options: PublishOptions,
    ) -> Result<Published, Error> {
        let mut body = BodyBuilder::new();
        body.push(Some(key), &[], value);
        self.client.publish_body(&self.name, body.finish(), AckLevel::Policy, options).await
    }

    /// What stands under a key; `None` when nothing does.
    ///
    /// # Errors
    /// As [`Client::get`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let found = self.client.get(CellKind::Map, &self.name, Some(key)).await?;
        found.map(|value| Ok(Entry { version: value.version, value: value.bytes()? })).transpose()
    }

    /// Everything that is in it.
    ///
    /// # Errors
    /// As [`Client::entries`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn entries(&self) -> Result<BTreeMap<String, Entry>, Error> {
        self.client.entries(CellKind::Map, &self.name).await
    }

    /// Follows what is in it, or one key of it ([`WatchOptions::key`]).
    ///
    /// # Errors
    /// As [`Client::watch`].
    ///
    /// # Cancellation
    /// As [`Client::watch`].
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        self.client.watch(CellKind::Map, &self.name, options).await
    }
}
