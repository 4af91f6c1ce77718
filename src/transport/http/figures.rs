//! Figures of HTTP, written by the cores and read by the admin listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

/// Upper ends of the histogram's buckets; what took longer is in none of them.
pub(crate) const BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];
/// Classes of status: 1xx to 5xx.
const CLASSES: usize = 5;

/// What is counted of HTTP.
#[derive(Debug)]
pub(crate) struct HttpFigures {
    routes: Vec<RouteFigures>,
    streams: AtomicU64,
    queued_bytes: AtomicU64,
}

/// The requests of a route.
#[derive(Debug)]
pub(crate) struct RouteFigures {
    pub(crate) route: &'static str,
    /// Requests by the class of what they were answered with.
    by_class: [AtomicU64; CLASSES],
    /// Requests by how long their answer took to begin, beyond one bucket and up to the next.
    by_duration: [AtomicU64; BUCKETS_US.len()],
    duration_us: AtomicU64,
}

impl HttpFigures {
    /// Nothing was asked yet on these routes.
    pub(crate) fn of(routes: impl IntoIterator<Item = &'static str>) -> Self {
        let routes = routes.into_iter().map(|route| RouteFigures {
            route,
            by_class: Default::default(),
            by_duration: Default::default(),
            duration_us: AtomicU64::new(0),
        });
        Self { routes: routes.collect(), streams: AtomicU64::new(0), queued_bytes: 0.into() }
    }

    /// A request of this route was answered.
    pub(super) fn answered(&self, route: &str, status: StatusCode, took: Duration) {
        let found = self.routes.iter().find(|figures| figures.route == route);
        let Some(figures) = found else { return };
        let class = usize::from(status.as_u16() / 100).checked_sub(1);
        if let Some(count) = class.and_then(|class| figures.by_class.get(class)) {
            count.fetch_add(1, Relaxed);
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.iter().position(|end| took_us <= *end);
        if let Some(count) = bucket.and_then(|bucket| figures.by_duration.get(bucket)) {
            count.fetch_add(1, Relaxed);
        }
        figures.duration_us.fetch_add(took_us, Relaxed);
    }

    /// The routes on which something was asked.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &RouteFigures> {
        self.routes.iter().filter(|figures| figures.count() > 0)
    }

    /// Streams of events that are open.
    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Relaxed)
    }

    /// Bytes of frames that wait until whoever follows takes them.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Relaxed)
    }

    /// What waits on one mailbox was so much and is so much.
    pub(super) fn queued(&self, before: usize, after: usize) {
        self.queued_bytes.fetch_add(after as u64, Relaxed);
        self.queued_bytes.fetch_sub(before as u64, Relaxed);
    }
}

impl RouteFigures {
    /// All requests.
    pub(crate) fn count(&self) -> u64 {
        self.by_class.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The classes of status that were met, as `2xx`, and how often.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = (1..).zip(&self.by_class).map(|(class, count)| (class, count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).map(|(class, count)| (format!("{class}xx"), count))
    }

    /// The upper end of each bucket in microseconds, and how many requests took at most as long.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.by_duration.iter().scan(0, |sum, count| {
            *sum += count.load(Relaxed);
            Some(*sum)
        });
        BUCKETS_US.into_iter().zip(counts)
    }

    /// How long all of them took, together.
    pub(crate) fn duration_us(&self) -> u64 {
        self.duration_us.load(Relaxed)
    }
}

/// A stream of events that is open.
pub(super) struct OpenStream(Arc<HttpFigures>);

impl OpenStream {
    pub(super) fn begin(figures: &Arc<HttpFigures>) -> Self {
        figures.streams.fetch_add(1, Relaxed);
        Self(Arc::clone(figures))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_class_and_duration() {
        let figures = HttpFigures::of(["a", "b"]);
        let (ok, refused) = (StatusCode::OK, StatusCode::NOT_FOUND);
        for (status, took_us) in [(ok, 100), (ok, 101), (refused, 11_000_000)] {
            figures.answered("a", status, Duration::from_micros(took_us));
        }
        figures.answered("unknown", ok, Duration::ZERO);
        let routes: Vec<&RouteFigures> = figures.routes().collect();
        assert_eq!(routes.iter().map(|route| route.route).collect::<Vec<_>>(), ["a"]);
        let classes: Vec<_> = routes[0].classes().collect();
        assert_eq!(classes, [("2xx".to_owned(), 2), ("4xx".to_owned(), 1)]);
        let buckets: Vec<_> = routes[0].buckets().collect();
        assert_eq!((buckets[0], buckets[1], buckets[11]), ((100, 1), (250, 2), (10_000_000, 2)));
        assert_eq!((routes[0].count(), routes[0].duration_us()), (3, 11_000_201));
    }

    #[test]
    fn streams_and_bytes_are_what_is_there_now() {
        let figures = Arc::new(HttpFigures::of([]));
        let stream = OpenStream::begin(&figures);
        figures.queued(0, 70);
        figures.queued(70, 30);
        assert_eq!((figures.streams(), figures.queued_bytes()), (1, 30));
        drop(stream);
        assert_eq!(figures.streams(), 0);
    }
}
