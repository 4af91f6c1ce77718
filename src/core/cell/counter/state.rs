//! A counter's state: its hash and its saved form.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Counted, Counter, Remembered};
use crate::snapshot::BadSnapshot;
use crate::state_hash::StateHasher;

/// A saved [`Counter`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedCounter {
    value: i64,
    version: u64,
    expires_at_ms: Option<u64>,
    /// The oldest first.
    remembered: Vec<SavedReply>,
}

/// Id, time, version, value, applied.
type SavedReply = (Arc<str>, u64, u64, i64, i64);

impl Counter {
    /// A copy to be stored.
    #[must_use]
    pub fn save(&self) -> SavedCounter {
        let Self { value, version, expires_at_ms, remembered } = self;
        SavedCounter {
            value: *value,
            version: *version,
            expires_at_ms: *expires_at_ms,
            remembered: remembered.as_deref().map(Remembered::save).unwrap_or_default(),
        }
    }

    /// The counter that was saved.
    ///
    /// # Errors
    /// When an id is remembered twice.
    pub fn restore(saved: SavedCounter) -> Result<Self, BadSnapshot> {
        let SavedCounter { value, version, expires_at_ms, remembered } = saved;
        let mut replies = Remembered::default();
        for (id, at_ms, version, value, applied) in remembered {
            let counted = Counted { version, value, applied, duplicate: false };
            if replies.by_id.insert(Arc::clone(&id), (at_ms, counted)).is_some() {
                let what = format!("a counter remembers the id '{}' twice", id.escape_default());
                return Err(BadSnapshot::new(what));
            }
            replies.oldest_first.push_back((at_ms, id));
        }
        let remembered = (!replies.by_id.is_empty()).then(|| replies.into());
        Ok(Self { value, version, expires_at_ms, remembered })
    }

    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { value, version, expires_at_ms, remembered } = self;
        hasher.number(*value);
        hasher.number(*version);
        hasher.option_number(*expires_at_ms);
        hasher.option(remembered.as_deref(), |hasher, remembered| remembered.hash_into(hasher));
    }
}

impl Remembered {
    fn save(&self) -> Vec<SavedReply> {
        let Self { by_id, oldest_first } = self;
        let replies = oldest_first.iter().filter_map(|(at_ms, id)| {
            let (_, Counted { version, value, applied, duplicate: _ }) = by_id.get(id)?;
            Some((Arc::clone(id), *at_ms, *version, *value, *applied))
        });
        replies.collect()
    }

    fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { by_id, oldest_first } = self;
        hasher.ordered(by_id, |hasher, (id, (at_ms, counted))| {
            let Counted { version, value, applied, duplicate } = *counted;
            hasher.text(id);
            hasher.number(*at_ms);
            hasher.number(version);
            hasher.number(value);
            hasher.number(applied);
            hasher.number(u8::from(duplicate));
        });
        hasher.ordered(oldest_first, |hasher, (at_ms, id)| {
            hasher.number(*at_ms);
            hasher.text(id);
        });
    }
}

#[cfg(test)]
mod tests {
    use tidewire_protocol::frame::CounterOp;
    use tidewire_protocol::options::CounterOptions;

    use super::*;
    use crate::state_hash::assert_each_counts;

    fn counter() -> Counter {
        let mut counter = Counter::new();
        for (id, version) in [(Some("a"), 5), (Some("b"), 7), (None, 8)] {
            let options = CounterOptions {
                ttl_ms: Some(9_000),
                id: id.map(Into::into),
                ..CounterOptions::default()
            };
            counter.apply(CounterOp::Add, 3, &options, version, 100).unwrap();
        }
        counter
    }

    #[test]
    fn every_field_of_a_counter_counts() {
        assert_each_counts(
            counter,
            Counter::hash_into,
            &[
                |counter| counter.value += 1,
                |counter| counter.version += 1,
                |counter| counter.expires_at_ms = None,
                |counter| counter.remembered = None,
                |counter| counter.remembered.as_mut().unwrap().forget_oldest(),
                |counter| counter.remembered.as_mut().unwrap().oldest_first.swap(0, 1),
                |counter| {
                    let by_id = &mut counter.remembered.as_mut().unwrap().by_id;
                    by_id.get_mut("b").unwrap().1.value += 1;
                },
                |counter| {
                    let by_id = &mut counter.remembered.as_mut().unwrap().by_id;
                    by_id.get_mut("b").unwrap().0 += 1;
                },
            ],
        );
    }
}
