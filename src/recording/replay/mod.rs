//! Replaying a recording: shards are restored and told again what they were told, and held
//! against the figures and hashes that were written down.

mod outcome;

pub(crate) use outcome::{Checked, Coming, Difference, Divergence, Done, Look, Torn};

use std::collections::BTreeMap;
use std::io::Read;

use tidewire_core::shard::{Command, Progress, Shard, ShardSnapshot};
use tidewire_core::state_hash::StateHash;

use super::format::{End, HashMark, Header, Turn};
use super::frames_in::{Frame, FramesIn, Next, ReadError};

/// A recording that is being replayed.
pub(crate) struct Replay<R> {
    frames: FramesIn<R>,
    header: Header,
    /// Only this shard is replayed.
    only: Option<u16>,
    shards: BTreeMap<u16, ShardReplay>,
    /// A snapshot of which not all pieces have come.
    pieces: Option<(u16, Vec<u8>)>,
    turn: Option<OpenTurn>,
    /// Inputs that have been replayed or passed over.
    number: u64,
    end: Option<End>,
    torn: Option<Torn>,
}

/// A shard that is being replayed.
pub(crate) struct ShardReplay {
    pub(crate) shard: Shard,
    /// Inputs told so far.
    pub(crate) inputs: u64,
    /// Hashes that were equal.
    pub(crate) hashes: u64,
    /// Inputs before the last equal hash.
    pub(crate) hashed: u64,
    /// The shard's time.
    pub(crate) now_ms: u64,
    /// The last hash of the recording, if it has come.
    pub(crate) last: Option<StateHash>,
}

struct OpenTurn {
    shard: u16,
    now_ms: u64,
    commands: std::vec::IntoIter<Command>,
    is_begun: bool,
    /// Events of the round that are known already.
    told: usize,
    progress: Progress,
}

