//! One line of the record.

use std::net::IpAddr;

use serde::Serialize;
use tidewire_core::fanout::Audited;
use tidewire_protocol::Name;

use crate::server::Who;

/// Something that has happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// Unix time.
    time_ms: u64,
    /// What: `tally.close`, `denied`, `admin.backup`.
    event: String,
    /// The topic or cell that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// `done` or `refused`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Who has asked; nothing for an administrator, who has no account.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
}

impl Entry {
    /// Something that has succeeded, of nobody yet.
    pub(crate) fn done(time_ms: u64, event: &str) -> Self {
        Self {
            time_ms,
            event: event.to_owned(),
            name: None,
            outcome: "done",
            code: None,
            message: None,
            session: None,
            address: None,
            issuer: None,
            subject: None,
        }
    }

    /// The same, about a topic or cell.
    pub(crate) fn about(self, name: &Name) -> Self {
        Self { name: Some(name.as_str().to_owned()), ..self }
    }

    /// The same with what is to be known of it.
    pub(crate) fn saying(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// The same, refused.
    pub(crate) fn refused(self, code: &'static str, message: impl Into<String>) -> Self {
        Self { outcome: "refused", code: Some(code), message: Some(message.into()), ..self }
    }

    /// The same, of somebody.
    pub(crate) fn by(self, who: Who) -> Self {
        let Who { session, address, issuer, subject } = who;
        Self { session, address, issuer, subject, ..self }
    }

    /// What a dispatcher has put on record.
    pub(crate) fn of(time_ms: u64, audited: Audited) -> Self {
        let Audited { at_ms: _, session: _, identity: _, action, refusal } = audited;
        let (event, name) = match action {
            Some((event, name)) => (event, Some(name.as_str().to_owned())),
            None => ("denied", None),
        };
        let entry = Self { name, ..Self::done(time_ms, event) };
        match refusal {
            None => entry,
            Some(refusal) => entry.refused(refusal.code.name(), refusal.message),
        }
    }

    /// Whether anybody can make it at will.
    pub(super) fn is_noise(&self) -> bool {
        self.outcome == "refused" && matches!(self.event.as_str(), "denied" | "hello" | "auth")
            || self.event == "connected"
    }

    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
