//! Tallies: rules, ballots as they travel, standings and runoff rounds.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ErrorCode, Refusal};

/// Most options of one tally.
pub const OPTIONS_MAX: usize = 1000;
/// Longest name of an option in bytes.
pub const OPTION_BYTES_MAX: usize = 256;
/// Most ranks (or chosen options) of one ballot.
pub const CHOICES_MAX: usize = 255;

/// How ballots are marked and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TallyKind {
    /// One option per ballot.
    Single,
    /// Up to `choices_max` options per ballot.
    Multiple,
    /// Options in order of preference.
    Ranked,
}

/// What an over-vote does when a runoff reaches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overvote {
    /// The rank is passed over.
    #[default]
    Skip,
    /// The ballot is exhausted.
    Exhaust,
}

/// The rules of a tally, fixed at its creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyRules {
    /// How ballots are marked.
    pub kind: TallyKind,
    /// The options in declared order.
    pub options: Vec<String>,
    /// Options or ranks per ballot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices_max: Option<u64>,
    /// A ballot cannot be changed.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// Unix time before which no ballot is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_at_ms: Option<u64>,
    /// Unix time from which no ballot is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_at_ms: Option<u64>,
    /// What a runoff does with an over-vote.
    #[serde(default)]
    pub overvote: Overvote,
    /// So many skipped ranks in a row end a ballot; 0 never.
    #[serde(default)]
    pub exhaust_after_skips: u64,
    /// Nobody sees the counts before it is closed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Who says who a voter is: an issuer of identities, or `local`, the client. Fixed as all rules are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// The issuer where there are no accounts: the client names the voter.
pub const LOCAL_IDENTITY: &str = "local";
/// Longest name of an issuer in bytes.
pub const ISSUER_BYTES_MAX: usize = 256;

impl TallyRules {
    /// Rules of this kind with these options and every default.
    #[must_use]
    pub fn new(kind: TallyKind, options: Vec<String>) -> Self {
        Self {
            kind,
            options,
            choices_max: None,
            is_final: false,
            opens_at_ms: None,
            closes_at_ms: None,
            overvote: Overvote::Skip,
            exhaust_after_skips: 0,
            hidden: false,
            identity: None,
        }
    }

    /// One choice per ballot among these options, and every default.
    #[must_use]
    pub fn single(options: impl IntoIterator<Item: Into<String>>) -> Self {
        Self::new(TallyKind::Single, options.into_iter().map(Into::into).collect())
    }

    /// Options or ranks that one ballot may hold.
    #[must_use]
    pub fn choices_limit(&self) -> usize {
        let all = self.options.len().min(CHOICES_MAX);
        match self.kind {
            TallyKind::Single => 1,
            TallyKind::Multiple | TallyKind::Ranked => self
                .choices_max
                .and_then(|max| usize::try_from(max).ok())
                .map_or(all, |max| max.min(CHOICES_MAX)),
        }
    }

    /// Checks the rules.
    ///
    /// # Errors
    /// `invalid_argument`, naming the rule that is broken.
    pub fn validate(&self) -> Result<(), Refusal> {
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidArgument, message));
        if self.options.is_empty() || self.options.len() > OPTIONS_MAX {
            return invalid(format!(
                "a tally has 1 to {OPTIONS_MAX} options, this one {}",
                self.options.len()
            ));
        }
        let mut sorted: Vec<&String> = self.options.iter().collect();
        sorted.sort_unstable();
        for (option, next) in sorted.iter().zip(sorted.iter().skip(1)) {
            if option == next {
                return invalid(format!("option '{}' is declared twice", option.escape_debug()));
            }
        }
        for option in &self.options {
            if option.is_empty() || option.len() > OPTION_BYTES_MAX {
                return invalid(format!(
                    "an option has 1 to {OPTION_BYTES_MAX} bytes: '{}'",
                    option.escape_debug()
                ));
            }
        }
        if self.choices_max == Some(0) {
            return invalid("choices_max is at least 1".to_owned());
        }
        if let (Some(opens), Some(closes)) = (self.opens_at_ms, self.closes_at_ms)
            && closes <= opens
        {
            return invalid("closes_at_ms must be after opens_at_ms".to_owned());
        }
        if let Some(issuer) = &self.identity
            && (issuer.is_empty() || issuer.len() > ISSUER_BYTES_MAX)
        {
            let len = issuer.len();
            return invalid(format!("identity: 1 to {ISSUER_BYTES_MAX} bytes, this one has {len}"));
        }
        Ok(())
    }
}

/// One element of a ballot as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// An option by its index in declared order.
    Index(u64),
    /// An option by its name.
    Name(String),
    /// Nothing at this rank.
    Skipped,
    /// More than one option at this rank; which ones does not matter.
    Over,
}

