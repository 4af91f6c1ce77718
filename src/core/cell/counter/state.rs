//! A counter's state: its hash.

use super::{Counted, Counter, Remembered};
use crate::state_hash::StateHasher;

impl Counter {
    pub(crate) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self { value, version, expires_at_ms, remembered } = self;
        hasher.number(*value);
        hasher.number(*version);
        hasher.option_number(*expires_at_ms);
        hasher.option(remembered.as_deref(), |hasher, remembered| remembered.hash_into(hasher));
    }
}

impl Remembered {
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
