//! The description of the API, made from its types.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::batch::{OPERATIONS_MAX, Operation, Outcome};
use super::cells::{
    Counted, CounterValue, Created, NewBallot, NewIncrement, RulesShape, TallyValue, Voted,
};
use super::history::{LIMIT, LIMIT_MAX, Page};
use super::problem::Problem;
use super::records::{NewRecord, NewRecords};
use super::topics::{Producer, Published};

/// The document in OpenAPI 3.1.
pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(make)
}

/// What describes one operation.
#[derive(Default)]
struct Described {
    id: &'static str,
    summary: &'static str,
    name: Option<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answer: Option<Value>,
    refusals: &'static [u16],
}

/// Refusals that any request may meet.
const ALWAYS: [u16; 6] = [400, 401, 403, 422, 429, 503];

fn make() -> Value {
    let mut types = Types::new();
    let problem = said::<Problem>(&mut types);
    let paths = json!({
        "/v1/topics/{name}": { "post": operation(publish(&mut types), &problem) },
        "/v1/topics/{name}/records": { "get": operation(records(&mut types), &problem) },
        "/v1/topics/{name}/events": { "get": operation(topic_events(), &problem) },
        "/v1/producers": { "post": operation(producer(&mut types), &problem) },
        "/v1/counters/{name}": { "get": operation(counter(&mut types), &problem) },
        "/v1/counters/{name}/incr": { "post": operation(increment(&mut types), &problem) },
        "/v1/counters/{name}/events": { "get": operation(cell_events("counter"), &problem) },
        "/v1/tallies/{name}": {
            "get": operation(tally(&mut types), &problem),
            "put": operation(create(&mut types), &problem),
        },
        "/v1/tallies/{name}/votes": { "post": operation(vote(&mut types), &problem) },
        "/v1/tallies/{name}/events": { "get": operation(cell_events("tally"), &problem) },
        "/v1/batch": { "post": operation(batch(&mut types), &problem) },
        "/v1/openapi.json": { "get": {
            "operationId": "describe",
            "summary": "This document",
            "responses": { "200": {
                "description": "OpenAPI 3.1",
                "content": { "application/json": { "schema": { "type": "object" } } }
            } }
        } }
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidewire",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Topics, counters and tallies over HTTP, under the same rules as the protocol.",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" }
        },
        "security": [{}, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": types.take(),
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } }
        }
    })
}

/// The types of what is sent, and of what is answered: a field may be left out of one or the other.
struct Types {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Types {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = "/components/schemas".into())
        };
        let (sent, answered) = (settings(), settings().for_serialize());
        Self { sent: sent.into_generator(), answered: answered.into_generator() }
    }

    /// All that have a name.
    fn take(&mut self) -> Map<String, Value> {
        let mut all = self.sent.take_definitions(true);
        all.extend(self.answered.take_definitions(true));
        all
    }
}

fn sent<T: JsonSchema>(types: &mut Types) -> Value {
    types.sent.subschema_for::<T>().to_value()
}

fn said<T: JsonSchema>(types: &mut Types) -> Value {
    types.answered.subschema_for::<T>().to_value()
}

fn publish(types: &mut Types) -> Described {
    let record = sent::<NewRecords>(types);
    let line = sent::<NewRecord>(types);
    Described {
        id: "publish",
        summary: "Publish one record, or several in one piece",
        name: Some("topic"),
        parameters: vec![
            query(
                "ack",
                "The level of the acknowledgement",
                json!({
                    "type": "string", "enum": ["memory", "disk", "quorum", "policy"]
                }),
            ),
            query("key", "The key of a record whose payload is the body", text()),
            query("ttl_ms", "The map entries of the keys expire after so long", number()),
            query("expected_offset", "Append only if nothing stands here or behind it", number()),
            query("expected_key", "With expected_offset: only records of this key count", text()),
            idempotency("PRODUCER-SEQUENCE, as from /v1/producers: the same is appended once"),
        ],
        body: Some(json!({ "required": true, "content": {
            "application/json": { "schema": record },
            "application/x-ndjson": { "schema": { "type": "string" }, "x-line": line },
            "application/octet-stream": { "schema": { "type": "string", "format": "binary" } }
        } })),
        answer: Some(said::<Published>(types)),
        refusals: &[408, 409, 413, 415, 507],
    }
}

fn records(types: &mut Types) -> Described {
    Described {
        id: "readRecords",
        summary: "What a topic keeps, page by page",
        name: Some("topic"),
        parameters: vec![
            query(
                "start",
                "earliest, last:N, time:MS, EPOCH:OFFSET, or next_start of a page",
                text(),
            ),
            query(
                "limit",
                "Records of a page",
                json!({
                    "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT
                }),
            ),
        ],
        answer: Some(said::<Page>(types)),
        refusals: &[404],
        ..Described::default()
    }
}

fn topic_events() -> Described {
    let mut parameters = vec![
        query("start", "latest, earliest, last:N, time:MS or EPOCH:OFFSET", text()),
        query("key", "Only records with this key", text()),
    ];
    parameters.extend(resuming());
    Described {
        id: "followTopic",
        summary: "Records as they come, as server-sent events",
        name: Some("topic"),
        parameters,
        ..Described::default()
    }
}

