//! Figures of the webhook, if there is one.

use std::sync::atomic::Ordering::Relaxed;

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::as_gauge;
use crate::webhook::Webhooks;

pub(super) fn webhook(webhooks: &Webhooks) {
    if !webhooks.is_there() {
        return;
    }
    let (answers, failures) = ("tidewire_webhook_answers_total", "tidewire_webhook_failures_total");
    describe_counter!(answers, "Answers of the webhook's application, by what they say");
    describe_counter!(failures, "Questions to it without an answer, by the reason");
    let counts = &webhooks.counts;
    for (outcome, count) in [("allowed", &counts.allowed), ("refused", &counts.refused)] {
        counter!(answers, "outcome" => outcome).absolute(count.load(Relaxed));
    }
    let by_reason = [
        ("unreachable", &counts.unreachable),
        ("timeout", &counts.timed_out),
        ("status", &counts.bad_status),
        ("answer", &counts.bad_answer),
        ("busy", &counts.busy),
        ("left_alone", &counts.left_alone),
    ];
    for (reason, count) in by_reason {
        counter!(failures, "reason" => reason).absolute(count.load(Relaxed));
    }
    let condition = webhooks.condition();
    let known = "tidewire_webhook_remembered_total";
    describe_counter!(known, "Questions whose answer was known already");
    counter!(known).absolute(counts.remembered.load(Relaxed));
    let opened = "tidewire_webhook_breaker_opened_total";
    describe_counter!(opened, "Times that the application was left alone after failures in a row");
    counter!(opened).absolute(condition.opened);
    let gauges = [
        (
            "tidewire_webhook_breaker_open",
            "Whether the webhook's application is left alone",
            u64::from(condition.is_open),
        ),
        (
            "tidewire_webhook_in_flight",
            "Questions that wait for its answer",
            condition.in_flight as u64,
        ),
        (
            "tidewire_webhook_remembered",
            "Answers that are remembered, on all cores",
            condition.remembered as u64,
        ),
    ];
    for (name, help, value) in gauges {
        describe_gauge!(name, help);
        gauge!(name).set(as_gauge(value));
    }
}
