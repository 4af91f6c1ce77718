//! What proves to the server who this is; it may change while the client lives.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewire_protocol::ClientFrame;
use tidewire_protocol::options::IdentityInfo;

use crate::client::Client;
use crate::error::Error;
use crate::reply;

/// Makes the next token.
type Source =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

/// The newest token, shared by a client and the task that connects, and where others come from.
#[derive(Clone, Default)]
pub(crate) struct Token {
    newest: Arc<Mutex<Newest>>,
    source: Option<Source>,
}

#[derive(Default)]
struct Newest {
    token: Option<String>,
    /// The server has refused it, so it is not shown again if there may be another one.
    is_refused: bool,
}

impl Token {
    pub(crate) fn given(&self, token: &str) -> Self {
        let newest = Newest { token: Some(token.to_owned()), is_refused: false };
        Self { newest: Arc::new(Mutex::new(newest)), source: self.source.clone() }
    }

    pub(crate) fn from<F, T>(&self, source: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, String>> + Send + 'static,
    {
        let source: Source = Arc::new(move || Box::pin(source()));
        Self { newest: Arc::clone(&self.newest), source: Some(source) }
    }

    pub(crate) fn get(&self) -> Option<String> {
        self.newest().token.clone()
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// The server does not accept it any more.
    pub(crate) fn refuse(&self) {
        self.newest().is_refused = true;
    }

    /// Makes a new one if the newest was refused, or there is none yet.
    ///
    /// # Errors
    /// What the application says when it has none.
    pub(crate) async fn look(&self) -> Result<(), String> {
        let is_good = {
            let newest = self.newest();
            newest.token.is_some() && !newest.is_refused
        };
        if self.source.is_none() || is_good {
            return Ok(());
        }
        let token = self.next().await?;
        tracing::debug!("the application has given another token");
        self.set(&token);
        Ok(())
    }

    /// Another one, which is not in use yet.
    pub(crate) async fn next(&self) -> Result<String, String> {
        match &self.source {
            Some(source) => source().await,
            None => Err("the application gives no other token".to_owned()),
        }
    }

    pub(crate) fn set(&self, token: &str) {
        *self.newest() = Newest { token: Some(token.to_owned()), is_refused: false };
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
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
    ///
    /// # Cancellation
    /// Safe: what was sent may be accepted; it is not shown again on the next connection then.
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
