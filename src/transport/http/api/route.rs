//! Paths of the API.

use http::Method;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::{Name, Refusal, WEBSOCKET_PATH};

use super::super::ticket;
use super::query;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    OpenApi,
    Producers,
    Batch,
    Topic,
    Records,
    TopicEvents,
    Counter,
    Increment,
    CounterEvents,
    Tally,
    Votes,
    TallyEvents,
}

/// A path, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) resource: Resource,
    pub(super) name: Option<Name>,
}

/// Whether a path belongs to the API, known or not.
pub(in crate::transport::http) fn is_api(path: &str) -> bool {
    path.starts_with("/v1/") && path != WEBSOCKET_PATH && path != ticket::PATH
}

/// What is no path of the API, as figures name it.
const UNKNOWN_ROUTE: &str = "unknown";

/// All routes of the API, as figures name them.
pub(in crate::transport::http) fn routes() -> impl Iterator<Item = &'static str> {
    Resource::ALL.iter().map(|resource| resource.route()).chain([UNKNOWN_ROUTE])
}

/// The route of a path of the API: never a name that somebody has chosen.
pub(in crate::transport::http) fn route_of(path: &str) -> &'static str {
    take_apart(path).map_or(UNKNOWN_ROUTE, |(resource, _)| resource.route())
}

/// What a path names, and the name in it as it stands there.
fn take_apart(path: &str) -> Option<(Resource, Option<&str>)> {
    let segments: Vec<&str> = path.split('/').skip(2).collect();
    let (resource, name) = match *segments.as_slice() {
        ["openapi.json"] => (Resource::OpenApi, None),
        ["producers"] => (Resource::Producers, None),
        ["batch"] => (Resource::Batch, None),
        ["topics", name] => (Resource::Topic, Some(name)),
        ["topics", name, "records"] => (Resource::Records, Some(name)),
        ["topics", name, "events"] => (Resource::TopicEvents, Some(name)),
        ["counters", name] => (Resource::Counter, Some(name)),
        ["counters", name, "incr"] => (Resource::Increment, Some(name)),
        ["counters", name, "events"] => (Resource::CounterEvents, Some(name)),
        ["tallies", name] => (Resource::Tally, Some(name)),
        ["tallies", name, "votes"] => (Resource::Votes, Some(name)),
        ["tallies", name, "events"] => (Resource::TallyEvents, Some(name)),
        _ => return None,
    };
    Some((resource, name))
}

impl Route {
    /// # Errors
    /// When the name in it is none.
    pub(super) fn of(path: &str) -> Result<Option<Self>, Refusal> {
        let Some((resource, name)) = take_apart(path) else { return Ok(None) };
        Ok(Some(Self { resource, name: name.map(query::name).transpose()? }))
    }
}

impl Resource {
    const ALL: [Self; 12] = [
        Self::OpenApi,
        Self::Producers,
        Self::Batch,
        Self::Topic,
        Self::Records,
        Self::TopicEvents,
        Self::Counter,
        Self::Increment,
        Self::CounterEvents,
        Self::Tally,
        Self::Votes,
        Self::TallyEvents,
    ];

    pub(super) fn methods(self) -> &'static [Method] {
        match self {
            Self::OpenApi
            | Self::Records
            | Self::TopicEvents
            | Self::Counter
            | Self::CounterEvents
            | Self::TallyEvents => &[Method::GET],
            Self::Producers | Self::Batch | Self::Topic | Self::Increment | Self::Votes => {
                &[Method::POST]
            }
            Self::Tally => &[Method::GET, Method::PUT],
        }
    }

    fn route(self) -> &'static str {
        match self {
            Self::OpenApi => "/v1/openapi.json",
            Self::Producers => "/v1/producers",
            Self::Batch => "/v1/batch",
            Self::Topic => "/v1/topics/{name}",
            Self::Records => "/v1/topics/{name}/records",
            Self::TopicEvents => "/v1/topics/{name}/events",
            Self::Counter => "/v1/counters/{name}",
            Self::Increment => "/v1/counters/{name}/incr",
            Self::CounterEvents => "/v1/counters/{name}/events",
            Self::Tally => "/v1/tallies/{name}",
            Self::Votes => "/v1/tallies/{name}/votes",
            Self::TallyEvents => "/v1/tallies/{name}/events",
        }
    }

    /// What kind of cell is followed, if it is one.
    pub(super) fn cell(self) -> Option<CellKind> {
        match self {
            Self::CounterEvents => Some(CellKind::Counter),
            Self::TallyEvents => Some(CellKind::Tally),
            Self::OpenApi
            | Self::Producers
            | Self::Batch
            | Self::Topic
            | Self::Records
            | Self::TopicEvents
            | Self::Counter
            | Self::Increment
            | Self::Tally
            | Self::Votes => None,
        }
    }

    /// Whether its answer goes on.
    pub(super) fn is_stream(self) -> bool {
        matches!(self, Self::TopicEvents | Self::CounterEvents | Self::TallyEvents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        let route = |path| Route::of(path).unwrap().map(|route| route.resource);
        assert_eq!(route("/v1/topics/a.b"), Some(Resource::Topic));
        assert_eq!(route("/v1/topics/a%2Fb/records"), Some(Resource::Records));
        assert_eq!(route("/v1/tallies/a/votes"), Some(Resource::Votes));
        for none in ["/v1/topics", "/v1/topics/a/", "/v1/topics/a/b", "/v1/batch/", "/v1/x"] {
            assert_eq!(route(none), None, "{none}");
        }
        assert!(Route::of("/v1/topics/a..b").is_err());
        assert!(Route::of("/v1/topics/").is_err());
        for path in routes().filter(|path| *path != UNKNOWN_ROUTE) {
            assert_eq!(route_of(&path.replace("{name}", "a.b")), path);
        }
        assert_eq!(route_of("/v1/topics/a/b"), UNKNOWN_ROUTE);
        assert!(is_api("/v1/topics") && is_api("/v1/x"));
        assert!(!is_api("/v1/ws") && !is_api("/v1/ticket") && !is_api("/topics/a"));
    }
}
