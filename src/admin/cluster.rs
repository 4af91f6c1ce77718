//! The cluster that the server is a node of.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use super::refuse;
use crate::server::Shared;

/// All nodes as this one sees them, and how it stands with the seeds.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    match &shared.cluster {
        Some(cluster) => Json(cluster.status()).into_response(),
        None => {
            let message = "this server is not part of a cluster: [cluster] in its configuration names \
                           its certificate and where the other nodes are (docs/clustering.md)";
            refuse(StatusCode::CONFLICT, "unsupported", message)
        }
    }
}
