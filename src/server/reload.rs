//! What changes while the server runs: the certificate, and the accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Shared, StartError};
use crate::auth::Auth;
use crate::config::AuthConfig;

/// How often it is looked whether the certificate's files have been written.
const LOOK: Duration = Duration::from_secs(2);

/// Takes other accounts, and the certificate anew; all of it or nothing.
///
/// # Errors
/// When one of them cannot be used.
pub(super) fn reload(shared: &Shared, config: &AuthConfig) -> Result<(), StartError> {
    let outcome = take(shared, config);
    let counter = if outcome.is_ok() {
        &shared.accounts.reloads.taken
    } else {
        &shared.accounts.reloads.rejected
    };
    counter.fetch_add(1, Ordering::Relaxed);
    outcome
}

fn take(shared: &Shared, config: &AuthConfig) -> Result<(), StartError> {
    let auth = Auth::load(config)?;
    if !auth.has_accounts() && shared.accounts.auth.load().has_accounts() {
        return Err(StartError::AccountsGone);
    }
    shared.tls.reload()?;
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
/// expire. Ends with the server.
pub(super) async fn watch_certificate(shared: Arc<Shared>) {
    let mut refused = false;
    loop {
        tokio::time::sleep(LOOK).await;
        if !shared.tls.is_outdated() {
            continue;
        }
        match shared.tls.reload() {
            Ok(()) => {
                refused = false;
                tracing::info!("the certificate was read again");
            }
            // Certificate and key may be written one after the other.
            Err(error) if !refused => {
                refused = true;
                tracing::error!(%error, "the new certificate cannot be used; the old one stays");
            }
            Err(_) => {}
        }
    }
}
