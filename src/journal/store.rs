//! The disk below the journal: sled, held to what it was measured to keep.
//!
//! sled's own `flush` does not reach the platter on every system, so after it the database file is
//! synced through a descriptor of our own. `docs/storage.md` has the measurements.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tidewire_core::{SHARDS, SHARDS_MAX};

use super::base::Base;
use super::checkpoint::{Record, opened, sealed};
use super::disk::Disk;
use super::group_state::GroupState;
use super::key::{Key, part_key};
use super::message::TakenBlocks;
use super::places::{Place, Places};
use super::reads::{Reads, put, to_io};
use super::saving::Covered;
use super::staging::Writes;

/// Segments of sled's log: smaller ones write large values into files that it does not sync.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
/// What sled may keep in memory of what it has read.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// sled gives space back only while it flushes by itself.
const FLUSH_EVERY_MS: u64 = 500;
/// The tree that holds the blocks.
const BLOCKS: &str = "blocks";
/// The tree that holds the parts of checkpoints: shard, first block that is not covered, part.
const PARTS: &str = "checkpoints";
/// The tree that says for each shard which checkpoint counts.
const CURRENT: &str = "current";
/// The tree that says what is to be remembered of each group.
const RAFT: &str = "raft";
/// The trees of blocks that belong to states from other nodes.
const TAKEN: [&str; 2] = ["taken-1", "taken-2"];

/// The parts of checkpoints, which are written beside the commits.
#[derive(Clone)]
pub(crate) struct Parts {
    parts: sled::Tree,
    current: sled::Tree,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

impl Parts {
    /// # Errors
    /// When the disk fails.
    pub(crate) fn put(
        &self,
        shard: u16,
        covers: u64,
        number: u32,
        part: Vec<u8>,
    ) -> io::Result<()> {
        self.parts.insert(part_key(shard, covers, number), part).map_err(to_io)?;
        Ok(())
    }

    /// # Errors
    /// When the disk fails.
    pub(crate) fn get(
        &self,
        shard: u16,
        covers: u64,
        number: u32,
    ) -> io::Result<Option<sled::IVec>> {
        self.parts.get(part_key(shard, covers, number)).map_err(to_io)
    }

    /// Which checkpoint of a shard counts, encoded.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn current(&self, shard: u16) -> io::Result<Option<sled::IVec>> {
        self.current.get(shard.to_be_bytes()).map_err(to_io)
    }
}

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system or sled refuses.
    #[error(
        "cannot open the journal in {path}: {source}; does another server use the directory, or \
         is it read-only?"
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// sled has panicked.
    #[error(
        "the journal in {path} cannot be read: its database is damaged; restore a copy of the data \
         directory, or move it, `ends` and `storage.json` away to begin without what they hold"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
    },
    /// sled takes longer than it may.
    #[error(
        "the journal in {path} has not opened after {timeout_ms} ms (storage.open_timeout_ms): \
         raise it if the journal is large, else the database may be damaged"
    )]
    Timeout {
        /// The directory.
        path: PathBuf,
        /// The limit.
        timeout_ms: u64,
    },
    /// sled keeps a value outside its log, which is not synced.
    #[error("the journal in {path} holds values outside its log ({path}/blobs), which is not safe")]
    Blobs {
        /// The directory.
        path: PathBuf,
    },
}

/// sled, opened.
pub(crate) struct Store {
    path: PathBuf,
    db: sled::Db,
    blocks: sled::Tree,
    parts: sled::Tree,
    current: sled::Tree,
    raft: sled::Tree,
    /// The blocks, as they are read.
    reads: Reads,
    /// The database file, to be synced.
    file: File,
}

