//! Counters and tallies: increments, votes, reads.

use http::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_protocol::frame::{AsOf, CellKind, CounterOp, TallyOp};
use tidewire_protocol::options::{CounterOptions, GetOptions};
use tidewire_protocol::tally::{Choice, Standings, TallyReply, TallyRules};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Refusal, ServerFrame, wire};

use super::super::Reply;
use super::problem::{invalid, refuse};
use super::query::Query;
use super::records::read_object;
use super::reply::json;
use super::session::Session;
use super::topics::idempotency_key;
use super::{Asked, unexpected};

/// Longest key of an increment in bytes.
const ID_BYTES_MAX: usize = 64;

/// An increment. An empty body is the same as `{}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewIncrement {
    /// What is added; 1 if it is absent.
    by: Option<i64>,
    /// The counter does not go below it.
    min: Option<i64>,
    /// The counter does not go above it.
    max: Option<i64>,
    /// Refuse what would leave the bounds, rather than stop at them.
    strict: Option<bool>,
    /// The counter is deleted so long after this.
    ttl_ms: Option<u64>,
}

/// What an increment came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Counted {
    counter: String,
    pub(super) value: i64,
    /// By how much the value has changed.
    applied: i64,
    epoch: u64,
    version: u64,
    /// It was counted already, by an earlier request with the same Idempotency-Key.
    duplicate: bool,
    /// Of an eventual counter `[node, incarnation, version]`: for `at_least` of a read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<u64>>")]
    as_of: Option<(u64, u64, u64)>,
}

/// A ballot.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBallot {
    /// Who votes; absent or empty: whom the token names.
    #[serde(default)]
    voter: String,
    /// Options, by name or by number; of a ranked tally in order, where `null` skips a rank.
    #[schemars(with = "Vec<serde_json::Value>")]
    choices: Vec<Choice>,
    /// Grows with each ballot of the voter: an older one does not replace a newer one.
    #[serde(default)]
    revision: Option<u64>,
}

/// What a ballot came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Voted {
    tally: String,
    /// `accepted`, `changed` or `duplicate`.
    status: String,
    epoch: u64,
    version: u64,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u64>,
}

/// The value of a counter.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CounterValue {
    counter: String,
    pub(super) value: i64,
    epoch: u64,
    version: u64,
    #[serde(flatten)]
    age: Age,
}

/// The standings of a tally.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TallyValue {
    tally: String,
    epoch: u64,
    version: u64,
    #[serde(flatten)]
    #[schemars(with = "StandingsShape")]
    standings: Standings,
    #[serde(flatten)]
    age: Age,
}

/// How old a value is, if that is to be said.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Age {
    /// Everything before this Unix time is in the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of_ms: Option<u64>,
    /// It may lack what was done since.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale: Option<bool>,
}

/// How standings look, for the description of the API.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "it describes another type")]
pub(super) struct StandingsShape {
    /// In the order of the options; empty while the tally is hidden.
    counts: Vec<u64>,
    ballots: u64,
    blank: u64,
    overvotes: u64,
    /// `scheduled`, `open` or `closed`.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden: Option<bool>,
}

/// How many options a ballot names, and whether their order counts.
#[derive(JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "it describes another type")]
pub(super) enum KindShape {
    Single,
    Multiple,
    Ranked,
}

/// What an over-vote does when a runoff reaches it.
#[derive(Default, JsonSchema, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "it describes another type")]
pub(super) enum OvervoteShape {
    #[default]
    Skip,
    Exhaust,
}

/// How the rules of a tally look, for the description of the API.
#[derive(JsonSchema)]
#[allow(dead_code, reason = "it describes another type")]
pub(super) struct RulesShape {
    kind: KindShape,
    #[schemars(length(min = 1, max = 1000))]
    options: Vec<String>,
    choices_max: Option<u64>,
    #[serde(rename = "final", default)]
    is_final: bool,
    opens_at_ms: Option<u64>,
    closes_at_ms: Option<u64>,
    #[serde(default)]
    hidden: bool,
    identity: Option<String>,
    #[serde(default)]
    overvote: OvervoteShape,
    #[serde(default)]
    exhaust_after_skips: u64,
}

