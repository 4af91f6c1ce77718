//! The pure core: topics, cells, shards and fan-out as state machines.
//!
//! Nothing here asks a clock, a socket, a disk or a random source, and nothing can: the crate is
//! `no_std`, so the build refuses it. Time and seeds come in as arguments, effects go out as
//! values, and the same inputs always give the same outputs.
//!
//! * [`access`]: who a connection is, and what it may do.
//! * [`topic`]: batches, the ring that a topic keeps, the shard's commit log, patterns, policies.
//! * [`cell`]: counters, tallies, maps and presence sets.
//! * [`commons`]: the cells that every node of a cluster changes by itself, and what nodes tell each other
//!   of them.
//! * [`group`]: consumer groups, which share a topic's records among workers.
//! * [`member`]: a node's part in a shard of a cluster.
//! * [`relay`]: what stands for a shard that another node holds.
//! * [`shard`]: the single writer of a share of all names: commands in, a round of events out.
//! * [`fanout`]: the dispatcher of one core: cursors and watches, and what each connection gets.
//! * [`snapshot`]: how a saved state is refused; the saved forms stand beside their types.
//! * [`state_hash`]: one number for everything that a shard holds.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod cell;
pub mod commons;
mod epoch;
pub mod fanout;
pub mod group;
pub mod member;
pub mod relay;
pub mod shard;
pub mod snapshot;
pub mod state_hash;
pub mod topic;

pub use epoch::{CLUSTER_EPOCH, epoch_anew};

/// Number of shards that names are spread over: names in memory over the first so many, names on disk
/// over as many behind them. Fixed for the life of a data directory.
pub const SHARDS: u16 = 16;
/// Shards of a server that keeps names on disk.
pub const SHARDS_MAX: u16 = 2 * SHARDS;

/// What stands in the place of a shard's number for the cells that each node changes by itself
/// ([`commons`]).
pub const COMMONS: u16 = u16::MAX;

/// Place of a name among the shards of its durability: its stable hash, modulo [`SHARDS`]. For a
/// name in memory it is the shard itself. Part of what is stored, so it never changes.
#[must_use]
pub fn shard_of(name: &tidewire_protocol::Name) -> u16 {
    let hash = tidewire_protocol::stable_hash(name.as_str().as_bytes());
    u16::try_from(hash % u64::from(SHARDS)).unwrap_or(0)
}

/// The shard of one partition of a name whose partition 0 is at home in this shard.
#[must_use]
pub fn shard_of_partition(home: u16, partition: u16) -> u16 {
    let place = home % SHARDS;
    home - place + (place + partition) % SHARDS
}

/// Whether what a shard holds is kept on disk.
#[must_use]
pub fn is_durable(shard: u16) -> bool {
    shard >= SHARDS && shard != COMMONS
}

/// The partition of a name that a shard holds, if the name has that many.
#[must_use]
pub fn partition_in(name: &tidewire_protocol::Name, shard: u16) -> u16 {
    (shard % SHARDS + SHARDS - shard_of(name)) % SHARDS
}

/// A map with a seeded, reproducible hasher.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

/// An empty [`HashMap`] for this seed.
pub(crate) fn hash_map<K, V>(seed: u64) -> HashMap<K, V> {
    HashMap::with_hasher(foldhash::fast::FixedState::with_seed(seed))
}
