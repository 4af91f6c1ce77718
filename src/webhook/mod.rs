//! The webhook: an application of the operator's is asked, over HTTP, whether somebody may do what the
//! rules allow.
//!
//! A connection that waits for an answer has nothing else read meanwhile, and waits outside of its
//! turn. Answers are remembered on each core; how many questions wait is bounded, for all together
//! and for each flow; and when the application fails several times in a row it is left alone for a
//! while ([`crate::breaker`]).

mod application;
mod current;
mod question;
mod signature;
mod verdicts;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidewire_protocol::{ErrorCode, Refusal};
use tokio::sync::Semaphore;

use crate::breaker::{Attempt, Breaker, BreakerLimits, Ended};
use crate::config::{ConfigError, WebhookConfig, WebhookOperation, WhenFailed};
use application::{Application, NoAnswer};
pub(crate) use current::{Condition, Counts, Webhooks};
use question::Answer;
pub(crate) use question::{Question, Verdict, Who};
use verdicts::Verdicts;

/// When the application is left alone, and how long.
const BREAKER: BreakerLimits =
    BreakerLimits { failures_max: 5, pause_ms: 1_000, pause_max_ms: 30_000 };
/// Places for questions of a flow on each core.
pub(crate) const PLACES: u32 = 8;
/// When somebody who was refused, because there was no answer, may try again.
const RETRY_AFTER_MS: u64 = 1_000;

/// An application that is asked.
pub(crate) struct Webhook {
    config: WebhookConfig,
    application: Application,
    /// Those who may ask at the same time.
    in_flight: Semaphore,
    breaker: Mutex<Breaker>,
    /// What each core remembers.
    verdicts: Vec<Mutex<Verdicts>>,
}

/// The time, as the server has it.
#[derive(Clone, Copy)]
pub(crate) struct Times<'a> {
    /// Milliseconds of a clock that never goes back.
    pub(crate) now_ms: &'a dyn Fn() -> u64,
    /// Unix milliseconds.
    pub(crate) wall_ms: u64,
}

impl Webhook {
    /// The application that a configuration names, if it names one.
    ///
    /// # Errors
    /// When a file that it names cannot be used.
    pub(crate) fn of(
        config: &WebhookConfig,
        cores: usize,
        node: &str,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(uri) = config.uri() else { return Ok(None) };
        let config = config.clone();
        let application = Application::of(&config, uri, node)?;
        let in_flight = Semaphore::new(usize::try_from(config.in_flight_max).unwrap_or(1));
        let verdicts = || Mutex::new(Verdicts::new(config.remembered_max));
        let verdicts = (0..cores).map(|_| verdicts()).collect();
        let breaker = Mutex::new(Breaker::new(BREAKER));
        Ok(Some(Self { config, application, in_flight, breaker, verdicts }))
    }

    /// What was answered to this question before, if that still holds.
    pub(crate) fn remembered(
        &self,
        counts: &Counts,
        core: usize,
        question: &Question<'_>,
        now_ms: u64,
    ) -> Option<Verdict> {
        let verdict = locked(self.verdicts.get(core)?).get(question, now_ms)?;
        counts.remembered.fetch_add(1, Relaxed);
        Some(verdict)
    }

    /// Asks the application, unless it has answered meanwhile. `place`: what is waited for first, and
    /// held until there is an answer; for that, and for the answer, there is the configured time each.
    ///
    /// # Errors
    /// `forbidden` if it refuses; `unavailable` if it does not answer and that refuses.
    pub(crate) async fn ask(
        &self,
        counts: &Counts,
        core: usize,
        question: &Question<'_>,
        times: Times<'_>,
        place: impl Future,
    ) -> Result<(), Refusal> {
        let turn = async { (place.await, self.in_flight.acquire().await) };
        let Ok(turn) = tokio::time::timeout(self.timeout(), turn).await else {
            return self.failed(counts, &NoAnswer::Busy);
        };
        if let Some(verdict) = self.remembered(counts, core, question, (times.now_ms)()) {
            return carry_out(question, verdict);
        }
        let answer = self.try_once(question, times).await;
        drop(turn);
        match answer {
            Ok(Answer { verdict, remember_ms }) => {
                let longest_ms = self.config.remember_ms;
                let remember_ms = remember_ms.map_or(longest_ms, |asked| asked.min(longest_ms));
                let until_ms = (times.now_ms)().saturating_add(remember_ms);
                if let Some(verdicts) = self.verdicts.get(core).filter(|_| remember_ms > 0) {
                    locked(verdicts).put(question, verdict.clone(), until_ms);
                }
                let count =
                    if verdict == Verdict::Allowed { &counts.allowed } else { &counts.refused };
                count.fetch_add(1, Relaxed);
                carry_out(question, verdict)
            }
            Err(reason) => self.failed(counts, &reason),
        }
    }

