//! The tap of one shard: copies what the shard is told while it is recorded.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tidewire_core::shard::{Command, Shard};

use super::format::{HashMark, Turn};
use super::recorder::Recorder;
use super::session::{Entry, Session, StopReason};

/// Inputs after which the state is hashed again, if there was time enough.
const HASH_INPUTS: u64 = 10_000;
/// Time after which the state is hashed again.
const HASH_PAUSE: Duration = Duration::from_secs(1);
/// The time between two hashes is so many times that of a hash: it takes 1% of a shard's time.
const HASH_SHARE: u32 = 100;

/// A shard's connection to the recorder.
pub(crate) struct Tap {
    shard: u16,
    /// The wish that has been carried out; 0: not to record.
    done: u64,
    tape: Option<Tape>,
}

/// A shard's part of a recording.
struct Tape {
    session: Arc<Session>,
    queue: SyncSender<Entry>,
    inputs: u64,
    hashed_inputs: u64,
    hashed: Instant,
    hash_cost: Duration,
}

impl Tap {
    /// The tap of this shard, closed.
    pub(crate) fn new(shard: u16) -> Self {
        Self { shard, done: 0, tape: None }
    }

    /// What the shard is about to be told, if it is recorded: to be called between two rounds,
    /// with the result handed to [`Self::end`] after the round. Costs one load and one branch
    /// when nothing is recorded.
    pub(crate) fn begin(
        &mut self,
        recorder: &Recorder,
        shard: &mut Shard,
        commands: &[Command],
        now_ms: u64,
    ) -> Option<Turn> {
        if recorder.wanted(self.shard) | self.done == 0 {
            return None;
        }
        self.follow(recorder, shard);
        let tape = self.tape.as_ref()?;
        Some(Turn {
            shard: self.shard,
            first: tape.inputs + 1,
            now_ms,
            commands: commands.to_vec(),
            progress: [0; 5],
        })
    }

    /// The round is over: hands the turn to the writer, and a state hash from time to time.
    pub(crate) fn end(&mut self, recorder: &Recorder, mut turn: Turn, shard: &Shard) {
        let Some(tape) = &mut self.tape else { return };
        turn.progress = shard.progress().to_array();
        tape.inputs += turn.inputs();
        let bytes = size_of::<Turn>() + turn.commands.iter().map(Command::weight).sum::<usize>();
        let is_kept = tape.session.push(&tape.queue, Entry::Turn(turn, bytes))
            && (!tape.is_hash_due() || tape.put_hash(self.shard, shard, false));
        if !is_kept {
            self.give_up(recorder);
        }
    }

    /// Does what the recorder wishes, between two rounds: ends the part in one recording, begins
    /// the part in the next.
    pub(crate) fn follow(&mut self, recorder: &Recorder, shard: &mut Shard) {
        let wanted = recorder.wanted(self.shard);
        if wanted == self.done {
            return;
        }
        self.done = wanted;
        if let Some(mut tape) = self.tape.take()
            && !tape.put_hash(self.shard, shard, true)
        {
            tape.session.given_up.fetch_add(1, Relaxed);
        }
        let Some((session, queue)) = recorder.join(wanted) else { return };
        let begun = Instant::now();
        let Some(snapshot) = shard.snapshot() else {
            // Between two rounds there always is one.
            tracing::error!("shard {} is not recorded: a round is open", self.shard);
            return;
        };
        let copied = Instant::now();
        let hash = shard.state_hash();
        let hashed = Instant::now();
        session.note_pause(hashed - begun);
        if session.push(&queue, Entry::Start(Box::new(snapshot), hash)) {
            let hash_cost = hashed - copied;
            self.tape =
                Some(Tape { session, queue, inputs: 0, hashed_inputs: 0, hashed, hash_cost });
        }
    }

    /// The writer is too far behind: the shard does not wait for it.
    fn give_up(&mut self, recorder: &Recorder) {
        if let Some(Tape { session, .. }) = self.tape.take() {
            session.given_up.fetch_add(1, Relaxed);
            recorder.end(&session, StopReason::QueueFull(self.shard));
        }
    }
}

impl Tape {
    fn is_hash_due(&self) -> bool {
        let since = self.hashed.elapsed();
        let is_wanted = self.inputs - self.hashed_inputs >= HASH_INPUTS || since >= HASH_PAUSE;
        is_wanted && since >= self.hash_cost * HASH_SHARE
    }

    fn put_hash(&mut self, number: u16, shard: &Shard, last: bool) -> bool {
        let begun = Instant::now();
        let hash = shard.state_hash();
        self.hashed = Instant::now();
        self.hash_cost = self.hashed - begun;
        self.hashed_inputs = self.inputs;
        let mark = HashMark { shard: number, after: self.inputs, hash, last };
        self.session.push(&self.queue, Entry::Hash(mark))
    }
}
