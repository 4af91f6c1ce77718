//! The thread that writes a recording.

use std::fs::File;
use std::io::BufWriter;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tidewire_core::shard::ShardSnapshot;
use tidewire_core::state_hash::StateHash;

use super::format::{End, HashMark, Header, Turn, kind};
use super::frames_out::{FramesOut, WriteError};
use super::recorder::Recorder;
use super::session::{Entry, Limits, Session, StopReason};

/// Bytes that are kept free for the last frame.
const END_BYTES: u64 = 4 * 1024;
/// Bytes that are kept free, at most, so that what is under way when the file is nearly full and
/// the shards' last hashes have room.
const SPARE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How long what has been recorded may stay in this process.
const FLUSH_PAUSE: Duration = Duration::from_millis(100);
/// How long the shards have for their last word.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Writes a recording until it is over; then its file is complete and on the disk.
pub(super) fn run(
    recorder: &Recorder,
    session: &Session,
    entries: &Receiver<Entry>,
    file: File,
    header: &Header,
) {
    tracing::info!(file = %session.path.display(), "recording begins");
    if let Err(error) = write(recorder, session, entries, file, header) {
        recorder.end(session, StopReason::WriteFailed(error.to_string()));
    }
    // Also for a shard that was asked to join just when the end was decided.
    let reason = session.stop_reason().cloned().unwrap_or(StopReason::Requested);
    recorder.end(session, reason.clone());
    recorder.close(&reason);
    let (file, inputs) = (session.path.display(), session.inputs.load(Relaxed));
    if reason.is_planned() {
        tracing::info!(%file, inputs, "recording is over: {}", reason.sentence());
    } else {
        tracing::warn!(%file, inputs, "recording has been cut off: {}", reason.sentence());
    }
    session.is_over.send_replace(true);
}

fn write(
    recorder: &Recorder,
    session: &Session,
    entries: &Receiver<Entry>,
    file: File,
    header: &Header,
) -> Result<(), WriteError> {
    let bytes_max = session.limits.max_bytes;
    let frames = FramesOut::begin(BufWriter::with_capacity(256 * 1024, file), bytes_max)?;
    let mut writer = Writer {
        recorder,
        session,
        frames,
        is_full: false,
        joined: 0,
        left: 0,
        flushed: Instant::now(),
        ends_since: None,
    };
    writer.frames.allow(bytes_max - END_BYTES);
    writer.frames.put(kind::HEADER, header)?;
    writer.frames.flush()?;
    recorder.ask(0, session.number);
    while !writer.is_done() {
        match entries.recv_timeout(FLUSH_PAUSE) {
            Ok(entry) => writer.take(entry)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        writer.flush_from_time_to_time()?;
        writer.look_at_bounds();
    }
    // What a shard that gave up had handed over before that.
    while let Ok(entry) = entries.try_recv() {
        writer.take(entry)?;
    }
    writer.finish()
}

struct Writer<'a> {
    recorder: &'a Recorder,
    session: &'a Session,
    frames: FramesOut<BufWriter<File>>,
    /// A frame had no room: none may follow it, or a replay would miss an input.
    is_full: bool,
    /// Shards whose start is written.
    joined: usize,
    /// Shards whose last hash has come.
    left: usize,
    flushed: Instant,
    ends_since: Option<Instant>,
}

impl Writer<'_> {
    /// Whether it is to end and every shard has said its last word, or has had long enough.
    fn is_done(&mut self) -> bool {
        if self.session.stop_reason().is_none() {
            return false;
        }
        let since = *self.ends_since.get_or_insert_with(Instant::now);
        let gone = self.left + self.session.given_up.load(Relaxed);
        self.is_full || gone >= self.joined || since.elapsed() >= LAST_WORD
    }

    fn flush_from_time_to_time(&mut self) -> Result<(), WriteError> {
        if self.flushed.elapsed() >= FLUSH_PAUSE {
            self.frames.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }

    /// Ends the recording when a bound is reached.
    fn look_at_bounds(&self) {
        let Limits { max_bytes, max_seconds } = self.session.limits;
        self.session.bytes.store(self.frames.bytes(), Relaxed);
        if self.session.stop_reason().is_some() {
            return;
        }
        let spare = (max_bytes / 8).min(SPARE_BYTES_MAX);
        if self.is_full || self.frames.bytes() + spare >= max_bytes {
            self.recorder.end(self.session, StopReason::MaxBytes(max_bytes));
        } else if self.session.started.elapsed() >= Duration::from_secs(max_seconds) {
            self.recorder.end(self.session, StopReason::MaxSeconds(max_seconds));
        }
    }

    fn take(&mut self, entry: Entry) -> Result<(), WriteError> {
        self.session.taken(&entry);
        if self.is_full {
            return Ok(());
        }
        let written = match entry {
            Entry::Start(snapshot, hash) => self.start(&snapshot, hash),
            Entry::Turn(turn, _) => self.turn(&turn),
            Entry::Hash(mark) => self.hash(mark),
        };
        match written {
            Err(WriteError::Full) => {
                self.is_full = true;
                Ok(())
            }
            other => other,
        }
    }

    /// A shard has joined; the next one is asked when its state is written.
    fn start(&mut self, snapshot: &ShardSnapshot, hash: StateHash) -> Result<(), WriteError> {
        self.joined += 1;
        let shard = snapshot.shard();
        self.frames.put_snapshot(snapshot)?;
        self.frames.put(kind::HASH, &HashMark { shard, after: 0, hash, last: false })?;
        self.session.shards.fetch_add(1, Relaxed);
        if self.session.stop_reason().is_none() {
            self.recorder.ask(usize::from(shard) + 1, self.session.number);
        }
        Ok(())
    }

    fn turn(&mut self, turn: &Turn) -> Result<(), WriteError> {
        self.frames.put(kind::TURN, turn)?;
        self.session.inputs.fetch_add(turn.inputs(), Relaxed);
        Ok(())
    }

    fn hash(&mut self, mark: HashMark) -> Result<(), WriteError> {
        self.left += usize::from(mark.last);
        self.frames.put(kind::HASH, &mark)
    }

    /// Writes the last frame, and waits until the disk has everything.
    fn finish(mut self) -> Result<(), WriteError> {
        let reason = self.session.stop_reason().cloned().unwrap_or(StopReason::Requested);
        self.frames.allow(self.session.limits.max_bytes);
        let end = End {
            code: reason.code().to_owned(),
            reason: reason.sentence(),
            ended_at_ms: self.session.now_ms(),
            inputs: self.session.inputs.load(Relaxed),
        };
        self.frames.put(kind::END, &end)?;
        self.frames.flush()?;
        self.session.bytes.store(self.frames.bytes(), Relaxed);
        self.frames.file().get_ref().sync_all()?;
        Ok(())
    }
}
