//! What the demo found: as one JSON object for programs, as a summary for people.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tidewire_client::{Rounds, Standings};

use super::cluster::Nodes;
use super::latency::SummaryMs;
use super::status::{per_second, tenths};

/// Everything that was counted, sent and measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) title: String,
    pub(crate) ballots: u64,
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    /// What the ballots that were sent add up to.
    pub(crate) expected: Standings,
    /// What the server says.
    pub(crate) standings: Standings,
    pub(crate) rounds: Rounds,
    pub(crate) watchers: usize,
    /// What is wrong with the watchers' values, if anything.
    pub(crate) disagreement: Option<String>,
    /// Until each watcher held a vote, over so many pairs of a vote and a watcher.
    pub(crate) latency: Option<SummaryMs>,
    pub(crate) latency_pairs: u64,
    /// Until the last watcher held a vote.
    pub(crate) latency_last: Option<SummaryMs>,
    /// From the first vote to the last answer.
    pub(crate) elapsed: Duration,
    /// Times that a vote was sent again, since its answer was lost or it was refused for the moment.
    pub(crate) sent_again: u64,
    /// The longest times in which no vote was answered, and a watcher got no update.
    pub(crate) longest_pause: Duration,
    pub(crate) watchers_pause: Duration,
    /// Where the votes were cast on a cluster.
    pub(crate) nodes: Option<Nodes>,
}

/// The object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report<'a> {
    title: &'a str,
    ballots: u64,
    accepted: u64,
    duplicates: u64,
    first_preferences: Votes<'a>,
    blank: u64,
    overvotes: u64,
    rounds: Vec<RoundReport<'a>>,
    winner: Option<&'a str>,
    watchers: usize,
    watchers_agree: bool,
    latency_ms: Option<SummaryMs>,
    latency_pairs: u64,
    latency_last_watcher_ms: Option<SummaryMs>,
    votes_per_s: f64,
    elapsed_s: f64,
    sent_again: u64,
    longest_pause_ms: u128,
    watchers_longest_pause_ms: u128,
    cluster: Option<&'a Nodes>,
    faults: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct RoundReport<'a> {
    /// Of those who were not eliminated in an earlier round.
    votes: Votes<'a>,
    exhausted: u64,
    eliminated: Option<&'a str>,
}

/// Votes by name, a JSON object in declared order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Votes<'a>(Vec<(&'a str, u64)>);

impl Serialize for Votes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, votes)| (*name, *votes)))
    }
}

