//! Tenants: prefixes of names with limits and keys of their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::access::Tenant;
use tidewire_core::shard::{TenantShare, TenantTable};
use tidewire_protocol::Name;

use super::bounds::check;
use super::{AuthConfig, ConfigError, INTEGER_MAX, LimitsConfig};

/// Tenants at most: each is looked at after each round of each shard.
const TENANTS_MAX: usize = 1_000;
/// Smallest quota of bytes.
const BYTES_MIN: u64 = 1_048_576;

/// A tenant. A limit of 0 is none of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// The first tokens of all its names.
    pub prefix: String,
    /// Connections of all its keys together.
    #[serde(default)]
    #[schemars(range(min = 0, max = INTEGER_MAX))]
    pub connections_max: u64,
    /// Subscriptions, watches and consumptions of these connections.
    #[serde(default)]
    #[schemars(range(min = 0, max = INTEGER_MAX))]
    pub subscriptions_max: u64,
    /// Topics and cells.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub names_max: u64,
    /// Bytes of records of all its topics, in memory and on disk, spread evenly over the shards; of a
    /// share that is full the tenant's oldest leave.
    #[serde(default)]
    #[schemars(range(min = 0, max = INTEGER_MAX))]
    pub topic_bytes_max: u64,
    /// Requests in a second of its connections.
    #[serde(default)]
    #[schemars(range(min = 0, max = u32::MAX))]
    pub requests_per_s: u32,
}

/// Checks all of them, and that keys are of tenants that there are.
pub(super) fn validate(tenants: &[TenantConfig], auth: &AuthConfig) -> Result<(), ConfigError> {
    let refuse = |key: String, rule: String| Err(ConfigError::Value { key, rule });
    if tenants.len() > TENANTS_MAX {
        return refuse("tenant".to_owned(), format!("at most {TENANTS_MAX} tenants"));
    }
    let mut known: Vec<Tenant> = Vec::new();
    for (index, tenant) in tenants.iter().enumerate() {
        let key = |field: &str| format!("tenant[{index}].{field}");
        let found = match Tenant::parse(&tenant.prefix) {
            Ok(found) => found,
            Err(refusal) => return refuse(key("prefix"), refusal.message),
        };
        // Equal ones, and those of which one begins with the other.
        if let Some(other) = known.iter().find(|other| other.names().overlaps(found.names())) {
            let rule = format!("overlaps with the prefix of another tenant, '{}'", other.prefix());
            return refuse(key("prefix"), rule);
        }
        known.push(found);
        if tenant.topic_bytes_max > 0 {
            check(&key("topic_bytes_max"), tenant.topic_bytes_max, BYTES_MIN, INTEGER_MAX)?;
        }
    }
    for (key, tenant) in auth.tenants() {
        if !tenants.iter().any(|known| known.prefix == tenant) {
            let rule = format!("there is no [[tenant]] with the prefix '{tenant}'");
            return refuse(key, rule);
        }
    }
    Ok(())
}

/// What is valid and yet keeps nobody apart, a sentence each.
pub(super) fn warnings(
    tenants: &[TenantConfig],
    auth: &AuthConfig,
    limits: &LimitsConfig,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if !tenants.is_empty() && !auth.has_accounts() {
        let said = "tenant: without accounts ([auth]) everybody may use the names of all tenants";
        warnings.push(said.to_owned());
    }
    let bytes = tenants.iter().fold(0_u64, |sum, one| sum.saturating_add(one.topic_bytes_max));
    if bytes > limits.topic_bytes_max {
        warnings.push(format!(
            "tenant: topic_bytes_max of all tenants is {bytes}, more than limits.topic_bytes_max, \
             {}: when that is reached the oldest records in memory leave, of whichever tenant",
            limits.topic_bytes_max
        ));
    }
    let names = tenants.iter().fold(0_u64, |sum, one| sum.saturating_add(one.names_max));
    if names > limits.names_max as u64 {
        warnings.push(format!(
            "tenant: names_max of all tenants is {names}, more than limits.names_max, {}: when that \
             is reached nobody gets a new name",
            limits.names_max
        ));
    }
    let is_of_none = |tenant: &&TenantConfig| {
        auth.has_accounts() && !auth.tenants().iter().any(|(_, of)| *of == tenant.prefix)
    };
    warnings.extend(tenants.iter().enumerate().filter(|(_, one)| is_of_none(one)).map(
        |(index, TenantConfig { prefix, .. })| {
            format!("tenant[{index}]: no key says tenant = \"{prefix}\", so nobody belongs to it")
        },
    ));
    warnings
}

