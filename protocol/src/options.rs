//! The structured fields of frames: maps whose unknown keys are ignored.

mod counter;

use serde::{Deserialize, Serialize};

use crate::error::{ErrorCode, Refusal};
use crate::record::Record;
pub use counter::{CounterOptions, Numbering};

/// What PUBLISH may ask for beyond the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishOptions {
    /// Time to live of the map entries that this body writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// The producer that numbers its publishes, as PRODUCER has issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<u64>,
    /// The producer's number of this publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Nothing may have been appended at this offset or behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_offset: Option<u64>,
    /// Only records with this key count for `expected_offset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_key: Option<String>,
}

/// What SUBSCRIBE may ask for beyond the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeOptions {
    /// 0 every record, 1 the newest per key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u64>,
    /// With mode 1: the shortest time between two deliveries of a topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Conditions that all must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Vec<Condition>>,
    /// Bytes of body that may be delivered at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit: Option<u64>,
    /// 0 continue at the oldest, 1 jump to the newest, 2 end the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_gap: Option<u64>,
    /// Consumer group (reserved).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// One condition of a filter: `[field, op, value?]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition(pub String, pub String, #[serde(default)] pub Option<String>);

/// A checked filter on keys and headers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter(Vec<Test>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Test {
    /// `None` tests the key.
    header: Option<String>,
    comparison: Comparison,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Comparison {
    Equal(String),
    NotEqual(String),
    Prefix(String),
    Exists,
    Absent,
}

/// Most conditions of one filter.
pub const CONDITIONS_MAX: usize = 16;

impl Filter {
    /// Checks a filter at the edge.
    ///
    /// # Errors
    /// `invalid_argument`, naming the condition and the rule.
    pub fn parse(conditions: &[Condition]) -> Result<Self, Refusal> {
        if conditions.len() > CONDITIONS_MAX {
            return Err(invalid(format!("a filter has at most {CONDITIONS_MAX} conditions")));
        }
        conditions.iter().map(Test::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the record fulfils every condition.
    #[must_use]
    pub fn matches(&self, record: &Record<'_>) -> bool {
        self.0.iter().all(|test| test.holds(record))
    }
}

impl Test {
    fn parse(Condition(field, op, value): &Condition) -> Result<Self, Refusal> {
        let header = match field.strip_prefix("header:") {
            Some(name) if !name.is_empty() => Some(name.to_owned()),
            None if field == "key" => None,
            _ => {
                return Err(invalid(format!(
                    "filter field '{}': use 'key' or 'header:NAME'",
                    field.escape_default()
                )));
            }
        };
        let comparison = match (op.as_str(), value) {
            ("eq", Some(value)) => Comparison::Equal(value.clone()),
            ("ne", Some(value)) => Comparison::NotEqual(value.clone()),
            ("prefix", Some(value)) => Comparison::Prefix(value.clone()),
            ("exists", _) => Comparison::Exists,
            ("absent", _) => Comparison::Absent,
            ("eq" | "ne" | "prefix", None) => {
                return Err(invalid(format!("filter operator '{op}' needs a value")));
            }
            _ => {
                return Err(invalid(format!(
                    "filter operator '{}': use eq, ne, prefix, exists or absent",
                    op.escape_default()
                )));
            }
        };
        Ok(Self { header, comparison })
    }

    fn holds(&self, record: &Record<'_>) -> bool {
        let found = match &self.header {
            None => record.key,
            Some(name) => record.header(name),
        };
        match &self.comparison {
            Comparison::Equal(value) => found == Some(value),
            Comparison::NotEqual(value) => found != Some(value),
            Comparison::Prefix(value) => found.is_some_and(|found| found.starts_with(value)),
            Comparison::Exists => found.is_some(),
            Comparison::Absent => found.is_none(),
        }
    }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidArgument, message)
}

/// What GET may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetOptions {
    /// Of an eventual counter: what has to be known at least, as COUNTED has said it: node, incarnation,
    /// version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub at_least: Vec<(u64, u64, u64)>,
    /// Refuse rather than answer from a copy that may lack something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linearizable: Option<bool>,
}

/// What WATCH may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchOptions {
    /// Shortest time between two updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Only this key of a map or presence set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Epoch of the version that the client holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Version that the client holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What WELCOME says about the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    /// Software and version.
    pub server: String,
    /// Name of the node.
    pub node: String,
    /// Number of shards; positions of patterns refer to them.
    pub shards: u64,
    /// Largest frame that either side may send.
    pub max_frame_bytes: u64,
    /// The server pings after so long without anything received.
    pub heartbeat_ms: u64,
    /// Unanswered requests that a connection may have.
    pub in_flight_max: u64,
    /// Subscriptions and watches that a connection may have.
    pub subscriptions_max: u64,
    /// Unix time of the server.
    pub time_ms: u64,
    /// Who the connection is; nothing where there are no accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityInfo>,
    /// Who counts in eventual counters for the connection: node and incarnation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<(u64, u64)>,
    /// URLs of other nodes that serve the same names, for when this one is gone; at most
    /// [`NODES_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// Other nodes that WELCOME and GOAWAY name at most.
pub const NODES_MAX: usize = 16;

/// Who a connection is, as WELCOME and the reply to AUTH say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityInfo {
    /// Who says so.
    pub issuer: String,
    /// The name that the issuer has for it.
    pub subject: String,
    /// Unix time at which the connection is ended, unless AUTH comes before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// What TOPIC may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicOptions {
    /// Truncate: records before this offset go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_offset: Option<u64>,
    /// Truncate: records that were appended before this Unix time in milliseconds go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_time_ms: Option<u64>,
}

/// What PRODUCER is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProducerInfo {
    /// The id that publishes of this producer carry.
    pub producer: u64,
    /// How many publishes of a producer to one topic the server remembers.
    pub window: u64,
    /// A producer that has published nothing for so long may be forgotten.
    pub idle_ms: u64,
}

/// What the server keeps about a topic (GET kind 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicInfo {
    /// Oldest kept offset.
    pub first: u64,
    /// Offset of the next record.
    pub next: u64,
    /// Bytes of bodies kept.
    pub bytes: u64,
    /// Batches kept.
    pub batches: u64,
    /// The pattern of the policy that applies.
    pub policy: String,
    /// Partitions, if there are several; the numbers above are their sums then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u64>,
}