impl Outcome {
    /// What is not as it should be: empty when every ballot was counted once and every watcher
    /// saw the count.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let answered = self.accepted + self.duplicates;
        if answered != self.ballots {
            faults.push(format!("{answered} of {} ballots were answered", self.ballots));
        }
        let (sent, found) = (&self.expected, &self.standings);
        for (what, sent, found) in [
            ("ballots", sent.ballots, found.ballots),
            ("blank ballots", sent.blank, found.blank),
            ("over-votes", sent.overvotes, found.overvotes),
            ("ballots in the runoff", sent.ballots, self.rounds.ballots),
        ] {
            if sent != found {
                faults.push(format!("{sent} {what} were sent and {found} counted"));
            }
        }
        if sent.counts.len() != found.counts.len() {
            let (sent, found) = (sent.counts.len(), found.counts.len());
            faults.push(format!("{sent} options were declared and {found} counted"));
        }
        for ((name, sent), found) in self.rounds.options.iter().zip(&sent.counts).zip(&found.counts)
        {
            if sent != found {
                faults.push(format!("'{name}' was sent {sent} votes and has {found}"));
            }
        }
        faults.extend(self.disagreement.clone());
        faults.extend(self.nodes.iter().flat_map(|nodes| nodes.faults.clone()));
        faults
    }

    /// The object for programs.
    pub(crate) fn report(&self) -> Report<'_> {
        Report {
            title: &self.title,
            ballots: self.ballots,
            accepted: self.accepted,
            duplicates: self.duplicates,
            first_preferences: self.votes(&self.standings.counts, &[]),
            blank: self.standings.blank,
            overvotes: self.standings.overvotes,
            rounds: self.round_reports(),
            winner: self.winner(),
            watchers: self.watchers,
            watchers_agree: self.disagreement.is_none(),
            latency_ms: self.latency,
            latency_pairs: self.latency_pairs,
            latency_last_watcher_ms: self.latency_last,
            votes_per_s: tenths(self.votes_per_s()),
            elapsed_s: (self.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            sent_again: self.sent_again,
            longest_pause_ms: self.longest_pause.as_millis(),
            watchers_longest_pause_ms: self.watchers_pause.as_millis(),
            cluster: self.nodes.as_ref(),
            faults: self.faults(),
        }
    }

    fn votes_per_s(&self) -> f64 {
        per_second(self.accepted + self.duplicates, self.elapsed)
    }

    fn name(&self, index: Option<u64>) -> Option<&str> {
        self.rounds.options.get(usize::try_from(index?).ok()?).map(String::as_str)
    }

    fn winner(&self) -> Option<&str> {
        self.name(self.rounds.rounds.last()?.winner)
    }

    fn votes(&self, counts: &[u64], gone: &[u64]) -> Votes<'_> {
        let named = (0_u64..).zip(self.rounds.options.iter().zip(counts));
        Votes(
            named
                .filter(|(index, _)| !gone.contains(index))
                .map(|(_, (name, votes))| (name.as_str(), *votes))
                .collect(),
        )
    }

    fn round_reports(&self) -> Vec<RoundReport<'_>> {
        let mut gone = Vec::new();
        let mut reports = Vec::with_capacity(self.rounds.rounds.len());
        for round in &self.rounds.rounds {
            reports.push(RoundReport {
                votes: self.votes(&round.votes, &gone),
                exhausted: round.exhausted,
                eliminated: self.name(round.eliminated),
            });
            gone.extend(round.eliminated);
        }
        reports
    }

    /// The summary for people.
    pub(crate) fn summary(&self) -> String {
        let mut out = String::new();
        self.write_summary(&mut out).map_or_else(|error| error.to_string(), |()| out)
    }

    fn write_summary(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}\n", self.title)?;
        self.write_table(out)?;
        let rounds = self.rounds.rounds.len();
        match self.winner() {
            Some(winner) => writeln!(out, "\n{winner} wins in round {rounds}.\n")?,
            None => writeln!(out, "\nNobody wins: no ballot is left after round {rounds}.\n")?,
        }
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.votes_per_s().round();
        let (ballots, accepted) = (self.ballots, self.accepted);
        writeln!(out, "ballots    {ballots} sent in {seconds:.1} s ({rate} a second)")?;
        writeln!(out, "counted    {accepted} accepted, {} duplicates", self.duplicates)?;
        let (blank, overvotes) = (self.standings.blank, self.standings.overvotes);
        writeln!(out, "           {blank} blank and {overvotes} over-voted at the first rank")?;
        let agreement = if self.disagreement.is_none() {
            "each holds the server's count"
        } else {
            "not all hold the server's count"
        };
        writeln!(out, "watchers   {}, {agreement}", self.watchers)?;
        if let Some(SummaryMs { p50, p95, p99, max }) = self.latency {
            writeln!(
                out,
                "latency    p50 {p50:.2} ms, p95 {p95:.2} ms, p99 {p99:.2} ms, max {max:.2} ms: \
                 from sending a vote\n           to a watcher's holding it ({} pairs of vote and \
                 watcher)",
                self.latency_pairs
            )?;
        }
        if let Some(SummaryMs { p50, p99, .. }) = self.latency_last {
            writeln!(out, "           p50 {p50:.2} ms, p99 {p99:.2} ms to the last watcher")?;
        }
        self.write_interruptions(out)?;
        for fault in self.faults() {
            writeln!(out, "WRONG      {fault}")?;
        }
        Ok(())
    }

    /// What was noticed of a server that was gone.
    fn write_interruptions(&self, out: &mut String) -> std::fmt::Result {
        let (pause, watchers) = (self.longest_pause.as_millis(), self.watchers_pause.as_millis());
        if self.sent_again > 0 {
            writeln!(
                out,
                "again      {} times a vote was sent again, and counted once",
                self.sent_again
            )?;
            writeln!(
                out,
                "           {pause} ms without an answer at most, {watchers} ms without an update"
            )?;
        }
        let Some(nodes) = &self.nodes else { return Ok(()) };
        let Nodes { nodes, killed, counted_before, missed_entries, caught_up_ms, faults } = nodes;
        writeln!(
            out,
            "nodes      {nodes}; node {killed} led the tally, was killed at {counted_before} ballots and \
             started again;\n           it had the {missed_entries} entries that it missed after \
             {caught_up_ms} ms"
        )?;
        if faults.is_empty() {
            writeln!(out, "           each answers with this count, and its own copy has it")?;
        }
        Ok(())
    }

    /// One line per option, those that lasted longest first.
    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let mut lines: Vec<Line<'_>> = (0_u64..)
            .zip(self.rounds.options.iter().zip(&self.standings.counts))
            .map(|(index, (name, first))| self.line(index, name, *first))
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse((line.lasted, line.last, line.first)));
        let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(out, "{:width$}  {:>10}  {:>10}  round", "option", "first", "last")?;
        for Line { name, first, last, lasted, eliminated } in lines {
            let out_in = if eliminated { format!("out in {lasted}") } else { String::new() };
            writeln!(
                out,
                "{}",
                format!("{name:width$}  {first:>10}  {last:>10}  {out_in}").trim_end()
            )?;
        }
        let exhausted = self.rounds.rounds.last().map_or(0, |round| round.exhausted);
        writeln!(out, "{:width$}  {:>10}  {exhausted:>10}", "exhausted", "")
    }

    fn line<'a>(&'a self, index: u64, name: &'a str, first: u64) -> Line<'a> {
        let rounds = &self.rounds.rounds;
        let out_at = rounds.iter().position(|round| round.eliminated == Some(index));
        let last_at = out_at.unwrap_or(rounds.len().saturating_sub(1));
        let votes = rounds.get(last_at).map(|round| &round.votes);
        let last = votes.and_then(|votes| votes.get(usize::try_from(index).ok()?));
        Line {
            name,
            first,
            last: last.copied().unwrap_or(0),
            lasted: last_at + 1,
            eliminated: out_at.is_some(),
        }
    }
}

struct Line<'a> {
    name: &'a str,
    first: u64,
    /// Votes in the last round that it was in, and which that was.
    last: u64,
    lasted: usize,
    eliminated: bool,
}

#[cfg(test)]
mod tests;
