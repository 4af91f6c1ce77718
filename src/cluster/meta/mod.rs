//! What the cluster has decided: who belongs to it, who holds which copies, which policies apply.
//!
//! The log of the meta group holds [`MetaCommand`]s; each node applies them to its [`Meta`], so that all have the
//! same. Nothing here has a clock, a random source or a socket, and nothing knows openraft: a simulation can hold
//! it to what it promises.
//!
//! Who leads the meta group looks at what has been decided and decides the copies that follow from it
//! (`placement`). Who leads a group of a shard brings its members to that, step by step (`reconcile`). A node that
//! comes is looked at before anything is decided about it (`admission`).

mod admission;
mod apply;
mod command;
mod leaders;
mod placement;
mod policies;
mod reconcile;
mod refusal;
mod saved;
#[cfg(test)]
mod simulation;
mod state;
mod table;

pub(crate) use admission::{Admission, Comer, DataDirectory, admit};
pub(crate) use apply::Outcome;
pub(crate) use command::MetaCommand;
pub(crate) use policies::{PolicyText, difference};
pub(crate) use reconcile::{GroupView, Step, Why};
pub(crate) use refusal::MetaRefusal;
pub(crate) use state::{MemberState, Meta, MetaNode, MetaSeal};
