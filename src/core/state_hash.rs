//! The state hash: one number for everything that a shard holds.
//!
//! Two shards with the same state have the same hash, in any process and any build: XXH3 with 128
//! bits has a specification, and what a hash map holds is combined without regard to its order.
//! Each type that holds state has a `hash_into` beside its definition that takes `self` apart
//! field by field, so that a field which is added later and forgotten there does not compile.
//!
//! It finds mistakes, not attackers: it is not cryptographic.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// A hash of a whole state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateHash(#[serde(with = "serde_bytes")] [u8; 16]);

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Gathers a state. Collections are hashed item by item, so it stays small however large the
/// state is.
#[derive(Debug, Default)]
pub struct StateHasher {
    /// What belongs to the items that are open now, one behind the other.
    open: Vec<u8>,
}

/// Bytes up to which a value is taken as it is; a longer one stands as its own hash.
const VERBATIM_BYTES_MAX: usize = 64;

impl StateHasher {
    /// Nothing hashed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The hash of everything that was put in.
    #[must_use]
    pub fn finish(self) -> StateHash {
        StateHash(XxHash3_128::oneshot(&self.open).to_be_bytes())
    }

    /// A number that may be signed or not, of up to 64 bits.
    pub fn number(&mut self, number: impl Into<i128>) {
        self.open.extend_from_slice(&number.into().to_le_bytes());
    }

    /// A size or index in memory.
    pub fn size(&mut self, size: usize) {
        self.number(size as u64);
    }

    /// Yes or no.
    pub fn flag(&mut self, flag: bool) {
        self.number(u8::from(flag));
    }

    /// Bytes, with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.size(bytes.len());
        if bytes.len() <= VERBATIM_BYTES_MAX {
            self.open.extend_from_slice(bytes);
        } else {
            self.open.extend_from_slice(&XxHash3_128::oneshot(bytes).to_le_bytes());
        }
    }

    /// Text, with its length.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// What may be absent.
    pub fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.number(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// A number that may be absent.
    pub fn option_number(&mut self, number: Option<impl Into<i128>>) {
        self.option(number, |hasher, number| hasher.number(number));
    }

    /// Items whose order is part of the state.
    pub fn ordered<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T),
    ) {
        let (mut chain, mut count) = (0_u128, 0_u64);
        for item in items {
            chain = self.item(|hasher| {
                hasher.open.extend_from_slice(&chain.to_le_bytes());
                put(hasher, item);
            });
            count += 1;
        }
        self.close(chain, count);
    }

    /// Items that come in any order, such as those of a hash map.
    pub fn unordered<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut put: impl FnMut(&mut Self, T),
    ) {
        let (mut sum, mut count) = (0_u128, 0_u64);
        for item in items {
            sum = sum.wrapping_add(self.item(|hasher| put(hasher, item)));
            count += 1;
        }
        self.close(sum, count);
    }

    fn item(&mut self, put: impl FnOnce(&mut Self)) -> u128 {
        let start = self.open.len();
        put(self);
        let hash = XxHash3_128::oneshot(self.open.get(start..).unwrap_or_default());
        self.open.truncate(start);
        hash
    }

    fn close(&mut self, combined: u128, count: u64) {
        self.number(count);
        self.open.extend_from_slice(&combined.to_le_bytes());
    }
}

/// Asserts that each of these changes gives another hash.
#[cfg(test)]
pub(crate) fn assert_each_counts<T>(
    make: impl Fn() -> T,
    hash_into: impl Fn(&T, &mut StateHasher),
    changes: &[fn(&mut T)],
) {
    let hash = |value: &T| {
        let mut hasher = StateHasher::new();
        hash_into(value, &mut hasher);
        hasher.finish()
    };
    let before = hash(&make());
    assert_eq!(before, hash(&make()), "equal states have equal hashes");
    for (number, change) in changes.iter().enumerate() {
        let mut changed = make();
        change(&mut changed);
        assert_ne!(before, hash(&changed), "change {number} is not seen");
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn hash(put: impl FnOnce(&mut StateHasher)) -> StateHash {
        let mut hasher = StateHasher::new();
        put(&mut hasher);
        hasher.finish()
    }

    fn ordered(items: &[u64]) -> StateHash {
        hash(|hasher| hasher.ordered(items, |hasher, item| hasher.number(*item)))
    }

    fn unordered(items: &[u64]) -> StateHash {
        hash(|hasher| hasher.unordered(items, |hasher, item| hasher.number(*item)))
    }

    #[test]
    fn the_order_counts_where_it_is_state_and_only_there() {
        assert_ne!(ordered(&[1, 2]), ordered(&[2, 1]));
        assert_eq!(unordered(&[1, 2, 2]), unordered(&[2, 1, 2]));
        assert_ne!(unordered(&[1, 2, 2]), unordered(&[1, 1, 2]));
        assert_ne!(unordered(&[1, 1]), unordered(&[2, 2]));
        assert_ne!(ordered(&[]), ordered(&[0]));
    }

    #[test]
    fn what_lies_between_two_values_counts() {
        let pair = |a: &str, b: &str| {
            hash(|hasher| {
                hasher.text(a);
                hasher.text(b);
            })
        };
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        assert_ne!(hash(|h| h.option_number(None::<u64>)), hash(|h| h.option_number(Some(0_u64))));
        let nested = |lists: &[&[u64]]| {
            hash(|hasher| {
                hasher.ordered(lists, |hasher, list| {
                    hasher.unordered(*list, |hasher, item| hasher.number(*item));
                });
            })
        };
        assert_ne!(nested(&[&[1], &[2, 3]]), nested(&[&[1, 2], &[3]]));
        assert_eq!(nested(&[&[1], &[2, 3]]), nested(&[&[1], &[3, 2]]));
    }

    #[test]
    fn long_values_differ_by_every_byte() {
        let mut body = [7; 1000];
        let before = hash(|hasher| hasher.bytes(&body));
        body[999] = 8;
        assert_ne!(before, hash(|hasher| hasher.bytes(&body)));
    }

    #[test]
    fn the_hash_is_the_same_in_every_build() {
        let known = hash(|hasher| {
            hasher.number(-5_i64);
            hasher.text("tide");
            hasher.bytes(&[1; 100]);
            hasher.ordered([1_u8, 2], |hasher, item| hasher.number(item));
        });
        assert_eq!(known.to_string(), "2e6a1104280f792ab0f5d998fe97b6ad");
        // The specification's value for no input.
        let nothing = StateHasher::new().finish();
        assert_eq!(nothing.to_string(), "99aa06d3014798d86001c324468d497f");
    }
}
