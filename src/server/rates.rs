//! Rates of requests: token buckets of connections, subjects, addresses, tenants and policies.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tidewire_core::access::Identity;
use tidewire_protocol::{ErrorCode, Name, Pattern, Refusal};

use super::tenants::Tenant;
use crate::config::Config;

/// A request counts once for each so many bytes that it begins.
const BYTES_PER_REQUEST: usize = 4 * 1024;
/// Tokens that a connection may show in a second.
const TOKENS_PER_S: u32 = 4;
/// Buckets of subjects or addresses that are kept though nobody uses them: who comes back soon finds
/// theirs as it was.
const UNUSED_MAX: usize = 4_096;

/// Takes as many requests in a second as are let in, and as many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    limiter: DefaultDirectRateLimiter,
    per_s: NonZeroU32,
}

impl Bucket {
    /// None if there is no limit.
    pub(super) fn of(per_s: u32) -> Option<Self> {
        let per_s = NonZeroU32::new(per_s)?;
        Some(Self { limiter: RateLimiter::direct(Quota::per_second(per_s)), per_s })
    }

    /// Lets so many requests in, or says how long they have to wait.
    pub(super) fn take(&self, requests: NonZeroU32) -> Result<(), Duration> {
        // A request that is larger than all that is let in at once takes all of it.
        match self.limiter.check_n(requests.min(self.per_s)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(early)) => Err(early.wait_time_from(DefaultClock::default().now())),
            Err(_larger) => Err(Duration::from_secs(1)),
        }
    }
}

/// Buckets that several connections share, by whom they are of.
#[derive(Debug)]
struct Shared<K> {
    per_s: u32,
    buckets: Mutex<HashMap<K, Arc<Bucket>>>,
    /// With so many it is looked which ones nobody uses.
    prune_at: AtomicUsize,
}

impl<K: Eq + Hash> Shared<K> {
    fn new(per_s: u32) -> Self {
        Self { per_s, buckets: Mutex::default(), prune_at: AtomicUsize::new(UNUSED_MAX) }
    }

    /// The bucket of somebody, if there is a limit.
    fn of(&self, whose: K) -> Option<Arc<Bucket>> {
        if self.per_s == 0 {
            return None;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = buckets.get(&whose) {
            return Some(Arc::clone(known));
        }
        let bucket = Arc::new(Bucket::of(self.per_s)?);
        // Each look at all of them is paid for by as many that were added.
        if buckets.len() >= self.prune_at.load(Relaxed) {
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
            self.prune_at.store(2 * buckets.len() + UNUSED_MAX, Relaxed);
        }
        buckets.insert(whose, Arc::clone(&bucket));
        Some(bucket)
    }
}

/// The rates of a server.
#[derive(Debug)]
pub(crate) struct Rates {
    connection_per_s: u32,
    /// By the tenant and who it is: of two tenants each has an ann of its own.
    subjects: Shared<(Option<String>, Identity)>,
    addresses: Shared<IpAddr>,
    /// Of all policies, up to the last that has a limit.
    policies: Vec<(Pattern, Option<Bucket>)>,
}

/// The buckets of a connection.
#[derive(Debug, Default)]
pub(crate) struct OwnRates {
    connection: Option<Bucket>,
    subject: Option<Arc<Bucket>>,
    address: Option<Arc<Bucket>>,
    /// The tenant that it is of, with the bucket of all its connections.
    tenant: Option<Arc<Tenant>>,
    /// Tokens that it shows: each costs a signature.
    tokens: Option<Bucket>,
}

impl Rates {
    pub(crate) fn of(config: &Config) -> Self {
        let limits = &config.limits;
        let mut policies: Vec<(Pattern, Option<Bucket>)> = config
            .policy
            .iter()
            .filter_map(|policy| {
                Some((Pattern::parse(&policy.names).ok()?, Bucket::of(policy.requests_per_s)))
            })
            .collect();
        let last = policies.iter().rposition(|(_, bucket)| bucket.is_some());
        policies.truncate(last.map_or(0, |last| last + 1));
        Self {
            connection_per_s: limits.connection_requests_per_s,
            subjects: Shared::new(limits.subject_requests_per_s),
            addresses: Shared::new(limits.address_requests_per_s),
            policies,
        }
    }

    /// The buckets of a new connection from this address.
    pub(crate) fn begin(&self, address: IpAddr) -> OwnRates {
        OwnRates {
            connection: Bucket::of(self.connection_per_s),
            subject: None,
            tenant: None,
            address: self.addresses.of(network(address)),
            tokens: Bucket::of(TOKENS_PER_S),
        }
    }

    /// The connection is somebody's.
    pub(crate) fn identify(
        &self,
        own: &mut OwnRates,
        identity: Option<&Identity>,
        tenant: Option<&Arc<Tenant>>,
    ) {
        let whose = |identity: &Identity| {
            (tenant.map(|tenant| tenant.prefix().to_owned()), identity.clone())
        };
        own.subject = identity.and_then(|identity| self.subjects.of(whose(identity)));
        own.tenant = tenant.map(Arc::clone);
    }

    /// Lets a connection show another token.
    ///
    /// # Errors
    /// `rate_limited`: it has shown several within a second.
    pub(crate) fn check_token(own: &OwnRates) -> Result<(), Refusal> {
        let Some(bucket) = &own.tokens else { return Ok(()) };
        let refuse = |wait| refuse(bucket, "tokens of this connection", "AUTH", wait);
        bucket.take(NonZeroU32::MIN).map_err(refuse)
    }

