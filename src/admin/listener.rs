//! The connections of the admin listener: so many, and none may keep a request to itself.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::refuse;

/// Connections at once; others wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// Largest body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// An answer of which nothing is read for so many times as long as a request may take ends its
/// connection: backups are written to disks that may be slow.
const UNREAD: u32 = 6;
/// Pause after a failed accept (descriptors may have run out).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves what connects. A client has so long for the head of a request, and as long between two, and
/// [`UNREAD`] times as long to go on with reading an answer.
pub(super) async fn serve(listener: TcpListener, routes: Router, wait: Duration) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Who asks and does not read gives the place back, too.
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(wait * UNREAD)) {
            tracing::debug!(%error, "an admin connection is gone already");
            continue;
        }
        let routes = routes.clone().layer(Extension(ConnectInfo(peer)));
        let service = TowerToHyperService::new(routes);
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(wait)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection broke");
            }
            drop(place);
        });
    }
}

/// Takes in the body of a request, for which there is as long as for its head.
pub(super) async fn take_body(
    State(wait): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(wait, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Ok(Err(error)) => {
            let message =
                format!("the body cannot be read ({error}): it has {BODY_BYTES_MAX} bytes at most");
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "invalid_argument", &message)
        }
        Err(_elapsed) => {
            let message = "the body did not come within handshake_timeout_ms";
            refuse(StatusCode::REQUEST_TIMEOUT, "invalid_argument", message)
        }
    }
}