fn cell_events(what: &'static str) -> Described {
    Described {
        id: if what == "counter" { "followCounter" } else { "followTally" },
        summary: "The newest value whenever it changes, as server-sent events",
        name: Some(what),
        parameters: resuming().into(),
        refusals: &[404],
        ..Described::default()
    }
}

fn producer(types: &mut Types) -> Described {
    Described {
        id: "issueProducer",
        summary: "A number under which publishes can be repeated safely",
        answer: Some(said::<Producer>(types)),
        ..Described::default()
    }
}

fn counter(types: &mut Types) -> Described {
    Described {
        id: "readCounter",
        summary: "The value of a counter",
        name: Some("counter"),
        parameters: freshness().into(),
        answer: Some(said::<CounterValue>(types)),
        refusals: &[404],
        ..Described::default()
    }
}

fn increment(types: &mut Types) -> Described {
    let body = sent::<NewIncrement>(types);
    Described {
        id: "increment",
        summary: "Add to a counter",
        name: Some("counter"),
        parameters: vec![idempotency("1 to 64 bytes: the same is counted once")],
        body: Some(
            json!({ "required": false, "content": { "application/json": { "schema": body } } }),
        ),
        answer: Some(said::<Counted>(types)),
        refusals: &[408, 409, 413, 415, 507],
    }
}

fn tally(types: &mut Types) -> Described {
    Described {
        id: "readTally",
        summary: "The standings of a tally",
        name: Some("tally"),
        parameters: freshness().into(),
        answer: Some(said::<TallyValue>(types)),
        refusals: &[404],
        ..Described::default()
    }
}

fn create(types: &mut Types) -> Described {
    let body = sent::<RulesShape>(types);
    Described {
        id: "createTally",
        summary: "Make a tally, unless it is there with the same rules",
        name: Some("tally"),
        body: Some(
            json!({ "required": true, "content": { "application/json": { "schema": body } } }),
        ),
        answer: Some(said::<Created>(types)),
        refusals: &[408, 409, 413, 415, 507],
        ..Described::default()
    }
}

fn vote(types: &mut Types) -> Described {
    let body = sent::<NewBallot>(types);
    Described {
        id: "vote",
        summary: "Vote; the newest ballot of a voter counts",
        name: Some("tally"),
        parameters: vec![idempotency("Not needed: a ballot is counted once for its voter")],
        body: Some(
            json!({ "required": true, "content": { "application/json": { "schema": body } } }),
        ),
        answer: Some(said::<Voted>(types)),
        refusals: &[404, 408, 409, 413, 415, 507],
    }
}

fn batch(types: &mut Types) -> Described {
    let operation = sent::<Operation>(types);
    let outcome = said::<Outcome>(types);
    Described {
        id: "batch",
        summary: "Several operations, each answered by itself",
        body: Some(json!({ "required": true, "content": { "application/json": { "schema": {
            "type": "array", "items": operation, "minItems": 1, "maxItems": OPERATIONS_MAX
        } } } })),
        answer: Some(json!({ "type": "array", "items": outcome })),
        refusals: &[408, 413, 415],
        ..Described::default()
    }
}

fn operation(described: Described, problem: &Value) -> Value {
    let Described { id, summary, name, mut parameters, body, answer, refusals } = described;
    if let Some(name) = name {
        let name = json!({
            "name": "name", "in": "path", "required": true,
            "description": format!("The {name}"),
            "schema": { "type": "string", "minLength": 1, "maxLength": 256 }
        });
        parameters.insert(0, name);
    }
    let content = match answer {
        Some(schema) => json!({ "application/json": { "schema": schema } }),
        None => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
    };
    let mut responses = json!({ "200": { "description": "Done", "content": content } });
    for status in ALWAYS.iter().chain(refusals) {
        let refused = json!({
            "description": "Refused",
            "content": { "application/problem+json": { "schema": problem } }
        });
        if let Some(responses) = responses.as_object_mut() {
            responses.insert(status.to_string(), refused);
        }
    }
    let mut operation = json!({
        "operationId": id, "summary": summary, "parameters": parameters, "responses": responses
    });
    if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

fn resuming() -> [Value; 4] {
    [
        query("last_event_id", "As the header, for clients that cannot send one", text()),
        query("interval_ms", "At most one event in so long, the newest", number()),
        query(
            "max_hz",
            "The same, as events in a second",
            json!({
                "type": "number", "exclusiveMinimum": 0, "maximum": 1000
            }),
        ),
        json!({
            "name": "Last-Event-ID", "in": "header", "required": false,
            "description": "Go on behind this event", "schema": { "type": "string" }
        }),
    ]
}

fn freshness() -> [Value; 2] {
    [
        query("at_least", "NODE.INCARNATION.VERSION, with commas between", text()),
        query(
            "linearizable",
            "Rather refuse than answer from a copy",
            json!({ "type": "boolean" }),
        ),
    ]
}

fn idempotency(description: &str) -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": description, "schema": { "type": "string" }
    })
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_in_the_documentation_is_current() {
        let copy: Value =
            serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap();
        assert!(copy == *document(), "run: tidewire config openapi > docs/openapi.json");
    }
}
