//! The admin listener: health, readiness, metrics, what the server is doing, recordings of it, and the console.

mod backup;
mod ballots;
mod browsers;
mod cluster;
mod connections;
mod console;
mod listener;
mod live;
mod names;
mod recording;
mod streaming;

pub(crate) use browsers::is_address;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tidewire_protocol::Name;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::journal::State as JournalState;
use crate::load::Load;
use crate::server::Shared;
use crate::server::replicated::steering::not_ready;
use crate::telemetry;
use crate::transport::Arrival;
use crate::webhook::Webhooks;

/// Serves the admin listener until the server stops.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    socket: TcpListener,
    arrivals: Vec<mpsc::Sender<Arrival>>,
) {
    let is_local = shared.config.admin_listen.ip().is_loopback();
    let keep_out = axum::middleware::from_fn_with_state(is_local, browsers::keep_out);
    let wait = Duration::from_millis(shared.config.handshake_timeout_ms);
    let take_body = axum::middleware::from_fn_with_state(wait, listener::take_body);
    let cores = console::Cores::new(Arc::clone(&shared), arrivals);
    let routes = Router::new()
        .route("/v1/ws", get(console::socket).with_state(cores))
        .route("/v1/live", get(live::live))
        .route("/v1/names", get(names::names))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/policy", get(policy))
        .route("/v1/backup", get(backup::backup))
        .route("/v1/connections", get(connections::list).delete(connections::end))
        .route("/v1/tenants", get(tenants))
        .route("/v1/cluster", get(cluster::status))
        .route("/v1/cluster/init", post(cluster::init))
        .route("/v1/cluster/join", post(cluster::join))
        .route("/v1/cluster/order", post(cluster::order))
        .route("/v1/cluster/rebalance", post(cluster::rebalance))
        .route("/v1/cluster/upgrade", get(cluster::upgrade_check))
        .route("/v1/revocations", post(connections::revoke))
        .route("/v1/ballots", get(ballots::ballots))
        .route(
            "/v1/recording",
            get(recording::status).post(recording::start).delete(recording::stop),
        )
        .fallback(get(console::page))
        .with_state(shared)
        .layer(take_body)
        .layer(keep_out);
    listener::serve(socket, routes, wait).await;
}

/// The process is alive: its shards take commands, and its journal keeps what it is given.
async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    if let Some(failure) = shared.journal.as_deref().and_then(|journal| journal.failure()) {
        let message = format!("the journal has failed ({failure}): start the server again\n");
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    }
    let closed = shared.shards.iter().position(mpsc::Sender::is_closed);
    match closed {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(shard) => (StatusCode::SERVICE_UNAVAILABLE, format!("shard {shard} has stopped\n"))
            .into_response(),
    }
}

/// The server wants connections.
async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    if shared.draining.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining: the server is about to stop\n")
            .into_response();
    }
    if let Some(reason) = not_ready(&shared) {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response();
    }
    (StatusCode::OK, "ready\n").into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, telemetry::render(&shared)).into_response()
}

/// What each tenant has, and may have.
async fn tenants(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({ "tenants": shared.tenants.infos() })).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<serde_json::Value> {
    let shards = shared.figures.shards();
    Json(json!({
        "server": concat!("tidewire/", env!("CARGO_PKG_VERSION")),
        "node": shared.config.node,
        "draining": shared.draining.load(Ordering::Relaxed),
        "reloads": shared.accounts.reloads.taken.load(Ordering::Relaxed),
        "reloads_rejected": shared.accounts.reloads.rejected.load(Ordering::Relaxed),
        "insecure": shared.config.insecure,
        "revocations": shared.accounts.revocations.load().len(),
        "accounts": shared.accounts.auth.load().has_accounts(),
        "connections": shared.figures.connections(),
        "subscriptions": shared.figures.sum(|core| &core.subscriptions),
        "topics": shards.topics,
        "topic_bytes": shards.topic_bytes,
        "cells": shards.cells,
        "journal": shared.journal.as_deref().map(journal),
        "load": load(&shared.load),
        "webhook": webhook(&shared.webhooks),
        "queued_commands": shared.shards.iter()
            .map(|queue| queue.max_capacity() - queue.capacity()).collect::<Vec<_>>(),
    }))
}

fn load(load: &Load) -> serde_json::Value {
    let signals = load.signals();
    json!({
        "level": load.level().number(),
        "name": load.level().name(),
        "interval_ms": load.level().interval_ms(),
        "fanout_lag_ms": signals.fanout_lag_ms,
        "commit_ms": signals.commit_ms,
        "memory_permille": signals.memory_permille,
        "memory_max_bytes": load.memory_max_bytes(),
        "memory_full": load.is_full(),
    })
}

/// Nothing if nobody is asked.
fn webhook(webhooks: &Webhooks) -> Option<serde_json::Value> {
    let condition = webhooks.is_there().then(|| webhooks.condition())?;
    Some(json!({
        "left_alone": condition.is_open,
        "in_flight": condition.in_flight,
        "remembered": condition.remembered,
    }))
}

fn journal(state: &JournalState) -> serde_json::Value {
    let stats = state.stats();
    json!({
        "failed": state.failure(),
        "full": state.is_full(),
        "free_bytes": stats.free_bytes,
        "commits": stats.commits,
        "blocks": stats.blocks,
        "bytes": stats.bytes,
        "commit_us_max": stats.commit_us_max,
    })
}

#[derive(Deserialize)]
struct PolicyQuery {
    name: String,
}

/// Which policy applies to a name, and why.
async fn policy(State(shared): State<Arc<Shared>>, Query(query): Query<PolicyQuery>) -> Response {
    let name = match Name::parse(&query.name) {
        Ok(name) => name,
        Err(refusal) => {
            let body = json!({ "code": refusal.code.name(), "message": refusal.message });
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    };
    let policies = shared.config.policies();
    let (pattern, policy) = policies.explain(&name);
    Json(json!({
        "name": name.as_str(),
        "decided_by": pattern.map_or("default", |pattern| pattern.as_str()),
        "shard": policies.home(&name),
        "retention_records": policy.retention_records,
        "retention_bytes": policy.retention_bytes,
        "retention_ms": policy.retention_ms,
        "idle_timeout_ms": policy.idle_timeout_ms,
        "map_keys_max": policy.map_keys_max,
        "partitions": policy.partitions,
        "ack_max": policy.ack_max.as_str(),
    }))
    .into_response()
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}
