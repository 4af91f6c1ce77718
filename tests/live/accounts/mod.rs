//! Accounts: tokens, API keys and roles, as a running daemon takes them.

mod changes;
mod limits;
mod offline;
mod people;
mod record;

use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{
    CellKind, Client, ConnectionState, Error, ErrorCode, Name, Pattern, Start, SubscribeOptions,
    Subscription, SubscriptionEvent, WatchOptions,
};
use tokio::time::timeout;

use crate::daemon::{ALL, Daemon, PATIENCE, Via, tidewire};

const ROLES: &str = r#"
[[auth.role]]
name = "viewer"
rules = [
    { names = "secret.>", allow = [] },
    { names = "user.{identity}.>", allow = ["publish", "subscribe", "history"] },
    { names = ">", allow = ["subscribe", "history", "vote", "presence"] },
]

[[auth.role]]
name = "backend"
acts_for_others = true
rules = [{ names = ">", allow = ["publish", "subscribe", "history", "incr", "vote", "admin"] }]
"#;

/// A daemon whose tokens are signed with a secret.
pub(crate) struct Accounts {
    pub(crate) daemon: Daemon,
    files: Arc<tempfile::TempDir>,
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Accounts {
    pub(crate) fn start(more: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), more)
    }

    /// Starts a daemon over what an earlier one has left.
    pub(crate) fn start_in(files: Arc<tempfile::TempDir>, more: &str) -> Self {
        for name in ["secret", "other"] {
            let secret = format!("the {name} of these tests, longer than 32 bytes");
            std::fs::write(files.path().join(name), secret).unwrap();
        }
        let daemon = Daemon::start_in(Arc::clone(&files), &Self::config(&files, ROLES, more));
        Self { daemon, files }
    }

    fn config(files: &tempfile::TempDir, roles: &str, more: &str) -> String {
        let secret = files.path().join("secret");
        format!(
            "{more}\n{roles}\n[[auth.token_key]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
             [[policy]]\nnames = \"maps.>\"\nmap_keys_max = 10\n"
        )
    }

    pub(crate) fn token(&self, args: &[&str]) -> String {
        self.token_by("secret", args)
    }

    fn token_by(&self, secret: &str, args: &[&str]) -> String {
        let secret = self.files.path().join(secret);
        let sign = ["auth", "token", "--algorithm", "HS256", "--key-file"];
        let signed = tidewire().args(sign).arg(secret).args(args).output().unwrap();
        out(&signed).trim().to_owned()
    }

    pub(crate) fn viewer(&self) -> String {
        self.token(&["--subject", "ann", "--role", "viewer"])
    }

    pub(crate) fn backend(&self) -> String {
        self.token(&["--subject", "shop", "--role", "backend"])
    }

    /// Runs a command with this token.
    fn run(&self, token: &str, args: &[&str]) -> Output {
        let url = self.daemon.url(Via::Ws);
        let (key, value) = ("TIDEWIRE_TOKEN", token);
        tidewire().args(args).env("TIDEWIRE_URL", url).env(key, value).output().unwrap()
    }
}

fn is_over(state: &ConnectionState) -> bool {
    matches!(state, ConnectionState::Disconnected { .. } | ConnectionState::Failed { .. })
}

/// A number of the daemon's status.
fn status(daemon: &Daemon, field: &str) -> u64 {
    let reply = daemon.get("/v1/status");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    status[field].as_u64().unwrap()
}

fn code(error: &Error) -> Option<ErrorCode> {
    error.refusal().map(|refusal| refusal.code)
}

async fn follow(client: &Client, pattern: &str, start: Start) -> Subscription {
    let pattern = Pattern::parse(pattern).unwrap();
    client.subscribe(&pattern, start, SubscribeOptions::default()).await.unwrap()
}

/// The topic and payload of the next record.
async fn record(subscription: &mut Subscription) -> String {
    loop {
        let event = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
        let SubscriptionEvent::Delivery(delivery) = event else { continue };
        let (_, record) = delivery.records().next().unwrap();
        let payload = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
        return format!("{} {payload}", delivery.topic);
    }
}
