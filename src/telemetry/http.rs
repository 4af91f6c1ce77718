//! Figures of HTTP.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::as_gauge;
use crate::transport::HttpFigures;

const DURATION: &str = "tidewire_http_request_duration_seconds";
const MICROSECONDS_PER_S: f64 = 1e6;

pub(super) fn http(figures: &HttpFigures) {
    let requests = "tidewire_http_requests_total";
    describe_counter!(
        requests,
        "Requests of HTTP that were answered, by route and class of status"
    );
    for route in figures.routes() {
        for (class, count) in route.classes() {
            counter!(requests, "route" => route.route, "status" => class).absolute(count);
        }
    }
    let gauges = [
        ("tidewire_http_event_streams", "Streams of server-sent events open", figures.streams()),
        (
            "tidewire_http_queued_bytes",
            "Bytes that wait until clients of HTTP take what they follow",
            figures.queued_bytes(),
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value));
    }
}

/// The histogram of durations as text: the library fills its histograms with single values only, and here they are
/// counted already.
pub(super) fn durations(figures: &HttpFigures) -> String {
    let mut text = format!(
        "# HELP {DURATION} Time from a request of HTTP until its answer begins, by route\n\
         # TYPE {DURATION} histogram\n"
    );
    for route in figures.routes() {
        let (label, count) = (route.route, route.count());
        for (end_us, count) in route.buckets() {
            let end = as_gauge(end_us) / MICROSECONDS_PER_S;
            line(&mut text, "bucket", &format!("route=\"{label}\",le=\"{end}\""), as_gauge(count));
        }
        line(&mut text, "bucket", &format!("route=\"{label}\",le=\"+Inf\""), as_gauge(count));
        let sum = as_gauge(route.duration_us()) / MICROSECONDS_PER_S;
        line(&mut text, "sum", &format!("route=\"{label}\""), sum);
        line(&mut text, "count", &format!("route=\"{label}\""), as_gauge(count));
    }
    text
}

fn line(text: &mut String, part: &str, labels: &str, value: f64) {
    text.push_str(&format!("{DURATION}_{part}{{{labels}}} {value}\n"));
}
