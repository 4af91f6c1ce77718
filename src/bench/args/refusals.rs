//! Options that do not go together, refused before anything is started: which option, which rule,
//! and what to do.

use std::path::Path;

use tidewire_client::protocol::FRAME_BYTES_MAX;

use super::{
    BatchArgs, FanoutArgs, FloodArgs, IdleArgs, LatencyArgs, OutputArgs, PublishArgs, TallyArgs,
    TargetArgs, ThreadsArgs, Workload,
};

/// Files that a process has open beside its connections.
pub(crate) const FILES_BESIDE: u64 = 64;
/// Publishes of a latency run that percentiles can be taken of.
const PUBLISHES_MIN: u64 = 20;
/// What a PUBLISH takes beside its body, at most: head, topic, options.
const PUBLISH_BYTES: usize = 512;

impl Workload {
    /// Checks what the options' types do not. `files_max` is how many files a process may have
    /// open.
    ///
    /// # Errors
    /// The first option that is refused, in words for people.
    pub(crate) fn check(&self, files_max: u64) -> Result<(), String> {
        match self {
            Self::Fanout(args) => fanout(args, files_max)?,
            Self::Publish(args) => publish(args, files_max)?,
            Self::Tally(args) => tally(args, files_max)?,
            Self::Idle(args) => idle(args, files_max)?,
            Self::Latency(args) => latency(args, files_max)?,
            Self::Flood(args) => flood(args, files_max)?,
            Self::Failover(_)
            | Self::Storm(_)
            | Self::Converge(_)
            | Self::Journal(_)
            | Self::Hold(_) => {}
        }
        self.target().map_or(Ok(()), trust)?;
        self.output().map_or(Ok(()), output)
    }
}

fn fanout(args: &FanoutArgs, files_max: u64) -> Result<(), String> {
    if let Some(connections) = args.connections {
        shared_by("--connections", connections, "--subscribers", args.subscribers)?;
    }
    batch(args.batch, &args.target)?;
    threads(args.threads, &args.target)?;
    let connections = args.connections.unwrap_or(args.subscribers);
    let option = if args.connections.is_some() { "--connections" } else { "--subscribers" };
    files(option, connections, u64::from(args.publishers), files_max)
}

fn publish(args: &PublishArgs, files_max: u64) -> Result<(), String> {
    shared_by("--topics", args.topics, "--publishers", args.publishers)?;
    batch(args.batch, &args.target)?;
    threads(args.threads, &args.target)?;
    files("--publishers", args.publishers, 0, files_max)
}

fn tally(args: &TallyArgs, files_max: u64) -> Result<(), String> {
    if let Some(connections) = args.connections {
        shared_by("--connections", connections, "--watchers", args.watchers)?;
    }
    files("--connections", args.watching_connections(), u64::from(args.writers), files_max)
}

fn idle(args: &IdleArgs, files_max: u64) -> Result<(), String> {
    let held = args.connections_per_process.min(args.connections);
    files("--connections-per-process", held, 0, files_max)?;
    // The server has one process, whatever the bench has.
    if args.target.url.is_none() {
        files("--connections", args.connections, 1, files_max)
            .map_err(|refusal| format!("{refusal}, or measure a server elsewhere with --url"))?;
    }
    Ok(())
}

fn flood(args: &FloodArgs, files_max: u64) -> Result<(), String> {
    batch(args.batch, &args.target)?;
    if args.target.url.is_some() {
        return Err("--url: a flood is for a server of the bench's own, which has its accounts; \
                    give its configuration with --config"
            .to_owned());
    }
    if args.target.scheme() == "quic" {
        return Err("--transport quic: a flood comes over ws or wss".to_owned());
    }
    if args.times.len() != 3 {
        return Err(
            "--times: three numbers of seconds, before, while and after the flood lasts".to_owned()
        );
    }
    let beside = u64::from(args.publishers) + u64::from(args.subscribers);
    files("--flooders", args.flooders, beside, files_max)
}

