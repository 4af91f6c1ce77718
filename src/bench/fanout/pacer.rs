//! The schedule of an open loop. A thread of its own keeps it, because the runtime's timers tick
//! in milliseconds, and a millisecond is what is to be measured.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::phase::Phase;
use crate::cli::CliError;
use crate::demo::freshness::Clock;

/// Batches that are due and not yet published; beyond it the thread waits, and the batches after
/// them keep the times at which they were due.
const DUE_MAX: usize = 4096;
/// Longest sleep, so that the end of the run is seen.
const NAP: Duration = Duration::from_millis(100);

/// When one of several publishers is to send its batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    started_ns: u64,
    /// Its number among so many.
    publisher: (u64, u64),
    batch: u64,
    rate: u64,
}

impl Schedule {
    /// `rate` records a second in batches, by all publishers in turn.
    pub(crate) fn new(started_ns: u64, publisher: (u64, u64), batch: u64, rate: u64) -> Self {
        Self { started_ns, publisher, batch, rate }
    }

    /// When the batch of this number is due, in nanoseconds of the clock.
    fn due_ns(&self, number: u64) -> u64 {
        let (own, publishers) = self.publisher;
        let before = u128::from(number) * u128::from(publishers) + u128::from(own);
        let after_ns = before * u128::from(self.batch) * 1_000_000_000 / u128::from(self.rate);
        self.started_ns.saturating_add(u64::try_from(after_ns).unwrap_or(u64::MAX))
    }
}

/// Tells when each batch was due, once it is, until the run is over.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(
    schedule: Schedule,
    clock: Clock,
    phase: Arc<Phase>,
) -> Result<mpsc::Receiver<u64>, CliError> {
    let (sender, due) = mpsc::channel(DUE_MAX);
    let keep = move || {
        let mut number = 0;
        while !phase.is_over() {
            let due_ns = schedule.due_ns(number);
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
    thread.map_err(|error| super::super::unfinished(&format!("no thread: {error}")))?;
    Ok(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns_at_the_common_rate() {
        let schedule = |own| Schedule::new(1_000, (own, 2), 5, 1_000);
        let due = |own, number| schedule(own).due_ns(number);
        assert_eq!((due(0, 0), due(1, 0), due(0, 1)), (1_000, 5_001_000, 10_001_000));
        // A day later the schedule is still exact.
        assert_eq!(due(0, 8_640_000), 1_000 + 86_400_000_000_000);
    }

    #[tokio::test]
    async fn a_late_reader_learns_when_each_batch_was_due() {
        let (clock, phase) = (Clock::start(), Arc::new(Phase::default()));
        let schedule = Schedule::new(0, (0, 1), 1, 10_000);
        let mut due = start(schedule, clock, phase).unwrap();
        for number in 0..100 {
            let due_ns = due.recv().await.unwrap();
            assert_eq!(due_ns, number * 100_000);
            assert!(clock.now_ns() >= due_ns);
        }
    }
}