impl<R: Read> Replay<R> {
    /// Opens a recording; `only`: of this shard.
    ///
    /// # Errors
    /// When it is no recording, or its first frame cannot be read.
    pub(crate) fn open(file: R, only: Option<u16>) -> Result<Self, ReadError> {
        let mut frames = FramesIn::begin(file)?;
        let header = match frames.read()? {
            Next::Frame(Frame::Header(header)) => header,
            Next::Frame(_) => {
                return Err(frames.damaged("it does not begin with its header".to_owned()));
            }
            Next::Over | Next::Torn { .. } => {
                return Err(frames.damaged("it breaks off before its header is over".to_owned()));
            }
        };
        Ok(Self {
            frames,
            header,
            only,
            shards: BTreeMap::new(),
            pieces: None,
            turn: None,
            number: 0,
            end: None,
            torn: None,
        })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn shards(&self) -> &BTreeMap<u16, ShardReplay> {
        &self.shards
    }

    /// Inputs up to here, those of other shards included.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The recording's last frame, once it has been read.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Where the file breaks off, once that has been reached.
    pub(crate) fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Reads on to what comes next.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn look(&mut self) -> Result<Look, ReadError> {
        loop {
            if let Some(coming) = self.coming() {
                return Ok(Look::Input(coming));
            }
            if self.end.is_some() || self.torn.is_some() {
                return Ok(Look::Over);
            }
            match self.frames.read()? {
                Next::Frame(frame) => {
                    if let Some(look) = self.frame(frame)? {
                        return Ok(look);
                    }
                }
                Next::Over => return Ok(Look::Over),
                Next::Torn { offset, bytes } => self.torn = Some(Torn { offset, bytes }),
            }
        }
    }

    /// Tells the input that comes next; `None` if [`Self::look`] has not found one.
    pub(crate) fn tell(&mut self, with_effects: bool) -> Option<Done> {
        let what = self.coming()?;
        let turn = self.turn.as_mut()?;
        let replay = self.shards.get_mut(&turn.shard)?;
        let (shard, told) = (&mut replay.shard, if turn.is_begun { turn.told } else { 0 });
        if !turn.is_begun {
            shard.handle_timeout(turn.now_ms);
            turn.is_begun = true;
        }
        let command = turn.commands.next();
        if let Some(command) = command.clone() {
            shard.handle(command, turn.now_ms);
        }
        let is_sealed = turn.commands.len() == 0;
        let sealed = if is_sealed { shard.seal() } else { None };
        let events = sealed.as_ref().map_or(&shard.open_round().events, |round| &round.events);
        let effects = events.iter().skip(told).filter(|_| with_effects).cloned().collect();
        turn.told = events.len();
        self.number += 1;
        replay.inputs += 1;
        replay.now_ms = turn.now_ms;
        let (recorded, replayed) = (turn.progress, replay.shard.progress());
        let difference = Difference::Progress { recorded, replayed };
        let diverged = (is_sealed && recorded != replayed)
            .then(|| replay.divergence(self.number, what.shard, difference));
        if is_sealed {
            self.turn = None;
        }
        Some(Done { what, command, effects, is_sealed, diverged })
    }

    fn coming(&self) -> Option<Coming> {
        let OpenTurn { shard, now_ms, .. } = *self.turn.as_ref()?;
        let input = self.shards.get(&shard)?.inputs + 1;
        Some(Coming { number: self.number + 1, shard, input, now_ms })
    }

    fn frame(&mut self, frame: Frame) -> Result<Option<Look>, ReadError> {
        if !matches!(frame, Frame::SnapshotPiece { .. } | Frame::End(_)) && self.pieces.is_some() {
            return Err(self.frames.damaged("a snapshot is not whole".to_owned()));
        }
        match frame {
            Frame::Header(_) => Err(self.frames.damaged("a second header".to_owned())),
            Frame::SnapshotPiece { shard, is_last, bytes } => {
                self.piece(shard, is_last, bytes)?;
                Ok(None)
            }
            Frame::Turn(turn) => {
                self.begin(turn)?;
                Ok(None)
            }
            Frame::Hash(mark) => self.check(mark),
            Frame::End(end) => {
                self.end = Some(end);
                Ok(None)
            }
        }
    }

    fn piece(&mut self, shard: u16, is_last: bool, bytes: Vec<u8>) -> Result<(), ReadError> {
        let (begun, mut whole) = self.pieces.take().unwrap_or((shard, Vec::new()));
        if begun != shard || self.shards.contains_key(&shard) {
            let what = format!("a snapshot of shard {shard} where none is expected");
            return Err(self.frames.damaged(what));
        }
        if whole.is_empty() {
            whole = bytes;
        } else {
            whole.extend_from_slice(&bytes);
        }
        if !is_last {
            self.pieces = Some((shard, whole));
            return Ok(());
        }
        if self.is_wanted(shard) {
            let damaged = |what: String| self.frames.damaged(format!("shard {shard}: {what}"));
            let snapshot: ShardSnapshot =
                rmp_serde::from_slice(&whole).map_err(|error| damaged(error.to_string()))?;
            let now_ms = snapshot.now_ms();
            let restored = Shard::restore(snapshot).map_err(|bad| damaged(bad.to_string()))?;
            self.shards.insert(shard, ShardReplay::of(restored, now_ms));
        }
        Ok(())
    }

    fn begin(&mut self, turn: Turn) -> Result<(), ReadError> {
        let Turn { shard, first, now_ms, commands, progress } = turn;
        if !self.is_wanted(shard) {
            self.number += (commands.len() as u64).max(1);
            return Ok(());
        }
        let inputs = self.shards.get(&shard).map(|replay| replay.inputs);
        if inputs.map(|inputs| inputs + 1) != Some(first) {
            let what = match inputs {
                None => format!("shard {shard} has inputs, but no state at its start"),
                Some(inputs) => {
                    format!("input {first} of shard {shard} comes after its input {inputs}")
                }
            };
            return Err(self.frames.damaged(what));
        }
        self.turn = Some(OpenTurn {
            shard,
            now_ms,
            commands: commands.into_iter(),
            is_begun: false,
            told: 0,
            progress: Progress::from_array(progress),
        });
        Ok(())
    }

    fn check(&mut self, mark: HashMark) -> Result<Option<Look>, ReadError> {
        let HashMark { shard, after, hash, last } = mark;
        if !self.is_wanted(shard) {
            return Ok(None);
        }
        let Some(replay) = self.shards.get_mut(&shard).filter(|replay| replay.inputs == after)
        else {
            let what = format!("a hash after input {after} of shard {shard}, where that is not");
            return Err(self.frames.damaged(what));
        };
        let replayed = replay.shard.state_hash();
        if replayed != hash {
            let difference = Difference::Hash { recorded: hash, replayed };
            let divergence = replay.divergence(self.number, shard, difference);
            return Ok(Some(Look::Diverged(divergence)));
        }
        replay.hashes += 1;
        replay.hashed = after;
        replay.last = last.then_some(hash);
        Ok(Some(Look::Equal(Checked { shard, after, hash, last })))
    }

    fn is_wanted(&self, shard: u16) -> bool {
        self.only.is_none_or(|only| only == shard)
    }
}

impl ShardReplay {
    fn of(shard: Shard, now_ms: u64) -> Self {
        Self { shard, inputs: 0, hashes: 0, hashed: 0, now_ms, last: None }
    }

    fn divergence(&self, number: u64, shard: u16, what: Difference) -> Divergence {
        Divergence { number, shard, input: self.inputs, hashed: self.hashed, what }
    }
}
