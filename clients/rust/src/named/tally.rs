//! A tally.

use tidewire_protocol::Name;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::options::WatchOptions;
use tidewire_protocol::tally::{Choice, Rounds, Standings, TallyReply, TallyRules};

use crate::client::Client;
use crate::error::Error;
use crate::reply::Voted;
use crate::watch::Watch;

/// A tally: a poll with one ballot per voter. Made by [`Client::tally`].
#[derive(Clone, Debug)]
pub struct Tally {
    client: Client,
    name: Name,
}

impl Client {
    /// The tally of this name.
    ///
    /// # Errors
    /// `invalid_name`.
    pub fn tally(&self, name: impl AsRef<str>) -> Result<Tally, Error> {
        Ok(Tally { client: self.clone(), name: Name::parse(name.as_ref())? })
    }
}

impl Tally {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// As [`Client::create_tally`].
    ///
    /// # Errors
    /// As [`Client::create_tally`].
    ///
    /// # Cancellation
    /// As [`Client::create_tally`].
    pub async fn create(&self, rules: TallyRules) -> Result<TallyReply, Error> {
        self.client.create_tally(&self.name, rules).await
    }

    /// Casts a ballot, or changes this voter's earlier one: `poll.vote("ann", ["pizza"])`. Who has an account votes
    /// as `""`.
    ///
    /// # Errors
    /// As [`Client::vote`].
    ///
    /// # Cancellation
    /// As [`Client::vote`].
    pub async fn vote<C: Into<Choice>>(
        &self,
        voter: &str,
        choices: impl IntoIterator<Item = C>,
    ) -> Result<Voted, Error> {
        let choices = choices.into_iter().map(Into::into).collect();
        self.client.vote(&self.name, voter, choices, None).await
    }

    /// The same with a revision: a ballot never overwrites one of a higher revision.
    ///
    /// # Errors
    /// As [`Client::vote`].
    ///
    /// # Cancellation
    /// As [`Client::vote`].
    pub async fn vote_revised<C: Into<Choice>>(
        &self,
        voter: &str,
        choices: impl IntoIterator<Item = C>,
        revision: u64,
    ) -> Result<Voted, Error> {
        let choices = choices.into_iter().map(Into::into).collect();
        self.client.vote(&self.name, voter, choices, Some(revision)).await
    }

    /// Accepts ballots (again), whatever the schedule says.
    ///
    /// # Errors
    /// As [`Client::open_tally`].
    ///
    /// # Cancellation
    /// As [`Client::open_tally`].
    pub async fn open(&self) -> Result<TallyReply, Error> {
        self.client.open_tally(&self.name).await
    }

    /// Accepts no more ballots.
    ///
    /// # Errors
    /// As [`Client::close_tally`].
    ///
    /// # Cancellation
    /// As [`Client::open_tally`].
    pub async fn close(&self) -> Result<TallyReply, Error> {
        self.client.close_tally(&self.name).await
    }

    /// Forgets it and its ballots.
    ///
    /// # Errors
    /// As [`Client::delete_tally`].
    ///
    /// # Cancellation
    /// As [`Client::open_tally`].
    pub async fn delete(&self) -> Result<TallyReply, Error> {
        self.client.delete_tally(&self.name).await
    }

    /// Takes the ballots of these voters out; with their hashes instead: [`Client::invalidate_ballots`].
    ///
    /// # Errors
    /// As [`Client::invalidate_ballots`].
    ///
    /// # Cancellation
    /// As [`Client::invalidate_ballots`].
    pub async fn invalidate(
        &self,
        voters: impl IntoIterator<Item: Into<String>>,
    ) -> Result<u64, Error> {
        let voters = voters.into_iter().map(Into::into).collect();
        self.client.invalidate_ballots(&self.name, voters, Vec::new()).await
    }

    /// Where it stands, with the version that says so.
    ///
    /// # Errors
    /// As [`Client::standings`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn standings(&self) -> Result<(u64, Standings), Error> {
        self.client.standings(&self.name).await
    }

    /// The instant-runoff rounds, as its ballots are now.
    ///
    /// # Errors
    /// As [`Client::rounds`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn rounds(&self) -> Result<Rounds, Error> {
        self.client.rounds(&self.name).await
    }

    /// Follows where it stands.
    ///
    /// # Errors
    /// As [`Client::watch`].
    ///
    /// # Cancellation
    /// As [`Client::watch`].
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch, Error> {
        self.client.watch(CellKind::Tally, &self.name, options).await
    }
}