impl From<&str> for Choice {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Choice {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<u64> for Choice {
    fn from(index: u64) -> Self {
        Self::Index(index)
    }
}

impl Serialize for Choice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Index(index) => serializer.serialize_u64(*index),
            Self::Name(name) => serializer.serialize_str(name),
            Self::Skipped => serializer.serialize_unit(),
            Self::Over => <[u64; 0]>::default().as_slice().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = Choice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an option's index or name, nil, or an array for an over-vote")
    }

    fn visit_u64<E>(self, index: u64) -> Result<Choice, E> {
        Ok(Choice::Index(index))
    }

    fn visit_i64<E: serde::de::Error>(self, index: i64) -> Result<Choice, E> {
        let unsigned = u64::try_from(index)
            .map_err(|_negative| E::invalid_value(serde::de::Unexpected::Signed(index), &self))?;
        Ok(Choice::Index(unsigned))
    }

    fn visit_str<E>(self, name: &str) -> Result<Choice, E> {
        Ok(Choice::Name(name.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Choice, E> {
        Ok(Choice::Skipped)
    }

    fn visit_none<E>(self) -> Result<Choice, E> {
        Ok(Choice::Skipped)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choice, A::Error> {
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Choice::Over)
    }
}

/// Where a tally stands: its value as watchers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standings {
    /// Votes per option in declared order (first preferences when ranked).
    pub counts: Vec<u64>,
    /// Ballots, blank and over-voted ones included.
    pub ballots: u64,
    /// Ballots that choose nothing (whose first rank is empty, when ranked).
    pub blank: u64,
    /// Ballots with an over-vote (at the first rank, when ranked).
    pub overvotes: u64,
    /// Whether ballots are accepted.
    pub state: TallyState,
    /// Of a poll with partitions: the version of each that is added here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<Vec<u64>>,
    /// The counts are hidden until it is closed: `counts` is empty, and of the other numbers only
    /// `ballots` says something.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// The options; only in replies to GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    /// The rules; only in replies to GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<TallyRules>,
}

/// Whether a tally accepts ballots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TallyState {
    /// It opens later.
    Scheduled,
    /// It accepts ballots.
    #[default]
    Open,
    /// It does not accept ballots any more.
    Closed,
}

impl TallyState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What does not change in a tally: WATCHING carries it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyInfo {
    /// The options in declared order.
    pub options: Vec<String>,
    /// The rules.
    pub rules: TallyRules,
}

/// The reply to TALLY.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TallyReply {
    /// Whether this request created the tally.
    pub created: bool,
    /// The state after the request.
    pub state: TallyState,
    /// The version after the request.
    pub version: u64,
}

/// Instant-runoff rounds (GET kind 6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rounds {
    /// The options in declared order.
    pub options: Vec<String>,
    /// The rounds, first to last.
    pub rounds: Vec<Round>,
    /// Ballots counted.
    pub ballots: u64,
}

/// One round of a runoff.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Round {
    /// Votes per option in declared order; 0 for those eliminated earlier.
    pub votes: Vec<u64>,
    /// Ballots that count for nobody any more.
    pub exhausted: u64,
    /// Index of the option that this round eliminates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eliminated: Option<u64>,
    /// Index of the option that this round elects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub winner: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_round_trip() {
        let choices =
            vec![Choice::Index(300), Choice::Name("A".into()), Choice::Skipped, Choice::Over];
        let bytes = rmp_serde::to_vec(&choices).unwrap();
        assert_eq!(rmp_serde::from_slice::<Vec<Choice>>(&bytes).unwrap(), choices);
    }

    #[test]
    fn an_index_may_have_any_integer_encoding() {
        let signed = [0x92, 0xd0, 5, 0xd3, 0, 0, 0, 0, 0, 0, 1, 0];
        let read = rmp_serde::from_slice::<Vec<Choice>>(&signed).unwrap();
        assert_eq!(read, [Choice::Index(5), Choice::Index(256)]);
        assert!(rmp_serde::from_slice::<Vec<Choice>>(&[0x91, 0xff]).is_err());
    }

    #[test]
    fn rules_name_what_is_wrong() {
        let refused = |rules: &TallyRules| rules.validate().unwrap_err().message;
        let mut rules = TallyRules::new(TallyKind::Single, vec![]);
        assert!(refused(&rules).contains("1 to 1000 options"));
        rules.options = vec!["a".into(), "a".into()];
        assert!(refused(&rules).contains("declared twice"));
        rules.options = vec![String::new()];
        assert!(refused(&rules).contains("1 to 256 bytes"));
    }
}
