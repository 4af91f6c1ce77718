//! Refusals as problem documents (RFC 9457).

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use tidewire_protocol::{ErrorCode, Refusal};

use super::super::{Reply, put};
use super::reply::json_as;

/// Media type of a problem.
const PROBLEM_JSON: &str = "application/problem+json";

/// What was refused, and what to do next.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Problem {
    /// A URN of the code.
    #[serde(rename = "type")]
    kind: String,
    /// What the status says.
    title: String,
    /// The status of the answer.
    #[schemars(range(min = 400, max = 599))]
    pub(super) status: u16,
    /// What was refused, and what to do next.
    detail: String,
    /// Stable, for programs: as in section 5 of the protocol.
    code: String,
    /// The same request can succeed after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// What holds instead: the offset to expect, the nearest one that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    actual: Option<u64>,
}

impl Problem {
    pub(super) fn of(refusal: &Refusal) -> Self {
        let Refusal { code, message, retry_after_ms, actual } = refusal;
        let status = status_of(*code);
        Self {
            retry_after_ms: *retry_after_ms,
            actual: *actual,
            ..Self::new(status, code.name(), message.clone())
        }
    }

    fn new(status: StatusCode, code: &str, detail: String) -> Self {
        Self {
            kind: format!("urn:tidewire:error:{code}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail,
            code: code.to_owned(),
            retry_after_ms: None,
            actual: None,
        }
    }

    /// The answer that says so.
    pub(super) fn reply(&self) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut reply = json_as(status, PROBLEM_JSON, self);
        let headers = reply.headers_mut();
        if let Some(wait_ms) = self.retry_after_ms {
            put(headers, header::RETRY_AFTER, &wait_ms.div_ceil(1000).max(1).to_string());
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }
}

/// A refusal as an answer.
pub(super) fn refuse(refusal: &Refusal) -> Reply {
    Problem::of(refusal).reply()
}

/// A fault of HTTP itself.
pub(super) fn fault(status: StatusCode, code: &str, detail: impl Into<String>) -> Reply {
    Problem::new(status, code, detail.into()).reply()
}

/// A method that the path does not have.
pub(super) fn wrong_method(allowed: &[Method]) -> Reply {
    let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let detail = format!("this path takes {allowed}");
    let mut reply = fault(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    put(reply.headers_mut(), header::ALLOW, &allowed);
    reply
}

/// A refusal of what was sent.
pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidArgument, message)
}

fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Malformed
        | ErrorCode::InvalidName
        | ErrorCode::InvalidPattern
        | ErrorCode::VersionUnsupported => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::AlreadyExists
        | ErrorCode::Conflict
        | ErrorCode::TallyClosed
        | ErrorCode::TallyNotOpen
        | ErrorCode::AlreadyVoted
        | ErrorCode::StaleRevision
        | ErrorCode::ProducerUnknown
        | ErrorCode::SequenceTooOld
        | ErrorCode::OutcomeUnknown => StatusCode::CONFLICT,
        ErrorCode::FrameTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::InvalidArgument
        | ErrorCode::LimitExceeded
        | ErrorCode::RecordTooLarge
        | ErrorCode::AckUnsupported
        | ErrorCode::Unsupported
        | ErrorCode::UnknownOption
        | ErrorCode::OutOfRange => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Overloaded
        | ErrorCode::Unavailable
        | ErrorCode::StorageFailed
        | ErrorCode::TooSlow
        | ErrorCode::IdleTimeout
        | ErrorCode::ShuttingDown
        | ErrorCode::Moved => StatusCode::SERVICE_UNAVAILABLE,
        // Nothing of these is asked by this API.
        ErrorCode::UnknownFrame
        | ErrorCode::HelloRequired
        | ErrorCode::SubscriptionExists
        | ErrorCode::SubscriptionUnknown
        | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_status_of_an_error() {
        for code in ErrorCode::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }

    #[test]
    fn who_is_to_wait_is_told_for_how_long() {
        let refusal = Refusal::new(ErrorCode::RateLimited, "slow").retry_after_ms(1200);
        let reply = refuse(&refusal);
        assert_eq!(reply.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.headers()[header::RETRY_AFTER], "2");
        assert_eq!(reply.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let reply = refuse(&Refusal::new(ErrorCode::Unauthenticated, "who?"));
        assert_eq!(reply.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
