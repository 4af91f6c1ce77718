//! Being told to stop.

use tokio::signal;

use super::CliError;

/// Exit code of a command that was stopped before it was done.
pub(crate) const INTERRUPTED: u8 = 4;

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    #[cfg(unix)]
    {
        // Without a handler the signal ends the process by itself, which is what it asks for.
        let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    {
        drop(signal::ctrl_c().await);
    }
}

/// How a command that follows something ends when it is told to stop: that is its normal end,
/// unless a number of events was asked for and has not come.
pub(crate) fn stopped(seen: u64, wanted: Option<u64>) -> Result<(), CliError> {
    match wanted {
        Some(wanted) if seen < wanted => {
            let message = format!("stopped after {seen} of {wanted}");
            Err(CliError { exit_code: INTERRUPTED, message })
        }
        Some(_) | None => Ok(()),
    }
}
