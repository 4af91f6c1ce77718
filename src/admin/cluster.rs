//! The cluster that the server is a node of.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use serde_json::json;

use super::refuse;
use crate::audit::Entry;
use crate::cluster::ClusterStatus;
use crate::server::replicated::steering::{
    self, ClusterDecisions, GroupStatus, Order, SteeringError,
};
use crate::server::{Shared, wall_ms};

/// The nodes, what the cluster has decided about them, and who leads which shards.
#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    nodes: ClusterStatus,
    decided: Option<ClusterDecisions>,
    groups: Option<Vec<GroupStatus>>,
}

/// Makes this node the first of its cluster.
pub(super) async fn init(State(shared): State<Arc<Shared>>) -> Response {
    done(&shared, of("admin.cluster.init"), steering::found(&shared).await.map(|()| json!({})))
}

/// Asks the other nodes to take this one in.
pub(super) async fn join(State(shared): State<Arc<Shared>>) -> Response {
    done(&shared, of("admin.cluster.join"), steering::join(&shared).await.map(|()| json!({})))
}

/// Has the cluster decide something.
pub(super) async fn order(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<Order>, JsonRejection>,
) -> Response {
    let Json(order) = match body {
        Ok(order) => order,
        Err(rejection) => {
            return refuse(rejection.status(), "invalid_argument", &rejection.body_text());
        }
    };
    let said = format!("{order:?}");
    let decided = steering::operate(&shared, order).await;
    let decided = decided.map(|revision| json!({ "revision": revision }));
    done(&shared, of("admin.cluster.order").saying(said), decided)
}

/// Spreads leadership over the nodes.
pub(super) async fn rebalance(State(shared): State<Arc<Shared>>) -> Response {
    let shifts = steering::spread(&shared).await.map(|shifts| json!({ "shifts": shifts }));
    done(&shared, of("admin.cluster.rebalance"), shifts)
}

/// Whether a node can be stopped and updated now.
pub(super) async fn upgrade_check(State(shared): State<Arc<Shared>>) -> Response {
    match steering::upgrade_check(&shared).await {
        Ok(check) => Json(check).into_response(),
        Err(error) => refused(&error),
    }
}

fn of(action: &'static str) -> Entry {
    Entry::done(wall_ms(), action)
}

fn done(
    shared: &Shared,
    entry: Entry,
    outcome: Result<serde_json::Value, SteeringError>,
) -> Response {
    shared.audit.record(|| match &outcome {
        Ok(_) => entry,
        Err(error) => entry.refused("refused", error.to_string()),
    });
    match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => refused(&error),
    }
}

fn refused(error: &SteeringError) -> Response {
    match error {
        SteeringError::Late(_) | SteeringError::NotTaken => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string())
        }
        SteeringError::NoCluster => refuse(StatusCode::CONFLICT, "unsupported", &error.to_string()),
        SteeringError::Member
        | SteeringError::FoundedElsewhere(_)
        | SteeringError::OldData(_)
        | SteeringError::NotStarted
        | SteeringError::Engine(_)
        | SteeringError::Refused(_) => refuse(StatusCode::CONFLICT, "refused", &error.to_string()),
    }
}

/// All nodes as this one sees them, how it stands with the seeds, and what was decided.
pub(super) async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let Some(cluster) = &shared.cluster else {
        let message = "this server is not part of a cluster: [cluster] in its configuration names \
                       its certificate and where the other nodes are (docs/clustering.md)";
        return refuse(StatusCode::CONFLICT, "unsupported", message);
    };
    let (decided, groups) = match (steering::groups(&shared).await, &shared.replication) {
        (Some((groups, meta)), Some(replication)) => {
            (steering::decisions(replication, &groups, meta), Some(groups))
        }
        (None, _) | (_, None) => (None, None),
    };
    Json(Status { nodes: cluster.status(), decided, groups }).into_response()
}
