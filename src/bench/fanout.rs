//! The fan-out workload: records of one topic, delivered to many subscribers.

use std::num::{NonZeroU32, NonZeroU64};

use super::args::FanoutArgs;
use super::delivery::{Delivered, Load, Loop};
use super::pace::{Rate, SECOND_NS};
use super::progress::Progress;
use super::report::{Distribution, Report};
use super::sizes::Sizes;
use super::target::Target;
use crate::cli::CliError;

/// What latencies mean with a schedule.
pub(crate) const OPEN_LATENCY: &str = "from when a record was to be published (the schedule, so free of coordinated omission) to its \
     delivery; the oldest record of each delivery";
const CLOSED_LATENCY: &str = "from publishing a record into a full window to its delivery; the oldest record of each delivery";

/// Publishes and counts what arrives.
///
/// # Errors
/// When the server refuses something, a connection breaks, or a subscriber stands still.
pub(crate) async fn run(
    args: &FanoutArgs,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    let load = Load {
        subscribers: args.subscribers,
        connections: args.connections.unwrap_or(args.subscribers),
        publishers: args.publishers,
        batch: args.batch.shape(),
        threads: args.threads.count(),
        loop_: match args.rate {
            None => Loop::Closed(args.window_records()),
            Some(rate) => Loop::Open(Rate { records: records(rate), per_ns: SECOND_NS }),
        },
        times: args.times,
    };
    let Delivered { measured, read } = load.run(target, progress).await?;
    let mut report = Report::new("fanout", target, sizes);
    let is_open = args.rate.is_some();
    report.explain_latency(if is_open { OPEN_LATENCY } else { CLOSED_LATENCY });
    report.count("deliveries", read.deliveries, &measured);
    report.figures().latency(&read.latency);
    report.figures().set("missing", read.missing);
    report.distribution(Distribution::of("", &read.latency));
    report.cost(&measured, args.rate.map(NonZeroU32::get));
    report.add_faults(read.faults);
    Ok(report)
}

/// A rate in the type of larger ones.
pub(crate) fn records(rate: NonZeroU32) -> NonZeroU64 {
    rate.into()
}
