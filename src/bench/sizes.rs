//! The workload that was asked for, as each result repeats it.

use std::fmt;
use std::num::NonZeroU32;

use serde::Serialize;

use super::args::RunArgs;

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sizes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscribers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writers: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) watchers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<u16>,
    /// Of the subscribers or the watchers.
    pub(crate) connections: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publishers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<u64>,
    /// Per second; `null`: as fast as possible.
    pub(crate) rate: Option<u32>,
    pub(crate) seconds: u32,
    pub(crate) warmup_seconds: u32,
}

impl Sizes {
    /// What every workload has; the rest is absent.
    pub(crate) fn of(run: &RunArgs, rate: Option<NonZeroU32>) -> Self {
        Self {
            rate: rate.map(NonZeroU32::get),
            seconds: run.seconds,
            warmup_seconds: run.warmup_seconds,
            ..Self::default()
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut add = |count: Option<u64>, noun: &str| {
            parts.extend(count.map(|count| format!("{noun} {count}")));
        };
        add(self.publishers.map(u64::from), "publishers");
        add(self.subscribers.map(u64::from), "subscribers");
        add(self.writers.map(u64::from), "writers");
        add(self.in_flight.map(u64::from), "votes in flight on each");
        add(self.watchers.map(u64::from), "watchers");
        add(Some(self.connections.into()), "connections");
        add(self.payload_bytes.map(u64::from), "payload bytes");
        add(self.batch.map(u64::from), "records per publish");
        add(self.window, "window");
        add(self.rate.map(u64::from), "rate");
        f.write_str(&parts.join(", "))
    }
}
