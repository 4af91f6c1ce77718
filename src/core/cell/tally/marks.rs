//! Marks: a ballot as it is stored, one `u16` per rank or chosen option.
//!
//! * ranked: one mark per rank, without the empty ranks at the end;
//! * multiple: the chosen options, ascending;
//! * single: the chosen option, or [`OVER`].
//!
//! A blank ballot has no marks.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{ErrorCode, Refusal};

use super::invalid;
use crate::state_hash::StateHasher;
use crate::{HashMap, hash_map};

/// Nothing at this rank.
pub(super) const SKIPPED: u16 = u16::MAX;
/// More than one option at this rank.
pub(super) const OVER: u16 = u16::MAX - 1;
/// An option that stands at an earlier rank already. It is kept apart from [`SKIPPED`] because
/// it must not count as a skipped rank.
pub(super) const REPEATED: u16 = u16::MAX - 2;

/// Choices that give these marks again.
pub(super) fn choices(marks: &[u16]) -> Vec<Choice> {
    // A repeated option is any that was named before it.
    let named = marks.iter().copied().find(|mark| *mark < REPEATED).unwrap_or(0);
    let choice = |mark: &u16| match *mark {
        SKIPPED => Choice::Skipped,
        OVER => Choice::Over,
        REPEATED => Choice::Index(named.into()),
        option => Choice::Index(option.into()),
    };
    marks.iter().map(choice).collect()
}

/// Options that a refusal lists.
const LISTED_MAX: usize = 8;
/// Characters of a name that a refusal shows.
const SHOWN_CHARS_MAX: usize = 64;

/// The options of a tally by name.
#[derive(Debug)]
pub(super) struct OptionNames(HashMap<Box<str>, u16>);

impl OptionNames {
    /// The names in rules that have been validated, so they are fewer than the special marks.
    pub(super) fn of(rules: &TallyRules, hash_seed: u64) -> Self {
        let mut names = hash_map(hash_seed);
        names.extend(rules.options.iter().map(|name| Box::<str>::from(name.as_str())).zip(0_u16..));
        Self(names)
    }

    pub(super) fn hash_into(&self, hasher: &mut StateHasher) {
        let Self(names) = self;
        hasher.unordered(names, |hasher, (name, mark)| {
            hasher.text(name);
            hasher.number(*mark);
        });
    }

    /// A mark that is neither an option nor a special one.
    pub(super) fn unknown(&self, marks: &[u16]) -> Option<u16> {
        let options = self.0.len();
        marks.iter().copied().find(|mark| *mark < REPEATED && usize::from(*mark) >= options)
    }

    /// The marks of a ballot with these choices.
    pub(super) fn read(&self, rules: &TallyRules, choices: &[Choice]) -> Result<Vec<u16>, Refusal> {
        let chosen = choices.iter().rposition(|choice| *choice != Choice::Skipped);
        let Some(last) = chosen else { return Ok(Vec::new()) };
        match (rules.kind, choices) {
            (TallyKind::Ranked, _) => self.ranked(rules, choices.get(..=last).unwrap_or(choices)),
            (TallyKind::Single, [Choice::Over]) => Ok(Vec::from([OVER])),
            (TallyKind::Single | TallyKind::Multiple, _) => self.unordered(rules, choices),
        }
    }

    fn ranked(&self, rules: &TallyRules, choices: &[Choice]) -> Result<Vec<u16>, Refusal> {
        let (ranks, ranks_max) = (choices.len(), rules.choices_limit());
        if ranks > ranks_max {
            return Err(invalid(format!(
                "a ballot has at most {ranks_max} ranks (choices_max), this one {ranks}"
            )));
        }
        let mut marks = Vec::with_capacity(ranks);
        for choice in choices {
            let mark = match choice {
                Choice::Skipped => SKIPPED,
                Choice::Over => OVER,
                Choice::Index(index) => self.by_index(*index)?,
                Choice::Name(name) => self.by_name(rules, name)?,
            };
            let is_repeated = mark < REPEATED && marks.contains(&mark);
            marks.push(if is_repeated { REPEATED } else { mark });
        }
        Ok(marks)
    }

    fn unordered(&self, rules: &TallyRules, choices: &[Choice]) -> Result<Vec<u16>, Refusal> {
        let kind = if rules.kind == TallyKind::Single { "single" } else { "multiple" };
        let mut marks = Vec::with_capacity(choices.len());
        for choice in choices {
            marks.push(match choice {
                Choice::Index(index) => self.by_index(*index)?,
                Choice::Name(name) => self.by_name(rules, name)?,
                Choice::Skipped => {
                    let message = "nil skips a rank, and a ballot of this kind has none";
                    return Err(invalid(format!("{message} (kind {kind})")));
                }
                Choice::Over => {
                    return Err(invalid(format!(
                        "an array marks an over-vote, which kind {kind} takes {}",
                        if kind == "single" { "as the only element" } else { "nowhere" }
                    )));
                }
            });
        }
        marks.sort_unstable();
        marks.dedup();
        let (chosen, chosen_max) = (marks.len(), rules.choices_limit());
        if chosen > chosen_max {
            return Err(invalid(format!(
                "a ballot chooses at most {chosen_max} options (kind {kind}), this one {chosen}"
            )));
        }
        Ok(marks)
    }

