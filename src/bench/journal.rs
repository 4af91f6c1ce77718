//! The journal alone: what the disk takes when no connection stands before it, and what a plain file
//! would.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tidewire_core::shard::{
    Command, PublishRun, RunPublish, SessionId, Shard, ShardConfig, ShardLimits,
};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::payload_body;
use tokio::task::LocalSet;

use crate::cli::{CliError, Globals};
use crate::config::StorageConfig;
use crate::demo::screen::print;
use crate::journal::{Journal, Opened, Opening, Outcome, Storage};

/// The data directory in the directory of a measurement.
const DATA: &str = "data";

/// What the journal is given.
#[derive(Args, Clone, Debug)]
pub(crate) struct JournalArgs {
    /// Bytes of payload of a record
    #[arg(long, value_name = "N", default_value_t = 128)]
    size: usize,

    /// Publishes of one record that each round of a shard appends
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    publishes: u32,

    /// Threads that the shards are spread over
    #[arg(long, value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=16))]
    threads: u16,

    /// Seconds for the journal, and as many for the plain file
    #[arg(long, value_name = "S", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,

    /// Where the files go; they are removed afterwards
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,
}

/// What was counted.
struct Measured {
    records: u64,
    commits: u64,
    bytes: u64,
    elapsed: Duration,
}

/// Measures both, one after the other, and prints the ratio.
///
/// # Errors
/// When the directory cannot be written, or the journal fails.
pub(super) async fn run(args: JournalArgs, globals: &Globals) -> Result<(), CliError> {
    let globals = *globals;
    let measured = tokio::task::spawn_blocking(move || measure(&args, globals));
    measured.await.map_err(|error| failed(error.to_string()))?
}

fn measure(args: &JournalArgs, globals: Globals) -> Result<(), CliError> {
    let name = format!("tidewire-bench-{}", std::process::id());
    let directory = args.directory.join(name);
    std::fs::create_dir_all(directory.join(DATA))
        .map_err(|error| failed(format!("cannot make {}: {error}", directory.display())))?;
    let measured = journal(args, &directory).and_then(|journal| {
        let plain = plain_file(args, &directory, &journal)?;
        Ok((journal, plain))
    });
    // The key beside the data directory is in it as well.
    let removed = std::fs::remove_dir_all(&directory);
    let (journal, plain) = measured?;
    removed.map_err(|error| failed(error.to_string()))?;
    report(&journal, &plain, globals);
    Ok(())
}

fn report(journal: &Measured, plain: &Measured, globals: Globals) {
    let rate = |measured: &Measured| measured.records as f64 / measured.elapsed.as_secs_f64();
    let (of_journal, of_file) = (rate(journal), rate(plain));
    let per_commit = journal.bytes / journal.commits.max(1);
    let commits_per_s = journal.commits as f64 / journal.elapsed.as_secs_f64();
    if globals.json {
        print(&format!(
            "{}\n",
            json!({
                "journal_records_per_s": of_journal.round(),
                "file_records_per_s": of_file.round(),
                "ratio": of_journal / of_file,
                "commits_per_s": commits_per_s.round(),
                "bytes_per_commit": per_commit,
            })
        ));
        return;
    }
    print(&format!(
        "journal     {of_journal:.0} records/s, {commits_per_s:.0} commits/s of {per_commit} bytes\n\
         plain file  {of_file:.0} records/s, the same bytes with as many in a write and a sync\n\
         ratio       {:.2}\n",
        of_journal / of_file
    ));
}

/// Gives every shard as many rounds as its journal takes.
fn journal(args: &JournalArgs, directory: &Path) -> Result<Measured, CliError> {
    let policy =
        Policy { ack_max: AckLevel::Disk, retention_bytes: 4 * 1024 * 1024, ..Policy::default() };
    let policies = Arc::new(PolicyTable::new(Vec::new(), policy));
    let shard = |shard, epoch| {
        let (policies, limits) = (Arc::clone(&policies), ShardLimits::default());
        ShardConfig { shard, epoch, seed: 1, policies, limits }
    };
    let config = StorageConfig::default();
    let opening = Opening {
        directory: directory.join(DATA),
        node: "bench",
        config: &config,
        now_ms: unix_ms(),
        shard: &shard,
        is_clustered: false,
    };
    let Opened { shards, storage, .. } =
        Storage::open(&opening).map_err(|error| failed(error.to_string()))?;
    let (records, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut groups: Vec<Vec<(Shard, Journal)>> = (0..args.threads).map(|_| Vec::new()).collect();
    for (number, (shard, room)) in shards.into_iter().enumerate() {
        if let Some(group) = groups.get_mut(number % usize::from(args.threads)) {
            group.push((shard, Journal::Disk(room)));
        }
    }
    let began = Instant::now();
    let threads: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let (args, records, stop) = (args.clone(), Arc::clone(&records), Arc::clone(&stop));
            std::thread::spawn(move || drive(group, &args, &records, &stop))
        })
        .collect();
    std::thread::sleep(Duration::from_secs(args.seconds.into()));
    let (records, elapsed) = (records.load(Relaxed), began.elapsed());
    let stats = storage.state.stats();
    stop.store(true, Relaxed);
    for thread in threads {
        thread.join().map_err(|_panic| failed("a shard has panicked".to_owned()))??;
    }
    storage.join();
    Ok(Measured { records, commits: stats.commits, bytes: stats.bytes, elapsed })
}

