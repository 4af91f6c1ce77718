//! What increments may ask for.

use serde::{Deserialize, Serialize};

/// What INCR may ask for beyond the operand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "CounterFields", into = "CounterFields")]
pub struct CounterOptions {
    /// Lower bound of the result.
    pub min: Option<i64>,
    /// Upper bound of the result.
    pub max: Option<i64>,
    /// Refuse rather than clamp.
    pub strict: Option<bool>,
    /// Deleted so long after this operation; 0 removes a time to live.
    pub ttl_ms: Option<u64>,
    /// Idempotence key.
    pub id: Option<String>,
    /// Its place among the increments of a producer; of eventual counters only. Boxed, because all
    /// requests are as large as the largest.
    pub numbering: Option<Box<Numbering>>,
}

/// The place of an increment of an eventual counter among those of its producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// Who numbers its increments, as PRODUCER has issued it.
    pub producer: Option<u64>,
    /// The producer's number of this increment.
    pub sequence: Option<u64>,
    /// The actors that it was sent to before and that have not answered: node and incarnation.
    pub tried: Vec<(u64, u64)>,
}

/// [`CounterOptions`] as they stand in a frame.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct CounterFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    producer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tried: Vec<(u64, u64)>,
}

impl From<CounterFields> for CounterOptions {
    fn from(fields: CounterFields) -> Self {
        let CounterFields { min, max, strict, ttl_ms, id, producer, sequence, tried } = fields;
        let is_numbered = producer.is_some() || sequence.is_some() || !tried.is_empty();
        let numbering = is_numbered.then(|| Box::new(Numbering { producer, sequence, tried }));
        Self { min, max, strict, ttl_ms, id, numbering }
    }
}

impl From<CounterOptions> for CounterFields {
    fn from(options: CounterOptions) -> Self {
        let CounterOptions { min, max, strict, ttl_ms, id, numbering } = options;
        let Numbering { producer, sequence, tried } = numbering.map(|it| *it).unwrap_or_default();
        Self { min, max, strict, ttl_ms, id, producer, sequence, tried }
    }
}