/// What each of so many shards keeps of the tenants. Call it on what has been checked: a prefix that
/// is none is left out.
#[must_use]
pub(super) fn table(tenants: &[TenantConfig], shards: u16) -> TenantTable {
    let share = |tenant: &TenantConfig| {
        let bytes_max = tenant.topic_bytes_max.div_ceil(u64::from(shards.max(1)));
        let prefix = Name::parse(&tenant.prefix).ok()?;
        Some(TenantShare { prefix, names_max: tenant.names_max, bytes_max, is_full: false })
    };
    TenantTable::new(tenants.iter().filter_map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn checked(text: &str) -> Result<Vec<String>, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config.warnings())
    }

    #[test]
    fn prefixes_are_names_that_do_not_overlap() {
        let two = |a: &str, b: &str| {
            checked(&format!("[[tenant]]\nprefix = {a:?}\n[[tenant]]\nprefix = {b:?}\n"))
        };
        for (a, b) in [("acme", "globex"), ("acme.eu", "acme.us"), ("acme", "acme-2")] {
            assert!(two(a, b).unwrap()[0].contains("without accounts"));
        }
        for (a, b) in [("acme", "acme"), ("acme", "acme.eu"), ("acme.eu", "acme")] {
            let said = two(a, b).unwrap_err();
            assert!(said.contains("tenant[1].prefix") && said.contains(a), "{said}");
        }
        for wrong in ["", "a.>", "*", "$sys", "a..b"] {
            let said = two("acme", wrong).unwrap_err();
            assert!(said.contains("tenant[1].prefix"), "{said}");
        }
        let said = checked("[[tenant]]\nprefix = \"a\"\ntopic_bytes_max = 1000\n").unwrap_err();
        assert!(said.contains("tenant[0].topic_bytes_max"), "{said}");
    }

    #[test]
    fn keys_are_of_tenants_that_there_are() {
        let keys = |tenant: &str| {
            format!(
                "[auth]\njwks_file = \"x\"\njwks_tenant = \"acme\"\n\
                 [[auth.token_key]]\nalgorithm = \"HS256\"\nfile = \"x\"\ntenant = {tenant:?}\n\
                 [[auth.api_key]]\nname = \"a\"\nsha256 = \"b\"\nroles = []\ntenant = \"acme\"\n\
                 [[tenant]]\nprefix = \"acme\"\ntopic_bytes_max = 9000000000\n"
            )
        };
        let said = checked(&keys("globex")).unwrap_err();
        assert!(said.contains("auth.token_key[0].tenant") && said.contains("globex"), "{said}");
        let warned = checked(&keys("acme")).unwrap().join("\n");
        assert!(warned.contains("more than limits.topic_bytes_max"), "{warned}");
        assert!(!warned.contains("nobody belongs to it"), "{warned}");
        let lonely = format!("{}[[tenant]]\nprefix = \"globex\"\n", keys("acme"));
        let warned = checked(&lonely).unwrap().join("\n");
        assert!(warned.contains("tenant[1]: no key says tenant = \"globex\""), "{warned}");
        let said =
            checked("[auth]\njwks_tenant = \"a\"\n[[tenant]]\nprefix = \"a\"\n").unwrap_err();
        assert!(said.contains("auth.jwks_tenant"), "{said}");
    }
}