    async fn try_once(
        &self,
        question: &Question<'_>,
        times: Times<'_>,
    ) -> Result<Answer, NoAnswer> {
        let attempt = locked(&self.breaker).begin((times.now_ms)()).map_err(NoAnswer::LeftAlone)?;
        let mut trying = Trying { webhook: self, attempt: Some(attempt), now_ms: times.now_ms };
        let asked = self.application.ask(question, times.wall_ms);
        let answer = tokio::time::timeout(self.timeout(), asked).await;
        let answer = answer.unwrap_or(Err(NoAnswer::TimedOut(self.config.timeout_ms)));
        let ended = if answer.is_ok() { Ended::Succeeded } else { Ended::Failed };
        match (trying.end(ended), &answer) {
            (true, Ok(_)) => tracing::info!("the webhook's application answers again"),
            (true, Err(reason)) => {
                tracing::error!(%reason, "the webhook's application fails: it is left alone for a while");
            }
            (false, _) => {}
        }
        answer
    }

    /// What holds without an answer.
    fn failed(&self, counts: &Counts, reason: &NoAnswer) -> Result<(), Refusal> {
        let (count, retry_after_ms) = match reason {
            NoAnswer::Unreachable(_) => (&counts.unreachable, RETRY_AFTER_MS),
            NoAnswer::TimedOut(_) => (&counts.timed_out, RETRY_AFTER_MS),
            NoAnswer::Status(_) => (&counts.bad_status, RETRY_AFTER_MS),
            NoAnswer::Answer(_) => (&counts.bad_answer, RETRY_AFTER_MS),
            NoAnswer::Busy => (&counts.busy, RETRY_AFTER_MS),
            NoAnswer::LeftAlone(left_ms) => (&counts.left_alone, *left_ms),
        };
        count.fetch_add(1, Relaxed);
        tracing::debug!(%reason, "the webhook has no answer");
        if self.config.when_failed == WhenFailed::Allow {
            return Ok(());
        }
        let message = "the application that decides about this does not answer: try again later";
        let refusal = Refusal::new(ErrorCode::Unavailable, message);
        Err(refusal.retry_after_ms(retry_after_ms.max(1)))
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    /// How many of the places of a flow on its core, [`PLACES`], a question takes: so many that those of
    /// one flow on all cores take half of what may be in flight at most.
    pub(crate) fn weight(&self) -> u32 {
        let cores = u32::try_from(self.verdicts.len()).unwrap_or(u32::MAX).max(1);
        let each = (self.config.in_flight_max / cores / 2).clamp(1, PLACES);
        PLACES.div_ceil(each)
    }

    fn condition(&self) -> Condition {
        let breaker = locked(&self.breaker);
        let most = usize::try_from(self.config.in_flight_max).unwrap_or_default();
        Condition {
            is_open: breaker.is_open(),
            opened: breaker.opened(),
            in_flight: most.saturating_sub(self.in_flight.available_permits()),
            remembered: self.verdicts.iter().map(|verdicts| locked(verdicts).len()).sum(),
        }
    }
}

/// Does what was answered.
///
/// # Errors
/// `forbidden`, with the application's reason if it has given one.
pub(crate) fn carry_out(question: &Question<'_>, verdict: Verdict) -> Result<(), Refusal> {
    let Verdict::Refused(reason) = verdict else { return Ok(()) };
    let subject = question.identity.map_or("who shows nothing", |who| who.subject);
    let deed = match question.operation {
        WebhookOperation::Connect => "connect",
        WebhookOperation::Subscribe => "subscribe",
        WebhookOperation::Publish => "publish",
        WebhookOperation::Incr => "incr",
        WebhookOperation::Vote => "vote",
    };
    let on = question.name.map(|name| format!(" '{}'", name.escape_default())).unwrap_or_default();
    let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let subject = subject.escape_default();
    let message =
        format!("'{subject}' may not {deed}{on}: the webhook's application refuses it{why}");
    Err(Refusal::new(ErrorCode::Forbidden, message))
}

/// An attempt under way: whoever waits for it may go away.
struct Trying<'a> {
    webhook: &'a Webhook,
    attempt: Option<Attempt>,
    now_ms: &'a dyn Fn() -> u64,
}

impl Trying<'_> {
    /// Whether the breaker has opened or closed by this.
    fn end(&mut self, ended: Ended) -> bool {
        let Some(attempt) = self.attempt.take() else { return false };
        let mut random = [0; 8];
        // Without randomness the pause is half as long as it may be.
        aws_lc_rs::rand::fill(&mut random).unwrap_or_default();
        let now_ms = (self.now_ms)();
        locked(&self.webhook.breaker).end(attempt, ended, now_ms, u64::from_ne_bytes(random))
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.end(Ended::Abandoned);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
