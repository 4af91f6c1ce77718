//! HTTP on the public port: the API, the pages, and the upgrade to WebSocket.

mod api;
mod body;
mod figures;
mod handshake;
mod rules;
mod serving;
mod ticket;

pub(super) use api::Outlet;
pub(crate) use api::document;
pub(crate) use figures::HttpFigures;
#[cfg(test)]
pub(super) use handshake::accept_key;
pub(crate) use handshake::switch;
pub(super) use serving::serve;

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade::downcast;
use tidewire_protocol::WEBSOCKET_PATH;

use super::caller::Caller;
use super::pages::{CONTENT_SECURITY_POLICY, page};
use super::stream::{Severable, Stream};
use super::websocket;
use crate::admin::is_address;
use crate::server::Core;
use api::{Link, is_api};
use body::Body;

/// What a client is told whose address has its share of the connections.
const TOO_MANY: &str = "too many connections from this address (limits.address_connections_max)\n";
/// What a page of another origin is told.
const FOREIGN_PAGE: &str =
    "pages of this origin may not connect: http.allowed_origins lists those that may\n";
/// What a plain request from another machine is told.
const NEEDS_TLS: &str = "TLS is needed here: connect with wss:// or https://\n";

type Reply = Response<Body>;

/// What is asked for beside the API, as figures name it.
const WEBSOCKET_ROUTE: &str = WEBSOCKET_PATH;
const TICKET_ROUTE: &str = ticket::PATH;
const PAGES_ROUTE: &str = "pages";

/// Figures of all routes.
pub(crate) fn figures() -> HttpFigures {
    let beside = [WEBSOCKET_ROUTE, TICKET_ROUTE, PAGES_ROUTE];
    HttpFigures::of(api::routes().chain(beside))
}

/// The route of a path, as figures name it: never a name that somebody has chosen.
fn route_of(path: &str) -> &'static str {
    match path {
        WEBSOCKET_PATH => WEBSOCKET_ROUTE,
        ticket::PATH => TICKET_ROUTE,
        path if is_api(path) => api::route_of(path),
        _ => PAGES_ROUTE,
    }
}

