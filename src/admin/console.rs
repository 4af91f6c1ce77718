//! The console: a page that is part of the binary, and the WebSocket that it speaks to the server over. Whoever speaks
//! over that may do what anybody may who connects: with accounts it has to show a token, as everywhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::refuse;
use crate::server::{Place, Shared};
use crate::transport::{Arrival, CONTENT_SECURITY_POLICY, Page, switch};

macro_rules! files {
    ($($path:literal => $file:literal, $content_type:literal;)+) => {
        /// The file that stands at a path.
        fn file(path: &str) -> Option<Page> {
            match path {
                $($path => Some(Page {
                    content_type: $content_type,
                    body: include_bytes!(concat!("../../web/", $file)),
                }),)+
                _ => None,
            }
        }
    };
}

files! {
    "/" => "console/index.html", "text/html; charset=utf-8";
    "/console/style.css" => "console/style.css", "text/css; charset=utf-8";
    "/console/main.js" => "console/main.js", "text/javascript; charset=utf-8";
    "/console/chart.js" => "console/chart.js", "text/javascript; charset=utf-8";
    "/console/connections.js" => "console/connections.js", "text/javascript; charset=utf-8";
    "/console/elements.js" => "console/elements.js", "text/javascript; charset=utf-8";
    "/console/figures.js" => "console/figures.js", "text/javascript; charset=utf-8";
    "/console/format.js" => "format.js", "text/javascript; charset=utf-8";
    "/console/names.js" => "console/names.js", "text/javascript; charset=utf-8";
    "/console/playground.js" => "console/playground.js", "text/javascript; charset=utf-8";
    "/console/refusals.js" => "console/refusals.js", "text/javascript; charset=utf-8";
    "/console/client.js" => "console/client.js", "text/javascript; charset=utf-8";
    "/favicon.svg" => "favicon.svg", "image/svg+xml";
}

/// Where the console's WebSockets go.
#[derive(Clone)]
pub(super) struct Cores {
    shared: Arc<Shared>,
    arrivals: Arc<[mpsc::Sender<Arrival>]>,
    next: Arc<AtomicUsize>,
}

impl Cores {
    pub(super) fn new(shared: Arc<Shared>, arrivals: Vec<mpsc::Sender<Arrival>>) -> Self {
        Self { shared, arrivals: arrivals.into(), next: Arc::default() }
    }
}

/// A file of the console.
pub(super) async fn page(uri: Uri) -> Response {
    let Some(page) = file(uri.path()) else {
        let message = "there is nothing here; the console is at /, and what may be asked in docs/architecture.md";
        return refuse(StatusCode::NOT_FOUND, "not_found", message);
    };
    let headers = [
        (header::CONTENT_TYPE, page.content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, page.body).into_response()
}

/// Makes a WebSocket of the connection, and hands it to a core.
pub(super) async fn socket(
    State(cores): State<Cores>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let switch = match switch(request.headers()) {
        Ok(headers) => headers,
        Err(rule) => return refuse(StatusCode::BAD_REQUEST, "invalid_argument", rule.trim_end()),
    };
    if cores.shared.draining.load(Ordering::Relaxed) {
        let message = "the server is about to stop";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message);
    }
    let Some(place) = cores.shared.places.take(peer.ip()) else {
        let message = "there are as many connections as limits.connections_max and \
                       limits.address_connections_max allow";
        return refuse(StatusCode::TOO_MANY_REQUESTS, "limit_exceeded", message);
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Who has gone before the answer came needs nothing more.
        if let Ok(upgraded) = upgraded.await {
            cores.hand_over(upgraded, place).await;
        }
    });
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().extend(switch);
    reply
}

impl Cores {
    async fn hand_over(&self, upgraded: Upgraded, place: Place) {
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let Ok(stream) = parts.io.into_inner().into_std() else { return };
        let first = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some(core) = self.arrivals.get(next % self.arrivals.len().max(1)) {
            // Fails only when the server has stopped.
            drop(core.send(Arrival::Console(stream, first, place)).await);
        }
    }
}