impl Age {
    fn of(as_of: Option<AsOf>) -> Self {
        match as_of {
            Some(AsOf { as_of_ms, is_stale }) => {
                Self { as_of_ms: Some(as_of_ms), stale: Some(is_stale) }
            }
            None => Self::default(),
        }
    }
}

impl NewIncrement {
    /// The request for it, and what is added.
    ///
    /// # Errors
    /// When the key is none.
    pub(super) fn frame(
        self,
        req: u64,
        counter: Name,
        key: Option<String>,
    ) -> Result<ClientFrame, Refusal> {
        let Self { by, min, max, strict, ttl_ms } = self;
        if key.as_ref().is_some_and(|key| key.len() > ID_BYTES_MAX) {
            let rule = format!("Idempotency-Key: of an increment at most {ID_BYTES_MAX} bytes");
            return Err(invalid(rule));
        }
        let options = CounterOptions { min, max, strict, ttl_ms, id: key, numbering: None };
        let (op, operand) = (CounterOp::Add, by.unwrap_or(1));
        Ok(ClientFrame::Incr { req, counter, op, operand, options })
    }

    /// Whether a repeated increment that was applied so can have been this one. One that meets a bound is
    /// applied in part.
    fn can_have_been(&self, counted: &Counted) -> bool {
        let by = self.by.unwrap_or(1);
        let is_bounded = self.min.is_some() || self.max.is_some();
        let met_the_end = counted.value == i64::MAX || counted.value == i64::MIN;
        counted.applied == by || is_bounded || met_the_end
    }
}

/// The reply to INCR.
///
/// # Errors
/// When it is another one, or the key was used for another increment.
pub(super) fn counted(
    counter: &str,
    asked: &NewIncrement,
    reply: ServerFrame,
) -> Result<Counted, Refusal> {
    let ServerFrame::Counted { epoch, version, value, applied, duplicate, as_of, .. } = reply
    else {
        return Err(unexpected(&reply));
    };
    let counter = counter.to_owned();
    let counted = Counted { counter, value, applied, epoch, version, duplicate, as_of };
    if counted.duplicate && !asked.can_have_been(&counted) {
        let applied = counted.applied;
        return Err(invalid(format!(
            "Idempotency-Key: it was used for an increment by {applied}; take another key for another one"
        )));
    }
    Ok(counted)
}

/// The key of an increment.
///
/// # Errors
/// When it is malformed.
pub(super) fn increment_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    idempotency_key(headers)
}

impl NewBallot {
    pub(super) fn frame(self, req: u64, tally: Name) -> ClientFrame {
        let Self { voter, choices, revision } = self;
        ClientFrame::Vote { req, tally, voter, choices, revision }
    }
}

/// The reply to VOTE.
///
/// # Errors
/// When it is another one.
pub(super) fn voted(tally: &str, reply: ServerFrame) -> Result<Voted, Refusal> {
    let ServerFrame::Voted { epoch, version, status, revision, partition, .. } = reply else {
        return Err(unexpected(&reply));
    };
    let (tally, status) = (tally.to_owned(), status_name(status).to_owned());
    Ok(Voted { tally, status, epoch, version, revision, partition })
}

fn status_name(status: u64) -> &'static str {
    match status {
        0 => "accepted",
        1 => "changed",
        _ => "duplicate",
    }
}

/// A tally as it is after it was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Created {
    tally: String,
    /// Whether it is new; otherwise it was there with the same rules.
    created: bool,
    /// `scheduled`, `open` or `closed`.
    state: String,
    version: u64,
}

