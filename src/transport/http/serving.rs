//! The life of a connection of HTTP: which version it speaks, how long it may stay, and when it is cut.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::Instant;

use super::api::{Link, STREAMS_MAX};
use super::{NEEDS_TLS, Reply, answer, hang_up, route_of, rules, text};
use crate::server::Core;
use crate::transport::Place;
use crate::transport::caller;
use crate::transport::stream::Severable;

/// Largest head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes that a client of HTTP/2 may send before they are taken, of a request and of all.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes that wait to be sent to a client of HTTP/2, of each request.
const SEND_BYTES_MAX: usize = 256 * 1024;

/// Serves an accepted TCP connection until it ends or becomes a WebSocket.
pub(in crate::transport) async fn serve(core: Rc<Core>, stream: std::net::TcpStream, place: Place) {
    let wait = Duration::from_millis(core.shared.config.handshake_timeout_ms);
    let idle = Duration::from_millis(core.shared.config.http.idle_timeout_ms);
    let opened = tokio::time::timeout(wait, caller::open(&core, stream, place)).await;
    let Ok(Some((stream, caller))) = opened else { return };
    // A WebSocket outlives what HTTP knows of its connection.
    let link = Link::new(core, Rc::new(caller));
    let (stream, blade) = Severable::new(stream);
    let service = hyper::service::service_fn(|request| {
        let link = Rc::clone(&link);
        async move { Ok::<_, Infallible>(take(&link, request).await) }
    });
    let builder = builder(wait, idle);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Whoever asks nothing, or does not take what it is sent, has so long; and then so long to end.
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = link.cut() => {
            blade.sever();
            tokio::time::timeout(wait, connection).await.unwrap_or(Ok(()))
        }
        () = link.quiet(wait, idle) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(wait, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

fn builder(wait: Duration, idle: Duration) -> auto::Builder<Local> {
    let mut builder = auto::Builder::new(Local);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(wait.max(idle))
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(idle)
        .keep_alive_timeout(wait);
    builder
}

async fn take(link: &Rc<Link>, request: Request<Incoming>) -> Reply {
    let _under_way = link.begin();
    let (began, route) = (Instant::now(), route_of(request.uri().path()));
    let reply = keep_to_rules(link, request).await;
    link.core.shared.http.answered(route, reply.status(), began.elapsed());
    reply
}

async fn keep_to_rules(link: &Rc<Link>, mut request: Request<Incoming>) -> Reply {
    if request.version() == Version::HTTP_2 && !name_host(&mut request) {
        return text(StatusCode::BAD_REQUEST, "the request names two hosts\n");
    }
    let reply = match rules::broken_rule(&request) {
        Some(rule) => return hang_up(text(StatusCode::BAD_REQUEST, rule)),
        None if link.caller.needs_tls => text(StatusCode::FORBIDDEN, NEEDS_TLS),
        None => answer(link, request).await,
    };
    if link.is_used_up() { hang_up(reply) } else { reply }
}

/// Gives a request of HTTP/2 the header that one of HTTP/1.1 has, so that rules look at one place.
fn name_host(request: &mut Request<Incoming>) -> bool {
    let Some(authority) = request.uri().authority() else { return true };
    let Ok(host) = HeaderValue::from_str(authority.as_str()) else { return false };
    match request.headers().get(header::HOST) {
        Some(named) => *named == host,
        None => {
            request.headers_mut().insert(header::HOST, host);
            true
        }
    }
}

/// Runs what HTTP/2 does beside on this core.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
