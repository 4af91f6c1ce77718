//! The pattern index: which of many patterns match a name, as a trie over tokens.

use alloc::boxed::Box;
use alloc::vec::Vec;

use tidewire_protocol::{Name, Pattern};

use crate::{HashMap, hash_map};

/// A pattern's number in the index; reused after removal.
pub type PatternId = usize;

/// A trie of patterns. A lookup visits, per token of the name, the literal branch and the `*`
/// branch, so its cost does not depend on the number of patterns.
#[derive(Debug)]
pub struct PatternIndex {
    root: Node,
    entries: slab::Slab<Entry>,
    by_pattern: HashMap<Pattern, PatternId>,
    version: u64,
    seed: u64,
}

#[derive(Debug)]
struct Entry {
    pattern: Pattern,
    users: usize,
}

#[derive(Debug)]
struct Node {
    literal: HashMap<Box<str>, Node>,
    star: Option<Box<Node>>,
    /// Patterns that end here.
    ends: Option<PatternId>,
    /// Patterns that go on with `>` here.
    rest: Option<PatternId>,
}

impl Node {
    fn new(seed: u64) -> Self {
        Self { literal: hash_map(seed), star: None, ends: None, rest: None }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.star.is_none() && self.ends.is_none() && self.rest.is_none()
    }
}

impl PatternIndex {
    /// An empty index.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            root: Node::new(seed),
            entries: slab::Slab::new(),
            by_pattern: hash_map(seed),
            version: 0,
            seed,
        }
    }

    /// Changes when another lookup may find something else than before.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of distinct patterns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds one user of a pattern. Returns its number and whether it is new.
    pub fn add(&mut self, pattern: &Pattern) -> (PatternId, bool) {
        if let Some(id) = self.by_pattern.get(pattern).copied() {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.users += 1;
            }
            return (id, false);
        }
        let id = self.entries.insert(Entry { pattern: pattern.clone(), users: 1 });
        self.by_pattern.insert(pattern.clone(), id);
        self.version += 1;
        let seed = self.seed;
        let mut node = &mut self.root;
        for token in pattern.tokens() {
            match token {
                ">" => {
                    node.rest = Some(id);
                    return (id, true);
                }
                "*" => node = node.star.get_or_insert_with(|| Box::new(Node::new(seed))),
                literal => {
                    node = node.literal.entry(literal.into()).or_insert_with(|| Node::new(seed));
                }
            }
        }
        node.ends = Some(id);
        (id, true)
    }

    /// Removes one user of a pattern. Returns whether that was the last one.
    pub fn remove(&mut self, id: PatternId) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        entry.users -= 1;
        if entry.users > 0 {
            return false;
        }
        let entry = self.entries.remove(id);
        self.version += 1;
        self.by_pattern.remove(&entry.pattern);
        let tokens: Vec<&str> = entry.pattern.tokens().collect();
        cut(&mut self.root, &tokens);
        true
    }

    /// The pattern of this number.
    #[must_use]
    pub fn pattern(&self, id: PatternId) -> Option<&Pattern> {
        self.entries.get(id).map(|entry| &entry.pattern)
    }

    /// The numbers of all patterns that match the name, in ascending order.
    #[must_use]
    pub fn lookup(&self, name: &Name) -> Vec<PatternId> {
        let tokens: Vec<&str> = name.tokens().collect();
        let mut found = Vec::new();
        // At most 128 tokens fit a name, so the open branches are few; no recursion all the same.
        let mut open = Vec::from([(&self.root, 0_usize)]);
        while let Some((node, depth)) = open.pop() {
            let wild_allowed = depth > 0 || !name.is_system();
            let Some(token) = tokens.get(depth) else {
                found.extend(node.ends);
                continue;
            };
            if wild_allowed {
                found.extend(node.rest);
                open.extend(node.star.as_deref().map(|star| (star, depth + 1)));
            }
            open.extend(node.literal.get(*token).map(|next| (next, depth + 1)));
        }
        found.sort_unstable();
        found
    }
}

/// Removes the end of a pattern below this node, and the branches that become empty. The depth is
/// that of the pattern, at most 128.
fn cut(node: &mut Node, tokens: &[&str]) {
    match tokens {
        [] => node.ends = None,
        [">"] => node.rest = None,
        ["*", rest @ ..] => {
            if let Some(star) = &mut node.star {
                cut(star, rest);
                if star.is_empty() {
                    node.star = None;
                }
            }
        }
        [literal, rest @ ..] => {
            if let Some(next) = node.literal.get_mut(*literal) {
                cut(next, rest);
                if next.is_empty() {
                    node.literal.remove(*literal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::string::String;

    use super::*;

    fn pattern() -> impl Strategy<Value = String> {
        let token = prop_oneof![Just("a"), Just("b"), Just("*"), Just("$s")];
        (proptest::collection::vec(token, 1..5), any::<bool>()).prop_map(|(tokens, rest)| {
            let mut text = tokens.join(".");
            if rest {
                text.push_str(".>");
            }
            text
        })
    }

    fn name() -> impl Strategy<Value = String> {
        let token = prop_oneof![Just("a"), Just("b"), Just("$s")];
        proptest::collection::vec(token, 1..6).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn the_trie_equals_the_naive_matcher(
            patterns in proptest::collection::vec(pattern(), 1..30),
            removed in proptest::collection::vec(any::<bool>(), 30),
            names in proptest::collection::vec(name(), 1..20),
        ) {
            let mut index = PatternIndex::new(7);
            let mut kept: Vec<(PatternId, Pattern)> = Vec::new();
            let added: Vec<_> = patterns.iter().map(|raw| {
                let pattern = Pattern::parse(raw).unwrap();
                (index.add(&pattern).0, pattern)
            }).collect();
            for ((id, pattern), gone) in added.into_iter().zip(removed) {
                if gone { index.remove(id); } else { kept.push((id, pattern)); }
            }
            for raw in names {
                let name = Name::parse(&raw).unwrap();
                let mut expected: Vec<PatternId> = kept.iter()
                    .filter(|(_, pattern)| pattern.matches(&name)).map(|(id, _)| *id).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(index.lookup(&name), expected);
            }
            for (id, _) in &kept { index.remove(*id); }
            prop_assert!(index.is_empty() && index.root.is_empty());
        }
    }
}
