//! The workload that was asked for, as each result repeats it and runs are matched by it.

use std::fmt;

use serde_json::{Map, Value};

use super::args::{
    BatchArgs, FanoutArgs, FloodArgs, IdleArgs, LatencyArgs, PublishArgs, TallyArgs, TimesArgs,
    Workload,
};

/// What was asked for: a name for programs, a noun for people, and the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sizes(Vec<(&'static str, &'static str, Value)>);

impl Sizes {
    /// The sizes of a workload.
    pub(crate) fn of(workload: &Workload) -> Self {
        let sizes = match workload {
            Workload::Fanout(args) => Self::fanout(args),
            Workload::Publish(args) => Self::publish(args),
            Workload::Tally(args) => Self::tally(args),
            Workload::Idle(args) => Self::idle(args),
            Workload::Latency(args) => Self::latency(args),
            Workload::Flood(args) => Self::flood(args),
            Workload::Failover(_)
            | Workload::Storm(_)
            | Workload::Converge(_)
            | Workload::Journal(_)
            | Workload::Hold(_) => Self::default(),
        };
        let (nodes, quota) =
            workload.target().map_or((None, None), |target| (target.nodes, target.cpu_quota));
        sizes.with("nodes", "nodes", nodes).with("cpu_quota", "processors each", quota)
    }

    fn fanout(args: &FanoutArgs) -> Self {
        let window = args.rate.is_none().then(|| args.window_records());
        Self::default()
            .with("publishers", "publishers", args.publishers)
            .with("subscribers", "subscribers", args.subscribers)
            .with("connections", "connections", args.connections.unwrap_or(args.subscribers))
            .batch(args.batch)
            .with("window", "window", window)
            .with("rate", "records a second", args.rate.map(u32::from))
            .with("threads", "threads", args.threads.threads)
            .times(args.times)
    }

    fn publish(args: &PublishArgs) -> Self {
        let window = args.rate.is_none().then_some(args.window);
        Self::default()
            .with("publishers", "publishers", args.publishers)
            .with("topics", "topics", args.topics)
            .batch(args.batch)
            .with("ack", "acknowledged from", args.ack.level().as_str())
            .with("window", "window of each", window)
            .with("rate", "records a second", args.rate.map(u32::from))
            .with("threads", "threads", args.threads.threads)
            .times(args.times)
    }

    fn tally(args: &TallyArgs) -> Self {
        Self::default()
            .with("writers", "writers", args.writers)
            .with("in_flight", "votes in flight on each", args.in_flight)
            .with("watchers", "watchers", args.watchers)
            .with("connections", "connections", args.watching_connections())
            .with("options", "options", args.options)
            .with("rate", "votes a second", args.rate.map(u32::from))
            .times(args.times)
    }

    fn idle(args: &IdleArgs) -> Self {
        Self::default()
            .with("connections", "connections", args.connections)
            .with("connections_per_process", "on each process", args.connections_per_process)
            .with("topics", "topics with one record", args.topics)
            .with("seconds", "seconds", args.seconds)
    }

    fn flood(args: &FloodArgs) -> Self {
        Self::default()
            .with("publishers", "publishers", args.publishers)
            .with("rate", "records a second", args.rate.get())
            .with("subscribers", "subscribers", args.subscribers)
            .batch(args.batch)
            .with("flooders", "connections that flood", args.flooders)
            .with("window", "window of each", args.window)
            .with("topics", "topics", args.topics)
            .with("times", "seconds before, meanwhile and after", args.times.clone())
    }

    fn latency(args: &LatencyArgs) -> Self {
        Self::default()
            .with("subscribers", "subscribers", args.subscribers.clone())
            .with("connections", "connections at most", args.connections)
            .batch(args.batch)
            .with("rate", "deliveries a second", args.rate.get())
            .with("rounds", "rounds", args.rounds)
            .with("threads", "threads", args.threads.threads)
            .times(args.times)
    }

    fn with(mut self, name: &'static str, noun: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, noun, value.into()));
        self
    }

    fn batch(self, args: BatchArgs) -> Self {
        self.with("payload_bytes", "payload bytes", args.payload).with(
            "batch",
            "records per publish",
            args.batch,
        )
    }

    fn times(self, args: TimesArgs) -> Self {
        self.with("seconds", "seconds", args.seconds).with(
            "warmup_seconds",
            "of warm-up",
            args.warmup_seconds,
        )
    }

    /// The object for programs. What was left open is `null`.
    pub(crate) fn object(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())).collect()
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.0.iter().filter(|(_, _, value)| !value.is_null());
        let parts = told.map(|(_, noun, value)| format!("{noun} {}", show(value)));
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// A value without quotes and brackets.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().map(show).collect::<Vec<_>>().join(" and "),
        Value::String(text) => text.clone(),
        Value::Null => "not given".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
