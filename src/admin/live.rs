//! What the server does, as it happens: a stream of events for the console and whoever else looks on.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::server::{CoreFigures, RefusalsSoFar, Shared};

/// How often figures are told.
const FIGURES: Duration = Duration::from_secs(1);
/// Refusals that come faster than this are told together.
const REFUSALS: Duration = Duration::from_millis(100);
/// Events that wait for who reads; beyond it nothing is made until there is room.
const WAITING_MAX: usize = 4;

/// Streams `figures` each second and `refusals` as they come, as server-sent events.
pub(super) async fn live(State(shared): State<Arc<Shared>>) -> Response {
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    tokio::spawn(tell(shared, sender));
    let events = futures_util::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|event| event.map(Ok::<Bytes, Infallible>))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events)).into_response()
}

/// Tells what happens until nobody listens.
async fn tell(shared: Arc<Shared>, events: mpsc::Sender<Bytes>) {
    let mut seconds = tokio::time::interval(FIGURES);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut changes = shared.refusals.changes();
    // Those that are still known are shown first.
    changes.mark_changed();
    let mut so_far = RefusalsSoFar::default();
    loop {
        let event = tokio::select! {
            _ = seconds.tick() => event("figures", &figures(&shared)),
            Ok(()) = changes.changed() => {
                tokio::time::sleep(REFUSALS).await;
                changes.mark_unchanged();
                let news = shared.refusals.since(so_far);
                so_far = news.so_far;
                event("refusals", &news)
            }
            () = events.closed() => return,
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Bytes {
    // Figures and refusals are plain values, which can always be written.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Counts since the start, whose differences are rates, and what there is now.
fn figures(shared: &Shared) -> Value {
    let figures = &shared.figures;
    let sum = |figure: fn(&CoreFigures) -> &AtomicU64| figures.sum(figure);
    let (shards, signals) = (figures.shards(), shared.load.signals());
    json!({
        "time_ms": shared.clock.now_ms(),
        "counts": {
            "requests": sum(|core| &core.requests),
            "deliveries": sum(|core| &core.deliveries),
            "records": sum(|core| &core.records),
            "body_bytes": sum(|core| &core.body_bytes),
            "updates": sum(|core| &core.updates),
            "gaps": sum(|core| &core.gaps),
            "refusals": sum(|core| &core.refusals),
            "written_bytes": sum(|core| &core.written_bytes),
        },
        "now": {
            "connections": figures.connections(),
            "subscriptions": sum(|core| &core.subscriptions),
            "topics": shards.topics,
            "topic_bytes": shards.topic_bytes,
            "cells": shards.cells,
            "fanout_lag_ms": signals.fanout_lag_ms,
            "commit_ms": signals.commit_ms,
            "memory_permille": signals.memory_permille,
            "load": shared.load.level().name(),
        },
        "server": {
            "name": concat!("tidewire/", env!("CARGO_PKG_VERSION")),
            "node": shared.config.node,
            "is_draining": shared.draining.load(Relaxed),
            "is_insecure": shared.config.insecure,
            "has_accounts": shared.accounts.auth.load().has_accounts(),
            "is_clustered": shared.cluster.is_some(),
            "journal_failure": shared.journal.as_deref().and_then(|journal| journal.failure()),
        },
    })
}
