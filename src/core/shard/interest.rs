//! A set of dispatchers, as a bit set.

use serde::{Deserialize, Serialize};

use super::DispatcherId;
use crate::state_hash::StateHasher;

/// The dispatchers that follow something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatchers(u64);

impl Dispatchers {
    /// Adds a dispatcher (numbers from 0 to 63).
    pub fn insert(&mut self, dispatcher: DispatcherId) {
        self.0 |= 1_u64.checked_shl(u32::from(dispatcher)).unwrap_or(0);
    }

    /// Removes a dispatcher.
    pub fn remove(&mut self, dispatcher: DispatcherId) {
        self.0 &= !1_u64.checked_shl(u32::from(dispatcher)).unwrap_or(0);
    }

    /// Whether nobody follows.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn hash_into(self, hasher: &mut StateHasher) {
        let Self(members) = self;
        hasher.number(members);
    }

    /// The members, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = DispatcherId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let lowest = u8::try_from(left.trailing_zeros()).ok().filter(|lowest| *lowest < 64)?;
            left &= left - 1;
            Some(lowest)
        })
    }
}