/// Answers a request that keeps to the rules.
async fn answer(link: &Rc<Link>, request: Request<Incoming>) -> Reply {
    let (core, caller) = (&link.core, &link.caller);
    let named = match core.shared.proxies.client_by(caller.address, request.headers()) {
        Ok(named) => named,
        Err(malformed) => return text(StatusCode::BAD_REQUEST, format!("{malformed}\n")),
    };
    let path = request.uri().path().to_owned();
    if is_api(&path) {
        return api::answer(link, named, request).await;
    }
    if path == WEBSOCKET_PATH {
        return upgrade(core, caller, named, request);
    }
    if path == ticket::PATH {
        if !is_welcome(core, caller, request.headers()) {
            return text(StatusCode::FORBIDDEN, FOREIGN_PAGE);
        }
        return ticket::give(core, named.unwrap_or(caller.address), &request);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    match page(&path) {
        Some(page) => {
            let body = if request.method() == Method::HEAD { &[][..] } else { page.body };
            let mut reply = Response::new(Bytes::from_static(body).into());
            let headers = reply.headers_mut();
            put(headers, header::CONTENT_TYPE, page.content_type);
            put(headers, header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
            put(headers, header::CACHE_CONTROL, "no-cache");
            put(headers, header::REFERRER_POLICY, "no-referrer");
            put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            reply
        }
        None => text(StatusCode::NOT_FOUND, "there is nothing here; the page is at /\n"),
    }
}

/// Answers the opening handshake of a WebSocket (RFC 6455, section 4.2).
fn upgrade(
    core: &Rc<Core>,
    caller: &Rc<Caller>,
    named: Option<IpAddr>,
    mut request: Request<Incoming>,
) -> Reply {
    let switch = match switch(request.headers()) {
        Ok(headers) => headers,
        Err(rule) => return text(StatusCode::BAD_REQUEST, rule),
    };
    if !is_welcome(core, caller, request.headers()) {
        return text(StatusCode::FORBIDDEN, FOREIGN_PAGE);
    }
    let peer = caller.peer(named);
    // Of who comes on a proxy's connection it is known only now whose share that is.
    let is_new = !caller.place.has_share();
    let share = is_new.then(|| core.shared.places.share(peer.address)).flatten();
    if is_new && share.is_none() {
        return text(StatusCode::TOO_MANY_REQUESTS, TOO_MANY);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let (core, caller) = (Rc::clone(core), Rc::clone(caller));
    tokio::task::spawn_local(async move {
        let _held = (caller, share);
        let Ok(upgraded) = upgraded.await else { return };
        if let Some((stream, first)) = take_back(upgraded) {
            websocket::serve(core, stream, first, peer).await;
        }
    });
    let mut reply = Response::new(Bytes::new().into());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().extend(switch);
    reply
}

/// Whether whoever asks is no page, or one that may. Where something may be done without showing who it is,
/// a page must not come by a name that somebody has pointed here (DNS rebinding). With TLS such a name has
/// no certificate.
fn is_welcome(core: &Core, caller: &Caller, headers: &HeaderMap) -> bool {
    let is_open = caller.is_plain && core.shared.accounts.auth.load().lets_anybody_in();
    is_allowed_origin(&core.shared.config.http.allowed_origins, is_open, headers)
}

/// Whether a page of this origin may connect: any page in a browser could, with what the browser
/// can reach (RFC 6455, section 10.2). Clients that are no browsers name no origin.
/// `by_address`: it may connect to where it comes from only if that is an address, or `localhost`.
pub(super) fn is_allowed_origin(allowed: &[String], by_address: bool, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return !headers.contains_key(header::ORIGIN);
    };
    let Ok(origin) = origin.to_str() else { return false };
    let own = |host: &HeaderValue| {
        let host = host.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map(|(_scheme, authority)| authority);
        !host.is_empty()
            && authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
            && (!by_address || is_address(host))
    };
    headers.get(header::HOST).is_some_and(own)
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

/// The stream below HTTP, and what has been read from it already.
fn take_back(upgraded: Upgraded) -> Option<(Stream, Bytes)> {
    let parts = downcast::<TokioIo<Severable>>(upgraded).ok()?;
    // An empty piece keeps all of HTTP's buffer, 8 KiB, for as long as somebody has it.
    let first = if parts.read_buf.is_empty() { Bytes::new() } else { parts.read_buf };
    Some((parts.io.into_inner().into_stream(), first))
}

/// The same as the last answer on its connection.
fn hang_up(mut reply: Reply) -> Reply {
    put(reply.headers_mut(), header::CONNECTION, "close");
    reply
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn text(status: StatusCode, message: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(message.into().into());
    *reply.status_mut() = status;
    put(reply.headers_mut(), header::CONTENT_TYPE, "text/plain; charset=utf-8");
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_may_not_connect() {
        let allowed = ["https://app.example".to_owned()];
        let may = |host: &'static str, origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            is_allowed_origin(&allowed, host != "Live.example", &headers)
        };
        assert!(may("127.0.0.1:7171", &[]), "no browser");
        assert!(may("127.0.0.1:7171", &["http://127.0.0.1:7171"]));
        assert!(may("Live.example", &["https://live.example"]));
        assert!(may("127.0.0.1:7171", &["https://app.example"]));
        assert!(may("localhost:7171", &["http://localhost:7171"]));
        let rebound = ["http://evil.example:7171"];
        assert!(!may("evil.example:7171", &rebound), "a name that was pointed here");
        for origin in [
            "http://127.0.0.1:8080",
            "null",
            "",
            "https://evil.example",
            "https://app.example.evil.example",
            "http://app.example",
            "https://evil.example/127.0.0.1:7171",
        ] {
            assert!(!may("127.0.0.1:7171", &[origin]), "{origin}");
        }
        assert!(!may("127.0.0.1:7171", &["http://127.0.0.1:7171", "https://evil.example"]));
        assert!(!may("", &["http://"]));
    }
}
