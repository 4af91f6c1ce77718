//! Topics: append-only logs of batches, kept in memory within the bounds of their policy.

mod batch;
mod commit_log;
mod logged;
mod pattern_index;
mod policy;
mod producers;
mod ring;
mod saved;

pub use batch::{Batch, TopicId, TopicKey};
pub use commit_log::{CommitLog, Slot};
pub use logged::LoggedBatch;
pub use pattern_index::{PatternId, PatternIndex};
pub use policy::{Policy, PolicyTable};
pub(crate) use producers::{ID_BITS, Producers, SavedProducers, ids_before};
pub use producers::{Place, ProducerLimits, Step};
pub use ring::Ring;
pub(crate) use saved::{SavedLog, SavedRing};
