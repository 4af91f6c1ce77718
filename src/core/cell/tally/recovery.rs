//! A tally as it is logged: its head, and each ballot by itself.

use alloc::format;
use alloc::string::String;

use serde::{Deserialize, Serialize};
use tidewire_protocol::tally::TallyRules;

use super::ballots::VOTERS_MAX;
use super::schedule::Schedule;
use super::{Tally, VoterId};
use crate::snapshot::BadSnapshot;

/// Bytes of a head beside the names of its options.
const HEAD_BYTES: usize = 128;

/// A tally without its ballots.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TallyHead {
    #[serde(with = "named")]
    rules: TallyRules,
    version: u64,
    schedule: Schedule,
    incarnation: Option<u64>,
}

/// Rules as a map with names, in a value of bytes: fields that have their defaults are left out of
/// it, which a list without names cannot do.
mod named {
    use alloc::vec::Vec;

    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};
    use serde_bytes::{ByteBuf, Deserialize as _};
    use tidewire_protocol::tally::TallyRules;
    use tidewire_protocol::wire;

    pub(super) fn serialize<S: Serializer>(
        rules: &TallyRules,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        wire::put_value(&mut bytes, rules);
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<TallyRules, D::Error> {
        let bytes = ByteBuf::deserialize(deserializer)?;
        wire::from_slice(&bytes).map_err(|refusal| D::Error::custom(refusal.message))
    }
}

impl TallyHead {
    /// Version of the change that it was logged for.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Bytes that it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        HEAD_BYTES + self.rules.options.iter().map(String::len).sum::<usize>()
    }
}

impl Tally {
    /// How it stands, but for its ballots.
    #[must_use]
    pub fn head(&self) -> TallyHead {
        TallyHead {
            rules: self.rules.clone(),
            version: self.version,
            schedule: self.schedule,
            incarnation: self.incarnation,
        }
    }

    /// A voter's ballot: options by rank, as marks, and its revision.
    #[must_use]
    pub fn ballot(&self, voter: &VoterId) -> Option<(&[u16], u32)> {
        let cast = self.ballots.of_voter(voter)?;
        Some((self.ballots.marks(cast), cast.revision))
    }

    /// The tally that was made with this head.
    ///
    /// # Errors
    /// When its rules contradict themselves.
    pub fn of_head(
        head: TallyHead,
        voters_max: usize,
        hash_seed: u64,
    ) -> Result<Self, BadSnapshot> {
        let TallyHead { rules, version, schedule, incarnation } = head;
        let tally = Self::new(rules, voters_max, hash_seed, version)
            .map_err(|refusal| BadSnapshot::new(refusal.message))?;
        Ok(Self { schedule, incarnation, ..tally })
    }

    /// The limit of voters is this from now on; those that are there stay.
    pub fn set_voters_max(&mut self, voters_max: usize) {
        self.voters_max = voters_max.min(VOTERS_MAX);
    }

    /// Takes over a later state of the same tally.
    pub fn recover_head(&mut self, head: TallyHead) {
        self.version = head.version;
        self.schedule = head.schedule;
    }

    /// Stores a ballot as it was logged.
    ///
    /// # Errors
    /// When it marks an option that is not there.
    pub fn recover_ballot(
        &mut self,
        voter: VoterId,
        marks: &[u16],
        revision: u32,
        version: u64,
    ) -> Result<(), BadSnapshot> {
        if let Some(mark) = self.names.unknown(marks) {
            return Err(BadSnapshot::new(format!("a ballot marks option {mark}")));
        }
        if let Some(stored) = self.ballots.of_voter(&voter) {
            self.counts.remove(self.ballots.marks(stored));
        }
        self.counts.add(marks);
        self.ballots.cast(voter, marks, revision);
        self.version = version;
        Ok(())
    }
}
