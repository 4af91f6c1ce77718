//! The webhook that a server has at present, and what has become of its questions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use super::Webhook;
use crate::config::{Config, ConfigError, WebhookOperation};

/// The webhook of a server, which a reload may replace, and what has become of its questions.
#[derive(Default)]
pub(crate) struct Webhooks {
    current: ArcSwapOption<Webhook>,
    /// Whether there is one: most servers ask nobody, and look here with every request.
    is_there: AtomicBool,
    pub(crate) counts: Counts,
}

/// What has become of questions.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) allowed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) bad_status: AtomicU64,
    pub(crate) bad_answer: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) left_alone: AtomicU64,
    /// Questions that need not be asked, since the answer was known.
    pub(crate) remembered: AtomicU64,
}

/// How it is with the application.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Condition {
    /// Whether it is left alone.
    pub(crate) is_open: bool,
    /// How often it has come to that.
    pub(crate) opened: u64,
    /// Questions that wait for an answer.
    pub(crate) in_flight: usize,
    /// Answers that are remembered.
    pub(crate) remembered: usize,
}

impl Webhooks {
    /// # Errors
    /// When a file that the configuration names cannot be used.
    pub(crate) fn load(config: &Config) -> Result<Self, ConfigError> {
        let webhooks = Self::default();
        webhooks.replace(Webhook::of(&config.webhook, config.cores(), &config.node)?);
        Ok(webhooks)
    }

    /// Asks another application, or none, from now on.
    pub(crate) fn replace(&self, webhook: Option<Webhook>) {
        self.is_there.store(webhook.is_some(), Relaxed);
        self.current.store(webhook.map(Arc::new));
    }

    /// The application that is asked about this, if one is.
    pub(crate) fn about(&self, operation: WebhookOperation) -> Option<Arc<Webhook>> {
        let webhook = self.current.load();
        let webhook = webhook.as_ref()?;
        webhook.config.on.contains(&operation).then(|| Arc::clone(webhook))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.is_there.load(Relaxed)
    }

    pub(crate) fn condition(&self) -> Condition {
        self.current.load().as_ref().map_or_else(Condition::default, |webhook| webhook.condition())
    }
}
