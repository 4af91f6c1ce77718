//! States from one journal to another, over real databases.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect is to fail"
)]

#[path = "../../../core/tests/cluster/chance.rs"]
mod chance;
#[allow(dead_code, unreachable_pub, reason = "the tests of shards use all of it")]
#[path = "../../../core/tests/state/commands.rs"]
mod commands;
mod damage;
mod node;
mod power;
mod service;
mod states;

use std::cell::{Cell, RefCell};

use bytes::Bytes;

use super::error::TransferError;
use super::frame::{Before, HEAD_BYTES};
use super::piece::Piece;
use super::sink::{Sink, Step};
use super::{Source, Taken};
use crate::journal::GroupLog;

/// A piece as it comes over a stream.
fn decoded(frame: &[u8]) -> Result<Piece, TransferError> {
    let short = || TransferError::malformed("short");
    let (head, payload) = frame.split_first_chunk::<HEAD_BYTES>().ok_or_else(short)?;
    let before = Before::decode(*head)?;
    let payload = payload.get(..before.payload_bytes).ok_or_else(short)?;
    before.check(payload)?;
    Piece::decode(before.kind, Bytes::copy_from_slice(payload))
}

/// What became of an attempt.
#[derive(Debug)]
struct Attempt {
    outcome: Result<Option<Taken>, TransferError>,
    pieces: usize,
    block_bytes: usize,
}

/// Gives a state to a log's node, each frame as `change` makes it; `None`: the link breaks.
fn attempt(
    source: &Source,
    log: &GroupLog,
    change: impl Fn(usize, Vec<u8>) -> Option<Vec<Vec<u8>>>,
) -> Attempt {
    let sink = RefCell::new(Sink::new(log.clone(), source.base().clone()));
    let (pieces, block_bytes) = (Cell::new(0), Cell::new(0));
    let (wanted, taken) = (RefCell::new(None), RefCell::new(None));
    let mut out = |piece: Piece| {
        let number = pieces.replace(pieces.get() + 1);
        let broken = || TransferError::Broken(std::io::ErrorKind::ConnectionReset.into());
        for frame in change(number, piece.encode()?).ok_or_else(broken)? {
            assert!(frame.len() <= 256 * 1024 + 8, "{}", frame.len());
            let piece = decoded(&frame)?;
            if let Piece::Block { bytes, .. } = &piece {
                block_bytes.set(block_bytes.get() + bytes.len());
            }
            match sink.borrow_mut().put(piece)? {
                Step::More => {}
                Step::Wants(ranges) => drop(wanted.replace(Some(ranges))),
                Step::Whole(whole) => drop(taken.replace(Some(*whole))),
            }
        }
        Ok(())
    };
    let given = source.give_state(&mut out).and_then(|()| {
        let ranges = wanted.borrow_mut().take();
        match ranges {
            Some(ranges) => source.give_blocks(&ranges, &mut out),
            None => Err(TransferError::malformed("the state has no end")),
        }
    });
    let outcome = given.map(|()| taken.take());
    Attempt { outcome, pieces: pieces.get(), block_bytes: block_bytes.get() }
}

/// Gives a state as it is.
fn whole(source: &Source, log: &GroupLog) -> Taken {
    attempt(source, log, |_, frame| Some(vec![frame])).outcome.unwrap().unwrap()
}
