//! What the core costs: the operations that `cargo bench` times and `cargo xtask guard` counts.
//!
//! An [`Operation`] prepares a situation and hands out one [`Step`] that can be repeated in it
//! without end: everything that grows has reached its bound, and the same things happen in every
//! run. So its cost per run is a figure that can be compared.
//!
//! * [`append`]: a PUBLISH frame becomes a committed batch.
//! * [`fanout`]: a committed batch becomes DELIVER frames for many sessions.
//! * [`replay`]: a subscriber that is far behind catches up.
//! * [`cells`]: a counter, a tally, a map change, and their watchers hear of it.
//! * [`eventual`]: a counter that every node adds to, and what another node has added.
//! * [`patterns`]: which patterns match a topic, and following every topic there is.
//!
//! The programs choose the allocator: those that measure time or count instructions the one that
//! ships, so that they measure what the server pays; `memory` one that counts.
#![allow(
    clippy::expect_used,
    reason = "a situation that cannot be prepared is to stop the benchmark at once"
)]

pub mod append;
pub mod cells;
pub mod eventual;
pub mod fanout;
pub mod one_core;
pub mod patterns;
pub mod records;
pub mod replay;
pub mod sink;

use tidewire_core::fanout::Sink;

/// What is timed and counted. The output goes to the sink.
pub type Step = Box<dyn FnMut(&mut dyn Sink)>;

/// One thing that the core does, in a situation that stays the same.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its name in reports, in the baseline and on the command line.
    pub name: &'static str,
    /// Records, votes or lookups in one step, for figures per element.
    pub elements: u64,
    /// Steps until everything that grows has reached its bound.
    pub warm_up: u32,
    /// Steps whose instructions are counted: whole rounds of whatever the steps take in turn.
    /// [`TIMED_ONLY`]: none.
    pub counted: u32,
    /// Makes the situation.
    pub prepare: fn() -> Step,
}

/// For operations that callgrind would take too long to prepare. What they ask is about caches and
/// memory anyway, and of those a count of instructions says nothing.
pub const TIMED_ONLY: u32 = 0;

/// All operations, in the order of their reports.
pub const OPERATIONS: &[&[Operation]] = &[
    append::OPERATIONS,
    fanout::OPERATIONS,
    replay::OPERATIONS,
    cells::OPERATIONS,
    eventual::OPERATIONS,
    patterns::OPERATIONS,
];

/// The operations one by one.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().copied().flatten()
}
