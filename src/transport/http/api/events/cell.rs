//! The newest value of a counter or a tally as events.

use schemars::JsonSchema;
use serde::Serialize;
use tidewire_protocol::frame::{CellKind, flags};
use tidewire_protocol::options::WatchOptions;
use tidewire_protocol::tally::{Standings, TallyInfo};
use tidewire_protocol::{ClientFrame, Name, Refusal, ServerFrame, wire};

use super::super::cells::StandingsShape;
use super::super::place::held;
use super::super::query::Query;
use super::super::unexpected;
use super::{Goes, Text, interval_ms};

/// What is followed, and in which of its lives.
pub(super) struct CellEvents {
    kind: CellKind,
    name: String,
    epoch: u64,
}

/// A value, as the data of an event has it.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Updated {
    name: String,
    epoch: u64,
    version: u64,
    /// Of a counter.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    /// Of a tally.
    #[serde(flatten)]
    #[schemars(with = "Option<StandingsShape>")]
    standings: Option<Standings>,
    /// The server is loaded, and the next value comes only after so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after_ms: Option<u64>,
    /// The value is so old, and may lack what was done since.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind_ms: Option<u64>,
}

/// The request for what is asked for.
///
/// # Errors
/// When something is not of its form.
pub(super) fn watch(
    req: u64,
    sub: u32,
    kind: CellKind,
    name: &Name,
    last: Option<String>,
    query: &mut Query,
) -> Result<ClientFrame, Refusal> {
    let held = last.map(|id| held(&id)).transpose()?;
    let options = WatchOptions {
        interval_ms: interval_ms(query)?,
        key: None,
        epoch: held.map(|(epoch, _)| epoch),
        version: held.map(|(_, version)| version),
    };
    Ok(ClientFrame::Watch { req, sub, kind, name: name.clone(), options })
}

impl CellEvents {
    /// Begins as WATCHING says.
    ///
    /// # Errors
    /// When it is another reply.
    pub(super) fn begin(
        text: &mut Text,
        kind: CellKind,
        name: &Name,
        reply: &ServerFrame,
    ) -> Result<Self, Refusal> {
        let ServerFrame::Watching { epoch, info, .. } = reply else {
            return Err(unexpected(reply));
        };
        if let (CellKind::Tally, Some(info)) = (kind, info) {
            text.event(Some("info"), None, &wire::from_slice::<TallyInfo>(info)?);
        }
        Ok(Self { kind, name: name.to_string(), epoch: *epoch })
    }

    pub(super) fn take(&mut self, text: &mut Text, frame: ServerFrame) -> Goes {
        let ServerFrame::Update { version, flags: bits, value, .. } = frame else {
            return text.end(&unexpected(&frame));
        };
        let id = format!("{}:{version}", self.epoch);
        let above = bits >> flags::INTERVAL_SHIFT;
        let says = |flag: u64| (bits & flag != 0).then_some(above);
        let mut updated = Updated {
            name: self.name.clone(),
            epoch: self.epoch,
            version,
            value: None,
            standings: None,
            next_after_ms: says(flags::STALE),
            behind_ms: says(flags::BEHIND),
        };
        let Some(value) = value else {
            text.event(Some("deleted"), Some(&id), &updated);
            return Goes::On;
        };
        let read = match self.kind {
            CellKind::Counter => wire::from_slice(&value).map(|value| updated.value = Some(value)),
            CellKind::Tally
            | CellKind::Map
            | CellKind::Presence
            | CellKind::Topic
            | CellKind::Rounds => {
                wire::from_slice(&value).map(|standings| updated.standings = Some(standings))
            }
        };
        match read {
            Ok(()) => {
                text.event(None, Some(&id), &updated);
                Goes::On
            }
            Err(refusal) => text.end(&refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_how_old_it_is() {
        let mut cell = CellEvents { kind: CellKind::Counter, name: "c".to_owned(), epoch: 4 };
        let mut text = Text::default();
        let value = Some(bytes::Bytes::from_static(&[42]));
        let bits = flags::FULL | flags::BEHIND | 700 << flags::INTERVAL_SHIFT;
        cell.take(&mut text, ServerFrame::Update { sub: 1, version: 9, flags: bits, value });
        let expected = "id: 4:9\ndata: {\"name\":\"c\",\"epoch\":4,\"version\":9,\"value\":42,\"behind_ms\":700}\n\n";
        assert_eq!(text.0, expected);
        text.0.clear();
        let bits = flags::FULL | flags::DELETED;
        cell.take(&mut text, ServerFrame::Update { sub: 1, version: 10, flags: bits, value: None });
        assert!(text.0.starts_with("event: deleted\nid: 4:10\n"), "{}", text.0);
    }
}
