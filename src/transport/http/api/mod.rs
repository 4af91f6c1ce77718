//! The HTTP API: each request is asked of the dispatcher as a frame of a session, under the rules of any other
//! connection. Nothing is decided here but how HTTP says it.

mod batch;
mod cells;
mod cors;
mod events;
mod history;
mod link;
mod mailbox;
mod object;
mod openapi;
mod place;
mod problem;
mod query;
mod records;
mod reply;
mod route;
mod session;
mod topics;

pub(super) use events::Events;
pub(super) use link::{Link, STREAMS_MAX};
pub(in crate::transport) use mailbox::Outlet;
pub(crate) use openapi::document;
pub(super) use route::{is_api, route_of, routes};

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{ErrorCode, Name, Refusal, ServerFrame};

use super::{FOREIGN_PAGE, Reply, is_welcome};
use events::{Held, Wanted};
use problem::{fault, refuse, wrong_method};
use query::Query;
use reply::json;
use route::{Resource, Route};
use session::{Answer, Session};

/// What a request has brought.
struct Asked {
    headers: HeaderMap,
    query: Query,
    body: Bytes,
}

/// Answers a request of the API.
pub(super) async fn answer(
    link: &Rc<Link>,
    named: Option<IpAddr>,
    request: Request<Incoming>,
) -> Reply {
    let headers = request.headers().clone();
    if !is_welcome(&link.core, &link.caller, &headers) {
        return fault(StatusCode::FORBIDDEN, "forbidden", FOREIGN_PAGE.trim_end());
    }
    if cors::is_preflight(request.method(), &headers) {
        return cors::preflight(&headers);
    }
    let mut reply = dispatch(link, named, request).await;
    cors::allow(&headers, reply.headers_mut());
    reply
}

async fn dispatch(link: &Rc<Link>, named: Option<IpAddr>, request: Request<Incoming>) -> Reply {
    let route = match Route::of(request.uri().path()) {
        Ok(Some(route)) => route,
        Ok(None) => {
            let detail = "there is nothing here; /v1/openapi.json describes what there is";
            return fault(StatusCode::NOT_FOUND, "not_found", detail);
        }
        Err(refusal) => return refuse(&refusal),
    };
    let method = request.method().clone();
    let methods = route.resource.methods();
    if !methods.contains(&method) {
        return wrong_method(methods);
    }
    if route.resource == Resource::OpenApi {
        return json(document());
    }
    let version = request.version();
    let asked = match read(link, request).await {
        Ok(asked) => asked,
        Err(refused) => return refused,
    };
    let session = match route.resource.is_stream() {
        true => link.stream_session(named, &asked.headers).await,
        false => link.session(named, &asked.headers).await,
    };
    match session {
        Ok(session) => perform(link, &session, (route, method, version), asked).await,
        Err(refusal) => refuse(&refusal),
    }
}

async fn perform(
    link: &Rc<Link>,
    session: &Rc<Session>,
    (route, method, version): (Route, Method, Version),
    asked: Asked,
) -> Reply {
    let Route { resource, name } = route;
    let Some(name) = name else {
        return match resource == Resource::Batch {
            true => batch::perform(session, asked).await,
            false => topics::producer(session).await,
        };
    };
    match resource {
        Resource::Topic => topics::publish(session, name, asked).await,
        Resource::Records => history::records(session, name, asked.query).await,
        Resource::Increment => increment(session, name, asked).await,
        Resource::Votes => vote(session, name, &asked).await,
        Resource::Counter => read_counter(session, name, asked.query).await,
        Resource::Tally if method == Method::PUT => cells::create(session, name, &asked).await,
        Resource::Tally => read_tally(session, name, asked.query).await,
        Resource::TopicEvents | Resource::CounterEvents | Resource::TallyEvents => {
            let place = match link.place_for_events(version, session) {
                Ok(place) => place,
                Err(refusal) => return refuse(&refusal),
            };
            let heartbeat = Duration::from_millis(link.core.shared.config.http.event_heartbeat_ms);
            let held = Held { place, under_way: Some(link.begin()), ..Held::default() };
            let Asked { headers, query, .. } = asked;
            let wanted = Wanted { name, headers, query, heartbeat, held };
            let session = Rc::clone(session);
            match resource.cell() {
                Some(kind) => events::cell(session, kind, wanted).await,
                None => events::topic(session, wanted).await,
            }
        }
        Resource::Batch | Resource::Producers | Resource::OpenApi => {
            fault(StatusCode::NOT_FOUND, "not_found", "this path has no name in it")
        }
    }
}

