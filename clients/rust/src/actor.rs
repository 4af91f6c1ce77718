//! The task behind a client: holds one connection after the other.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidewire_protocol::{ClientFrame, ErrorCode};
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::connector::{Connector, Established, millis};
use crate::error::Error;
use crate::leaving::{Left, SETTLE_MAX, leave};
use crate::link::Link;
use crate::state::ConnectionState;
use crate::target::Target;

/// A clean close waits so long for replies.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that held so long was a good one: the delays start short again.
const STEADY: Duration = Duration::from_secs(10);

enum Ending {
    /// The application closed the client.
    Closed,
    /// Another node is to serve it.
    Moved(Box<Established>),
    /// The connection ended by itself.
    Lost(String),
}

/// Runs until the client is closed or has failed for good. `again` is `None` when a cut is the
/// end.
pub(crate) async fn run(
    link: Arc<Link>,
    mut connector: Connector,
    mut established: Established,
    mut again: Option<Backoff>,
) {
    loop {
        let since = Instant::now();
        let lost = established.target.clone();
        let elsewhere = again.is_some().then_some(&mut connector);
        let (url, session) = (lost.url(), established.session.clone());
        let span = tracing::debug_span!("connection", url, session);
        let held = hold(&link, elsewhere, established).instrument(span);
        let reason = match held.await {
            Ending::Closed => return link.shut(ConnectionState::Closed, &Error::Closed),
            Ending::Moved(next) => {
                link.cut("the server has asked to go to another node");
                established = *next;
                tracing::info!(from = lost.url(), to = established.target.url(), "moved");
                established.announce(&link);
                continue;
            }
            Ending::Lost(reason) => reason,
        };
        tracing::info!(
            url = lost.url(),
            session,
            reason,
            held_ms = millis(since.elapsed()),
            "disconnected"
        );
        link.set_state(ConnectionState::Disconnected { reason: reason.clone() });
        link.cut(&reason);
        let Some(backoff) = &mut again else {
            let state = ConnectionState::Failed { reason: reason.clone() };
            return link.shut(state, &Error::ConnectionLost { reason });
        };
        let lost_at = Instant::now();
        if since.elapsed() >= STEADY {
            backoff.reset();
        }
        established = tokio::select! {
            outcome = reconnect(&link, &mut connector, &lost, backoff) => match outcome {
                Ok(established) => established,
                Err(reason) => {
                    let state = ConnectionState::Failed { reason: reason.clone() };
                    return link.shut(state, &Error::Failed { reason });
                }
            },
            () = link.close_requested() => {
                return link.shut(ConnectionState::Closed, &Error::Closed);
            }
        };
        established.announce(&link);
        let away_ms = millis(lost_at.elapsed());
        tracing::info!(url = established.target.url(), away_ms, "connected again");
    }
}

/// Tries until a connection is there, or until the answers of all servers leave no hope.
async fn reconnect(
    link: &Link,
    connector: &mut Connector,
    lost: &Target,
    backoff: &mut Backoff,
) -> Result<Established, String> {
    let lost_at = Instant::now();
    let mut delay = if connector.targets.are_several() {
        backoff.next_elsewhere(fastrand::f64())
    } else {
        backoff.next(fastrand::f64())
    };
    loop {
        tracing::debug!(delay_ms = millis(delay), "connects again");
        tokio::time::sleep(delay).await;
        let mut is_hopeless = true;
        let mut reason = String::new();
        if link.was_unauthenticated() {
            connector.token.refuse();
        }
        if let Err(error) = connector.token.look().await {
            tracing::warn!(error, "there is no other token; the last one is shown again");
        }
        for target in connector.targets.round(lost) {
            link.set_state(ConnectionState::Connecting);
            link.attempts.fetch_add(1, Ordering::Relaxed);
            match connector.connect(&target).await {
                Ok(established) => return Ok(established),
                Err(error) => {
                    // There may be another token.
                    let is_refused = error.code() == ErrorCode::Unauthenticated.name();
                    if is_refused {
                        connector.token.refuse();
                    }
                    is_hopeless &=
                        error.is_final() && !(is_refused && connector.token.has_source());
                    reason = error.to_string();
                    link.set_state(ConnectionState::Disconnected { reason: reason.clone() });
                }
            }
        }
        if is_hopeless {
            return Err(reason);
        }
        if lost_at.elapsed() >= link.patience.max(link.repeat_for) {
            link.give_up(&reason);
        }
        delay = backoff.next(fastrand::f64());
    }
}

/// Serves one connection until it ends.
async fn hold(link: &Link, elsewhere: Option<&mut Connector>, established: Established) -> Ending {
    let heartbeat = established.heartbeat();
    let Established { mut connection, rest, target, .. } = established;
    if let Err(reason) = link.receive(rest) {
        return Ending::Lost(reason);
    }
    let ending = {
        let mut serve = pin!(connection.serve(link));
        tokio::select! {
            reason = &mut serve => Ending::Lost(parting_words(link, reason)),
            reason = silence(link, heartbeat) => Ending::Lost(reason),
            never = link.repeat_when_due() => match never {},
            () = link.close_requested() => {
                link.pause();
                settle(link, CLOSE_TIMEOUT, serve).await;
                Ending::Closed
            }
            left = leave(link, elsewhere, &target) => match left {
                Left::For(next) => {
                    // The new connection is not served yet, and its server wants to hear something.
                    settle(link, SETTLE_MAX.min(next.heartbeat() * 2), serve).await;
                    Ending::Moved(next)
                }
                Left::Nowhere(grace) => {
                    settle(link, grace, serve).await;
                    Ending::Lost(parting_words(link, "the server asked to go away".to_owned()))
                }
            }
        }
    };
    if matches!(ending, Ending::Moved(_)) {
        // Nothing waits for its end.
        drop(tokio::spawn(connection.close()));
    } else {
        connection.close().await;
    }
    ending
}

/// Serves on until everything is answered, for a limited time.
async fn settle(link: &Link, at_most: Duration, serve: impl Future<Output = String>) {
    tokio::select! {
        reason = serve => tracing::debug!(%reason, "the connection ended before all was answered"),
        settled = tokio::time::timeout(at_most, link.drained()) => {
            if settled.is_err() {
                tracing::debug!("not everything was answered in time");
            }
        }
    }
}

/// What the server said last explains more than how the connection ended.
fn parting_words(link: &Link, reason: String) -> String {
    link.take_parting().map_or(reason, |refusal| refusal.to_string())
}

/// Asks a quiet server for a sign of life; returns when it gives none.
async fn silence(link: &Link, heartbeat: Duration) -> String {
    loop {
        let silent = link.silent_for();
        if silent >= heartbeat * 3 {
            return format!("the server was silent for {} ms", silent.as_millis());
        }
        if silent >= heartbeat {
            link.control(&ClientFrame::Ping { nonce: 0 });
        }
        let into_beat = silent.as_millis() % heartbeat.as_millis().max(1);
        let rest = heartbeat.as_millis().saturating_sub(into_beat);
        tokio::time::sleep(Duration::from_millis(u64::try_from(rest).unwrap_or(u64::MAX))).await;
    }
}
