//! Who connections are, while the server runs.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tidewire_core::access::{Access, Identity, Operation, Operations};
use tidewire_protocol::Refusal;
use tidewire_protocol::options::IdentityInfo;
use tokio::sync::watch;

use super::clock::wall_ms;
use super::reload::Reloads;
use super::tenants::Seat;
use super::{Core, Shared, StartError, Whose};
use crate::audit::Entry;
use crate::auth::{
    Auth, Credential, Proven, RevocationError, Revocations, Revoke, TicketKey, Tickets,
};
use crate::config::Config;
use crate::transport::Connection;

/// The accounts of a server, and what has become of them.
#[derive(Debug)]
pub(crate) struct Accounts {
    pub(crate) auth: ArcSwap<Auth>,
    /// What tickets are signed with, and how many were given out.
    pub(crate) ticket_key: TicketKey,
    pub(crate) tickets: Tickets,
    pub(crate) revocations: ArcSwap<Revocations>,
    /// Who revokes something does it alone.
    revoking: Mutex<()>,
    /// Counts the changes of all this.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) reloads: Reloads,
}

impl Accounts {
    /// # Errors
    /// When keys or roles cannot be used, or what was revoked cannot be read.
    pub(super) fn load(config: &Config) -> Result<Self, StartError> {
        let revocations = Revocations::read(config.data_dir.as_deref())?;
        let has_tickets = !config.auth.ticket.is_empty();
        let ticket_key = TicketKey::of(config.data_dir.as_deref().filter(|_| has_tickets))?;
        let auth = Auth::load(&config.auth)?.with_ticket_key(&ticket_key)?;
        Ok(Self {
            auth: ArcSwap::from_pointee(auth),
            ticket_key,
            tickets: Tickets::default(),
            revocations: ArcSwap::from_pointee(revocations),
            revoking: Mutex::default(),
            changes: watch::Sender::new(0),
            reloads: Reloads::default(),
        })
    }
}

/// Who a connection is, and what it may do.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    proven: Proven,
    access: Access,
}

impl Account {
    /// Whether there is a name on which it may do what operators do.
    pub(crate) fn may_administer(&self) -> bool {
        let needs = Operations::from_iter([Operation::Admin]);
        let permissions = &self.access.permissions;
        permissions
            .lists
            .iter()
            .flat_map(|list| &list.rules)
            .any(|rule| rule.allow.has_all(needs) && permissions.may_allow(needs, &rule.names))
    }

    /// The prefix of the tenant that it belongs to, if it belongs to one.
    pub(crate) fn tenant(&self) -> Option<&str> {
        Some(self.proven.tenant.as_ref()?.prefix().as_str())
    }

    /// Whether it is somebody's, and not that of all who show nothing.
    pub(super) fn is_somebody(&self) -> bool {
        self.proven.is_somebody
    }

    /// Whose it is, if it is somebody's.
    pub(super) fn somebody(&self) -> Option<&Identity> {
        self.is_somebody().then_some(&self.proven.identity)
    }

    /// As it is told.
    pub(crate) fn info(&self) -> IdentityInfo {
        let Proven { identity, expires_at_ms, .. } = &self.proven;
        IdentityInfo {
            issuer: identity.issuer.as_ref().to_owned(),
            subject: identity.subject.as_ref().to_owned(),
            expires_at_ms: *expires_at_ms,
        }
    }
}

/// What is known of a connection that is let in.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) shown: Credential,
    /// Who it is; nothing where there are no accounts.
    pub(crate) account: Option<Account>,
    /// Its place among the connections of its tenant.
    seat: Option<Seat>,
    /// Changes of the accounts before all this was found out.
    changes: u64,
}

impl Shared {
    /// Whether somebody who shows this is let in.
    ///
    /// # Errors
    /// `unauthenticated`, with what is wrong with it; `limit_exceeded` if its tenant has as many
    /// connections as it may have.
    pub(crate) fn admission(&self, shown: Credential) -> Result<Admission, Refusal> {
        let changes = *self.accounts.changes.borrow();
        let account = self.account(&shown)?;
        let tenant = account.as_ref().and_then(Account::tenant);
        let seat = tenant.map(|tenant| self.tenants.seat(tenant)).transpose()?;
        Ok(Admission { shown, account, seat, changes })
    }

