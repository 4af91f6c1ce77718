//! Accounts on the server that a bench starts: a key of its own, and tokens of whoever it takes.

use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use toml::{Table, Value};

use crate::auth::{Algorithm, Claims, Grant, Issue, issue};

/// Bytes of the key.
const SECRET_BYTES: usize = 48;
/// How long its tokens are good.
const TTL_S: u64 = 7 * 86_400;

/// The key of a run; the server reads it from a file that goes with this.
#[derive(Debug)]
pub(crate) struct Accounts {
    directory: TempDir,
    secret: String,
}

impl Accounts {
    /// Makes a key.
    ///
    /// # Errors
    /// When there are no random bytes, or its file cannot be written.
    pub(crate) fn make() -> Result<Self, String> {
        let mut bytes = [0; SECRET_BYTES];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| "no random bytes".to_owned())?;
        let secret = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let failed = |error: std::io::Error| format!("the key of the bench: {error}");
        let accounts = Self { directory: tempfile::tempdir().map_err(failed)?, secret };
        std::fs::write(accounts.file(), &accounts.secret).map_err(failed)?;
        Ok(accounts)
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("token.key")
    }

    /// Lets a server of this configuration trust the key.
    pub(crate) fn add_to(&self, config: &mut Table) {
        let auth = config.entry("auth").or_insert_with(|| Value::Table(Table::new()));
        // Anything else is for the server to refuse.
        let Value::Table(auth) = auth else { return };
        let keys = auth.entry("token_key").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(keys) = keys else { return };
        let mut key = Table::new();
        key.insert("id".to_owned(), Value::String(KEY_ID.to_owned()));
        key.insert("algorithm".to_owned(), Value::String("HS256".to_owned()));
        key.insert("file".to_owned(), Value::String(self.file().to_string_lossy().into_owned()));
        keys.push(Value::Table(key));
    }

    /// A token of somebody who may publish to and read the names of benches.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(crate) fn token(&self, subject: &str) -> Result<String, String> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let allow = ["publish", "subscribe", "history"].map(str::to_owned).to_vec();
        let claims = Claims {
            sub: subject.to_owned(),
            exp: now_s.saturating_add(TTL_S),
            permissions: vec![Grant { names: "bench.>".to_owned(), allow }],
            ..Claims::default()
        };
        let (key, key_id) = (self.secret.as_bytes(), Some(KEY_ID.to_owned()));
        issue(&Issue { algorithm: Algorithm::Hs256, key, key_id, claims })
    }
}

const KEY_ID: &str = "bench";
