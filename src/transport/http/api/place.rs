//! Places in topics, as paths, queries and events name them.

use std::collections::BTreeMap;

use tidewire_protocol::Refusal;
use tidewire_protocol::frame::{Position, Start};

use super::problem::invalid;

/// How far a reader has come: the next record of the topic, or of each of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    One { epoch: u64, next: u64 },
    Parts(BTreeMap<u64, (u64, u64)>),
}

impl Reached {
    /// As SUBSCRIBED says.
    pub(super) fn of(epoch: u64, offset: u64, positions: Option<&[Position]>) -> Self {
        match positions {
            None => Self::One { epoch, next: offset },
            Some(positions) => {
                Self::Parts(positions.iter().map(|place| (place.0, (place.1, place.2))).collect())
            }
        }
    }

    /// Moves on.
    pub(super) fn advance(&mut self, partition: Option<u64>, to: (u64, u64)) {
        match (self, partition) {
            (Self::One { epoch, next }, _) => (*epoch, *next) = to,
            (Self::Parts(parts), Some(partition)) => {
                parts.insert(partition, to);
            }
            (Self::Parts(_), None) => {}
        }
    }

    /// Whether everything before that place has been read.
    pub(super) fn has_come_to(&self, end: &Self) -> bool {
        match (self, end) {
            (Self::One { next, .. }, Self::One { next: end, .. }) => next >= end,
            (Self::Parts(parts), Self::Parts(ends)) => ends.iter().all(|(partition, (_, end))| {
                parts.get(partition).is_some_and(|(_, next)| next >= end)
            }),
            (Self::One { .. }, Self::Parts(_)) | (Self::Parts(_), Self::One { .. }) => true,
        }
    }

    /// As `start` has it.
    pub(super) fn start(&self) -> String {
        match self {
            Self::One { epoch, next } => format!("{epoch}:{next}"),
            Self::Parts(_) => self.positions(),
        }
    }

    /// As the id of an event: of the record that was read last. Nothing, if there was none before it.
    pub(super) fn id(&self) -> Option<String> {
        match self {
            Self::One { epoch, next } => {
                next.checked_sub(1).map(|offset| format!("{epoch}:{offset}"))
            }
            Self::Parts(_) => Some(self.positions()),
        }
    }

    fn positions(&self) -> String {
        let Self::Parts(parts) = self else { return String::new() };
        let text = parts.iter().map(|(part, (epoch, next))| format!("{part}.{epoch}.{next}"));
        text.collect::<Vec<_>>().join(",")
    }
}

/// Where to begin.
///
/// # Errors
/// When it is no such place.
pub(super) fn parse_start(text: &str) -> Result<Start, Refusal> {
    let start = match text.split_once(':') {
        None if text == "latest" => Some(Start::Latest),
        None if text == "earliest" => Some(Start::Earliest),
        None => positions(text),
        Some(("last", count)) => count.parse().ok().map(Start::Last),
        Some(("time", time_ms)) => time_ms.parse().ok().map(Start::Time),
        Some(_) => pair(text).map(|(epoch, offset)| Start::Offset { epoch, offset }),
    };
    start.ok_or_else(|| {
        invalid(format!(
            "start: earliest, latest, last:N, time:MS, EPOCH:OFFSET, or PARTITION.EPOCH.OFFSET with commas \
             between, not '{}'",
            text.escape_default()
        ))
    })
}

/// Where to go on behind the event of this id.
///
/// # Errors
/// When it is no id of a record.
pub(super) fn after_event(id: &str) -> Result<Start, Refusal> {
    let after = pair(id)
        .and_then(|(epoch, offset)| Some(Start::Offset { epoch, offset: offset.checked_add(1)? }));
    after.or_else(|| positions(id)).ok_or_else(|| not_an_id(id))
}

/// The epoch and version that an event of a cell has as its id.
///
/// # Errors
/// When it is none.
pub(super) fn held(id: &str) -> Result<(u64, u64), Refusal> {
    pair(id).ok_or_else(|| not_an_id(id))
}

fn not_an_id(id: &str) -> Refusal {
    invalid(format!("Last-Event-ID: '{}' is no id that an event had here", id.escape_default()))
}

fn pair(text: &str) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(':')?;
    Some((first.parse().ok()?, second.parse().ok()?))
}

fn positions(text: &str) -> Option<Start> {
    let position = |text: &str| {
        let mut numbers = text.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(part)), Some(Ok(epoch)), Some(Ok(next)), None) => {
                Some(Position(part, epoch, next))
            }
            _ => None,
        }
    };
    text.split(',').map(position).collect::<Option<Vec<_>>>().map(Start::Positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_behind_what_it_has() {
        let mut reached = Reached::of(7, 0, None);
        assert_eq!((reached.id(), reached.start()), (None, "7:0".to_owned()));
        reached.advance(None, (7, 3));
        assert_eq!(reached.id().as_deref(), Some("7:2"));
        assert_eq!(after_event("7:2").unwrap(), Start::Offset { epoch: 7, offset: 3 });
        assert_eq!(parse_start("7:3").unwrap(), Start::Offset { epoch: 7, offset: 3 });
    }

    #[test]
    fn partitions_have_a_place_each() {
        let mut reached = Reached::of(0, 0, Some(&[Position(0, 7, 1), Position(1, 8, 2)]));
        reached.advance(Some(1), (8, 5));
        let id = reached.id().unwrap();
        assert_eq!(id, "0.7.1,1.8.5");
        let positions = Start::Positions(vec![Position(0, 7, 1), Position(1, 8, 5)]);
        assert_eq!(after_event(&id).unwrap(), positions);
        assert_eq!(parse_start(&reached.start()).unwrap(), positions);
        assert!(reached.has_come_to(&Reached::of(0, 0, Some(&[Position(1, 8, 4)]))));
        assert!(!reached.has_come_to(&Reached::of(0, 0, Some(&[Position(0, 7, 2)]))));
    }

    #[test]
    fn other_places_are_refused() {
        for wrong in ["", "now", "1:", ":1", "a:b", "last:x", "1.2", "1.2.3.4", "-1:2"] {
            assert!(parse_start(wrong).is_err(), "{wrong}");
        }
        assert!(after_event("1:18446744073709551615").is_err());
        assert!(held("x").is_err());
    }
}
