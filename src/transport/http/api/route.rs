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

impl Route {
    /// # Errors
    /// When the name in it is none.
    pub(super) fn of(path: &str) -> Result<Option<Self>, Refusal> {
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        let alone = |resource| Ok(Some(Self { resource, name: None }));
        let (resource, name) = match *segments.as_slice() {
            ["openapi.json"] => return alone(Resource::OpenApi),
            ["producers"] => return alone(Resource::Producers),
            ["batch"] => return alone(Resource::Batch),
            ["topics", name] => (Resource::Topic, name),
            ["topics", name, "records"] => (Resource::Records, name),
            ["topics", name, "events"] => (Resource::TopicEvents, name),
            ["counters", name] => (Resource::Counter, name),
            ["counters", name, "incr"] => (Resource::Increment, name),
            ["counters", name, "events"] => (Resource::CounterEvents, name),
            ["tallies", name] => (Resource::Tally, name),
            ["tallies", name, "votes"] => (Resource::Votes, name),
            ["tallies", name, "events"] => (Resource::TallyEvents, name),
            _ => return Ok(None),
        };
        Ok(Some(Self { resource, name: Some(query::name(name)?) }))
    }
}

impl Resource {
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
        assert!(is_api("/v1/topics") && is_api("/v1/x"));
        assert!(!is_api("/v1/ws") && !is_api("/v1/ticket") && !is_api("/topics/a"));
    }
}
