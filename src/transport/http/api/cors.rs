//! What pages of other origins may do. Whether they may ask at all has been looked at.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::super::{Reply, put};

/// Headers that a page may send.
const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, last-event-id";
/// Headers that a page may read.
const EXPOSED_HEADERS: &str = "link, retry-after";
/// Seconds for which a browser need not ask again.
const MAX_AGE_S: &str = "600";

/// Whether a browser asks what it may send.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that.
pub(super) fn preflight(asked: &HeaderMap) -> Reply {
    let mut reply = Response::new(bytes::Bytes::new().into());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    put(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT");
    put(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    put(headers, header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    allow(asked, headers);
    reply
}

/// Lets the page that has asked read the answer.
pub(super) fn allow(asked: &HeaderMap, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = asked.get(header::ORIGIN) else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
}
