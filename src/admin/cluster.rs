//! The cluster that the server is a node of.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};

use serde::Serialize;
use serde_json::json;

use super::refuse;
use crate::cluster::ClusterStatus;
use crate::server::Shared;
use crate::server::replicated::{self, ControlError, GroupStatus};

/// The nodes, and who leads which shards.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    nodes: ClusterStatus,
    groups: Option<Vec<GroupStatus>>,
}

/// Makes this node the first of its cluster.
pub(super) async fn init(State(shared): State<Arc<Shared>>) -> Response {
    told(replicated::init(&shared).await)
}

/// Asks the other nodes to take this one in.
pub(super) async fn join(State(shared): State<Arc<Shared>>) -> Response {
    told(replicated::join(&shared).await)
}

fn told(outcome: Result<usize, ControlError>) -> Response {
    match outcome {
        Ok(groups) => Json(json!({ "groups": groups })).into_response(),
        Err(error) => refuse(StatusCode::CONFLICT, "refused", &error.to_string()),
    }
}

/// All nodes as this one sees them, and how it stands with the seeds.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    match &shared.cluster {
        Some(cluster) => {
            let groups = shared.replication.as_ref().map(replicated::status);
            Json(Status { nodes: cluster.status(), groups }).into_response()
        }
        None => {
            let message = "this server is not part of a cluster: [cluster] in its configuration names \
                           its certificate and where the other nodes are (docs/clustering.md)";
            refuse(StatusCode::CONFLICT, "unsupported", message)
        }
    }
}
