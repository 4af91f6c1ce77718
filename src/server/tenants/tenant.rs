//! One tenant: what it has at the moment, what it may have, and what was refused.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use serde::Serialize;
use tidewire_protocol::{ErrorCode, Refusal};

use crate::config::TenantConfig;
use crate::server::rates::{Bucket, refuse};

/// A tenant that is configured.
#[derive(Debug)]
pub(crate) struct Tenant {
    prefix: String,
    terms: ArcSwap<Terms>,
    connections: AtomicU64,
    subscriptions: AtomicU64,
    /// In all shards, and those that are being made.
    names: AtomicU64,
    /// In the shards that other nodes of the cluster lead, as last heard.
    names_elsewhere: AtomicU64,
    topic_bytes: AtomicU64,
    evicted_bytes: AtomicU64,
    refused: Refused,
}

/// What it may have.
#[derive(Debug)]
struct Terms {
    config: TenantConfig,
    /// Its requests in a second, if they are limited.
    requests: Option<Bucket>,
}

/// How often something was refused, by the limit.
#[derive(Debug, Default)]
struct Refused {
    connections: AtomicU64,
    subscriptions: AtomicU64,
    names: AtomicU64,
    requests: AtomicU64,
}

/// A tenant, as operators see it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TenantInfo {
    pub(crate) prefix: String,
    pub(crate) connections: u64,
    pub(crate) subscriptions: u64,
    pub(crate) names: u64,
    /// Names in shards that other nodes of the cluster lead, as last heard.
    pub(crate) names_elsewhere: u64,
    pub(crate) topic_bytes: u64,
    /// Bytes of records that have left because the tenant had too many.
    pub(crate) evicted_bytes: u64,
    pub(crate) refused: RefusedInfo,
    pub(crate) limits: LimitsInfo,
}

/// See [`Refused`].
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RefusedInfo {
    pub(crate) connections: u64,
    pub(crate) subscriptions: u64,
    pub(crate) names: u64,
    pub(crate) requests: u64,
}

/// The limits of a tenant; 0: none of its own.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LimitsInfo {
    pub(crate) connections_max: u64,
    pub(crate) subscriptions_max: u64,
    pub(crate) names_max: u64,
    pub(crate) topic_bytes_max: u64,
    pub(crate) requests_per_s: u32,
}

impl Tenant {
    pub(super) fn new(config: &TenantConfig) -> Self {
        let requests = Bucket::of(config.requests_per_s);
        Self {
            prefix: config.prefix.clone(),
            terms: ArcSwap::from_pointee(Terms { config: config.clone(), requests }),
            connections: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            names: AtomicU64::new(0),
            names_elsewhere: AtomicU64::new(0),
            topic_bytes: AtomicU64::new(0),
            evicted_bytes: AtomicU64::new(0),
            refused: Refused::default(),
        }
    }

