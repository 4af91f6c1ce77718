//! How tallies look: aligned for people, objects for programs.

use std::cmp::Reverse;

use serde_json::{Map, Value, json};
use tidewire_client::{Name, Round, Rounds, Standings};

use crate::cli::CliError;
use crate::cli::output::Output;

/// Standings as one object, options in declared order.
pub(super) fn standings_json(
    name: &Name,
    version: u64,
    options: &[String],
    standings: &Standings,
) -> Value {
    let rules = standings.rules.as_ref().and_then(|rules| serde_json::to_value(rules).ok());
    let mut object = json!({
        "tally": name.as_str(),
        "version": version,
        "state": standings.state.as_str(),
        "ballots": standings.ballots,
        "blank": standings.blank,
        "overvotes": standings.overvotes,
        "options": options,
        "counts": standings.counts,
    });
    if let (Some(fields), Some(rules)) = (object.as_object_mut(), rules) {
        fields.insert("rules".to_owned(), rules);
    }
    object
}

/// Standings as a table, the most votes first.
pub(super) fn table(
    name: &Name,
    options: &[String],
    standings: &Standings,
    output: &mut Output,
) -> Result<(), CliError> {
    let Standings { ballots, blank, overvotes, state, .. } = standings;
    if standings.hidden {
        let state = state.as_str();
        return output
            .line(&format!("{name}: {state}, {ballots} ballots, hidden until it is closed"));
    }
    output.line(&format!(
        "{name}: {}, {ballots} ballots, {blank} blank, {overvotes} over-voted",
        state.as_str()
    ))?;
    let counted: u64 = standings.counts.iter().sum();
    let rows = ranked(options, &standings.counts);
    let cells = rows
        .iter()
        .map(|(option, votes)| [(*option).to_owned(), votes.to_string(), percent(*votes, counted)]);
    for line in aligned(&cells.collect::<Vec<_>>()) {
        output.line(&line)?;
    }
    Ok(())
}

/// Standings in one line, the most votes first.
pub(super) fn line(options: &[String], standings: &Standings) -> String {
    if standings.hidden {
        return format!("{} {} ballots, hidden", standings.state.as_str(), standings.ballots);
    }
    let rows = ranked(options, &standings.counts);
    let votes: Vec<String> =
        rows.iter().map(|(option, votes)| format!("{option} {votes}")).collect();
    format!("{} {} ballots: {}", standings.state.as_str(), standings.ballots, votes.join(", "))
}

/// Rounds as one object, votes by name of those who are still in.
pub(super) fn rounds_json(name: &Name, rounds: &Rounds) -> Value {
    let mut out = Out::default();
    let list: Vec<Value> = rounds
        .rounds
        .iter()
        .map(|round| {
            let votes: Map<String, Value> = in_round(rounds, round, &out)
                .map(|(option, votes)| (option.to_owned(), json!(votes)))
                .collect();
            let object = json!({
                "votes": votes,
                "exhausted": round.exhausted,
                "eliminated": named(rounds, round.eliminated),
                "winner": named(rounds, round.winner),
            });
            out.take(round);
            object
        })
        .collect();
    json!({ "tally": name.as_str(), "ballots": rounds.ballots, "rounds": list })
}

/// Rounds one after the other, in each the most votes first.
pub(super) fn rounds(rounds: &Rounds, output: &mut Output) -> Result<(), CliError> {
    let mut out = Out::default();
    for (number, round) in (1_u64..).zip(&rounds.rounds) {
        if number > 1 {
            output.line("")?;
        }
        let exhausted = round.exhausted;
        output
            .line(&format!("Round {number} of {}, {exhausted} exhausted", rounds.rounds.len()))?;
        let mut rows: Vec<(&str, u64)> = in_round(rounds, round, &out).collect();
        rows.sort_by_key(|(_, votes)| Reverse(*votes));
        let continuing: u64 = round.votes.iter().sum();
        let fate = |option: &str| {
            if named(rounds, round.winner) == Some(option) {
                "winner"
            } else if named(rounds, round.eliminated) == Some(option) {
                "eliminated"
            } else {
                ""
            }
        };
        let cells: Vec<[String; 4]> = rows
            .iter()
            .map(|(option, votes)| {
                let share = percent(*votes, continuing);
                [(*option).to_owned(), votes.to_string(), share, fate(option).to_owned()]
            })
            .collect();
        for line in aligned(&cells) {
            output.line(&line)?;
        }
        out.take(round);
    }
    Ok(())
}

/// Who was eliminated in earlier rounds.
#[derive(Default)]
struct Out(Vec<u64>);

impl Out {
    fn take(&mut self, round: &Round) {
        self.0.extend(round.eliminated);
    }
}

fn in_round<'a>(
    rounds: &'a Rounds,
    round: &'a Round,
    out: &'a Out,
) -> impl Iterator<Item = (&'a str, u64)> {
    (0_u64..)
        .zip(rounds.options.iter().zip(&round.votes))
        .filter(|(index, _)| !out.0.contains(index))
        .map(|(_, (option, votes))| (option.as_str(), *votes))
}

fn named(rounds: &Rounds, index: Option<u64>) -> Option<&str> {
    let index = usize::try_from(index?).ok()?;
    rounds.options.get(index).map(String::as_str)
}

/// Options with their votes, the most first, in declared order when equal.
fn ranked<'a>(options: &'a [String], counts: &[u64]) -> Vec<(&'a str, u64)> {
    let mut rows: Vec<(&str, u64)> =
        options.iter().map(String::as_str).zip(counts.iter().copied()).collect();
    rows.sort_by_key(|(_, votes)| Reverse(*votes));
    rows
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Rows of equally many columns: the first to the left, the others to the right but the fourth.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| match column {
                0 | 3 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Vec<String> {
        ["Pizza", "Sushi", "Soup"].map(str::to_owned).to_vec()
    }

    #[test]
    fn standings_in_one_line_begin_with_the_leader() {
        let standings = Standings { counts: vec![1, 3, 1], ballots: 5, ..Standings::default() };
        let words = line(&options(), &standings);
        assert_eq!(words, "open 5 ballots: Sushi 3, Pizza 1, Soup 1");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["Pizza", "10", "x"], ["Äpfel!", "9", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), ["  Pizza   10  x", "  Äpfel!   9"]);
    }

    #[test]
    fn shares_are_rounded_and_nothing_is_divided_by_nothing() {
        assert_eq!(percent(2, 3), "66.7 %");
        assert_eq!(percent(0, 0), "");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
    }

    #[test]
    fn a_round_lists_only_those_who_are_still_in() {
        let first = Round { votes: vec![3, 2, 1], eliminated: Some(2), ..Round::default() };
        let last =
            Round { votes: vec![4, 2, 0], exhausted: 0, winner: Some(0), ..Round::default() };
        let rounds = Rounds { options: options(), rounds: vec![first, last], ballots: 6 };
        let name = Name::parse("lunch").unwrap();
        let object = rounds_json(&name, &rounds);
        assert_eq!(object["rounds"][0]["eliminated"], "Soup");
        assert_eq!(object["rounds"][1]["votes"], json!({ "Pizza": 4, "Sushi": 2 }));
        assert_eq!(object["rounds"][1]["winner"], "Pizza");
    }
}
