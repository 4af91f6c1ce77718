//! Topics: append-only logs of batches, kept within the bounds of their policy.

mod batch;
mod body;
mod commit_log;
mod extents;
mod logged;
mod pattern_index;
mod policy;
mod producers;
mod ring;
mod saved;

pub use batch::{Batch, TopicId, TopicKey};
pub use body::Body;
pub use commit_log::{CommitLog, Gone, Slot};
pub use extents::{EXTENT_BYTES, Extent, Extents};
pub use logged::LoggedBatch;
pub use pattern_index::{PatternId, PatternIndex};
pub use policy::{Policy, PolicyTable};
pub(crate) use producers::{ID_BITS, Producers, SavedProducers, ids_before};
pub use producers::{Place, ProducerLimits, Step};
pub use ring::Ring;
pub use saved::StoredBatch;
pub(crate) use saved::{Bodies, SavedLog, SavedRing};
