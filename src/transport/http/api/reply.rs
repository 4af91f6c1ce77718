//! Answers in JSON.

use bytes::Bytes;
use http::header;
use http::{Response, StatusCode};
use serde::Serialize;

use super::super::{Reply, put};

/// Whatever can be said in JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Reply {
    json_as(StatusCode::OK, "application/json", value)
}

pub(super) fn json_as<T: Serialize>(status: StatusCode, media_type: &str, value: &T) -> Reply {
    // Fails only for maps whose keys are no strings, which no answer has.
    let body = serde_json::to_vec(value).unwrap_or_default();
    bytes_as(status, media_type, body.into())
}

pub(super) fn bytes_as(status: StatusCode, media_type: &str, body: Bytes) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    put(headers, header::CONTENT_TYPE, media_type);
    put(headers, header::CACHE_CONTROL, "no-store");
    put(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply
}
