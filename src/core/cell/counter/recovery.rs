//! A counter as it is logged: one change.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::{Counted, Counter};

/// How a counter stands after an operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CounterChange {
    value: i64,
    version: u64,
    expires_at_ms: Option<u64>,
    /// Of an operation with an id, which a retry repeats: the id, when, and what it changed.
    reply: Option<(String, u64, i64)>,
}

impl CounterChange {
    /// Version of the operation.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl Counter {
    /// How it stands after an operation with this id.
    #[must_use]
    pub fn change(&self, id: Option<&str>) -> CounterChange {
        let remembered = id.zip(self.remembered.as_deref());
        let reply = remembered.and_then(|(id, remembered)| {
            let (at_ms, counted) = remembered.by_id.get(id)?;
            Some((id.into(), *at_ms, counted.applied))
        });
        let Self { value, version, expires_at_ms, remembered: _ } = self;
        CounterChange { value: *value, version: *version, expires_at_ms: *expires_at_ms, reply }
    }

    /// Takes over a change that was logged at this time.
    pub fn recover(&mut self, change: CounterChange, now_ms: u64) {
        let CounterChange { value, version, expires_at_ms, reply } = change;
        self.value = value;
        self.version = version;
        self.expires_at_ms = expires_at_ms;
        let (id, at_ms, applied) = match &reply {
            Some((id, at_ms, applied)) => (Some(id.as_str()), *at_ms, *applied),
            None => (None, now_ms, 0),
        };
        self.remember(id, Counted { version, value, applied, duplicate: false }, at_ms);
    }
}
