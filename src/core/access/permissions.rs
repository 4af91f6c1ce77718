//! Rules, and what they decide.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use tidewire_protocol::{Name, Pattern};

use super::{Operation, Operations, Tenant};

/// Stands in the pattern of a rule for the subject of the connection.
const IDENTITY: &str = "{identity}";

/// What is allowed with the names that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Its place in its list, from 1 on.
    pub number: usize,
    /// The names.
    pub names: Pattern,
    /// What is allowed; anything else is not.
    pub allow: Operations,
}

impl Rule {
    /// A rule whose pattern may hold `{identity}`, for this subject; `None` if it is about nobody's
    /// names, or those of a subject that cannot be a part of a name.
    #[must_use]
    pub fn for_subject(
        number: usize,
        names: &str,
        allow: Operations,
        subject: Option<&str>,
    ) -> Option<Self> {
        let names = match (names.contains(IDENTITY), subject) {
            (false, _) => Pattern::parse(names).ok()?,
            // One token: with a dot or a wildcard in it somebody would be more than one. And nobody's
            // names are the server's, because they are called like those.
            (true, Some(subject)) => {
                let is_of_server = names.starts_with(IDENTITY) && subject.starts_with('$');
                if is_of_server || subject.contains(['.', '*', '>']) {
                    return None;
                }
                Pattern::parse(&names.replace(IDENTITY, subject)).ok()?
            }
            (true, None) => return None,
        };
        Some(Self { number, names, allow })
    }
}

/// Rules in order: the first that matches a name decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleList {
    /// Where they come from, for refusals: `role 'viewer'`.
    pub source: String,
    /// The rules.
    pub rules: Vec<Rule>,
    /// Whether what it allows is also allowed in the name of others.
    pub acts_for_others: bool,
}

impl RuleList {
    fn decide(&self, name: &Name) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.names.matches(name))
    }
}

/// All that applies to a connection. An operation is allowed if one of the lists allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// The lists.
    pub lists: Vec<RuleList>,
    /// The tenant whose names alone they are about; none: all names.
    pub tenant: Option<Tenant>,
}

/// What was decided, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether it is allowed.
    pub is_allowed: bool,
    /// The list and rule that allow it; of each list the rule that does not, `None` where no rule
    /// matches.
    pub by: Vec<(&'a RuleList, Option<&'a Rule>)>,
    /// The tenant that the name does not belong to: then no rule was asked.
    pub outside: Option<&'a Tenant>,
}

impl Permissions {
    /// All that is allowed with a name.
    #[must_use]
    pub fn operations(&self, name: &Name) -> Operations {
        if self.outside(name).is_some() {
            return Operations::NONE;
        }
        let of = |list: &RuleList| list.decide(name).map_or(Operations::NONE, |rule| rule.allow);
        self.lists.iter().map(of).fold(Operations::NONE, Operations::union)
    }

    /// Whether an operation is allowed in the name of others.
    #[must_use]
    pub fn acts_for_others(&self, operation: Operation, name: &Name) -> bool {
        let is_own = self.outside(name).is_none();
        is_own
            && self.lists.iter().any(|list| {
                list.acts_for_others
                    && list.decide(name).is_some_and(|rule| rule.allow.has(operation))
            })
    }

    /// Whether there may be a name of a pattern on which all of this is allowed.
    #[must_use]
    pub fn may_allow(&self, needs: Operations, pattern: &Pattern) -> bool {
        let is_ours = |names: &Pattern| {
            self.tenant.as_ref().is_none_or(|tenant| tenant.names().overlaps(names))
        };
        if !is_ours(pattern) {
            return false;
        }
        let all = self.lists.iter().flat_map(|list| &list.rules);
        let overlapping = all.filter(|rule| rule.names.overlaps(pattern) && is_ours(&rule.names));
        let allowed = overlapping.map(|rule| rule.allow).fold(Operations::NONE, Operations::union);
        allowed.has_all(needs)
    }

    /// Whether an operation is allowed, and why.
    #[must_use]
    pub fn explain(&self, operation: Operation, name: &Name) -> Verdict<'_> {
        let outside = self.outside(name);
        if outside.is_some() {
            return Verdict { is_allowed: false, by: Vec::new(), outside };
        }
        let decided = self.lists.iter().map(|list| (list, list.decide(name)));
        let allows =
            |(_, rule): &(_, Option<&Rule>)| rule.is_some_and(|rule| rule.allow.has(operation));
        let by: Vec<_> = decided.collect();
        match by.iter().find(|decided| allows(decided)).copied() {
            Some(allowed) => Verdict { is_allowed: true, by: Vec::from([allowed]), outside },
            None => Verdict { is_allowed: false, by, outside },
        }
    }

    /// The tenant, if the name is not one of its own.
    fn outside(&self, name: &Name) -> Option<&Tenant> {
        self.tenant.as_ref().filter(|tenant| !tenant.has(name))
    }
}

/// The rules that decided, as a refusal says it.
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tenant) = self.outside {
            return write!(f, "{tenant}");
        }
        if self.by.is_empty() {
            return f.write_str("it has no role and no rules of its own");
        }
        for (index, (RuleList { source, .. }, rule)) in self.by.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            match rule {
                Some(Rule { number, names, allow }) => {
                    write!(f, "rule {number} of {source} allows {allow} on '{names}'")?;
                }
                None => write!(f, "no rule of {source} is about it")?,
            }
        }
        Ok(())
    }
}

impl Verdict<'_> {
    /// The sentence of a refusal.
    #[must_use]
    pub fn refusal(&self, subject: &str, operation: Operation, name: &Name) -> String {
        let (subject, operation) = (subject.escape_default(), operation.as_str());
        format!("'{subject}' may not {operation} '{name}': {self}")
    }
}
