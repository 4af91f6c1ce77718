//! The baseline: a small file in the repository, so that its changes are reviewed.

use std::collections::BTreeMap;

use toml::Table;

use crate::steps::root;

const PATH: &str = "benches/instructions.toml";

const HEAD: &str = "\
# Instructions of one step of each operation in benches/, as callgrind counts them.
# Written by `cargo xtask guard --accept`; `cargo xtask test guard` compares with it.
";

/// What the operations cost when somebody last looked and agreed.
pub(super) struct Baseline {
    pub(super) made_with: Tools,
    pub(super) instructions_per_step: BTreeMap<String, u64>,
}

/// Versions of what the counts depend on besides our code, by tool.
pub(super) struct Tools(pub(super) BTreeMap<String, String>);

impl Baseline {
    pub(super) fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(root().join(PATH))
            .map_err(|error| format!("{PATH}: {error}; make it: cargo xtask guard --accept"))?;
        Self::parse(&text).map_err(|reason| format!("{PATH}: {reason}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error| format!("{error}"))?;
        let section = |name: &str| {
            let found = table.get(name).and_then(|section| section.as_table());
            found.ok_or_else(|| format!("the section [{name}] is missing"))
        };
        let tools = section("made_with")?.iter().filter_map(|(tool, version)| {
            version.as_str().map(|version| (tool.clone(), version.to_owned()))
        });
        let counts = section("instructions_per_step")?.iter().map(|(name, count)| {
            let count = count.as_integer().and_then(|count| u64::try_from(count).ok());
            let count = count.filter(|count| *count > 0);
            count.map(|count| (name.clone(), count)).ok_or_else(|| format!("'{name}': not a count"))
        });
        Ok(Self {
            made_with: Tools(tools.collect()),
            instructions_per_step: counts.collect::<Result<_, _>>()?,
        })
    }

    /// Writes the file; returns its path in the repository.
    pub(super) fn write(&self) -> Result<&'static str, String> {
        std::fs::write(root().join(PATH), self.to_toml())
            .map_err(|error| format!("{PATH}: {error}"))?;
        Ok(PATH)
    }

    fn to_toml(&self) -> String {
        let mut text = String::from(HEAD);
        text.push_str("\n[made_with]\n");
        for (tool, version) in &self.made_with.0 {
            text += &format!("{tool} = {}\n", toml::Value::from(version.as_str()));
        }
        text.push_str("\n[instructions_per_step]\n");
        for (name, count) in &self.instructions_per_step {
            text += &format!("{} = {count}\n", toml::Value::from(name.as_str()));
        }
        text
    }
}

impl Tools {
    /// What is another version here: it may explain a difference that the code does not.
    pub(super) fn differences(&self, here: &Self) -> Vec<String> {
        let differing = self.0.iter().filter_map(|(tool, then)| {
            let now = here.0.get(tool).map_or("none", String::as_str);
            (now != then)
                .then(|| format!("the baseline was made with {tool} '{then}', here it is '{now}'"))
        });
        differing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let tools = [("rustc", "1.95.0"), ("cc", "gcc \"12\"")];
        let baseline = Baseline {
            made_with: Tools(tools.map(|(tool, v)| (tool.to_owned(), v.to_owned())).into()),
            instructions_per_step: [("append/1".to_owned(), 7000)].into(),
        };
        let read = Baseline::parse(&baseline.to_toml()).unwrap();
        assert_eq!(read.instructions_per_step, baseline.instructions_per_step);
        assert_eq!(read.made_with.0, baseline.made_with.0);
        assert!(read.made_with.differences(&baseline.made_with).is_empty());
    }

    #[test]
    fn a_count_that_is_none_is_refused_by_name() {
        let text = "[made_with]\n[instructions_per_step]\n\"append/1\" = 0\n";
        assert!(Baseline::parse(text).is_err_and(|reason| reason.contains("append/1")));
        assert!(Baseline::parse("[made_with]").is_err_and(|r| r.contains("instructions_per_step")));
    }

    #[test]
    fn another_compiler_is_named() {
        let tools = |version: &str| Tools([("rustc".to_owned(), version.to_owned())].into());
        let differences = tools("1.95.0").differences(&tools("1.96.0"));
        assert!(matches!(&*differences, [one] if one.contains("1.95.0") && one.contains("1.96.0")));
    }
}