/// Makes a tally, unless it is there with the same rules.
pub(super) async fn create(session: &Session, name: Name, asked: &Asked) -> Reply {
    let outcome = async {
        let rules: TallyRules = read_object(&asked.body)?;
        let (req, tally, rules) = (session.req(), name.clone(), Some(rules));
        let frame = ClientFrame::Tally { req, op: TallyOp::Create, tally, rules };
        let reply = session.ask(frame).await?;
        let ServerFrame::Ok { result: Some(result), .. } = &reply else {
            return Err(unexpected(&reply));
        };
        let TallyReply { created, state, version } = wire::from_slice(result)?;
        let state = state.as_str().to_owned();
        Ok(Created { tally: name.to_string(), created, state, version })
    };
    match outcome.await {
        Ok(created) => json(&created),
        Err(refusal) => refuse(&refusal),
    }
}

/// The request to read a cell.
pub(super) fn get(req: u64, kind: CellKind, name: Name, options: GetOptions) -> ClientFrame {
    ClientFrame::Get { req, kind, name, key: None, options }
}

/// What a read asks for.
///
/// # Errors
/// When it is not of that form.
pub(super) fn get_options(query: &mut Query) -> Result<GetOptions, Refusal> {
    let at_least = query.text("at_least").map_or(Ok(Vec::new()), |text| actors(&text))?;
    let linearizable = query.value("linearizable", "true or false")?;
    Ok(GetOptions { at_least, linearizable })
}

/// `NODE.INCARNATION.VERSION`, separated by commas.
fn actors(text: &str) -> Result<Vec<(u64, u64, u64)>, Refusal> {
    let actor = |text: &str| {
        let mut numbers = text.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(node)), Some(Ok(life)), Some(Ok(version)), None) => {
                Some((node, life, version))
            }
            _ => None,
        }
    };
    let all: Option<Vec<_>> = text.split(',').map(actor).collect();
    all.ok_or_else(|| {
        invalid("at_least: NODE.INCARNATION.VERSION as as_of of an increment has them, with commas between")
    })
}

/// The value of a counter.
///
/// # Errors
/// When there is none.
pub(super) fn counter_value(name: &str, reply: ServerFrame) -> Result<CounterValue, Refusal> {
    let (epoch, version, value, as_of) = value_of("counter", name, reply)?;
    let value = wire::from_slice(&value)?;
    Ok(CounterValue { counter: name.to_owned(), value, epoch, version, age: Age::of(as_of) })
}

/// The standings of a tally.
///
/// # Errors
/// When there is none.
pub(super) fn tally_value(name: &str, reply: ServerFrame) -> Result<TallyValue, Refusal> {
    let (epoch, version, value, as_of) = value_of("tally", name, reply)?;
    let standings = wire::from_slice(&value)?;
    Ok(TallyValue { tally: name.to_owned(), epoch, version, standings, age: Age::of(as_of) })
}

type Read = (u64, u64, bytes::Bytes, Option<AsOf>);

/// # Errors
/// When there is no value.
pub(super) fn value_of(what: &str, name: &str, reply: ServerFrame) -> Result<Read, Refusal> {
    let ServerFrame::Value { epoch, version, value, as_of, .. } = reply else {
        return Err(unexpected(&reply));
    };
    let missing = || Refusal::new(ErrorCode::NotFound, format!("there is no {what} '{name}'"));
    value.map(|value| (epoch, version, value, as_of)).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_names_actors() {
        assert_eq!(actors("1.2.3,4.5.6").unwrap(), [(1, 2, 3), (4, 5, 6)]);
        for wrong in ["", "1.2", "1.2.3.4", "a.b.c", "1.2.3,"] {
            assert!(actors(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_for_one_increment() {
        let reply = |applied, duplicate| ServerFrame::Counted {
            req: 1,
            epoch: 1,
            version: 1,
            value: 7,
            applied,
            duplicate,
            as_of: None,
        };
        let asked = NewIncrement { by: Some(3), ..NewIncrement::default() };
        assert!(counted("c", &asked, reply(3, true)).is_ok());
        assert!(counted("c", &asked, reply(4, true)).unwrap_err().message.contains("by 4"));
        let bounded = NewIncrement { max: Some(7), ..asked };
        assert!(counted("c", &bounded, reply(1, true)).is_ok());
    }
}