/// Reads the rest of a request, which may have so many bytes and take so long.
async fn read(link: &Link, request: Request<Incoming>) -> Result<Asked, Reply> {
    let config = &link.core.shared.config;
    let max = config.limits.max_frame_bytes;
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query()).map_err(|refusal| refuse(&refusal))?;
    let too_large = || {
        let detail = format!("the body: at most {max} bytes (limits.max_frame_bytes); split it");
        fault(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::FrameTooLarge.name(), detail)
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let wait = Duration::from_millis(config.handshake_timeout_ms);
    let body = match tokio::time::timeout(wait, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(error)) => {
            let detail = format!("the body cannot be read: {error}");
            return Err(fault(StatusCode::BAD_REQUEST, ErrorCode::Malformed.name(), detail));
        }
        Err(_elapsed) => {
            let detail = format!("the body did not come within {} ms", wait.as_millis());
            return Err(fault(StatusCode::REQUEST_TIMEOUT, ErrorCode::IdleTimeout.name(), detail));
        }
    };
    Ok(Asked { headers: head.headers, query, body })
}

async fn increment(session: &Session, name: Name, asked: Asked) -> Reply {
    let counter = name.to_string();
    let outcome = async {
        asked.query.finish()?;
        let wanted: cells::NewIncrement = match asked.body.trim_ascii() {
            b"" => cells::NewIncrement::default(),
            body => records::read_object(body)?,
        };
        let key = cells::increment_key(&asked.headers)?;
        let frame = wanted.clone().frame(session.req(), name, key)?;
        cells::counted(&counter, &wanted, session.ask(frame).await?)
    };
    match outcome.await {
        Ok(counted) => json(&counted),
        Err(refusal) => refuse(&refusal),
    }
}

async fn vote(session: &Session, name: Name, asked: &Asked) -> Reply {
    let tally = name.to_string();
    let outcome = async {
        let ballot: cells::NewBallot = records::read_object(&asked.body)?;
        topics::idempotency_key(&asked.headers)?;
        cells::voted(&tally, session.ask(ballot.frame(session.req(), name)).await?)
    };
    match outcome.await {
        Ok(voted) => json(&voted),
        Err(refusal) => refuse(&refusal),
    }
}

async fn read_counter(session: &Session, name: Name, query: Query) -> Reply {
    let outcome = read_cell(session, CellKind::Counter, &name, query).await;
    match outcome.and_then(|reply| cells::counter_value(name.as_str(), reply)) {
        Ok(value) => json(&value),
        Err(refusal) => refuse(&refusal),
    }
}

async fn read_tally(session: &Session, name: Name, query: Query) -> Reply {
    let outcome = read_cell(session, CellKind::Tally, &name, query).await;
    match outcome.and_then(|reply| cells::tally_value(name.as_str(), reply)) {
        Ok(value) => json(&value),
        Err(refusal) => refuse(&refusal),
    }
}

async fn read_cell(session: &Session, kind: CellKind, name: &Name, mut query: Query) -> Answer {
    let options = cells::get_options(&mut query)?;
    query.finish()?;
    session.ask(cells::get(session.req(), kind, name.clone(), options)).await
}

/// A reply that the request does not have.
fn unexpected(frame: &ServerFrame) -> Refusal {
    tracing::error!(?frame, "a reply that was not asked for");
    Refusal::new(ErrorCode::Internal, "the server has answered something else")
}
