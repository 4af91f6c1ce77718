//! Counters: one number, its time to live, and the operations that a retry may repeat.

mod recovery;
mod state;
#[cfg(test)]
mod tests;

pub use recovery::CounterChange;
pub use state::SavedCounter;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::CounterOp;
use tidewire_protocol::options::CounterOptions;
use tidewire_protocol::{ErrorCode, Refusal};

/// Idempotence ids that one counter remembers; the oldest is forgotten first.
const REMEMBERED_MAX: usize = 1024;
/// How long an idempotence id is remembered.
const REMEMBERED_MS: u64 = 10 * 60 * 1000;
/// Longest idempotence id in bytes.
const ID_BYTES_MAX: usize = 64;

/// A 64-bit signed number.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    value: i64,
    version: u64,
    expires_at_ms: Option<u64>,
    // Most counters are never given an id, so those that are not pay for a pointer only.
    remembered: Option<Box<Remembered>>,
}

/// The outcome of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Version of the counter that contains the operation.
    pub version: u64,
    /// The value after it.
    pub value: i64,
    /// By how much the value changed. A change that 64 bits cannot hold (from below zero to far
    /// above it) is given as the nearest that they can.
    pub applied: i64,
    /// Whether this repeats the reply to an earlier operation with the same id.
    pub duplicate: bool,
}

impl Counter {
    /// A counter at 0, version 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.value
    }

    /// Version of the last operation.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether its time to live is over.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Unix time at which the counter is to be deleted.
    #[must_use]
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// Carries out one operation and stamps it with `version`, even if the value stays.
    ///
    /// A counter whose time has come counts from 0, whether or not it has been deleted yet.
    /// A reset gives 0 whatever the bounds are, because the counter is deleted by it.
    ///
    /// # Errors
    /// `invalid_argument` for an id of 0 or more than 64 bytes, `min` above `max`, or a reset
    /// with an operand; `out_of_range` for a strict operation whose result is out of its bounds.
    /// Nothing has changed then, and the id is not remembered.
    pub fn apply(
        &mut self,
        op: CounterOp,
        operand: i64,
        options: &CounterOptions,
        version: u64,
        now_ms: u64,
    ) -> Result<Counted, Refusal> {
        check(op, operand, options)?;
        let expired = self.is_expired(now_ms);
        if !expired && let Some(first) = self.answer_to_retry(options, now_ms) {
            return Ok(Counted { duplicate: true, ..first });
        }
        let before = if expired { 0 } else { self.value };
        let value = result_of(op, before, operand, options)?;
        if expired {
            *self = Self::new();
        }
        self.value = value;
        self.version = version;
        self.expires_at_ms = match (op, options.ttl_ms) {
            (CounterOp::Reset, _) | (_, Some(0)) => None,
            (CounterOp::Add | CounterOp::Set, Some(ttl_ms)) => Some(now_ms.saturating_add(ttl_ms)),
            (CounterOp::Add | CounterOp::Set, None) => self.expires_at_ms,
        };
        let applied = value.saturating_sub(before);
        let counted = Counted { version, value, applied, duplicate: false };
        self.remember(options.id.as_deref(), counted, now_ms);
        Ok(counted)
    }

    fn answer_to_retry(&self, options: &CounterOptions, now_ms: u64) -> Option<Counted> {
        self.remembered.as_ref()?.find(options.id.as_deref()?, now_ms)
    }

    fn remember(&mut self, id: Option<&str>, counted: Counted, now_ms: u64) {
        if let Some(id) = id {
            self.remembered.get_or_insert_default().insert(id, counted, now_ms);
        } else if let Some(remembered) = &mut self.remembered {
            remembered.forget_old(now_ms);
        }
        self.remembered.take_if(|remembered| remembered.oldest_first.is_empty());
    }
}

fn check(op: CounterOp, operand: i64, options: &CounterOptions) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidArgument, message));
    if let Some(id) = &options.id
        && (id.is_empty() || id.len() > ID_BYTES_MAX)
    {
        let bytes = id.len();
        return invalid(format!("an id has 1 to {ID_BYTES_MAX} bytes, this one {bytes}"));
    }
    if let (Some(min), Some(max)) = (options.min, options.max)
        && min > max
    {
        return invalid(format!("min {min} is above max {max}: no value lies between them"));
    }
    if op == CounterOp::Reset && operand != 0 {
        return invalid(format!("reset takes operand 0; to give the value {operand}, use set"));
    }
    Ok(())
}

fn result_of(
    op: CounterOp,
    before: i64,
    operand: i64,
    options: &CounterOptions,
) -> Result<i64, Refusal> {
    let wanted = match op {
        CounterOp::Add => i128::from(before) + i128::from(operand),
        CounterOp::Set => i128::from(operand),
        CounterOp::Reset => return Ok(0),
    };
    // What 64 bits cannot hold is out of bounds, also where none are given.
    let min = options.min.unwrap_or(i64::MIN);
    let max = options.max.unwrap_or(i64::MAX);
    let beyond = if wanted < 0 { min } else { max };
    let value = i64::try_from(wanted).map_or(beyond, |wanted| wanted.clamp(min, max));
    if options.strict == Some(true) && i128::from(value) != wanted {
        let rule = match (wanted < i128::from(min), options.min, options.max) {
            (true, Some(min), _) => format!("below the minimum {min}"),
            (false, _, Some(max)) => format!("above the maximum {max}"),
            (_, None, _) | (_, _, None) => "beyond 64 bits".into(),
        };
        return Err(Refusal::new(
            ErrorCode::OutOfRange,
            format!(
                "the result {wanted} is {rule}, and the operation is strict: the value stays {before}"
            ),
        ));
    }
    Ok(value)
}

/// The replies to operations with an id.
#[derive(Clone, Debug, Default)]
struct Remembered {
    // Ordered, not hashed: the ids are the clients' choice, and a counter has no seed.
    by_id: BTreeMap<Arc<str>, (u64, Counted)>,
    oldest_first: VecDeque<(u64, Arc<str>)>,
}

impl Remembered {
    fn find(&self, id: &str, now_ms: u64) -> Option<Counted> {
        let (at_ms, counted) = self.by_id.get(id)?;
        (!is_old(*at_ms, now_ms)).then_some(*counted)
    }

    fn insert(&mut self, id: &str, counted: Counted, now_ms: u64) {
        self.forget_old(now_ms);
        if self.oldest_first.len() >= REMEMBERED_MAX {
            self.forget_oldest();
        }
        let id: Arc<str> = id.into();
        self.oldest_first.push_back((now_ms, Arc::clone(&id)));
        self.by_id.insert(id, (now_ms, counted));
    }

    fn forget_old(&mut self, now_ms: u64) {
        while self.oldest_first.front().is_some_and(|(at_ms, _)| is_old(*at_ms, now_ms)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.oldest_first.pop_front() {
            self.by_id.remove(&id);
        }
    }
}

fn is_old(at_ms: u64, now_ms: u64) -> bool {
    at_ms.saturating_add(REMEMBERED_MS) <= now_ms
}
