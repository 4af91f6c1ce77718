//! The idle workload: many connections that do nothing but stay, and what they cost the server.
//!
//! A process may have only so many files open, so processes of the bench's own hold them. At the
//! end one record is published, and each connection is to get it: they were all alive.

mod hold;
mod process;
mod status;
mod topics;

pub(crate) use hold::run as hold;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewire_client::Name;
use tokio::time::{Instant, sleep_until};

use super::args::IdleArgs;
use super::process::Usage;
use super::progress::Progress;
use super::report::{Plot, Report, thousandths};
use super::sizes::Sizes;
use super::target::Target;
use super::{USAGE, unfinished, unique_name};
use crate::cli::CliError;
use process::Process;
use status::Status;

/// How long connecting may take: this, and this for each connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT_EACH: Duration = Duration::from_millis(10);
/// How long a record may take to reach every connection.
const REACH_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the server is looked at.
const SAMPLE: Duration = Duration::from_millis(250);

/// Opens the connections, holds them, and counts what they cost.
///
/// # Errors
/// When the server refuses something, or a process of the bench fails.
pub(crate) async fn run(
    args: &IdleArgs,
    sizes: &Sizes,
    target: &Target,
    progress: &Progress,
) -> Result<Report, CliError> {
    let topic = unique_name("idle")?;
    let control = target.connect().await?;
    let mut held = Held::start(args, target, &topic)?;
    let before = usage(target).await?;
    let mut watch = Watch { began: Instant::now(), samples: Vec::new() };

    progress.begin("connecting", args.connections.into());
    held.connect(target, &mut watch, progress).await?;
    let bare = usage(target).await?;
    if args.topics > 0 {
        topics::make(&control, &topic, args.topics, progress).await?;
    }
    let connected = usage(target).await?;
    hold_on(args, target, &held, &mut watch, progress).await?;
    let after = usage(target).await?;

    progress.begin("publishing one record", 0);
    let published = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    control.publish(topic.as_str(), b"still there?").await?;
    let reached = held.reached().await;
    let status = held.stop().await?;

    let mut report = Report::new("idle", target, sizes);
    let figures = report.figures();
    figures.set("connections_open", status.opened);
    figures.set("connections_failed", status.failed.count());
    figures.set("connect_s", thousandths(Duration::from_millis(status.connect_ms)));
    figures.set("elapsed_s", u64::from(args.seconds));
    figures.set("pings_answered", status.pings);
    if reached {
        let reach = Duration::from_nanos(status.received_at_ns).saturating_sub(published);
        figures.set("reach_all_us", u64::try_from(reach.as_micros()).ok());
    }
    let spent = after.cpu_s.zip(connected.cpu_s).map(|(after, before)| after - before);
    figures.set("server_cpu_s", spent.map(|cpu_s| (cpu_s * 100.0).round() / 100.0));
    figures.set("server_rss_before_bytes", before.rss_bytes);
    figures.set("server_rss_connected_bytes", connected.rss_bytes);
    figures.set("server_rss_bytes", after.rss_bytes);
    figures.set("kib_per_connection", kib_each(&before, &bare, status.opened));
    let per_1000 = topics::kib_per_1000(bare.rss_bytes, after.rss_bytes, args.topics);
    figures.set("kib_per_1000_topics", per_1000);
    watch.plot(&mut report);
    report.add_faults(faults(&status, args.connections, reached));
    Ok(report)
}

/// Looks on for as long as the connections are to be held.
async fn hold_on(
    args: &IdleArgs,
    target: &Target,
    held: &Held,
    watch: &mut Watch,
    progress: &Progress,
) -> Result<(), CliError> {
    progress.begin("holding", args.seconds.into());
    let began = Instant::now();
    let end = began + Duration::from_secs(args.seconds.into());
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + SAMPLE)).await;
        let status = held.status();
        watch.look(target, &status).await?;
        let open = status.opened - status.lost.count();
        progress.at(began.elapsed().as_secs(), format!("{open} open, {} pings", status.pings));
    }
    Ok(())
}

fn faults(status: &Status, wanted: u32, reached: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let (failed, lost) = (status.failed.count(), status.lost.count());
    if failed > 0 {
        let reasons = status.failed.told();
        faults.push(format!("{failed} of {wanted} connections could not be opened: {reasons}"));
    }
    if lost > 0 {
        faults.push(format!("{lost} connections were lost: {}", status.lost.told()));
    }
    if !reached {
        let (received, opened) = (status.received, status.opened);
        faults.push(format!("the record at the end reached {received} of {opened} connections"));
    }
    faults
}