    fn by_index(&self, index: u64) -> Result<u16, Refusal> {
        let declared = self.0.len();
        u16::try_from(index).ok().filter(|mark| usize::from(*mark) < declared).ok_or_else(|| {
            unknown(format!(
                "option {index} is not declared; the {declared} declared ones count from 0 to {}",
                declared.saturating_sub(1)
            ))
        })
    }

    fn by_name(&self, rules: &TallyRules, name: &str) -> Result<u16, Refusal> {
        self.0.get(name).copied().ok_or_else(|| {
            let mut listed: Vec<String> =
                rules.options.iter().take(LISTED_MAX).map(|option| shown(option)).collect();
            let declared = rules.options.len();
            if declared > LISTED_MAX {
                listed.push(format!("... ({declared} in all)"));
            }
            let listed = listed.join(", ");
            unknown(format!("option '{}' is not declared; declared are {listed}", shown(name)))
        })
    }
}

/// A name as it may stand in a sentence, whatever a client put into it.
fn shown(name: &str) -> String {
    let mut text: String =
        name.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN_CHARS_MAX).is_some() {
        text.push_str("...");
    }
    text
}

fn unknown(message: String) -> Refusal {
    Refusal::new(ErrorCode::UnknownOption, message)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;

    fn rules(kind: TallyKind, choices_max: u64) -> TallyRules {
        let options = ["A", "B", "C", "D"].map(ToString::to_string).to_vec();
        TallyRules { choices_max: Some(choices_max), ..TallyRules::new(kind, options) }
    }

    fn read(rules: &TallyRules, choices: &[Choice]) -> Result<Vec<u16>, Refusal> {
        OptionNames::of(rules, 1).read(rules, choices)
    }

    fn named(name: &str) -> Choice {
        Choice::Name(name.to_string())
    }

    use Choice::{Index, Over, Skipped};

    #[test]
    fn empty_ranks_at_the_end_do_not_make_another_ballot() {
        let rules = rules(TallyKind::Ranked, 3);
        assert_eq!(read(&rules, &[named("C"), Skipped, Skipped, Skipped]).unwrap(), [2]);
        assert_eq!(read(&rules, &[Skipped, Index(0)]).unwrap(), [SKIPPED, 0]);
        assert_eq!(read(&rules, &vec![Skipped; 9]).unwrap(), [0_u16; 0]);
    }

    #[test]
    fn a_repeated_option_is_not_a_skipped_rank() {
        let rules = rules(TallyKind::Ranked, 4);
        let marks = read(&rules, &[Index(1), named("B"), Over, Over]).unwrap();
        assert_eq!(marks, [1, REPEATED, OVER, OVER]);
    }

    #[test]
    fn ranks_beyond_choices_max_are_refused() {
        let rules = rules(TallyKind::Ranked, 2);
        let refused = read(&rules, &[Index(0), Skipped, Index(1)]).unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument);
        assert!(refused.message.contains("at most 2 ranks"), "{}", refused.message);
    }

    #[test]
    fn the_order_of_a_multiple_choice_means_nothing() {
        let rules = rules(TallyKind::Multiple, 2);
        assert_eq!(read(&rules, &[named("D"), Index(1), Index(3)]).unwrap(), [1, 3]);
        assert_eq!(read(&rules, &[Skipped, Skipped, Skipped]).unwrap(), [0_u16; 0]);
        for bad in [vec![Index(0), Index(1), Index(2)], vec![Over], vec![Index(0), Skipped]] {
            let refused = read(&rules, &bad).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn a_single_choice_is_one_option_or_one_over_vote() {
        let rules = rules(TallyKind::Single, 4);
        assert_eq!(read(&rules, &[Index(3)]).unwrap(), [3]);
        assert_eq!(read(&rules, &[Index(3), named("D")]).unwrap(), [3]);
        assert_eq!(read(&rules, &[Over]).unwrap(), [OVER]);
        assert_eq!(read(&rules, &[]).unwrap(), [0_u16; 0]);
        for bad in [vec![Index(0), Index(1)], vec![Over, Over], vec![Index(0), Skipped]] {
            let refused = read(&rules, &bad).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn an_unknown_option_is_named_and_the_declared_ones_are_listed() {
        let rules = rules(TallyKind::Single, 1);
        let refused = read(&rules, &[named("X\n")]).unwrap_err();
        assert_eq!(refused.code, ErrorCode::UnknownOption);
        assert_eq!(refused.message, "option 'X\\n' is not declared; declared are A, B, C, D");
        let refused = read(&rules, &[Index(4)]).unwrap_err();
        assert_eq!(refused.code, ErrorCode::UnknownOption);
        assert!(refused.message.contains("from 0 to 3"), "{}", refused.message);
        let many = (0..36).map(|number| number.to_string()).collect();
        let many = TallyRules::new(TallyKind::Single, many);
        let refused = read(&many, &[named(&"x".repeat(9_999))]).unwrap_err();
        assert!(refused.message.ends_with("6, 7, ... (36 in all)"), "{}", refused.message);
        assert!(refused.message.len() < 200);
    }
}