/// Runs some shards on this thread until they are to stop.
fn drive(
    shards: Vec<(Shard, Journal)>,
    args: &JournalArgs,
    records: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(error.to_string()))?;
    let local = LocalSet::new();
    let mut tasks = Vec::new();
    for (shard, journal) in shards {
        let command = command(&shard, args)?;
        let (records, stop) = (Arc::clone(records), Arc::clone(stop));
        tasks.push(local.spawn_local(append(shard, journal, command, records, stop)));
    }
    local.block_on(&runtime, async {
        for task in tasks {
            task.await.map_err(|error| failed(error.to_string()))??;
        }
        Ok(())
    })
}

/// What each round of a shard appends.
fn command(shard: &Shard, args: &JournalArgs) -> Result<Command, CliError> {
    // The shard does not ask whether a name is at home in it.
    let topic = Name::parse(&format!("bench.{}", shard.number()))
        .map_err(|refusal| failed(refusal.message))?;
    let body: Bytes = payload_body(&vec![7; args.size]);
    let publish = |_| RunPublish { req: 0, body: body.clone(), count: 1, sequence: 0 };
    Ok(Command::Publishes(Box::new(PublishRun {
        session: SessionId { dispatcher: 0, slot: 0, generation: 0 },
        stream: 0,
        topic,
        ack: AckLevel::Disk,
        ttl_ms: None,
        producer: None,
        publishes: (0..args.publishes).map(publish).collect(),
    })))
}

async fn append(
    mut shard: Shard,
    mut journal: Journal,
    command: Command,
    records: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<(), CliError> {
    while !stop.load(Relaxed) {
        while !journal.has_room() {
            count(journal.next().await, &records)?;
        }
        let now_ms = unix_ms();
        shard.handle(command.clone(), now_ms);
        if let Some(outcome) = shard.seal().and_then(|round| journal.append(round, now_ms)) {
            count(outcome, &records)?;
        }
        let stats = shard.stats();
        if journal.wants_checkpoint(&stats, now_ms)
            && let Some(snapshot) = shard.checkpoint()
        {
            journal.checkpoint(snapshot, &stats);
        }
        tokio::task::yield_now().await;
    }
    while journal.is_busy() {
        count(journal.next().await, &records)?;
    }
    Ok(())
}

fn count(outcome: Outcome, records: &AtomicU64) -> Result<(), CliError> {
    match outcome {
        Outcome::Committed(round) => {
            let committed = round.batches.iter().map(|batch| batch.count).sum();
            records.fetch_add(committed, Relaxed);
            Ok(())
        }
        Outcome::Failed(_) => Err(failed("the journal has failed".to_owned())),
    }
}

/// Appends the same commits to a file, each with a sync of its own.
fn plain_file(
    args: &JournalArgs,
    directory: &Path,
    journal: &Measured,
) -> Result<Measured, CliError> {
    let cannot = |error: std::io::Error| failed(error.to_string());
    let commit_bytes = journal.bytes / journal.commits.max(1);
    let commit = vec![7; usize::try_from(commit_bytes).unwrap_or(usize::MAX)];
    let mut file = File::create(directory.join("plain")).map_err(cannot)?;
    let (began, lasts) = (Instant::now(), Duration::from_secs(args.seconds.into()));
    let mut commits = 0;
    while began.elapsed() < lasts {
        file.write_all(&commit).and_then(|()| file.sync_data()).map_err(cannot)?;
        commits += 1;
    }
    let bytes = commits * commit_bytes;
    let per_record = journal.bytes as f64 / journal.records.max(1) as f64;
    let records = (bytes as f64 / per_record) as u64;
    Ok(Measured { records, commits, bytes, elapsed: began.elapsed() })
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn failed(message: String) -> CliError {
    CliError { exit_code: super::USAGE, message }
}
