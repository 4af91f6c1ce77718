//! How far each subscriber is, and room for publishers that must not run away from the slowest.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The offsets that the subscribers have reached.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Per subscriber, the offset after the last record that it has.
    reached: Vec<AtomicU64>,
    /// Records that publishers have announced.
    claimed: AtomicU64,
    /// Records between publishers and the slowest subscriber.
    window: u64,
    /// The lowest offset that somebody waits for, so that only reaching it wakes them.
    wanted: AtomicU64,
    moved: Notify,
}

impl Flow {
    /// Nobody has anything yet. The topic is to begin at offset 0.
    pub(crate) fn new(subscribers: usize, window: u64) -> Self {
        Self {
            reached: (0..subscribers).map(|_| AtomicU64::new(0)).collect(),
            claimed: AtomicU64::new(0),
            window,
            wanted: AtomicU64::new(u64::MAX),
            moved: Notify::new(),
        }
    }

    /// How many subscribers there are.
    pub(crate) fn subscribers(&self) -> usize {
        self.reached.len()
    }

    /// A subscriber has everything before `next`.
    pub(crate) fn reach(&self, subscriber: usize, next: u64) {
        if let Some(reached) = self.reached.get(subscriber) {
            reached.store(next, Ordering::SeqCst);
        }
        if next >= self.wanted.load(Ordering::SeqCst) {
            // Whoever is woken and not content says again what it wants.
            self.wanted.store(u64::MAX, Ordering::SeqCst);
            self.moved.notify_waiters();
        }
    }

    /// The offset that every subscriber has reached.
    pub(crate) fn slowest(&self) -> u64 {
        self.reached.iter().map(|reached| reached.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// Announces so many records. When they do not fit into the window, returns the offset that
    /// every subscriber is to reach first. That is half a window ahead of need: waiting for each
    /// record would cost a look at every subscriber.
    pub(crate) fn claim(&self, records: u64) -> Option<u64> {
        let end = self.claimed.fetch_add(records, Ordering::Relaxed) + records;
        let fits = self.slowest() >= end.saturating_sub(self.window);
        (!fits).then(|| end.saturating_sub(self.window / 2))
    }

    /// Waits until every subscriber has everything before this offset.
    pub(crate) async fn all_reach(&self, offset: u64) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // Before looking, so that what happens between looking and waiting is not missed.
            moved.as_mut().enable();
            self.wanted.fetch_min(offset, Ordering::SeqCst);
            if self.slowest() >= offset {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    async fn room_for(flow: &Flow, records: u64) {
        if let Some(offset) = flow.claim(records) {
            flow.all_reach(offset).await;
        }
    }

    #[tokio::test]
    async fn the_slowest_subscriber_holds_the_publisher() {
        let flow = Arc::new(Flow::new(2, 4));
        for _ in 0..4 {
            room_for(&flow, 1).await;
        }
        let waiting = Arc::clone(&flow);
        let fifth = tokio::spawn(async move { room_for(&waiting, 1).await });
        flow.reach(0, 4);
        for _ in 0..10 {
            yield_now().await;
        }
        assert!(!fifth.is_finished());
        flow.reach(1, 3);
        timeout(Duration::from_secs(5), fifth).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_publishers_and_subscribers_do_not_stand_still() {
        let flow = Arc::new(Flow::new(8, 6));
        let (published, _) = tokio::sync::watch::channel(0_u64);
        let published = Arc::new(published);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (flow, published) = (Arc::clone(&flow), Arc::clone(&published));
            tasks.spawn(async move {
                for _ in 0..1000 {
                    room_for(&flow, 3).await;
                    published.send_modify(|count| *count += 3);
                }
            });
        }
        for subscriber in 0..8 {
            let (flow, mut published) = (Arc::clone(&flow), published.subscribe());
            tasks.spawn(async move {
                loop {
                    let next = *published.borrow_and_update();
                    flow.reach(subscriber, next);
                    if next == 9000 {
                        break;
                    }
                    published.changed().await.unwrap();
                }
            });
        }
        timeout(Duration::from_secs(30), tasks.join_all()).await.unwrap();
        assert_eq!(flow.slowest(), 9000);
    }
}
