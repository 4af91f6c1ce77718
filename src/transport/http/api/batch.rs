//! `POST /v1/batch`: several operations in one request, each answered by itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidewire_protocol::frame::{AckLevel, CellKind};
use tidewire_protocol::options::{GetOptions, PublishOptions};
use tidewire_protocol::{ClientFrame, Name, Refusal};

use super::super::Reply;
use super::Asked;
use super::cells::{self, NewBallot, NewIncrement};
use super::object::Object;
use super::problem::{Problem, invalid, refuse};
use super::records::{self, NewRecord};
use super::reply::json;
use super::session::{Answer, Session};
use super::topics;

/// Operations of one request.
pub(super) const OPERATIONS_MAX: usize = 100;

/// One operation, named by its only key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    Publish(Object<Publish>),
    Incr(Object<Incr>),
    Vote(Object<Vote>),
    Get(Object<Get>),
}

/// Publishes records, all or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    topic: String,
    records: Vec<Object<NewRecord>>,
    /// `memory`, `disk`, `quorum` or `policy`.
    ack: Option<String>,
    ttl_ms: Option<u64>,
    /// As the header: `PRODUCER-SEQUENCE`.
    idempotency_key: Option<String>,
}

/// Increments a counter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Incr {
    counter: String,
    #[serde(default)]
    increment: Object<NewIncrement>,
    /// As the header.
    idempotency_key: Option<String>,
}

/// Votes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Vote {
    tally: String,
    ballot: Object<NewBallot>,
}

/// Reads a counter or a tally: one of both.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Get {
    counter: Option<String>,
    tally: Option<String>,
}

/// What an operation came to: the status and body that it would have had alone.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Outcome {
    #[schemars(range(min = 200, max = 599))]
    status: u16,
    body: Value,
}

/// What is made of the answer.
enum Expected {
    Published(Name),
    Counted(Name, NewIncrement),
    Voted(Name),
    Counter(Name),
    Tally(Name),
}

/// Carries out what a request has brought. The operations are begun in order, and need not end so.
pub(super) async fn perform(session: &Session, asked: Asked) -> Reply {
    let operations = asked.query.finish().and_then(|()| {
        let operations: Vec<Operation> = records::read_json(&asked.body)?;
        let count = operations.len();
        if count == 0 || count > OPERATIONS_MAX {
            return Err(invalid(format!("1 to {OPERATIONS_MAX} operations, these are {count}")));
        }
        Ok(operations)
    });
    let operations = match operations {
        Ok(operations) => operations,
        Err(refusal) => return refuse(&refusal),
    };
    let (mut frames, mut expected) = (Vec::new(), Vec::new());
    for operation in operations {
        match operation.prepare(session.req()) {
            Ok((frame, wanted)) => {
                frames.push(frame);
                expected.push(Ok(wanted));
            }
            Err(refusal) => expected.push(Err(refusal)),
        }
    }
    let mut answers = session.ask_all(frames).await.into_iter();
    let outcomes = expected.into_iter().map(|wanted| {
        let said = wanted.and_then(|wanted| {
            let answer = answers.next().unwrap_or_else(|| Err(session.gone()));
            wanted.read(answer)
        });
        match said {
            Ok(body) => Outcome { status: 200, body },
            Err(refusal) => {
                let problem = Problem::of(&refusal);
                let status = problem.status;
                Outcome { status, body: serde_json::to_value(&problem).unwrap_or_default() }
            }
        }
    });
    json(&outcomes.collect::<Vec<_>>())
}

impl Operation {
    fn prepare(self, req: u64) -> Result<(ClientFrame, Expected), Refusal> {
        match self {
            Self::Publish(Object(publish)) => {
                let Publish { topic, records, ack, ttl_ms, idempotency_key } = publish;
                let topic = Name::parse(&topic)?;
                let ack = ack.as_deref().map_or(Ok(AckLevel::Policy), topics::ack_named)?;
                let numbered =
                    idempotency_key.as_deref().map(topics::parse_numbering).transpose()?;
                let options = PublishOptions {
                    ttl_ms,
                    producer: numbered.map(|(producer, _)| producer),
                    sequence: numbered.map(|(_, sequence)| sequence),
                    ..PublishOptions::default()
                };
                let body = records::body_of_all(&records)?;
                let expected = Expected::Published(topic.clone());
                Ok((ClientFrame::Publish { req, topic, ack, body, options }, expected))
            }
            Self::Incr(Object(incr)) => {
                let Incr { counter, increment: Object(increment), idempotency_key } = incr;
                let counter = Name::parse(&counter)?;
                let expected = Expected::Counted(counter.clone(), increment.clone());
                Ok((increment.frame(req, counter, idempotency_key)?, expected))
            }
            Self::Vote(Object(Vote { tally, ballot: Object(ballot) })) => {
                let tally = Name::parse(&tally)?;
                Ok((ballot.frame(req, tally.clone()), Expected::Voted(tally)))
            }
            Self::Get(Object(Get { counter: Some(counter), tally: None })) => {
                let name = Name::parse(&counter)?;
                let options = GetOptions::default();
                let frame = cells::get(req, CellKind::Counter, name.clone(), options);
                Ok((frame, Expected::Counter(name)))
            }
            Self::Get(Object(Get { counter: None, tally: Some(tally) })) => {
                let name = Name::parse(&tally)?;
                let options = GetOptions::default();
                let frame = cells::get(req, CellKind::Tally, name.clone(), options);
                Ok((frame, Expected::Tally(name)))
            }
            Self::Get(_) => Err(invalid("get: give one of counter and tally")),
        }
    }
}

impl Expected {
    fn read(self, answer: Answer) -> Result<Value, Refusal> {
        let reply = answer?;
        let value = match self {
            Self::Published(name) => serde_json::to_value(topics::published(name.as_str(), reply)?),
            Self::Counted(name, asked) => {
                serde_json::to_value(cells::counted(name.as_str(), &asked, reply)?)
            }
            Self::Voted(name) => serde_json::to_value(cells::voted(name.as_str(), reply)?),
            Self::Counter(name) => {
                serde_json::to_value(cells::counter_value(name.as_str(), reply)?)
            }
            Self::Tally(name) => serde_json::to_value(cells::tally_value(name.as_str(), reply)?),
        };
        // Fails only for maps whose keys are no strings.
        Ok(value.unwrap_or_default())
    }
}
