//! Where a replay is to stop.

use crate::cli::timestamp::parse_rfc3339;
use crate::recording::Coming;

/// A place in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Behind this input of the recording.
    Number(u64),
    /// Behind this input of a shard.
    Input { shard: u16, input: u64 },
    /// Before the first input that is later than this.
    Time(u64),
}

impl Until {
    /// For clap: `1200`, `3:57` or `2026-11-24T12:00:00Z`.
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        if let Ok(number) = raw.parse() {
            return Ok(Self::Number(number));
        }
        if let Some((shard, input)) = raw.split_once(':')
            && let (Ok(shard), Ok(input)) = (shard.parse(), input.parse())
        {
            return Ok(Self::Input { shard, input });
        }
        parse_rfc3339(raw).map(Self::Time).map_err(|time| {
            format!("use the number of an input, SHARD:NUMBER or a time; as a time, {time}")
        })
    }

    /// Whether it lies before an input that is to come.
    pub(super) fn is_before(self, coming: &Coming) -> bool {
        match self {
            Self::Number(number) => number < coming.number,
            Self::Input { shard, input } => shard == coming.shard && input < coming.input,
            Self::Time(at_ms) => at_ms < coming.now_ms,
        }
    }

    /// Whether it lies right behind an input that was told.
    pub(super) fn is_at(self, told: &Coming) -> bool {
        match self {
            Self::Number(number) => number <= told.number,
            Self::Input { shard, input } => shard == told.shard && input <= told.input,
            Self::Time(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_number_a_shards_number_or_a_time() {
        assert_eq!(Until::parse("1200"), Ok(Until::Number(1200)));
        assert_eq!(Until::parse("3:57"), Ok(Until::Input { shard: 3, input: 57 }));
        assert_eq!(Until::parse("1970-01-01T00:00:01Z"), Ok(Until::Time(1000)));
        for bad in ["", "x", "3:", ":7", "3:x", "-1", "70000:1"] {
            assert!(Until::parse(bad).unwrap_err().contains("SHARD:NUMBER"), "{bad}");
        }
    }

    #[test]
    fn it_stops_behind_an_input_and_before_a_later_time() {
        let input = Coming { number: 9, shard: 3, input: 4, now_ms: 100 };
        assert!(Until::Number(9).is_at(&input) && !Until::Number(9).is_before(&input));
        assert!(Until::Number(8).is_before(&input));
        let (here, other) =
            (Until::Input { shard: 3, input: 4 }, Until::Input { shard: 2, input: 1 });
        assert!(here.is_at(&input) && !other.is_at(&input) && !other.is_before(&input));
        assert!(Until::Time(99).is_before(&input) && !Until::Time(100).is_before(&input));
    }
}
