//! What happened when: answers, how long they took, records that were delivered, and faults.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a point of the plot is.
pub(crate) const POINT: Duration = Duration::from_millis(250);

/// A point of time, with what was seen in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) answered: u64,
    pub(crate) delivered: u64,
    /// How long the answers took.
    pub(crate) took_ms: Vec<f64>,
}

impl Point {
    /// The time that all but so many hundredths of the answers took at most.
    pub(crate) fn took_ms(&self, percent: usize) -> Option<f64> {
        let mut all = self.took_ms.clone();
        all.sort_by(f64::total_cmp);
        let at = (all.len() * percent).div_ceil(100).max(1) - 1;
        all.get(at).copied()
    }
}

/// A fault, from its beginning to the moment when the cluster was whole again.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) what: String,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) whole: Duration,
}

pub(crate) struct Timeline {
    begun: Instant,
    points: Mutex<Vec<Point>>,
    marks: Mutex<Vec<Mark>>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), points: Mutex::default(), marks: Mutex::default() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn note(&self, what: impl FnOnce(&mut Point)) {
        let at = usize::try_from(self.now().as_millis() / POINT.as_millis()).unwrap();
        let mut points = self.points.lock().unwrap();
        if points.len() <= at {
            points.resize(at + 1, Point::default());
        }
        what(&mut points[at]);
    }

    pub(crate) fn answered(&self, took: Duration) {
        self.note(|point| {
            point.answered += 1;
            point.took_ms.push(took.as_secs_f64() * 1_000.0);
        });
    }

    pub(crate) fn delivered(&self, records: u64) {
        self.note(|point| point.delivered += records);
    }

    pub(crate) fn mark(&self, mark: Mark) {
        self.marks.lock().unwrap().push(mark);
    }

    pub(crate) fn points(&self) -> Vec<Point> {
        self.points.lock().unwrap().clone()
    }

    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.marks.lock().unwrap().clone()
    }
}
