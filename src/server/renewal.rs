//! A newer token of a connection.

use tidewire_protocol::options::IdentityInfo;
use tidewire_protocol::{ErrorCode, Refusal};

use super::Core;
use super::accounts::Account;
use super::clock::wall_ms;
use super::rates::Rates;
use crate::audit::Entry;
use crate::auth::Credential;
use crate::transport::Connection;

impl Core {
    /// Takes a newer token of a connection.
    ///
    /// # Errors
    /// When it is none, or somebody else's, or the webhook refuses it: the one before holds on.
    pub(crate) async fn renew(
        &self,
        connection: &Connection,
        token: &str,
    ) -> Result<IdentityInfo, Refusal> {
        let outcome = self.take_token(connection, token).await;
        self.shared.audit.record(|| {
            let entry = Entry::done(wall_ms(), "auth").by(Self::who(connection));
            match &outcome {
                Ok(_) => entry,
                Err(refusal) => entry.refused(refusal.code.name(), refusal.message.clone()),
            }
        });
        outcome
    }

    async fn take_token(
        &self,
        connection: &Connection,
        token: &str,
    ) -> Result<IdentityInfo, Refusal> {
        Rates::check_token(&connection.rates.borrow())?;
        let changes = *self.shared.accounts.changes.borrow();
        let shown = Credential::of(Some(token), None);
        let account = self.shared.account(&shown)?.ok_or_else(|| {
            Refusal::new(ErrorCode::Unsupported, "AUTH: the server has no accounts")
        })?;
        self.check_same(connection, &account)?;
        if !connection.is_somebody.get() {
            self.decide_to_connect(Some(&account), connection.peer.address).await?;
            // Over QUIC another stream may have shown another token meanwhile.
            self.check_same(connection, &account)?;
        }
        let info = account.info();
        self.seat_anew(connection, Some(&account))?;
        connection.shown.replace(shown);
        self.set_account(connection, Some(account));
        if *self.shared.accounts.changes.borrow() != changes {
            self.ask_again(connection);
        }
        Ok(info)
    }

    /// Refuses the account of somebody else than who has the connection, if it is somebody.
    fn check_same(&self, connection: &Connection, account: &Account) -> Result<(), Refusal> {
        let info = account.info();
        let is_other = connection.identity.borrow().as_ref().is_some_and(|before| {
            connection.is_somebody.get()
                && ((&before.issuer, &before.subject) != (&info.issuer, &info.subject)
                    || connection.tenant().as_deref() != account.tenant())
        });
        if is_other {
            let message = "the token is of another subject: connect anew with it";
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        Ok(())
    }
}
