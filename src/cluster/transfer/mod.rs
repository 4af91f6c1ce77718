//! States of shards from node to node: for one that lacks more of a group's log than there still is.
//!
//! A state is what a checkpoint holds, and the blocks in which the records lie that it keeps. Whoever leads
//! gives it (`source`), piece by piece; the other one (`sink`) writes it beside what it has, asks only for the
//! blocks that it lacks (`reuse`), and lets it count when all of it is on its disk. `docs/storage.md` draws the
//! pieces.

mod coming;
mod error;
mod figures;
mod frame;
mod give;
mod kept;
mod pace;
mod piece;
mod reuse;
mod sink;
mod source;
mod states;
mod take;
mod talk;
#[cfg(test)]
mod tests;

pub(crate) use sink::Taken;
pub(crate) use source::Source;
pub(crate) use states::States;