    /// Takes other limits. What is there stays there.
    pub(super) fn set(&self, config: &TenantConfig) {
        if self.terms.load().config != *config {
            let requests = Bucket::of(config.requests_per_s);
            self.terms.store(Arc::new(Terms { config: config.clone(), requests }));
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A place for one more connection.
    ///
    /// # Errors
    /// `limit_exceeded`: it has as many as it may have.
    pub(super) fn seat(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let limit = self.terms.load().config.connections_max;
        if take(&self.connections, limit) {
            return Ok(Seat { tenant: Arc::clone(self), subscriptions: Cell::new(0) });
        }
        self.refused.connections.fetch_add(1, Relaxed);
        let what = format!("connections at once (connections_max of the tenant), and has {limit}");
        Err(self.refuse(limit, &what, "close one, or have the limit raised"))
    }

    /// Lets so many requests in.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(crate) fn let_in(&self, requests: NonZeroU32) -> Result<(), Refusal> {
        let terms = self.terms.load();
        let Some(bucket) = &terms.requests else { return Ok(()) };
        bucket.take(requests).map_err(|wait| {
            self.refused.requests.fetch_add(1, Relaxed);
            let whose = format!("all connections of tenant '{}'", self.prefix);
            refuse(bucket, &whose, "requests_per_s of the tenant", wait)
        })
    }

    /// Takes a place for one more name, if it may have one.
    pub(super) fn take_name(&self) -> bool {
        let names_max = self.terms.load().config.names_max;
        let left = names_max.saturating_sub(self.names_elsewhere.load(Relaxed));
        let is_taken = (names_max == 0 || left > 0) && take(&self.names, left);
        if !is_taken {
            self.refused.names.fetch_add(1, Relaxed);
        }
        is_taken
    }

    /// A shard has these names and bytes now, after it was counted with those.
    pub(super) fn settle_names(&self, counted: u64, now: u64) {
        settle(&self.names, counted, now);
    }

    /// The shards that other nodes lead have so many names.
    pub(super) fn set_names_elsewhere(&self, names: u64) {
        self.names_elsewhere.store(names, Relaxed);
    }

    pub(super) fn settle_bytes(&self, counted: u64, now: u64) {
        settle(&self.topic_bytes, counted, now);
    }

    pub(super) fn add_evicted(&self, bytes: u64) {
        self.evicted_bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn info(&self) -> TenantInfo {
        let terms = self.terms.load();
        let config = &terms.config;
        let number = |number: &AtomicU64| number.load(Relaxed);
        let Refused { connections, subscriptions, names, requests } = &self.refused;
        TenantInfo {
            prefix: self.prefix.clone(),
            connections: number(&self.connections),
            subscriptions: number(&self.subscriptions),
            names: number(&self.names),
            names_elsewhere: number(&self.names_elsewhere),
            topic_bytes: number(&self.topic_bytes),
            evicted_bytes: number(&self.evicted_bytes),
            refused: RefusedInfo {
                connections: number(connections),
                subscriptions: number(subscriptions),
                names: number(names),
                requests: number(requests),
            },
            limits: LimitsInfo {
                connections_max: config.connections_max,
                subscriptions_max: config.subscriptions_max,
                names_max: config.names_max,
                topic_bytes_max: config.topic_bytes_max,
                requests_per_s: config.requests_per_s,
            },
        }
    }

    fn refuse(&self, limit: u64, what: &str, next: &str) -> Refusal {
        let message = format!("tenant '{}' may have {limit} {what}: {next}", self.prefix);
        Refusal::new(ErrorCode::LimitExceeded, message)
    }
}

/// The place of a connection among those of its tenant. It is given back when the connection is gone.
#[derive(Debug)]
pub(crate) struct Seat {
    tenant: Arc<Tenant>,
    /// Subscriptions of the connection that are counted.
    subscriptions: Cell<u64>,
}

impl Seat {
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Takes a place for one more subscription, watch or consumption; [`Self::settle`] has to follow.
    ///
    /// # Errors
    /// `limit_exceeded`: all connections of the tenant together have as many as they may have.
    pub(crate) fn subscribe(&self) -> Result<(), Refusal> {
        let limit = self.tenant.terms.load().config.subscriptions_max;
        if take(&self.tenant.subscriptions, limit) {
            self.subscriptions.set(self.subscriptions.get() + 1);
            return Ok(());
        }
        self.tenant.refused.subscriptions.fetch_add(1, Relaxed);
        let what = "subscriptions and watches on all its connections together \
                    (subscriptions_max of the tenant)";
        Err(self.tenant.refuse(limit, what, "end some, or have the limit raised"))
    }

    /// The connection has so many subscriptions, watches and consumptions now.
    pub(crate) fn settle(&self, now: usize) {
        let now = now as u64;
        let counted = self.subscriptions.replace(now);
        settle(&self.tenant.subscriptions, counted, now);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        settle(&self.tenant.subscriptions, self.subscriptions.get(), 0);
        settle(&self.tenant.connections, 1, 0);
    }
}

/// Counts one more, unless there are as many as there may be; 0: there is no limit.
fn take(count: &AtomicU64, max: u64) -> bool {
    let one_more = |count: u64| (max == 0 || count < max).then_some(count + 1);
    count.fetch_update(Relaxed, Relaxed, one_more).is_ok()
}

/// Counts so many in place of those that were counted.
fn settle(count: &AtomicU64, counted: u64, now: u64) {
    match now >= counted {
        true => count.fetch_add(now - counted, Relaxed),
        false => count.fetch_sub(counted - now, Relaxed),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(text: &str) -> Arc<Tenant> {
        Arc::new(Tenant::new(&toml::from_str(&format!("prefix = \"acme\"\n{text}")).unwrap()))
    }

    #[test]
    fn connections_and_subscriptions_are_counted_over_all_seats() {
        let tenant = tenant("connections_max = 2\nsubscriptions_max = 3\n");
        let (one, two) = (tenant.seat().unwrap(), tenant.seat().unwrap());
        let refused = tenant.seat().unwrap_err();
        assert_eq!(refused.code, ErrorCode::LimitExceeded);
        assert!(refused.message.contains("tenant 'acme' may have 2 connections"), "{refused:?}");
        one.subscribe().unwrap();
        one.subscribe().unwrap();
        one.settle(2);
        two.subscribe().unwrap();
        let refused = two.subscribe().unwrap_err();
        assert!(refused.message.contains("subscriptions_max of the tenant"), "{refused:?}");
        // The one that was let in was refused for another reason.
        two.settle(0);
        two.subscribe().unwrap();
        drop(one);
        let info = tenant.info();
        assert_eq!((info.connections, info.subscriptions), (1, 1));
        assert_eq!((info.refused.connections, info.refused.subscriptions), (1, 1));
        drop(two);
        assert_eq!((tenant.info().connections, tenant.info().subscriptions), (0, 0));
    }

    #[test]
    fn names_of_other_nodes_count_as_well() {
        let tenant = tenant("names_max = 3\n");
        tenant.set_names_elsewhere(2);
        assert!(tenant.take_name() && !tenant.take_name());
        tenant.set_names_elsewhere(9);
        tenant.settle_names(1, 0);
        assert!(!tenant.take_name(), "there are more than it may have");
        tenant.set_names_elsewhere(0);
        assert!(tenant.take_name());
    }

    #[test]
    fn one_bucket_is_for_all_and_other_limits_apply_at_once() {
        let tenant = tenant("requests_per_s = 5\n");
        assert!((0..5).all(|_| tenant.let_in(NonZeroU32::MIN).is_ok()));
        let refused = tenant.let_in(NonZeroU32::MIN).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert!(refused.message.contains("tenant 'acme'"), "{refused:?}");
        assert!(refused.retry_after_ms.is_some());
        tenant.set(&toml::from_str("prefix = \"acme\"\nnames_max = 1\n").unwrap());
        assert!((0..50).all(|_| tenant.let_in(NonZeroU32::MIN).is_ok()));
        assert!(tenant.take_name() && !tenant.take_name());
        tenant.set(&toml::from_str("prefix = \"acme\"\n").unwrap());
        assert!(tenant.take_name());
        assert_eq!((tenant.info().names, tenant.info().refused.names), (2, 1));
    }
}
