//! Who is connected, who has to go, and whose tokens do not count any more.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::json;

use super::refuse;
use crate::audit::Entry;
use crate::auth::{RevocationError, Revoke};
use crate::server::{Shared, Which, Whom, wall_ms};

/// Whom to list: everybody, or so many that are behind the most.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    slowest: Option<usize>,
}

/// Who is connected.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Query(listed): Query<Listed>,
) -> Response {
    let whom = listed.slowest.map_or(Whom::All, Whom::Slowest);
    Json(json!({ "connections": shared.connections(whom).await })).into_response()
}

/// Which connections end: exactly one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    session: Option<String>,
    subject: Option<String>,
    address: Option<IpAddr>,
}

/// Ends connections.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Query(chosen): Query<Chosen>,
) -> Response {
    let which = match chosen {
        Chosen { session: Some(session), subject: None, address: None } => Which::Session(session),
        Chosen { session: None, subject: Some(subject), address: None } => Which::Subject(subject),
        Chosen { session: None, subject: None, address: Some(address) } => Which::Address(address),
        Chosen { .. } => {
            let message = "say which: one of session, subject and address";
            return refuse(StatusCode::BAD_REQUEST, "invalid_argument", message);
        }
    };
    let said = format!("{which:?}");
    let ended = shared.end_connections(which).await;
    shared
        .audit
        .record(|| Entry::done(wall_ms(), "admin.kill").saying(format!("{said}: {ended} ended")));
    Json(json!({ "ended": ended })).into_response()
}

/// Takes tokens out of use.
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<Revoke>, JsonRejection>,
) -> Response {
    let Json(revoke) = match body {
        Ok(body) => body,
        Err(rejection) => {
            return refuse(rejection.status(), "invalid_argument", &rejection.body_text());
        }
    };
    let said = format!("{revoke:?}");
    let of = Arc::clone(&shared);
    let revoked = move || {
        let outcome = of.revoke(&revoke);
        of.audit.record(|| {
            let entry = Entry::done(wall_ms(), "admin.revoke").saying(&said);
            match &outcome {
                Ok(()) => entry,
                Err(error) => entry.refused("failed", format!("{said}: {error}")),
            }
        });
        outcome
    };
    let outcome = tokio::task::spawn_blocking(revoked).await;
    match outcome {
        Ok(Ok(())) => {
            let is_kept = shared.config.data_dir.is_some();
            let count = shared.accounts.revocations.load().len();
            Json(json!({ "revocations": count, "kept": is_kept })).into_response()
        }
        Ok(Err(error @ RevocationError::Issuer)) => {
            refuse(StatusCode::NOT_FOUND, "not_found", &error.to_string())
        }
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string()),
    }
}
