//! Tallies: polls, their ballots and results.

use tidewire_protocol::frame::{CellKind, TallyOp};
use tidewire_protocol::tally::{Choice, Rounds, Standings, TallyReply, TallyRules};
use tidewire_protocol::{ClientFrame, Name};

use crate::client::Client;
use crate::error::Error;
use crate::pending::Pending;
use crate::reply::{self, Voted};
use crate::topics::not_found;

impl Client {
    /// Casts a ballot, or changes an earlier one of this voter. A ballot that is lost with the
    /// connection is sent again: the same ballot twice counts once. Give a `revision` when a
    /// voter's ballots come over several connections, so that a delayed one never overwrites a
    /// newer one.
    ///
    /// # Errors
    /// When the server refuses, for instance `tally_closed`, `unknown_option`, `already_voted`.
    ///
    /// # Cancellation
    /// Safe: a ballot that was not sent is never sent; one that was sent counts, and the same again is a duplicate.
    pub async fn vote(
        &self,
        tally: &Name,
        voter: &str,
        choices: Vec<Choice>,
        revision: Option<u64>,
    ) -> Result<Voted, Error> {
        self.start_vote(tally, voter, choices, revision).await?.await
    }

    /// Sends a ballot whose reply is awaited later.
    ///
    /// # Errors
    /// When there is no connection.
    ///
    /// # Cancellation
    /// Safe: before it returns nothing was sent.
    pub async fn start_vote(
        &self,
        tally: &Name,
        voter: &str,
        choices: Vec<Choice>,
        revision: Option<u64>,
    ) -> Result<Pending<Voted>, Error> {
        let (tally, voter) = (tally.clone(), voter.to_owned());
        self.start(|req| ClientFrame::Vote { req, tally, voter, choices, revision }, reply::voted)
            .await
    }

    /// Declares a tally. Doing so again with the same rules changes nothing.
    ///
    /// # Errors
    /// When the rules are invalid, or `already_exists` with other rules.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn create_tally(&self, tally: &Name, rules: TallyRules) -> Result<TallyReply, Error> {
        rules.validate()?;
        self.tally_op(TallyOp::Create, tally, Some(rules)).await
    }

    /// Accepts ballots (again), whatever the schedule says.
    ///
    /// # Errors
    /// `not_found`, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn open_tally(&self, tally: &Name) -> Result<TallyReply, Error> {
        self.tally_op(TallyOp::Open, tally, None).await
    }

    /// Accepts no more ballots.
    ///
    /// # Errors
    /// `not_found`, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn close_tally(&self, tally: &Name) -> Result<TallyReply, Error> {
        self.tally_op(TallyOp::Close, tally, None).await
    }

    /// Forgets the tally and its ballots.
    ///
    /// # Errors
    /// `not_found`, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn delete_tally(&self, tally: &Name) -> Result<TallyReply, Error> {
        self.tally_op(TallyOp::Delete, tally, None).await
    }

    /// Takes the ballots of these voters out, as if they had never been cast, and counts again; they may
    /// vote again if the tally is open. `hashes`: voters as an audit shows them. Returns how many ballots
    /// there were.
    ///
    /// # Errors
    /// `not_found`, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn invalidate_ballots(
        &self,
        tally: &Name,
        voters: Vec<String>,
        hashes: Vec<String>,
    ) -> Result<u64, Error> {
        let tally = tally.clone();
        let hashes = Some(hashes).filter(|hashes| !hashes.is_empty());
        let build = |req| ClientFrame::Invalidate { req, tally, voters, hashes };
        self.start(build, reply::records).await?.await
    }

    async fn tally_op(
        &self,
        op: TallyOp,
        tally: &Name,
        rules: Option<TallyRules>,
    ) -> Result<TallyReply, Error> {
        let tally = tally.clone();
        self.start(|req| ClientFrame::Tally { req, op, tally, rules }, reply::tally).await?.await
    }

    /// Where a tally stands, with its options and rules, and the version that says so.
    ///
    /// # Errors
    /// `not_found`, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn standings(&self, tally: &Name) -> Result<(u64, Standings), Error> {
        match self.get(CellKind::Tally, tally, None).await? {
            Some(value) => Ok((value.version, value.standings()?)),
            None => Err(not_found("tally", tally)),
        }
    }

    /// The instant-runoff rounds of a ranked tally, as its ballots are now.
    ///
    /// # Errors
    /// `not_found`, `unsupported` for a tally that is not ranked, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn rounds(&self, tally: &Name) -> Result<Rounds, Error> {
        match self.get(CellKind::Rounds, tally, None).await? {
            Some(value) => value.rounds(),
            None => Err(not_found("tally", tally)),
        }
    }
}
