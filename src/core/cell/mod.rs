//! Cells: versioned values, of which a watcher only ever needs the newest.
//!
//! * [`Counter`]: a number that is added to, set and reset.
//! * [`Tally`]: a poll with declared options and one ballot per voter.
//! * [`Keyed`]: the entries of a map or presence set, with what has changed since a version.
//! * [`attendance`]: presence sets of a cluster, each node with the members of its own connections.
//! * [`eventual`]: counters that every node of a cluster adds to by itself.
//! * [`replicated`]: what nodes tell each other about state that each changes alone.
//!
//! A shard has one growing counter of versions. Every call that may change a cell is handed the
//! stamp to use *if* something changes, so the versions of one cell grow but have holes.

pub mod attendance;
mod counter;
pub mod eventual;
mod keyed;
pub mod replicated;
mod tally;

pub use counter::{Counted, Counter, CounterChange, SavedCounter};
pub use keyed::{Change, Changes, Encoded, EncodedChanges, Entry, Keyed, Part, SavedKeyed};
pub use tally::{Profile, SavedTally, Tally, TallyHead, VoteStatus, Voted, VoterId};
