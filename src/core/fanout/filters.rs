//! The filters in use, each kept once: subscribers that ask for the same share it, and with its
//! number the selections that it makes.

use alloc::sync::Arc;
use core::hash::Hash;

use tidewire_protocol::options::Filter;

use crate::{HashMap, hash_map};

/// A filter's number: no other filter of this dispatcher ever has it.
pub(super) type FilterId = u64;

/// Filters by value. What an operation costs does not depend on how many there are.
#[derive(Debug)]
pub(super) struct Filters<F = Filter> {
    in_use: HashMap<Arc<F>, InUse>,
    next: FilterId,
}

#[derive(Debug)]
struct InUse {
    id: FilterId,
    users: usize,
}

impl<F: Eq + Hash> Filters<F> {
    pub(super) fn new(seed: u64) -> Self {
        Self { in_use: hash_map(seed), next: 0 }
    }

    /// Adds one user of a filter.
    pub(super) fn add(&mut self, filter: F) -> (FilterId, Arc<F>) {
        if let Some((known, in_use)) = self.in_use.get_key_value_mut(&filter) {
            in_use.users += 1;
            return (in_use.id, Arc::clone(known));
        }
        let (id, filter) = (self.next, Arc::new(filter));
        self.next += 1;
        self.in_use.insert(Arc::clone(&filter), InUse { id, users: 1 });
        (id, filter)
    }

    /// Removes one user of a filter. Returns whether that was the last one.
    pub(super) fn remove(&mut self, filter: &F) -> bool {
        let Some(in_use) = self.in_use.get_mut(filter) else { return false };
        in_use.users -= 1;
        let is_last = in_use.users == 0;
        if is_last {
            self.in_use.remove(filter);
        }
        is_last
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.in_use.len()
    }
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;
    use std::cell::Cell;
    use std::string::ToString;
    use std::vec;

    use tidewire_protocol::frame::Start;
    use tidewire_protocol::options::{Condition, SubscribeOptions};
    use tidewire_protocol::{ClientFrame, Pattern};

    use super::*;
    use crate::cell::VoterId;
    use crate::fanout::{Dispatcher, FanoutLimits, Framing, SessionOptions};

    std::thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// Stands for a filter and counts how often it is compared with another.
    #[derive(Clone)]
    struct Counted(u64);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    #[test]
    fn equal_filters_are_one_and_a_number_is_never_used_again() {
        let mut filters = Filters::new(7);
        let (first, kept) = filters.add(Counted(1));
        let (again, same) = filters.add(Counted(1));
        let (other, _) = filters.add(Counted(2));
        assert_eq!(first, again);
        assert!(Arc::ptr_eq(&kept, &same));
        assert_ne!(first, other);

        assert!(!filters.remove(&kept), "somebody still uses it");
        assert!(filters.remove(&kept));
        assert!(!filters.remove(&kept), "it is not known any more");
        let (anew, _) = filters.add(Counted(1));
        assert!(anew > other);
        assert_eq!(filters.len(), 2);
    }

    #[test]
    fn a_filter_is_compared_with_few_others_however_many_are_in_use() {
        let mut filters = Filters::new(7);
        for number in 0..10_000 {
            filters.add(Counted(number));
        }
        COMPARED.set(0);
        for number in 0..1_000 {
            filters.add(Counted(number * 10));
            filters.add(Counted(10_000 + number));
            filters.remove(&Counted(number));
        }
        // One comparison each where it is found; seven bits of the hash let few others through.
        let operations = 3_000 + 1_000;
        assert!(COMPARED.get() < 2 * operations, "{} comparisons", COMPARED.get());
    }

    /// Every filter is of its own, and every start is one that a pattern refuses.
    #[test]
    fn a_refused_subscription_leaves_no_filter_behind() {
        let mut dispatcher = Dispatcher::new(0, 7, FanoutLimits::default());
        let options = SessionOptions { framing: Framing::Bare, datagrams: false };
        let session = dispatcher.open(options, 0);
        for number in 0..10 {
            let filter = Some(vec![Condition("key".into(), "eq".into(), Some(number.to_string()))]);
            let frame = ClientFrame::Subscribe {
                req: 1,
                sub: 1,
                pattern: Pattern::parse("a.>").unwrap(),
                start: Start::Offset { epoch: 0, offset: 0 },
                options: SubscribeOptions { filter, ..SubscribeOptions::default() },
            };
            dispatcher.request(session, 0, Ok(frame), &|_, _| VoterId([0; 16]));
        }
        assert_eq!(dispatcher.stats().refusals, 10);
        assert_eq!(dispatcher.filters.len(), 0);
    }
}