    /// Lets a request of so many bytes in.
    ///
    /// # Errors
    /// `rate_limited`, with the limit and the time to wait.
    pub(crate) fn check(
        &self,
        own: &OwnRates,
        name: Option<&Name>,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let OwnRates { connection, subject, address, tenant, tokens: _ } = own;
        if connection.is_none()
            && subject.is_none()
            && address.is_none()
            && tenant.is_none()
            && self.policies.is_empty()
        {
            return Ok(());
        }
        let requests = u32::try_from(bytes / BYTES_PER_REQUEST).unwrap_or(u32::MAX);
        let requests = NonZeroU32::MIN.saturating_add(requests);
        let take = |bucket: Option<&Bucket>, whose: &str, key: &str| match bucket {
            Some(bucket) => bucket.take(requests).map_err(|wait| refuse(bucket, whose, key, wait)),
            None => Ok(()),
        };
        take(connection.as_ref(), "this connection", "limits.connection_requests_per_s")?;
        take(subject.as_deref(), "this subject", "limits.subject_requests_per_s")?;
        take(address.as_deref(), "this address", "limits.address_requests_per_s")?;
        if let Some(tenant) = tenant {
            tenant.let_in(requests)?;
        }
        let Some(name) = name else { return Ok(()) };
        let policy = self.policies.iter().find(|(pattern, _)| pattern.matches(name));
        match policy {
            Some((pattern, bucket)) => {
                let whose = format!("all names of the policy for '{pattern}'");
                take(bucket.as_ref(), &whose, "requests_per_s")
            }
            None => Ok(()),
        }
    }
}

/// The refusal of what would be beyond a bucket.
pub(super) fn refuse(bucket: &Bucket, whose: &str, key: &str, wait: Duration) -> Refusal {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    let message = format!(
        "{whose}: at most {} requests a second ({key}), counted once for each 4 KiB; wait {wait_ms} ms",
        bucket.per_s
    );
    Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(wait_ms)
}

/// What counts as one address: an IPv4 address, or the /64 that an IPv6 address is in, since who has
/// one has all of them.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str) -> Rates {
        Rates::of(&toml::from_str(text).unwrap())
    }

    /// Requests that are let in of so many.
    fn let_in(rates: &Rates, own: &OwnRates, name: &str, bytes: usize, tries: usize) -> usize {
        let name = Name::parse(name).unwrap();
        (0..tries).filter(|_| rates.check(own, Some(&name), bytes).is_ok()).count()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_connection_is_let_in_as_often_as_it_may() {
        // Slow enough for a slow test machine: a request comes back each second.
        let rates = rates("[limits]\nconnection_requests_per_s = 20\n");
        let own = rates.begin(HERE);
        let first = let_in(&rates, &own, "a", 10, 20);
        assert_eq!(first, 20);
        let refusal = rates.check(&own, None, 80_000).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::RateLimited);
        assert!(refusal.retry_after_ms.is_some_and(|ms| ms > 0 && ms <= 1_001), "{refusal:?}");
        assert!(refusal.message.contains("at most 20 requests a second"), "{refusal:?}");
        let other = rates.begin(HERE);
        assert_eq!(let_in(&rates, &other, "a", 10 * 4_096, 1), 1, "counts 11 times");
        assert_eq!(let_in(&rates, &other, "a", 10 * 4_096, 1), 0);
        assert_eq!(let_in(&rates, &other, "a", 8 * 4_096, 1), 1, "9 are left");
    }

    #[test]
    fn what_is_shared_is_shared_and_comes_back_as_it_was() {
        let text = "[limits]\nsubject_requests_per_s = 10\naddress_requests_per_s = 15\n";
        let rates = rates(text);
        let identity = Identity { issuer: "local".into(), subject: "ann".into() };
        let begin = |address| {
            let mut own = rates.begin(address);
            rates.identify(&mut own, Some(&identity), None);
            own
        };
        let (one, two) = (begin(HERE), begin(HERE));
        assert_eq!(let_in(&rates, &one, "a", 1, 6) + let_in(&rates, &two, "a", 1, 6), 10);
        drop((one, two));
        assert_eq!(let_in(&rates, &begin(HERE), "a", 1, 2), 0, "a new connection is no way out");
        let nobody = rates.begin(HERE);
        let left = let_in(&rates, &nobody, "a", 1, 20);
        assert!(left <= 5, "{left} beyond the address's own");
        let elsewhere = rates.begin(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(let_in(&rates, &elsewhere, "a", 1, 20), 15);
    }

    #[test]
    fn the_first_policy_of_a_name_decides() {
        let text = "[[policy]]\nnames = \"a.free\"\n[[policy]]\nnames = \"a.>\"\nrequests_per_s = 5\n\
                    [[policy]]\nnames = \">\"\n";
        let rates = rates(text);
        assert_eq!(rates.policies.len(), 2);
        let own = rates.begin(HERE);
        assert_eq!(let_in(&rates, &own, "a.free", 1, 50), 50);
        assert_eq!(let_in(&rates, &own, "a.b", 1, 3) + let_in(&rates, &own, "a.c", 1, 3), 5);
        assert_eq!(let_in(&rates, &own, "b", 1, 50), 50);
    }

    #[test]
    fn an_address_of_version_6_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(of("10.1.2.3"), "10.1.2.3");
    }
}
