//! A presence set.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::options::WatchOptions;

use crate::client::Client;
use crate::error::Error;
use crate::reply::Entry;
use crate::watch::Watch;

/// A presence set: who is there. Made by [`Client::presence`].
#[derive(Clone, Debug)]
pub struct Presence {
    client: Client,
    name: Name,
}

impl Client {
    /// The presence set of this name.
    ///
    /// # Errors
    /// `invalid_name`.
    pub fn presence(&self, name: impl AsRef<str>) -> Result<Presence, Error> {
        Ok(Presence { client: self.clone(), name: Name::parse(name.as_ref())? })
    }
}

impl Presence {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Declares a member present, with up to 4,096 bytes about it, until it leaves or the client is closed. Who has an
    /// account is there as `""`.
    ///
    /// # Errors
    /// As [`Client::presence_join`].
    ///
    /// # Cancellation
    /// As [`Client::presence_join`].
    pub async fn join(&self, member: &str, data: impl AsRef<[u8]>) -> Result<(), Error> {
        let data = data.as_ref();
        let data = (!data.is_empty()).then(|| Bytes::copy_from_slice(data));
        self.client.presence_join(&self.name, member, data).await
    }

    /// The member leaves.
    ///
    /// # Errors
    /// As [`Client::presence_leave`].
    ///
    /// # Cancellation
    /// As [`Client::presence_leave`].
    pub async fn leave(&self, member: &str) -> Result<(), Error> {
        self.client.presence_leave(&self.name, member).await
    }

    /// Everyone who is there, with what they gave.
    ///
    /// # Errors
    /// As [`Client::entries`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn members(&self) -> Result<BTreeMap<String, Entry>, Error> {
        self.client.entries(CellKind::Presence, &self.name).await
    }

    /// Follows who is there, or one member ([`WatchOptions::key`]).
    ///
    /// # Errors
    /// As [`Client::watch`].
    ///
    /// # Cancellation
    /// As [`Client::watch`].
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        self.client.watch(CellKind::Presence, &self.name, options).await
    }
}
