//! Roles: lists of rules by name, and what comes of them for somebody.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidewire_core::access::{Operation, Operations, Rule, RuleList};
use tidewire_protocol::{Pattern, Refusal};

use super::{AuthError, refuse};
use crate::config::RoleConfig;

/// A rule as it is written in a configuration or a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Pattern of names; `{identity}` stands for the subject.
    pub names: String,
    /// Operations, by name.
    pub allow: Vec<String>,
}

/// A role, checked.
#[derive(Debug)]
struct Role {
    name: String,
    acts_for_others: bool,
    grants: Vec<Grant>,
}

/// All roles of a configuration.
#[derive(Debug)]
pub(super) struct Roles(Vec<Role>);

impl Roles {
    /// # Errors
    /// When a pattern is none, an operation does not exist, or two roles have one name.
    pub(super) fn of(config: &[RoleConfig]) -> Result<Self, AuthError> {
        let mut roles: Vec<Role> = Vec::new();
        for (index, role) in config.iter().enumerate() {
            let RoleConfig { name, acts_for_others, rules } = role;
            let place = format!("auth.role[{index}]");
            if roles.iter().any(|known| known.name == *name) {
                let rule = format!("there is a role '{name}' already");
                return Err(AuthError::value(format!("{place}.name"), rule));
            }
            for (number, grant) in rules.iter().enumerate() {
                grant
                    .check()
                    .map_err(|rule| AuthError::value(format!("{place}.rules[{number}]"), rule))?;
            }
            let (name, grants) = (name.clone(), rules.clone());
            roles.push(Role { name, acts_for_others: *acts_for_others, grants });
        }
        Ok(Self(roles))
    }

    /// Refuses the name of a role that is not there.
    pub(super) fn check(&self, key: &str, name: &str) -> Result<(), AuthError> {
        if self.0.iter().any(|role| role.name == name) {
            return Ok(());
        }
        let known: Vec<&str> = self.0.iter().map(|role| role.name.as_str()).collect();
        let rule = format!("there is no role '{name}'; there are: {}", known.join(", "));
        Err(AuthError::value(key, rule))
    }

    /// What these roles and rules allow somebody.
    ///
    /// # Errors
    /// `unauthenticated` for a role that is not there, and a rule that is none.
    pub(super) fn resolve(
        &self,
        names: &[String],
        grants: &[Grant],
        subject: Option<&str>,
    ) -> Result<Vec<RuleList>, Refusal> {
        let mut lists = Vec::new();
        for name in names {
            let role = self.0.iter().find(|role| role.name == *name).ok_or_else(|| {
                refuse(format!("the configuration has no role '{}'", name.escape_default()))
            })?;
            let list = list(format!("role '{name}'"), &role.grants, subject);
            lists.push(RuleList { acts_for_others: role.acts_for_others, ..list });
        }
        if !grants.is_empty() {
            for (index, grant) in grants.iter().enumerate() {
                grant
                    .check()
                    .map_err(|rule| refuse(format!("rule {} of the token: {rule}", index + 1)))?;
            }
            lists.push(list("the token".to_owned(), grants, subject));
        }
        Ok(lists)
    }
}

fn list(source: String, grants: &[Grant], subject: Option<&str>) -> RuleList {
    let rules = grants.iter().zip(1..).filter_map(|(grant, number)| {
        let allow = allowed(&grant.allow).ok()?;
        Rule::for_subject(number, &grant.names, allow, subject)
    });
    RuleList { source, rules: rules.collect(), acts_for_others: false }
}

impl Grant {
    /// # Errors
    /// The rule of writing rules that it breaks.
    fn check(&self) -> Result<(), String> {
        // As the name of somebody, of whom it is not known yet who that is.
        let pattern = self.names.replace("{identity}", "somebody");
        Pattern::parse(&pattern).map_err(|refusal| refusal.message)?;
        let is_whole = |token: &str| !token.contains("{identity}") || token == "{identity}";
        if !self.names.split('.').all(is_whole) {
            return Err(format!("'{}': {{identity}} must be a whole token", self.names));
        }
        allowed(&self.allow).map(|_| ())
    }
}

/// The operations with these names.
///
/// # Errors
/// Which one does not exist, and which do.
pub(crate) fn allowed(names: &[String]) -> Result<Operations, String> {
    names
        .iter()
        .map(|name| {
            Operation::parse(name).ok_or_else(|| {
                let known = Operation::ALL.map(Operation::as_str).join(", ");
                format!("there is no operation '{}'; there are: {known}", name.escape_default())
            })
        })
        .collect()
}
