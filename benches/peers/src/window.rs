//! Flow control: the publisher is never further ahead of the slowest subscriber than a window.

/// One growing number per connection, and the smallest of them at little cost.
#[derive(Debug)]
pub(crate) struct Slowest {
    numbers: Vec<u64>,
    /// The connection that was the slowest when all were looked at last, and its number then.
    slowest: (usize, u64),
}

impl Slowest {
    pub(crate) fn new(connections: usize) -> Self {
        Self { numbers: vec![0; connections], slowest: (0, 0) }
    }

    /// The number of a connection; `None` if there is no such connection.
    pub(crate) fn of(&mut self, connection: usize) -> Option<&mut u64> {
        self.numbers.get_mut(connection)
    }

    /// The smallest number. All are looked at only after the one that was the smallest has grown.
    pub(crate) fn minimum(&mut self) -> u64 {
        let (connection, seen) = self.slowest;
        if self.numbers.get(connection).is_some_and(|number| *number != seen) {
            let numbers = self.numbers.iter().copied().enumerate();
            self.slowest = numbers.min_by_key(|(_, number)| *number).unwrap_or((0, 0));
        }
        self.slowest.1
    }
}

/// How many messages were published, and how many each subscriber has.
#[derive(Debug)]
pub(crate) struct Window {
    records_max: u64,
    published: u64,
    received: Slowest,
    total: u64,
}

impl Window {
    /// No subscriber may be more than `records_max` messages behind.
    pub(crate) fn new(subscribers: usize, records_max: u64) -> Self {
        Self { records_max, published: 0, received: Slowest::new(subscribers), total: 0 }
    }

    /// A subscriber has received one more.
    pub(crate) fn receive(&mut self, subscriber: usize) {
        if let Some(count) = self.received.of(subscriber) {
            *count += 1;
            self.total += 1;
        }
    }

    /// Counts `records` as published if the window has room for them.
    pub(crate) fn admit(&mut self, records: u64) -> bool {
        if self.published + records > self.received.minimum() + self.records_max {
            return false;
        }
        self.published += records;
        true
    }

    /// Messages received by all subscribers together.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Messages that were published and that not every subscriber has yet, for an error.
    pub(crate) fn outstanding(&mut self) -> String {
        let slowest = self.received.minimum();
        format!("{} messages were published, the slowest subscriber has {slowest}", self.published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_subscriber_holds_the_window() {
        let mut window = Window::new(2, 4);
        assert!(window.admit(2) && window.admit(2) && !window.admit(1));
        (0..3).for_each(|_| window.receive(0));
        assert!(!window.admit(1), "the other has received nothing");
        window.receive(1);
        assert!(window.admit(1) && !window.admit(1));
        (0..4).for_each(|_| window.receive(1));
        assert!(window.admit(2) && !window.admit(1), "the first is the slowest now");
        assert_eq!(window.total(), 8);
    }

    #[test]
    fn an_unknown_subscriber_counts_for_nothing() {
        let mut window = Window::new(1, 1);
        window.receive(7);
        assert_eq!(window.total(), 0);
    }
}
