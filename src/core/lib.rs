//! The pure core: topics, cells, shards and fan-out as state machines.
//!
//! Nothing here asks a clock, a socket, a disk or a random source, and nothing can: the crate is
//! `no_std`, so the build refuses it. Time and seeds come in as arguments, effects go out as
//! values, and the same inputs always give the same outputs.
//!
//! * [`topic`]: batches, the ring that a topic keeps, the shard's commit log, patterns, policies.
//! * [`cell`]: counters, tallies, maps and presence sets.
//! * [`shard`]: the single writer of a share of all names: commands in, a round of events out.
//! * [`fanout`]: the dispatcher of one core: cursors and watches, and what each connection gets.
//! * [`snapshot`]: how a saved state is refused; the saved forms stand beside their types.
//! * [`state_hash`]: one number for everything that a shard holds.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod cell;
pub mod fanout;
pub mod shard;
pub mod snapshot;
pub mod state_hash;
pub mod topic;

/// Number of shards that names are spread over. Fixed for the life of a data directory.
pub const SHARDS: u16 = 16;

/// The shard that a name belongs to: FNV-1a (Fowler, Noll, Vo) over its bytes, folded, modulo
/// [`SHARDS`]. Part of what is stored, so it never changes.
#[must_use]
pub fn shard_of(name: &tidewire_protocol::Name) -> u16 {
    let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = hash ^ (hash >> 32);
    u16::try_from(folded % u64::from(SHARDS)).unwrap_or(0)
}

/// A map with a seeded, reproducible hasher.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

/// An empty [`HashMap`] for this seed.
pub(crate) fn hash_map<K, V>(seed: u64) -> HashMap<K, V> {
    HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed))
}
