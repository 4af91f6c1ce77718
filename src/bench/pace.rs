//! When the next batch is to be published: as soon as there is room, or when a schedule says so.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;

use super::flow::Flow;
use super::phase::Phase;
use crate::cli::CliError;
use crate::demo::freshness::Clock;

/// Batches that are due and not yet published; beyond it the thread waits, and the batches after
/// them keep the times at which they were due.
const DUE_MAX: usize = 4096;
/// Longest sleep, so that the end of the run is seen.
const NAP: Duration = Duration::from_millis(100);
/// How late the kernel may end a sleep, beyond what it cannot help; 50,000 ns unless told.
const SLACK_NS: u64 = 1;

/// What a publisher waits for before each batch, apart from room among its own unanswered ones.
pub(crate) enum Pace {
    /// Nothing.
    Free,
    /// Room between the publishers and the slowest subscriber.
    Window {
        /// Where the subscribers are.
        flow: Arc<Flow>,
        /// Records of a batch.
        records: u64,
        /// Until the announced batch fits.
        waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    },
    /// The times of a schedule, each told once it has come.
    Schedule(mpsc::Receiver<u64>),
}

impl Pace {
    /// Room in the window that a flow keeps.
    pub(crate) fn window(flow: Arc<Flow>, records: u64) -> Self {
        Self::Window { flow, records, waiting: None }
    }

    /// The time that the next batch counts from, once it is to be published; `None` when the run
    /// is over.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        clock: Clock,
        phase: &Phase,
    ) -> Poll<Option<u64>> {
        let due_ns = match self {
            Self::Free => None,
            Self::Window { flow, records, waiting } => {
                if waiting.is_none() && !phase.is_over() {
                    let flow = Arc::clone(flow);
                    let offset = flow.claim(*records);
                    *waiting = offset.map(|offset| -> Pin<Box<dyn Future<Output = ()> + Send>> {
                        Box::pin(async move { flow.all_reach(offset).await })
                    });
                }
                if let Some(wait) = waiting {
                    ready!(wait.as_mut().poll(cx));
                    *waiting = None;
                }
                None
            }
            Self::Schedule(due) => match ready!(due.poll_recv(cx)) {
                Some(due_ns) => Some(due_ns),
                None => return Poll::Ready(None),
            },
        };
        // Over: what has piled up is of no more interest.
        Poll::Ready((!phase.is_over()).then(|| due_ns.unwrap_or_else(|| clock.now_ns())))
    }
}

/// So many records in so many nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) records: NonZeroU64,
    pub(crate) per_ns: u64,
}

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// When one of several publishers is to send its batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) started_ns: u64,
    /// Its number among so many.
    pub(crate) publisher: (u64, u64),
    /// Records of a batch.
    pub(crate) batch: u64,
    /// Of all publishers in turn.
    pub(crate) rate: Rate,
}

impl Schedule {
    /// When the batch of this number is due, in nanoseconds of the clock.
    fn due_ns(&self, number: u64) -> u64 {
        let (own, publishers) = self.publisher;
        let before = u128::from(number) * u128::from(publishers) + u128::from(own);
        let Rate { records, per_ns } = self.rate;
        let after_ns =
            before * u128::from(self.batch) * u128::from(per_ns) / u128::from(records.get());
        self.started_ns.saturating_add(u64::try_from(after_ns).unwrap_or(u64::MAX))
    }

    /// Tells when each batch was due, once it is, until the run is over. A thread of its own keeps
    /// the schedule, because the runtime's timers tick in milliseconds, and less than that is what
    /// is to be measured.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(self, clock: Clock, phase: Arc<Phase>) -> Result<Pace, CliError> {
        let (sender, due) = mpsc::channel(DUE_MAX);
        let keep = move || {
            // Where it cannot be set, latencies include the kernel's usual slack.
            rustix::thread::set_current_timer_slack(NonZeroU64::new(SLACK_NS)).unwrap_or_default();
            let mut number = 0;
            while !phase.is_over() {
                let due_ns = self.due_ns(number);
                let early = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
                if early > Duration::ZERO {
                    std::thread::sleep(early.min(NAP));
                } else if sender.blocking_send(due_ns).is_ok() {
                    number += 1;
                } else {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("bench-pacer".to_owned()).spawn(keep);
        thread.map_err(|error| super::unfinished(&format!("no thread: {error}")))?;
        Ok(Pace::Schedule(due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn rate(records: u64, per_ns: u64) -> Rate {
        Rate { records: records.try_into().unwrap(), per_ns }
    }

    #[test]
    fn publishers_take_turns_at_the_common_rate() {
        let schedule = |own| Schedule {
            started_ns: 1_000,
            publisher: (own, 2),
            batch: 5,
            rate: rate(1_000, SECOND_NS),
        };
        let due = |own, number| schedule(own).due_ns(number);
        assert_eq!((due(0, 0), due(1, 0), due(0, 1)), (1_000, 5_001_000, 10_001_000));
        // A day later the schedule is still exact.
        assert_eq!(due(0, 8_640_000), 1_000 + 86_400_000_000_000);
    }

    #[test]
    fn a_rate_need_not_be_whole() {
        // 20,000 deliveries a second to three subscribers.
        let rate = rate(20_000, 3 * SECOND_NS);
        let schedule = Schedule { started_ns: 0, publisher: (0, 1), batch: 1, rate };
        assert_eq!(schedule.due_ns(20_000), 3 * SECOND_NS);
        assert_eq!(schedule.due_ns(1), 150_000);
    }

    #[tokio::test]
    async fn a_late_reader_learns_when_each_batch_was_due() {
        let (clock, phase) = (Clock::start(), Arc::new(Phase::default()));
        let rate = rate(10_000, SECOND_NS);
        let schedule = Schedule { started_ns: 0, publisher: (0, 1), batch: 1, rate };
        let mut pace = schedule.start(clock, Arc::clone(&phase)).unwrap();
        for number in 0..100 {
            let due_ns = poll_fn(|cx| pace.poll_next(cx, clock, &phase)).await.unwrap();
            assert_eq!(due_ns, number * 100_000);
            assert!(clock.now_ns() >= due_ns);
        }
    }

    #[tokio::test]
    async fn a_full_window_lets_nothing_pass_until_the_slowest_is_further() {
        let (clock, phase) = (Clock::start(), Phase::default());
        let flow = Arc::new(Flow::new(2, 4));
        let mut pace = Pace::window(Arc::clone(&flow), 2);
        for _ in 0..2 {
            assert!(poll_fn(|cx| pace.poll_next(cx, clock, &phase)).await.is_some());
        }
        let mut next = poll_once(&mut pace, clock, &phase).await;
        assert!(next.is_pending());
        flow.reach(0, 4);
        flow.reach(1, 3);
        next = poll_once(&mut pace, clock, &phase).await;
        assert!(next.is_pending(), "half of the window is to be free");
        flow.reach(1, 4);
        assert!(poll_once(&mut pace, clock, &phase).await.is_ready());
    }

    async fn poll_once(pace: &mut Pace, clock: Clock, phase: &Phase) -> Poll<Option<u64>> {
        poll_fn(|cx| Poll::Ready(pace.poll_next(cx, clock, phase))).await
    }
}
