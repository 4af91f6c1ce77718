//! What nodes tell each other about state that each of them changes alone.
//!
//! Every [`Actor`] has a history of its own: changes with dense versions, which it alone adds to.
//! What another node holds of it is always one prefix of that history, exactly. So one number per
//! actor says all that a node has ([`Versions`]), the longer of two prefixes is their join, and
//! nothing depends on the way by which a change came: from the actor or through others.
//!
//! * [`Delta`]: changes that follow a version, or one piece of everything up to a version.
//! * `DeltaLog`: the newest changes of a history. What is behind it goes out as a snapshot.
//! * `Replica`: one actor's history as one node holds it.

mod actor;
mod delta;
mod delta_log;
mod replica;

pub use actor::{Actor, Versions};
pub use delta::{Content, Delta, Merged, Owed};
pub use delta_log::LogLimits;
pub(crate) use delta_log::{DeltaLog, SavedDeltaLog};
pub(crate) use replica::{History, Replica, SavedReplica, owed_by, pieces};