fn latency(args: &LatencyArgs, files_max: u64) -> Result<(), String> {
    batch(args.batch, &args.target)?;
    threads(args.threads, &args.target)?;
    for subscribers in &args.subscribers {
        let connections = args.connections.map_or(*subscribers, |max| max.min(*subscribers));
        files("--subscribers", connections, 1, files_max)?;
        let per_publish = u64::from(*subscribers) * u64::from(args.batch.batch);
        let deliveries = u64::from(args.rate.get()) * u64::from(args.times.seconds);
        if deliveries < PUBLISHES_MIN * per_publish {
            return Err(format!(
                "--rate {} to --subscribers {subscribers} is {} publishes in --seconds {}, too few \
                 for percentiles: use --rate {} or more, or more --seconds",
                args.rate,
                deliveries / per_publish,
                args.times.seconds,
                (PUBLISHES_MIN * per_publish).div_ceil(args.times.seconds.into()),
            ));
        }
    }
    Ok(())
}

/// What is shared by others cannot be more than they are.
fn shared_by(option: &str, count: u32, by: &str, others: u32) -> Result<(), String> {
    if count <= others {
        return Ok(());
    }
    Err(format!("{option} {count} is more than {by} {others}: use {option} {others} or fewer"))
}

fn batch(args: BatchArgs, target: &TargetArgs) -> Result<(), String> {
    let record_bytes = args.shape().record_bytes();
    let records = usize::try_from(args.batch).unwrap_or(usize::MAX);
    let room = FRAME_BYTES_MAX - PUBLISH_BYTES;
    // A server elsewhere, or one with a configuration of its own, may take larger frames.
    if target.url.is_some() || target.config.is_some() || records * record_bytes <= room {
        return Ok(());
    }
    Err(format!(
        "--batch {} of --payload {} is {} bytes in one publish, and the server takes \
         {FRAME_BYTES_MAX} in a frame: use --batch {} or fewer, or a smaller --payload",
        args.batch,
        args.payload,
        records * record_bytes,
        room / record_bytes,
    ))
}

fn trust(target: &TargetArgs) -> Result<(), String> {
    let option = match (&target.ca, target.fingerprint) {
        (Some(_), _) => "--ca",
        (None, Some(_)) => "--fingerprint",
        (None, None) => return Ok(()),
    };
    if target.scheme() != "ws" {
        return Ok(());
    }
    Err(format!(
        "{option} is for wss and quic: over ws there is no certificate to check, so leave it \
                 out or use wss://"
    ))
}

fn threads(args: ThreadsArgs, target: &TargetArgs) -> Result<(), String> {
    match args.threads {
        Some(threads) if target.scheme() == "quic" => Err(format!(
            "--threads {threads} is for ws and wss: over quic the client's own threads make the \
             load, so leave --threads out"
        )),
        _ => Ok(()),
    }
}

fn files(option: &str, connections: u32, others: u64, files_max: u64) -> Result<(), String> {
    let room = files_max.saturating_sub(FILES_BESIDE + others);
    if u64::from(connections) <= room {
        return Ok(());
    }
    Err(format!(
        "{option} {connections} needs as many open files, and a process may have {files_max} here \
         (`ulimit -Hn`), some of them for other things: use {room} or fewer, or raise the limit"
    ))
}

fn output(args: &OutputArgs) -> Result<(), String> {
    for (option, file) in [("--save", &args.save), ("--report", &args.report)] {
        if let Some(file) = file {
            writable(option, file)?;
        }
    }
    match (&args.save, &args.report) {
        (Some(save), Some(report)) if save == report => {
            Err(format!("--save and --report are both {}: use two files", save.display()))
        }
        _ => Ok(()),
    }
}

fn writable(option: &str, file: &Path) -> Result<(), String> {
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if file.is_dir() || file.file_name().is_none() {
        return Err(format!("{option} {} is a folder: name a file in it", file.display()));
    }
    if !folder.is_dir() {
        let (file, folder) = (file.display(), folder.display());
        return Err(format!("{option} {file}: there is no folder {folder}: make it first"));
    }
    Ok(())
}
