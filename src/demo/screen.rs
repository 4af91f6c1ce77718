//! What people see and do: lines on standard error, the result on standard output, and the wish
//! to stop.

use std::io::{Write, stderr, stdout};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Says something to people, beside the result. A closed terminal is no reason to stop.
pub(crate) fn say(line: &str) {
    drop(writeln!(stderr().lock(), "{line}"));
}

/// Prints the result. Whoever does not read it to the end does not want it.
pub(crate) fn print(result: &str) {
    let mut out = stdout().lock();
    drop(writeln!(out, "{}", result.trim_end()).and_then(|()| out.flush()));
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn stop_asked() {
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => next(&mut signals).await,
        // Without a handler the signal ends the process by itself, which is stopping too.
        Err(_) => std::future::pending().await,
    }
}

async fn next(signals: &mut Signal) {
    // `None` would mean that no further signal can come.
    if signals.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}