impl Store {
    /// Opens the database in a directory, made if need be. Where sled panics or hangs, that is an
    /// error; a thread that hangs is left behind.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn open(path: &Path, timeout_ms: u64) -> Result<Self, OpenError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (owned, io_path) = (path.to_owned(), path.to_owned());
        let refuse = |source| OpenError::Io { path: io_path.clone(), source };
        std::thread::Builder::new()
            .name("tidewire-open".to_owned())
            .spawn(move || drop(sender.send(Self::open_here(owned))))
            .map_err(refuse)?;
        match receiver.recv_timeout(Duration::from_millis(timeout_ms)) {
            Ok(opened) => opened,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(OpenError::Timeout { path: path.to_owned(), timeout_ms })
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(OpenError::Damaged { path: path.to_owned() })
            }
        }
    }

    fn open_here(path: PathBuf) -> Result<Self, OpenError> {
        let refuse = |source: io::Error| OpenError::Io { path: path.clone(), source };
        let db = sled::Config::new()
            .path(&path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .mode(sled::Mode::HighThroughput)
            .use_compression(false)
            .open()
            .map_err(|error| refuse(to_io(error)))?;
        let tree = |name| db.open_tree(name).map_err(|error| refuse(to_io(error)));
        let (blocks, parts, current) = (tree(BLOCKS)?, tree(PARTS)?, tree(CURRENT)?);
        let raft = tree(RAFT)?;
        let places = Arc::new(places_in(&current).map_err(refuse)?);
        let [first, second] = TAKEN;
        let reads = Reads::of(blocks.clone(), [tree(first)?, tree(second)?], places);
        let file = File::options().read(true).write(true).open(path.join("db")).map_err(refuse)?;
        let store = Self { path: path.clone(), db, blocks, parts, current, raft, reads, file };
        store.sync().map_err(refuse)?;
        // sled does not sync what it writes down of its own configuration, and the files of a new
        // database have to be found again as well.
        File::open(path.join("conf")).and_then(|file| file.sync_all()).map_err(refuse)?;
        for directory in [Some(path.as_path()), path.parent()].into_iter().flatten() {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(refuse)?;
        }
        match store.has_blobs() {
            Ok(false) => Ok(store),
            Ok(true) => Err(OpenError::Blobs { path }),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    /// The parts of checkpoints.
    pub(crate) fn parts(&self) -> Parts {
        Parts { parts: self.parts.clone(), current: self.current.clone() }
    }

    /// Which checkpoint of a shard counts, encoded.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) fn current(&self, shard: u16) -> io::Result<Option<sled::IVec>> {
        self.current.get(shard.to_be_bytes()).map_err(to_io)
    }

    /// What is remembered of a group, if there is one.
    ///
    /// # Errors
    /// When the disk fails, or what it holds is damaged.
    pub(crate) fn group(&self, shard: u16) -> io::Result<Option<GroupState>> {
        let state = self.raft.get(shard.to_be_bytes()).map_err(to_io)?;
        let bad = |what| io::Error::other(format!("what is remembered of its group: {what}"));
        state.map(|state| GroupState::from_bytes(&state).map_err(bad)).transpose()
    }

    /// The state of a group without a shard.
    ///
    /// # Errors
    /// When the disk fails, or what it holds is damaged.
    pub(crate) fn snapshot(&self, shard: u16) -> io::Result<Option<Vec<u8>>> {
        let Some(sealed) = self.current(shard)? else { return Ok(None) };
        let bytes = opened(&sealed).map(<[u8]>::to_vec);
        bytes.map(Some).ok_or_else(|| io::Error::other("its snapshot is damaged"))
    }

    /// The blocks of a shard from this index on, in order.
    pub(crate) fn scan(
        &self,
        shard: u16,
        from: u64,
    ) -> impl Iterator<Item = io::Result<(Key, Vec<u8>)>> + use<> {
        self.reads().scan(shard, from..u64::MAX)
    }

    /// The blocks, to be read beside the commits.
    pub(crate) fn reads(&self) -> Reads {
        self.reads.clone()
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(to_io)?;
        self.file.sync_data()
    }

    fn has_blobs(&self) -> io::Result<bool> {
        match std::fs::read_dir(self.path.join("blobs")) {
            Ok(mut blobs) => Ok(blobs.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Disk for Store {
    fn commit(&mut self, writes: Writes) -> io::Result<()> {
        let Writes { removed, blocks, states, taken } = writes;
        if !states.is_empty() {
            let mut batch = sled::Batch::default();
            for (shard, state) in states {
                batch.insert(&shard.to_be_bytes(), state.to_bytes());
            }
            self.raft.apply_batch(batch).map_err(to_io)?;
        }
        for TakenBlocks { slot, blocks } in taken {
            let (tree, mut batch) = (self.reads.taken(slot), sled::Batch::default());
            blocks.iter().for_each(|(key, block)| put(&mut batch, *key, block));
            tree.apply_batch(batch).map_err(to_io)?;
            blocks.iter().try_for_each(|(key, _)| Reads::count_use(tree, *key))?;
        }
        let mut batch = sled::Batch::default();
        for (shard, indices) in removed {
            let key = |index| Key { shard, index }.to_bytes();
            for old in self.blocks.range(key(indices.start)..key(indices.end)).keys() {
                batch.remove(old.map_err(to_io)?);
            }
        }
        let keys: Vec<Key> = blocks.iter().map(|(key, _)| *key).collect();
        // What comes under a key that goes is there then: the last word on a key counts.
        blocks.into_iter().for_each(|(key, block)| put(&mut batch, key, &block));
        self.blocks.apply_batch(batch).map_err(to_io)?;
        self.sync()?;
        keys.into_iter().try_for_each(|key| Reads::count_use(&self.blocks, key))?;
        if self.has_blobs()? {
            return Err(io::Error::other(
                "a value was written outside the log, where it is not synced",
            ));
        }
        Ok(())
    }

    fn finish_checkpoint(
        &mut self,
        shard: u16,
        record: Record,
        base: Option<&Base>,
    ) -> io::Result<()> {
        let mut bytes = record.to_bytes();
        bytes.extend(base.map(Base::to_bytes).unwrap_or_default());
        self.current.insert(shard.to_be_bytes(), bytes).map_err(to_io)?;
        self.sync()
    }

    fn save_snapshot(&mut self, shard: u16, bytes: &[u8]) -> io::Result<()> {
        let mut value = vec![0; 4];
        value.extend_from_slice(bytes);
        self.current.insert(shard.to_be_bytes(), sealed(value)).map_err(to_io)?;
        self.sync()
    }

    fn take_over(
        &mut self,
        shard: u16,
        record: Record,
        base: &Base,
        place: Place,
    ) -> io::Result<()> {
        let mut bytes = record.to_bytes();
        bytes.extend(base.to_bytes());
        let mut batch = sled::Batch::default();
        batch.insert(&shard.to_be_bytes(), bytes);
        batch.insert(Place::key(shard), place.to_bytes());
        self.current.apply_batch(batch).map_err(to_io)?;
        self.sync()?;
        self.reads.places().set(shard, place);
        Ok(())
    }

    fn remove_left(&mut self, shard: u16, wanted_from: u64, limit: usize) -> io::Result<bool> {
        let places = self.reads.places();
        let unused = self.reads.taken(places.next_slot(shard));
        let mut left = limit;
        remove(unused, blocks_in(shard, 0..u64::MAX), &mut left)?;
        if let Some(Place { slot, before }) = places.of(shard) {
            remove(&self.blocks, blocks_in(shard, 0..before.min(wanted_from)), &mut left)?;
            remove(self.reads.taken(slot), blocks_in(shard, before..u64::MAX), &mut left)?;
            return Ok(left > 0 && before <= wanted_from);
        }
        Ok(left > 0)
    }

    fn remove_covered(&mut self, covered: &mut Covered, limit: usize) -> io::Result<bool> {
        let Covered { shard, record, unused, .. } = covered;
        let mut left = limit;
        let taken = self.reads.places().of(*shard).map(|place| self.reads.taken(place.slot));
        while let Some(indices) = unused.last() {
            for tree in std::iter::once(&self.blocks).chain(taken) {
                remove(tree, blocks_in(*shard, indices.clone()), &mut left)?;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(false);
            }
            unused.pop();
        }
        // Of the same block as well, if there are some with other numbers.
        let first = Key { shard: *shard, index: 0 }.to_bytes().to_vec();
        let behind = part_key(*shard, record.covers, record.first);
        remove(&self.parts, first..behind, &mut left)?;
        Ok(left > 0)
    }

    fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The keys of a shard's blocks with these indices.
fn blocks_in(shard: u16, indices: Range<u64>) -> Range<Vec<u8>> {
    let key = |index| Key { shard, index }.to_bytes().to_vec();
    key(indices.start)..key(indices.end.max(indices.start))
}

/// Removes what has these keys, as long as some more may be.
fn remove(tree: &sled::Tree, keys: Range<Vec<u8>>, left: &mut usize) -> io::Result<()> {
    for key in tree.range(keys).keys() {
        if *left == 0 {
            return Ok(());
        }
        tree.remove(key.map_err(to_io)?).map_err(to_io)?;
        *left -= 1;
    }
    Ok(())
}

/// Where the blocks of shards lie that were taken over.
fn places_in(current: &sled::Tree) -> io::Result<Places> {
    let places = Places::default();
    for shard in SHARDS..SHARDS_MAX {
        if let Some(place) = current.get(Place::key(shard)).map_err(to_io)? {
            let bad = |what| io::Error::other(format!("the checkpoint of shard {shard}: {what}"));
            places.set(shard, Place::from_bytes(&place).map_err(bad)?);
        }
    }
    Ok(places)
}
