//! The property that fuzzing checks.

use tidewire_protocol::tally::{OPTION_BYTES_MAX, OPTIONS_MAX};

use super::election::Mark;
use super::profile::{BALLOTS_MAX, Columns, parse};

/// A file of ballots is one election within its bounds, or is refused with a place.
pub fn ballots(input: &[u8]) {
    for count in [None, Some("count".to_owned())] {
        let election = match parse("ballots.csv", "ballots", input, &Columns { ranks: None, count })
        {
            Ok(election) => election,
            Err(refused) => {
                assert!(refused.to_string().starts_with("ballots.csv: "));
                continue;
            }
        };
        let options = election.options.len();
        assert!((1..=OPTIONS_MAX).contains(&options), "{options} options");
        assert!(election.options.iter().all(|name| name.len() <= OPTION_BYTES_MAX));
        let ballots = election.ballots();
        assert!((1..=BALLOTS_MAX).contains(&ballots), "{ballots} ballots");
        let standings = election.standings();
        let first = standings.counts.iter().sum::<u64>() + standings.blank + standings.overvotes;
        assert_eq!(first, ballots, "a ballot is counted once");
        for ranking in &election.rankings {
            assert_eq!(ranking.marks.len(), election.ranks);
            let is_known = |mark: &Mark| match mark {
                Mark::Option(index) => usize::from(*index) < options,
                Mark::Skipped | Mark::Over => true,
            };
            assert!(ranking.marks.iter().all(is_known), "{ranking:?}");
        }
    }
}
