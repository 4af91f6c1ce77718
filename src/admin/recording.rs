//! Recordings by request: start, stop, status.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;

use super::refuse;
use crate::audit::Entry;
use crate::config::{Config, Consistency, PolicyConfig};
use crate::recording::{Limits, NOTICE, StartRefused, StartRequest, Status, StopReason};
use crate::server::{Shared, wall_ms};

/// Bounds of a recording for which none are asked.
const BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
const SECONDS_DEFAULT: u64 = 600;

/// What may be asked for; everything has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StartBody {
    name: Option<String>,
    max_bytes: Option<u64>,
    max_seconds: Option<u64>,
    /// It is known that the recording has nothing of eventual counters.
    without_eventual: bool,
}

/// Why this server is not recorded, if it is not.
fn refusal(config: &Config, without_eventual: bool) -> Option<&'static str> {
    let is_eventual = |policy: &PolicyConfig| policy.consistency == Consistency::Eventual;
    if config.cluster.is_there() {
        return Some(
            "a node of a cluster is not recorded: what its shards are told comes from other nodes as well, and a \
             replay knows nothing of those; record a server of its own",
        );
    }
    if !without_eventual && config.policy.iter().any(is_eventual) {
        return Some(
            "this server has eventual counters, which are in no shard, so that a recording has nothing of them: \
             `--without-eventual` (\"without_eventual\": true) records all the rest",
        );
    }
    None
}

pub(super) async fn start(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<StartBody>, JsonRejection>,
) -> Response {
    let Json(body) = match body {
        Ok(body) => body,
        Err(rejection) => {
            return refuse(rejection.status(), "invalid_argument", &rejection.body_text());
        }
    };
    if let Some(refusal) = refusal(&shared.config, body.without_eventual) {
        return refuse(StatusCode::CONFLICT, "unsupported", refusal);
    }
    let now_ms = shared.clock.now_ms();
    let request = StartRequest {
        directory: shared.config.recordings_dir(),
        name: body.name.unwrap_or_else(|| format!("recording-{now_ms}.twr")),
        limits: Limits {
            max_bytes: body.max_bytes.unwrap_or(BYTES_DEFAULT),
            max_seconds: body.max_seconds.unwrap_or(SECONDS_DEFAULT),
        },
        node: shared.config.node.clone(),
        now_ms,
    };
    match shared.recorder.start(request) {
        Ok(status) => {
            shared.audit.record(|| Entry::done(wall_ms(), "admin.record"));
            let mut value = json!(status);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("notice".to_owned(), NOTICE.into());
            }
            (StatusCode::CREATED, Json(value)).into_response()
        }
        Err(refused) => {
            let (status, code) = match &refused {
                StartRefused::Busy(_) => (StatusCode::CONFLICT, "busy"),
                StartRefused::Exists(_) => (StatusCode::CONFLICT, "already_exists"),
                StartRefused::NoDirectory => (StatusCode::CONFLICT, "unsupported"),
                StartRefused::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_argument"),
                StartRefused::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            };
            refuse(status, code, &refused.to_string())
        }
    }
}

pub(super) async fn stop(State(shared): State<Arc<Shared>>) -> Response {
    match shared.recorder.stop(StopReason::Requested).await {
        Some(status) => Json(status).into_response(),
        None => {
            let message = match shared.recorder.status() {
                Some(Status { name, stop_reason: Some(reason), .. }) => {
                    format!("nothing is being recorded: '{name}' is over, {reason}")
                }
                Some(_) | None => "nothing is being recorded".to_owned(),
            };
            refuse(StatusCode::CONFLICT, "not_found", &message)
        }
    }
}

pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    match shared.recorder.status() {
        Some(status) => Json(status).into_response(),
        None => Json(json!({ "state": "idle" })).into_response(),
    }
}
