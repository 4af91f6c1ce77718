//! Which commits have all their blocks.

use super::recovery::Damage;

/// Blocks of each commit behind the one of the ends: how many were found, and how many there are.
/// Of earlier ones a checkpoint may have removed some.
pub(super) struct Commits {
    /// The last commit that is known to have been whole.
    whole: u64,
    behind: Vec<(u16, u16)>,
}

impl Commits {
    /// Those behind one that is known to have been whole, as were all before it.
    pub(super) fn behind(whole: u64) -> Self {
        Self { whole, behind: Vec::new() }
    }

    /// A block that belongs to a commit of so many.
    ///
    /// # Errors
    /// When that cannot be.
    pub(super) fn add(&mut self, commit: u64, blocks: u16) -> Result<(), String> {
        let Some(at) = commit.checked_sub(self.whole + 1) else { return Ok(()) };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        // A number beyond belief is not allocated.
        if at > COMMITS_MAX {
            return Err(format!("it belongs to commit {commit}, far beyond the others"));
        }
        if self.behind.len() <= at {
            self.behind.resize(at + 1, (0, 0));
        }
        match self.behind.get_mut(at) {
            Some((found, known)) if *known == 0 || *known == blocks => {
                *found += 1;
                *known = blocks;
                Ok(())
            }
            Some(_) | None => Err(format!("commit {commit} has other numbers of blocks")),
        }
    }

    /// The last commit.
    ///
    /// # Errors
    /// When it, or one before it, lacks a block.
    pub(super) fn last(&self) -> Result<u64, Damage> {
        for ((found, blocks), commit) in self.behind.iter().zip(self.whole + 1..) {
            if found != blocks || *blocks == 0 {
                let what = format!("commit {commit} has {found} of {blocks} blocks");
                return Err(Damage::new(what));
            }
        }
        Ok(self.whole + self.behind.len() as u64)
    }
}

/// Commits behind the ends, at most: the ends are half a second old, and a commit takes some time.
const COMMITS_MAX: usize = 1 << 24;