/// KiB of the server's resident memory for each connection.
fn kib_each(before: &Usage, after: &Usage, opened: u32) -> Option<f64> {
    let grown = after.rss_bytes?.saturating_sub(before.rss_bytes?);
    let grown_kib = u32::try_from(grown / 1024).map_or(f64::INFINITY, f64::from);
    (opened > 0).then(|| (grown_kib / f64::from(opened) * 100.0).round() / 100.0)
}

async fn usage(target: &Target) -> Result<Usage, CliError> {
    target.usage().read().await.map_err(|message| CliError { exit_code: USAGE, message })
}

/// All processes.
struct Held(Vec<Process>);

impl Held {
    fn start(args: &IdleArgs, target: &Target, topic: &Name) -> Result<Self, CliError> {
        let mut processes = Vec::new();
        let mut left = args.connections;
        while left > 0 {
            let share = left.min(args.connections_per_process);
            let process = Process::start(target, topic, share);
            processes.push(process.map_err(|message| CliError { exit_code: USAGE, message })?);
            left -= share;
        }
        Ok(Self(processes))
    }

    /// Lets all processes connect, and waits until each connection is open or has failed.
    async fn connect(
        &mut self,
        target: &Target,
        watch: &mut Watch,
        progress: &Progress,
    ) -> Result<(), CliError> {
        for process in &mut self.0 {
            process.go().map_err(|reason| unfinished(&reason))?;
        }
        let wanted: u32 = self.0.iter().map(|process| process.share).sum();
        let deadline = Instant::now() + CONNECT_TIMEOUT + CONNECT_TIMEOUT_EACH * wanted;
        for number in 0..self.0.len() {
            loop {
                let status = self.status();
                watch.look(target, &status).await?;
                progress.at(status.settled().into(), "");
                let Some(process) = self.0.get_mut(number) else { break };
                let share = process.share;
                let soon = deadline.min(Instant::now() + SAMPLE);
                match process.reaches(soon, |status| status.settled() >= share).await {
                    Ok(()) => break,
                    Err(reason) if Instant::now() >= deadline || process.has_ended() => {
                        let settled = self.status().settled();
                        return Err(unfinished(&format!(
                            "{settled} of {wanted} connections were tried: {reason}"
                        )));
                    }
                    Err(_not_yet) => {}
                }
            }
        }
        Ok(())
    }

    /// Whether each open connection gets the record in time.
    async fn reached(&mut self) -> bool {
        let deadline = Instant::now() + REACH_TIMEOUT;
        let all = |status: &Status| {
            status.received >= u64::from(status.opened.saturating_sub(status.lost.count()))
        };
        let mut reached = true;
        for process in &mut self.0 {
            reached &= process.reaches(deadline, all).await.is_ok();
        }
        reached
    }

    fn status(&self) -> Status {
        let mut whole = Status::default();
        self.0.iter().for_each(|process| whole.merge(&process.status()));
        whole
    }

    async fn stop(self) -> Result<Status, CliError> {
        let mut whole = Status::default();
        for process in self.0 {
            let status = process.stop().await.map_err(|reason| unfinished(&reason))?;
            whole.merge(&status);
        }
        Ok(whole)
    }
}

/// The server while connections are opened and held.
struct Watch {
    began: Instant,
    /// Seconds, connections, and resident bytes if they are known.
    samples: Vec<(f64, u32, Option<u64>)>,
}

impl Watch {
    async fn look(&mut self, target: &Target, status: &Status) -> Result<(), CliError> {
        let rss_bytes = usage(target).await?.rss_bytes;
        let open = status.opened - status.lost.count().min(status.opened);
        self.samples.push((self.began.elapsed().as_secs_f64(), open, rss_bytes));
        Ok(())
    }

    fn plot(&self, report: &mut Report) {
        /// Points of a plot at most.
        const POINTS_MAX: usize = 240;
        let step = self.samples.len().div_ceil(POINTS_MAX).max(1);
        let samples = || self.samples.iter().step_by(step);
        let open = samples().map(|(at_s, open, _)| (*at_s, f64::from(*open)));
        report.timeline(Plot::Connections, "connections", open.collect());
        let kib = |bytes: u64| u32::try_from(bytes / 1024).map_or(f64::INFINITY, f64::from);
        let memory = samples().filter_map(|(at_s, _, rss)| Some((*at_s, kib((*rss)?) * 1024.0)));
        report.timeline(Plot::MemoryBytes, "server", memory.collect());
    }
}
