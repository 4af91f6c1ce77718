//! Tenants while the server runs: what each has at the moment, and what it may have.

mod elsewhere;
mod names;
mod tenant;

pub(crate) use elsewhere::ShardNames;
pub(crate) use names::Names;
pub(crate) use tenant::{Seat, Tenant, TenantInfo};

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tidewire_core::shard::{Command, TenantTable};
use tidewire_protocol::{ErrorCode, Refusal};
use tokio::sync::watch;

use super::Shared;
use crate::config::{Config, TenantConfig};

/// The tenants of a server.
#[derive(Debug)]
pub(crate) struct Tenants {
    by_prefix: ArcSwap<BTreeMap<String, Arc<Tenant>>>,
    /// As shards are told of them.
    tables: watch::Sender<Arc<TenantTable>>,
    /// What the leaders of shards have said.
    elsewhere: elsewhere::Elsewhere,
    shards: u16,
}

impl Tenants {
    /// The tenants of a configuration, for so many shards.
    pub(super) fn of(config: &Config, shards: u16) -> Self {
        let table = Arc::new(config.tenants(shards));
        let (by_prefix, tables) = (ArcSwap::default(), watch::Sender::new(table));
        let elsewhere = elsewhere::Elsewhere::default();
        let tenants = Self { by_prefix, tables, elsewhere, shards };
        tenants.set(config);
        tenants
    }

    /// Takes those of another configuration; the shards are told in a moment.
    pub(super) fn reload(&self, config: &Config, shards: u16) {
        self.set(config);
        let table = config.tenants(shards);
        self.tables.send_if_modified(|before| {
            let is_other = **before != table;
            if is_other {
                *before = Arc::new(table);
            }
            is_other
        });
    }

    fn set(&self, config: &Config) {
        let before = self.by_prefix.load();
        let tenant = |config: &TenantConfig| {
            let known = before.get(&config.prefix);
            let tenant = match known {
                Some(known) => Arc::clone(known),
                None => Arc::new(Tenant::new(config)),
            };
            tenant.set(config);
            (config.prefix.clone(), tenant)
        };
        self.by_prefix.store(Arc::new(config.tenant.iter().map(tenant).collect()));
        self.add_up();
    }

    /// As shards are told of them now, and whenever that changes.
    pub(super) fn tables(&self) -> watch::Receiver<Arc<TenantTable>> {
        self.tables.subscribe()
    }

    /// The tenant with this prefix.
    pub(super) fn get(&self, prefix: &str) -> Option<Arc<Tenant>> {
        self.by_prefix.load().get(prefix).map(Arc::clone)
    }

    /// In place of a tenant that is not configured any more: without limits, listed nowhere.
    fn unlisted(prefix: &str) -> Arc<Tenant> {
        let (connections_max, subscriptions_max, names_max) = (0, 0, 0);
        let (topic_bytes_max, requests_per_s) = (0, 0);
        Arc::new(Tenant::new(&TenantConfig {
            prefix: prefix.to_owned(),
            connections_max,
            subscriptions_max,
            names_max,
            topic_bytes_max,
            requests_per_s,
        }))
    }

    /// All of them, as operators see them.
    pub(crate) fn infos(&self) -> Vec<TenantInfo> {
        self.by_prefix.load().values().map(|tenant| tenant.info()).collect()
    }

    /// A place for a connection of this tenant.
    ///
    /// # Errors
    /// `limit_exceeded`: the tenant has as many as it may have. `unauthenticated`: there is no such
    /// tenant (any more).
    pub(crate) fn seat(&self, prefix: &str) -> Result<Seat, Refusal> {
        let tenant = self.get(prefix).ok_or_else(|| {
            let message = format!("the configuration has no tenant '{prefix}'");
            Refusal::new(ErrorCode::Unauthenticated, message)
        })?;
        tenant.seat()
    }
}

/// Tells the shards whenever there are other tenants, until the server ends.
pub(super) async fn tell_shards(
    shared: Arc<Shared>,
    mut tables: watch::Receiver<Arc<TenantTable>>,
) {
    while tables.changed().await.is_ok() {
        let table = Arc::clone(&tables.borrow_and_update());
        for shard in &shared.shards {
            // Fails only when the server is stopping.
            drop(shard.send(Command::Tenants(Arc::clone(&table)).into()).await);
        }
    }
}
