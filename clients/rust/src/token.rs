//! What proves to the server who this is; it may change while the client lives.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tidewire_protocol::ClientFrame;
use tidewire_protocol::options::IdentityInfo;

use crate::client::Client;
use crate::error::Error;
use crate::reply;

/// The newest token, shared by a client and the task that connects.
#[derive(Clone, Default)]
pub(crate) struct Token(Arc<Mutex<Option<String>>>);

impl Token {
    pub(crate) fn new(token: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(token)))
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, token: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.to_owned());
    }
}

/// Without what it is: whoever has it, has what it proves.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "Token(..)" } else { "no token" })
    }
}

impl Client {
    /// Shows the server a newer token, before the one in use expires. It is also shown when the
    /// connection has to be made again. Returns who this is.
    ///
    /// # Errors
    /// `unauthenticated` when the token is none, `forbidden` when it is of another subject than the
    /// connection's, `unsupported` when the server has no accounts, or when the connection is lost.
    pub async fn authenticate(&self, token: &str) -> Result<IdentityInfo, Error> {
        let shown = token.to_owned();
        let asked = async {
            self.start(|req| ClientFrame::Auth { req, token: shown }, reply::identity).await?.await
        };
        let outcome = asked.await;
        // Without a connection nobody has refused it: it is shown with the next one.
        let is_lost = |error: &Error| {
            matches!(error, Error::ConnectionLost { .. } | Error::NotConnected { .. })
        };
        if outcome.as_ref().err().is_none_or(is_lost) {
            self.handle().token().set(token);
        }
        outcome
    }
}
