//! The names of a shard, page by page: for people who look what there is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use tidewire_protocol::group::GroupInfo;
use tidewire_protocol::{Name, Pattern};

use super::Shard;
use super::inventory::{CounterEntry, PresenceEntry, TallyEntry, TopicEntry};

/// What is listed: one kind of thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the variants are named after what they list")]
pub enum Kind {
    Topic,
    Counter,
    Tally,
    Presence,
    /// Consumer groups, by the names of their topics.
    Group,
}

/// Which names are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of what.
    pub kind: Kind,
    /// Only those that match it; all if there is none.
    pub pattern: Option<Pattern>,
    /// Only those behind this name.
    pub after: Option<Name>,
    /// So many names at most, the first ones in order.
    pub limit: usize,
}

/// Some names of a shard, in order, with what there is to say of each.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The names that were wanted.
    pub entries: BTreeMap<Name, Entry>,
    /// Names of the kind that match and are at home here, whether or not they are on this page.
    pub matching: u64,
}

/// What there is to say of a name.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the variants are those of `Kind`")]
pub enum Entry {
    Topic(TopicEntry),
    Counter(CounterEntry),
    /// The value of a counter that each node changes by itself, as far as this one knows it.
    Eventual(i64),
    Tally(TallyEntry),
    Presence(PresenceEntry),
    /// The groups of a topic, each with its state.
    Groups(Vec<(Name, GroupInfo)>),
}

impl Wanted {
    /// The page of these names: the first so many in order. `entry` is asked for those only.
    pub fn page<'names, Thing: Copy>(
        &self,
        all: impl Iterator<Item = (&'names Name, Thing)>,
        is_home: impl Fn(&Name) -> bool,
        entry: impl Fn(&Name, Thing) -> Entry,
    ) -> Page {
        let (mut chosen, mut matching) = (BTreeMap::new(), 0);
        for (name, thing) in all {
            if self.pattern.as_ref().is_some_and(|pattern| !pattern.matches(name)) {
                continue;
            }
            matching += u64::from(is_home(name));
            let is_behind = self.after.as_ref().is_none_or(|after| name > after);
            let is_first = chosen.len() < self.limit
                || chosen.last_key_value().is_some_and(|(last, _)| name < *last);
            if is_behind && is_first {
                chosen.insert(name, thing);
                if chosen.len() > self.limit {
                    chosen.pop_last();
                }
            }
        }
        let made = |(name, thing): (&Name, Thing)| (name.clone(), entry(name, thing));
        Page { entries: chosen.into_iter().map(made).collect(), matching }
    }
}

impl Shard {
    /// Lists names of one kind; a walk over all of them. It may be ahead of what is committed by the rounds that are
    /// under way.
    #[must_use]
    pub fn list(&self, wanted: &Wanted) -> Page {
        let is_home = |name: &Name| self.config.policies.home(name) == self.config.shard;
        let topics = || self.topics.by_id.iter().map(|(_, topic)| (&topic.name, topic));
        match wanted.kind {
            Kind::Topic => wanted.page(topics(), is_home, |_, topic| Entry::Topic(topic.entry())),
            Kind::Counter => wanted.page(self.cells.counters.iter(), is_home, |name, counter| {
                Entry::Counter(CounterEntry::of(name, counter))
            }),
            Kind::Tally => wanted.page(self.cells.tallies.iter(), is_home, |name, tally| {
                Entry::Tally(TallyEntry::of(name, tally, self.now_ms))
            }),
            // Presence is in memory whatever the policy says.
            Kind::Presence => wanted.page(
                self.cells.presence.iter(),
                |_| true,
                |name, set| {
                    let (version, members) = (set.members.version(), set.members.len());
                    Entry::Presence(PresenceEntry { name: name.clone(), version, members })
                },
            ),
            Kind::Group => {
                let consumed = topics().filter(|(_, topic)| topic.groups.is_some());
                wanted.page(consumed, is_home, |_, topic| Entry::Groups(topic.group_infos()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<Name> {
        (0..count).map(|number| Name::parse(&format!("n.{number:03}")).unwrap()).collect()
    }

    proptest! {
        /// One page after the other gives every name that matches once, in order.
        #[test]
        fn pages_follow_each_other(
            count in 0..60_usize,
            limit in 1..20_usize,
            shuffled in proptest::collection::vec(any::<prop::sample::Index>(), 60),
            only_even in any::<bool>(),
        ) {
            let mut all = names(count);
            for (at, other) in shuffled.iter().enumerate().take(count) {
                all.swap(at, other.index(count));
            }
            let evens = |name: &Name| name.as_str().ends_with(['0', '2', '4', '6', '8']);
            let wanted_names = || all.iter().filter(|name| !only_even || evens(name));
            let mut wanted = Wanted { kind: Kind::Counter, pattern: None, after: None, limit };
            let mut seen = Vec::new();
            loop {
                let listed = wanted_names().map(|name| (name, ()));
                let page = wanted.page(listed, |_| true, |_, ()| Entry::Eventual(0));
                prop_assert!(page.entries.len() <= limit);
                prop_assert_eq!(page.matching as usize, wanted_names().count());
                let Some((last, _)) = page.entries.last_key_value() else { break };
                wanted.after = Some(last.clone());
                seen.extend(page.entries.into_keys());
            }
            let mut sorted: Vec<Name> = wanted_names().cloned().collect();
            sorted.sort();
            prop_assert_eq!(seen, sorted);
        }
    }

    #[test]
    fn only_what_matches_is_listed() {
        let all = [Name::parse("a.b").unwrap(), Name::parse("b.c").unwrap()];
        let pattern = Some(Pattern::parse("a.*").unwrap());
        let wanted = Wanted { kind: Kind::Counter, pattern, after: None, limit: 9 };
        let listed = all.iter().map(|name| (name, ()));
        let page = wanted.page(listed, |_| true, |_, ()| Entry::Eventual(0));
        assert_eq!(page.entries.keys().collect::<Vec<_>>(), [&all[0]]);
        assert_eq!(page.matching, 1);
    }
}
