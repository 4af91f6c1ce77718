//! What there is, name by name.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use tidewire_core::shard::listing::{Kind, Wanted};
use tidewire_protocol::{ErrorCode, Name, Pattern, Refusal};

use super::refuse;
use crate::server::Shared;

/// Names of one answer, unless asked for fewer or more, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Which names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamesQuery {
    kind: KindQuery,
    pattern: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindQuery {
    Topic,
    Counter,
    Tally,
    Presence,
    Group,
}

/// Names of one kind in order, so many at a time.
pub(super) async fn names(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<NamesQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => {
            let message = format!(
                "{}: say kind=topic, counter, tally, presence or group, and if need be pattern, after and limit",
                rejection.body_text()
            );
            return refuse(StatusCode::BAD_REQUEST, "invalid_argument", &message);
        }
    };
    match query.wanted() {
        Ok(wanted) => Json(shared.names(&wanted).await).into_response(),
        Err(refusal) => refuse(StatusCode::BAD_REQUEST, refusal.code.name(), &refusal.message),
    }
}

impl NamesQuery {
    fn limit(&self) -> Result<usize, Refusal> {
        match self.limit.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            limit => {
                let message = format!("limit is 1 to {LIMIT_MAX}, not {limit}");
                Err(Refusal::new(ErrorCode::InvalidArgument, message))
            }
        }
    }

    fn wanted(&self) -> Result<Wanted, Refusal> {
        let kind = match self.kind {
            KindQuery::Topic => Kind::Topic,
            KindQuery::Counter => Kind::Counter,
            KindQuery::Tally => Kind::Tally,
            KindQuery::Presence => Kind::Presence,
            KindQuery::Group => Kind::Group,
        };
        Ok(Wanted {
            kind,
            pattern: self.pattern.as_deref().map(Pattern::parse).transpose()?,
            after: self.after.as_deref().map(Name::parse).transpose()?,
            limit: self.limit()?,
        })
    }
}
