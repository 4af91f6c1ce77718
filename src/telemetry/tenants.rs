//! Figures of tenants. Their label is the prefix, so there are as many as are configured.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::as_gauge;
use crate::server::TenantInfo;

/// A figure of a tenant: its name, its meaning, its value.
type Gauge = (&'static str, &'static str, fn(&TenantInfo) -> u64);

const GAUGES: &[Gauge] = &[
    ("tidewire_tenant_connections", "Connections of a tenant's keys", |tenant| tenant.connections),
    (
        "tidewire_tenant_subscriptions",
        "Subscriptions, watches and consumptions of these connections",
        |tenant| tenant.subscriptions,
    ),
    ("tidewire_tenant_names", "Topics and cells of a tenant", |tenant| tenant.names),
    (
        "tidewire_tenant_names_elsewhere",
        "Names of a tenant in shards that other nodes of the cluster lead, as last heard",
        |tenant| tenant.names_elsewhere,
    ),
    ("tidewire_tenant_topic_bytes", "Bytes of records kept of a tenant", |tenant| {
        tenant.topic_bytes
    }),
];

pub(super) fn tenants(tenants: &[TenantInfo]) {
    let evicted = "tidewire_tenant_evicted_bytes_total";
    let refusals = "tidewire_tenant_refusals_total";
    if !tenants.is_empty() {
        GAUGES.iter().for_each(|(name, help, _)| describe_gauge!(*name, *help));
        describe_counter!(evicted, "Bytes of records that left because their tenant had too many");
        describe_counter!(refusals, "What a tenant's limits have refused, by the limit");
    }
    for tenant in tenants {
        let of = || tenant.prefix.clone();
        for (name, _, figure) in GAUGES {
            gauge!(*name, "tenant" => of()).set(as_gauge(figure(tenant)));
        }
        counter!(evicted, "tenant" => of()).absolute(tenant.evicted_bytes);
        let by_limit = [
            ("connections_max", tenant.refused.connections),
            ("subscriptions_max", tenant.refused.subscriptions),
            ("names_max", tenant.refused.names),
            ("requests_per_s", tenant.refused.requests),
        ];
        for (limit, count) in by_limit {
            counter!(refusals, "tenant" => of(), "limit" => limit).absolute(count);
        }
    }
}
