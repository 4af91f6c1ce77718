//! Cells: a change is decoded, carried out, committed and answered, and a watcher gets the update.

use bytes::Bytes;
use tidewire_core::topic::Policy;
use tidewire_protocol::frame::{AckLevel, CellKind, CounterOp, TallyOp};
use tidewire_protocol::options::{CounterOptions, PublishOptions};
use tidewire_protocol::record::BodyBuilder;
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{ClientFrame, Name};

use crate::one_core::OneCore;
use crate::records::{encoded, name};
use crate::sink::ByteCount;
use crate::{Operation, Step};

/// Options and ranks of the tally: those of the election that the demo replays.
const OPTIONS: u64 = 35;
const RANKS: u64 = 3;
/// Voters, who vote in turn and each time differently.
const VOTERS: u64 = 1_000;
/// Keys of the map, which are written in turn.
const KEYS: u64 = 1_000;
/// Bytes of a map's value.
const VALUE_BYTES: usize = 32;

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "cells/counter_increment",
        elements: 1,
        warm_up: 100,
        counted: 1_000,
        prepare: counter_increment,
    },
    Operation {
        name: "cells/tally_vote",
        elements: 1,
        warm_up: 2 * VOTERS as u32,
        counted: 2 * VOTERS as u32,
        prepare: tally_vote,
    },
    Operation {
        name: "cells/map_key",
        elements: 1,
        warm_up: 2 * KEYS as u32,
        counted: KEYS as u32,
        prepare: map_key,
    },
];

fn counter_increment() -> Step {
    let counter = name("bench.counter");
    let mut core = OneCore::new(Policy::default());
    let client = core.connect();
    core.watcher(CellKind::Counter, &counter);
    let (op, options) = (CounterOp::Add, CounterOptions::default());
    let frame = encoded(&ClientFrame::Incr { req: 1, counter, op, operand: 3, options });
    Box::new(move |sink| core.request(client, &frame, sink))
}

fn tally_vote() -> Step {
    let tally = name("bench.tally");
    let mut core = OneCore::new(Policy::default());
    let client = core.connect();
    let options = (0..OPTIONS).map(|option| format!("candidate {option}")).collect();
    let rules =
        TallyRules { choices_max: Some(RANKS), ..TallyRules::new(TallyKind::Ranked, options) };
    let create = ClientFrame::Tally {
        req: 1,
        op: TallyOp::Create,
        tally: tally.clone(),
        rules: Some(rules),
    };
    core.request(client, &encoded(&create), &mut ByteCount::default());
    core.watcher(CellKind::Tally, &tally);
    let ballots = (0..2 * VOTERS).map(|vote| ballot(&tally, vote % VOTERS, vote / VOTERS));
    in_turn(core, ballots.collect())
}

/// A voter's ballot; the next time it is another one.
fn ballot(tally: &Name, voter: u64, time: u64) -> Bytes {
    let first = (voter * 7 + time) % OPTIONS;
    let choices = (0..RANKS).map(|rank| Choice::Index((first + rank) % OPTIONS)).collect();
    encoded(&ClientFrame::Vote {
        req: 1,
        tally: tally.clone(),
        voter: format!("voter {voter}"),
        choices,
        revision: None,
    })
}

fn map_key() -> Step {
    let topic = name("bench.map");
    let keys_max = usize::try_from(KEYS).unwrap_or(usize::MAX);
    let mut core = OneCore::new(Policy {
        retention_records: 256,
        map_keys_max: keys_max,
        ..Policy::default()
    });
    core.watcher(CellKind::Map, &topic);
    let entries = (0..KEYS).map(|key| {
        let mut body = BodyBuilder::new();
        body.push(Some(&format!("key.{key}")), &[], Some(&[7; VALUE_BYTES]));
        encoded(&ClientFrame::Publish {
            req: 1,
            topic: topic.clone(),
            ack: AckLevel::Memory,
            body: body.finish(),
            options: PublishOptions::default(),
        })
    });
    in_turn(core, entries.collect())
}

/// Sends one of the frames per step, over and over.
fn in_turn(mut core: OneCore, frames: Vec<Bytes>) -> Step {
    let client = core.connect();
    let mut turn = 0;
    Box::new(move |sink| {
        if let Some(frame) = frames.get(turn) {
            core.request(client, frame, sink);
        }
        turn = (turn + 1) % frames.len();
    })
}
