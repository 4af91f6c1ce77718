//! Applications that do not answer, and more questions than may be asked.

use std::time::{Duration, Instant};

use tidewire_client::{Client, ErrorCode};

use super::application::{Application, Mood};
use super::{asking, metric, refused};
use crate::daemon::{PATIENCE, Via};

#[tokio::test(flavor = "multi_thread")]
async fn more_questions_than_may_be_in_flight_are_no_failures_of_the_application() {
    let application = Application::start().await;
    let more = "on = ['publish']\nin_flight_max = 8\ntimeout_ms = 1000\n";
    let accounts = asking(&application, more);
    application.set(Mood::TakesItsTime);
    let mut clients = Vec::new();
    for number in 0..60 {
        let subject = format!("s{number}");
        let token = accounts.token(&["--subject", &subject, "--allow", "publish:>"]);
        clients.push(accounts.daemon.connect_as(Via::Ws, Some(&token)).await.unwrap());
    }
    let publish = async |client: &Client| client.publish("a", "x").await.is_ok();
    let outcomes = futures_util::future::join_all(clients.iter().map(publish)).await;
    let taken = outcomes.iter().filter(|taken| **taken).count();
    assert!((8..60).contains(&taken), "{taken}");
    let line = |reason: &str| format!("tidewire_webhook_failures_total{{reason=\"{reason}\"}}");
    assert_eq!(metric(&accounts.daemon, &line("busy")), 60 - taken as u64);
    assert_eq!(metric(&accounts.daemon, "tidewire_webhook_breaker_opened_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_fails_is_left_alone_and_tried_again() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['publish']\ntimeout_ms = 200\nremember_ms = 0\n");
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let is_open = || metric(&accounts.daemon, "tidewire_webhook_breaker_open") == 1;
    let moods = [Mood::Fails, Mood::SaysNonsense, Mood::SaysMuch, Mood::IsSilent, Mood::Fails];
    for mood in moods {
        application.set(mood);
        let refusal = refused(backend.publish("a", "x").await);
        assert_eq!(refusal.code, ErrorCode::Unavailable, "{mood:?}");
        assert!(refusal.retry_after_ms.is_some());
    }
    assert!(is_open());
    assert_eq!(application.asked().len(), moods.len());
    // It is left alone: nobody asks, and nobody waits.
    assert_eq!(refused(backend.publish("a", "x").await).code, ErrorCode::Unavailable);
    assert!(application.asked().len() <= 1, "one may be the probe");
    application.set(Mood::Answers);
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = backend.publish("a", "x").await {
        let wait_ms = error.refusal().unwrap().retry_after_ms.unwrap();
        assert!(Instant::now() < deadline && wait_ms <= 30_000);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
    assert!(!is_open());
    let failures = |reason: &str| {
        let line = format!("tidewire_webhook_failures_total{{reason=\"{reason}\"}}");
        metric(&accounts.daemon, &line)
    };
    assert_eq!(["status", "answer", "timeout"].map(failures), [2, 2, 1]);
    assert!(failures("left_alone") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_rules_decide_where_that_is_wanted() {
    let application = Application::start().await;
    let accounts = asking(&application, "when_failed = 'allow'\n");
    application.set(Mood::Fails);
    let backend = accounts.daemon.connect_as(Via::Quic, Some(&accounts.backend())).await.unwrap();
    backend.publish("forbidden", "x").await.unwrap();
    let viewer = accounts.daemon.connect_as(Via::Quic, Some(&accounts.viewer())).await.unwrap();
    assert_eq!(refused(viewer.publish("a", "x").await).code, ErrorCode::Forbidden);
}
