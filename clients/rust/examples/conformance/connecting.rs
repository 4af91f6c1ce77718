//! The connection, and what it says of itself.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tidewire_client::{Builder, Client, ConnectionState, Error, Trust};

use crate::{locked, say};

pub(crate) async fn connect(url: &str, command: &Value) -> Result<Client, Error> {
    say(json!({ "event": "state", "state": "connecting" }));
    match builder(url, command)?.connect().await {
        Ok(client) => {
            tokio::spawn(tell_states(client.states()));
            Ok(client)
        }
        Err(error) => {
            say(json!({ "event": "state", "state": "failed", "code": error.code() }));
            Err(error)
        }
    }
}

fn builder(url: &str, command: &Value) -> Result<Builder, Error> {
    let mut builder = Client::builder(url)?.client_name("runner");
    if let Some(token) = command["token"].as_str() {
        builder = builder.token(token);
    }
    if let Some(later) = command["tokens"].as_array() {
        let left: Vec<String> =
            later.iter().rev().filter_map(|token| token.as_str().map(str::to_owned)).collect();
        let left = Arc::new(Mutex::new(left));
        builder = builder.token_source(move || {
            let next = locked(&left).pop();
            async move { next.ok_or_else(|| "no token is left".to_owned()) }
        });
    }
    if let Some(pinned) = command["fingerprint"].as_str() {
        builder = builder.trust(Trust::Fingerprint(sha256(pinned)?));
    }
    let number = |key: &str| command[key].as_u64();
    if let (Some(min), Some(max)) = (number("backoff_min_ms"), number("backoff_max_ms")) {
        builder = builder.reconnect_delay_ms(min, max);
    }
    if let Some(timeout_ms) = number("connect_timeout_ms") {
        builder = builder.connect_timeout_ms(timeout_ms);
    }
    if let Some(max) = number("offline_queue") {
        builder = builder.offline_requests_max(usize::try_from(max).unwrap_or(usize::MAX));
    }
    Ok(builder)
}

fn sha256(hex: &str) -> Result<[u8; 32], Error> {
    let byte = |at: usize| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Error::Config(format!("{hex} is no SHA-256")))
}

async fn tell_states(mut states: tokio::sync::watch::Receiver<ConnectionState>) {
    loop {
        let state = states.borrow_and_update().clone();
        let name = match state {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Connected { .. } => "connected",
            ConnectionState::Disconnected { .. } | ConnectionState::Closed => "disconnected",
            ConnectionState::Failed { .. } => "failed",
        };
        say(json!({ "event": "state", "state": name }));
        if states.changed().await.is_err() {
            return;
        }
    }
}
