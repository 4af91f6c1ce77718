//! What changes while the server runs: the certificate, the accounts and the tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::clock::wall_ms;
use super::{Shared, StartError};
use crate::audit::Entry;
use crate::auth::Auth;
use crate::config::Config;
use crate::webhook::Webhook;

/// How often it is looked whether the certificate's files have been written.
const LOOK: Duration = Duration::from_secs(2);
/// When one that could not be used is looked at again.
const RETRY: Duration = Duration::from_secs(5);
/// A step of the system's clock; less is drift.
const CLOCK_STEP_MS: u64 = 2_000;

/// Takes other accounts and tenants, and the certificate anew; all of it or nothing.
///
/// # Errors
/// When one of them cannot be used.
pub(super) fn reload(shared: &Shared, config: &Config) -> Result<(), StartError> {
    let outcome = take(shared, config);
    let counter = if outcome.is_ok() {
        &shared.accounts.reloads.taken
    } else {
        &shared.accounts.reloads.rejected
    };
    counter.fetch_add(1, Ordering::Relaxed);
    shared.audit.record(|| {
        let entry = Entry::done(wall_ms(), "reload");
        match &outcome {
            Ok(()) => entry,
            Err(error) => entry.refused("rejected", error.to_string()),
        }
    });
    outcome
}

fn take(shared: &Shared, config: &Config) -> Result<(), StartError> {
    let auth = Auth::load(&config.auth)?.with_ticket_key(&shared.accounts.ticket_key)?;
    if !auth.has_accounts() && shared.accounts.auth.load().has_accounts() {
        return Err(StartError::AccountsGone);
    }
    let webhook = Webhook::of(&config.webhook, shared.config.cores(), &shared.config.node)?;
    shared.tls.reload()?;
    shared.tenants.reload(config, shared.config.policies().shards());
    shared.webhooks.replace(webhook);
    shared.accounts.auth.store(Arc::new(auth));
    shared.accounts.changes.send_modify(|changes| *changes += 1);
    Ok(())
}

/// How often the configuration was read again.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) taken: AtomicU64,
    pub(crate) rejected: AtomicU64,
}

/// Reads the certificate again when its files are written, and makes one anew that is about to
/// expire; asks again who is who when the system's clock was set. Ends with the server.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut refused: Option<(Instant, u32)> = None;
    let mut ahead_ms = ahead(&shared);
    loop {
        tokio::time::sleep(LOOK).await;
        let now_ahead_ms = ahead(&shared);
        if now_ahead_ms.abs_diff(ahead_ms) > CLOCK_STEP_MS {
            tracing::warn!(
                ahead_ms,
                now_ahead_ms,
                "the system's clock was set: tokens are looked at again"
            );
            ahead_ms = now_ahead_ms;
            shared.accounts.changes.send_modify(|changes| *changes += 1);
        }
        if shared.tls.is_outdated() && refused.is_none_or(|(at, _)| at.elapsed() > RETRY) {
            let roots = shared.tls.settings().roots;
            match shared.tls.reload() {
                Ok(()) => {
                    refused = None;
                    tracing::info!("the certificate was read again");
                    if shared.tls.settings().roots != roots {
                        tracing::info!("other certificates of clients are trusted now");
                        shared.accounts.changes.send_modify(|changes| *changes += 1);
                    }
                }
                // Certificate and key may be written one after the other.
                Err(error) => {
                    let times = refused.map_or(1, |(_, times)| times.saturating_add(1));
                    refused = Some((Instant::now(), times));
                    if times == 2 {
                        tracing::error!(%error, "the new certificate cannot be used; the old one stays");
                    }
                }
            }
        }
    }
}

/// By how much the system's clock is ahead of the server's.
fn ahead(shared: &Shared) -> i64 {
    let difference = i128::from(wall_ms()) - i128::from(shared.clock.now_ms());
    i64::try_from(difference).unwrap_or(i64::MAX)
}
