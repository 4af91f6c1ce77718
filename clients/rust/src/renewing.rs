//! Tokens are replaced before they expire, where the application makes others.

use std::sync::Arc;
use std::time::Duration;

use tidewire_protocol::ClientFrame;
use tidewire_protocol::options::{IdentityInfo, ServerInfo};

use crate::error::Error;
use crate::link::Link;
use crate::reply;
use crate::state::ConnectionState;
use crate::token::Token;

/// When the application has no other token, or the server does not accept it, another one is asked for
/// so much later.
const AGAIN: Duration = Duration::from_secs(5);
/// No two are asked for within this time, whatever the server says of their age.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Shows the server other tokens until the client is closed.
pub(crate) async fn renew(link: Arc<Link>, token: Token) {
    let mut states = link.states();
    loop {
        let connected =
            states.wait_for(|state| matches!(state, ConnectionState::Connected { .. })).await;
        let session = match connected.map(|state| state.clone()) {
            Ok(ConnectionState::Connected { session, .. }) => session,
            Ok(_) | Err(_) => return,
        };
        tokio::select! {
            () = link.close_requested() => return,
            () = on_connection(&link, &token) => {}
            _ = states.wait_for(|state| !is_session(state, &session)) => {}
        }
    }
}

fn is_session(state: &ConnectionState, wanted: &str) -> bool {
    matches!(state, ConnectionState::Connected { session, .. } if session == wanted)
}

/// While one connection lasts. Ends when the identity has no end.
async fn on_connection(link: &Link, token: &Token) {
    let info = link.info();
    let mut left = left_of(info.identity.as_ref(), &info);
    while let Some(known) = left {
        tokio::time::sleep((known * 3 / 4).max(PAUSE_MIN)).await;
        left = match show(link, token).await {
            Ok(identity) => left_of(Some(&identity), &info),
            Err(error) => {
                tracing::warn!(%error, "the token is not renewed; another one is asked for");
                Some(AGAIN)
            }
        };
    }
    // Nothing is to be done on this connection.
    std::future::pending().await
}

/// For how long the server accepts who this is, at the time of its clock at the beginning of the connection.
fn left_of(identity: Option<&IdentityInfo>, info: &ServerInfo) -> Option<Duration> {
    let expires_at_ms = identity?.expires_at_ms?;
    Some(Duration::from_millis(expires_at_ms.saturating_sub(info.time_ms)))
}

async fn show(link: &Link, token: &Token) -> Result<IdentityInfo, Error> {
    let next = token.next().await.map_err(Error::Config)?;
    let shown = next.clone();
    let reply = link.ask(|req| ClientFrame::Auth { req, token: shown }).await?;
    let identity = reply::identity(reply.await.unwrap_or(Err(Error::Closed))?)?;
    token.set(&next);
    Ok(identity)
}
