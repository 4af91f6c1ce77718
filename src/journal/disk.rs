//! What the committer asks of the disk.

use std::io;

use super::base::Base;
use super::checkpoint::Record;
use super::places::Place;
use super::saving::Covered;
use super::staging::Writes;

/// What the committer writes to; a test puts a disk that fails in its place.
pub(crate) trait Disk: Send {
    /// Writes one commit, and waits until it is on the disk: its blocks all or none, and not before
    /// what is to be remembered of groups, for that says where a log goes on.
    ///
    /// # Errors
    /// When it may not be there. Nothing may be committed after that.
    fn commit(&mut self, writes: Writes) -> io::Result<()>;

    /// Makes a checkpoint count whose parts have been written, and waits until that is on the disk.
    ///
    /// # Errors
    /// When it may not be there. Nothing may be committed after that.
    fn finish_checkpoint(
        &mut self,
        shard: u16,
        record: Record,
        base: Option<&Base>,
    ) -> io::Result<()>;

    /// Makes a state count that was taken from another node, and with it that its blocks lie in this place,
    /// and waits until that is on the disk.
    ///
    /// # Errors
    /// When it may not be there. Nothing may be committed after that.
    fn take_over(
        &mut self,
        shard: u16,
        record: Record,
        base: &Base,
        place: Place,
    ) -> io::Result<()>;

    /// Removes blocks of a shard that are not where its state says: those of the log's own before
    /// `wanted_from` that a state has taken the place of, and those of a state that does not count; at most
    /// `limit` of them. Returns whether that was all, and nothing is wanted still.
    ///
    /// # Errors
    /// When the disk fails. Nothing may be committed after that.
    fn remove_left(&mut self, shard: u16, wanted_from: u64, limit: usize) -> io::Result<bool>;

    /// Puts the state of a group without a shard into the place of an earlier one, and waits until
    /// it is on the disk.
    ///
    /// # Errors
    /// When it may not be there. Nothing may be committed after that.
    fn save_snapshot(&mut self, shard: u16, bytes: &[u8]) -> io::Result<()>;

    /// Removes what a checkpoint has made superfluous: blocks, and parts of earlier checkpoints; at
    /// most `limit` of them, looking at no more ranges than that. What is done with leaves `covered`;
    /// returns whether that was all.
    ///
    /// # Errors
    /// When the disk fails. Nothing may be committed after that.
    fn remove_covered(&mut self, covered: &mut Covered, limit: usize) -> io::Result<bool>;

    /// Bytes of the database's file: what is not kept of it is used again.
    ///
    /// # Errors
    /// When the system does not say.
    fn file_bytes(&self) -> io::Result<u64>;

    /// Bytes that are free on the disk.
    ///
    /// # Errors
    /// When the system does not say.
    fn free_bytes(&self) -> io::Result<u64>;
}