    /// Takes a token, or those of a subject, out of use: connections with them end. Blocks.
    ///
    /// # Errors
    /// When it cannot be kept: then it is not revoked.
    pub(crate) fn revoke(&self, revoke: &Revoke) -> Result<(), RevocationError> {
        let _alone = self.accounts.revoking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Revoke::Subject { issuer, .. } = revoke
            && !self.accounts.auth.load().has_issuer(issuer.as_deref())
        {
            return Err(RevocationError::Issuer);
        }
        let directory = self.config.data_dir.as_deref();
        let more = self.accounts.revocations.load().with(revoke, wall_ms(), directory)?;
        self.accounts.revocations.store(Arc::new(more));
        self.accounts.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Whose a credential is; nothing where there are no accounts.
    ///
    /// # Errors
    /// `unauthenticated`, with what is wrong with it.
    pub(crate) fn account(&self, shown: &Credential) -> Result<Option<Account>, Refusal> {
        let (auth, wall_ms) = (self.accounts.auth.load(), wall_ms());
        if let Credential::Certificate(certificate) = shown {
            self.tls.check_client(certificate)?;
        }
        let Some(proven) = auth.authenticate(shown, wall_ms)? else { return Ok(None) };
        self.accounts.revocations.load().check(&proven, auth.leeway_ms())?;
        let mut access = auth.access(&proven)?;
        // The dispatcher's clock goes on by itself, whatever the system's is set to.
        let left_ms = access.expires_at_ms.map(|at_ms| at_ms.saturating_sub(wall_ms));
        access.expires_at_ms = left_ms.map(|left_ms| self.clock.now_ms().saturating_add(left_ms));
        Ok(Some(Account { proven, access }))
    }
}

impl Core {
    /// Lets a new connection do what its account allows.
    pub(crate) fn admit(&self, connection: &Connection, admission: Admission) {
        let Admission { shown, account, seat, changes } = admission;
        connection.shown.replace(shown);
        connection.seat.replace(seat);
        self.set_account(connection, account);
        self.shared.audit.record(|| Entry::done(wall_ms(), "connected").by(Self::who(connection)));
        if *self.shared.accounts.changes.borrow() != changes {
            self.ask_again(connection);
        }
    }

    pub(super) fn set_account(&self, connection: &Connection, account: Option<Account>) {
        let mut dispatcher = self.dispatcher.borrow_mut();
        // Those who show nothing are not one person.
        let identity = account.as_ref().and_then(Account::somebody);
        connection.is_somebody.set(identity.is_some());
        let seat = connection.seat.borrow();
        let tenant = seat.as_ref().map(Seat::tenant);
        self.shared.rates.identify(&mut connection.rates.borrow_mut(), identity, tenant);
        let prefix = tenant.map(|tenant| tenant.prefix());
        let whose = Whose::of(prefix, identity, connection.peer.address);
        connection.flow.replace(self.turns.of(whose));
        let info = account.as_ref().map(Account::info);
        match account {
            Some(account) => dispatcher.set_access(connection.id(), account.access),
            None => dispatcher.forget_access(connection.id()),
        }
        connection.identity.replace(info);
    }

    /// Gives a connection a place in the tenant that its account belongs to by now.
    pub(super) fn seat_anew(
        &self,
        connection: &Connection,
        account: Option<&Account>,
    ) -> Result<(), Refusal> {
        let tenant = account.and_then(Account::tenant);
        let before = connection.seat.borrow().as_ref().map(|seat| Arc::clone(seat.tenant()));
        let now = tenant.and_then(|tenant| self.shared.tenants.get(tenant));
        let stays = match (&before, &now) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => tenant.is_none(),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if stays {
            return Ok(());
        }
        let seat = tenant.map(|tenant| self.shared.tenants.seat(tenant)).transpose()?;
        if let Some(seat) = &seat {
            seat.settle(self.dispatcher.borrow().subscriptions_of(connection.id()));
        }
        connection.seat.replace(seat);
        Ok(())
    }

    /// Asks again who a connection is, since the accounts have changed.
    pub(super) fn ask_again(&self, connection: &Connection) {
        let account = self.shared.account(&connection.shown.borrow()).and_then(|account| {
            self.seat_anew(connection, account.as_ref())?;
            Ok(account)
        });
        match account {
            Ok(account) => self.set_account(connection, account),
            Err(refusal) => {
                self.shared.audit.record(|| {
                    let entry = Entry::done(wall_ms(), "ended").by(Self::who(connection));
                    entry.saying(refusal.message.clone())
                });
                // What it has asked and nobody has looked at yet is not carried out either.
                self.dispatcher.borrow_mut().set_access(connection.id(), Access::nobody());
                connection.end(refusal);
            }
        }
    }
}

/// Connections that are asked again before others have their turn.
const ASKED_AT_ONCE: usize = 32;

/// Asks again after each change of the accounts, until the server ends.
pub(super) async fn follow_changes(core: Rc<Core>) {
    let mut changes = core.shared.accounts.changes.subscribe();
    while changes.changed().await.is_ok() {
        let connections: Vec<Rc<Connection>> = core.connections.borrow().iter().cloned().collect();
        for some in connections.chunks(ASKED_AT_ONCE) {
            some.iter().for_each(|connection| core.ask_again(connection));
            core.changed();
            tokio::task::yield_now().await;
        }
    }
}
