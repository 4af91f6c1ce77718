//! Names, patterns, and matching against a naive matcher.

use proptest::prelude::*;
use tidewire_protocol::{ErrorCode, NAME_BYTES_MAX, Name, Pattern};

use super::generated::{name, pattern};

proptest! {
    #[test]
    fn matching_equals_a_naive_matcher(pattern in pattern(), name in name()) {
        prop_assert_eq!(pattern.matches(&name), naive(&pattern, &name), "{} {}", pattern, name);
    }

    #[test]
    fn a_name_made_from_a_pattern_matches_it(
        pattern in pattern(),
        one in "[a-c]{1,3}",
        rest in "[a-c]{1,3}(\\.[a-c]{1,3}){0,3}",
    ) {
        let filled: Vec<&str> = pattern
            .tokens()
            .map(|token| match token {
                "*" => one.as_str(),
                ">" => rest.as_str(),
                literal => literal,
            })
            .collect();
        let name = Name::parse(&filled.join(".")).unwrap();
        prop_assert!(pattern.matches(&name), "{} {}", pattern, name);
    }

    #[test]
    fn a_name_is_a_pattern_that_matches_itself_alone(name in name(), other in name()) {
        let pattern = Pattern::parse(name.as_str()).unwrap();
        prop_assert_eq!(pattern.as_name(), Some(name.clone()));
        prop_assert!(pattern.matches(&name));
        prop_assert_eq!(pattern.matches(&other), name == other);
    }

    #[test]
    fn parsing_keeps_the_rules(raw in prop_oneof![any::<String>(), "[a.*> \\t\u{a0}é$]{0,12}", "a{250,260}"]) {
        let usable = !raw.is_empty()
            && raw.len() <= NAME_BYTES_MAX
            && !raw.chars().any(|each| each.is_whitespace() || each.is_control())
            && raw.split('.').all(|token| !token.is_empty());
        let plain = !raw.contains(['*', '>']);
        match Name::parse(&raw) {
            Ok(name) => prop_assert!(usable && plain && name.as_str() == raw),
            Err(refusal) => {
                prop_assert!(!usable || !plain);
                prop_assert_eq!(refusal.code, ErrorCode::InvalidName);
            }
        }
        let tokens: Vec<&str> = raw.split('.').collect();
        let (last, inner) = tokens.split_last().unwrap();
        let whole = |token: &&str| *token == "*" || !token.contains(['*', '>']);
        let well_placed = inner.iter().all(whole) && (whole(last) || *last == ">");
        match Pattern::parse(&raw) {
            Ok(pattern) => prop_assert!(usable && well_placed && pattern.as_str() == raw),
            Err(refusal) => {
                prop_assert!(!usable || !well_placed);
                prop_assert_eq!(refusal.code, ErrorCode::InvalidPattern);
            }
        }
    }
}

fn naive(pattern: &Pattern, name: &Name) -> bool {
    let patterns: Vec<&str> = pattern.tokens().collect();
    let names: Vec<&str> = name.tokens().collect();
    let hidden = matches!(patterns[0], "*" | ">") && names[0].starts_with('$');
    !hidden && tokens_match(&patterns, &names)
}

fn tokens_match(patterns: &[&str], names: &[&str]) -> bool {
    match (patterns, names) {
        ([], []) => true,
        ([">"], names) => !names.is_empty(),
        (["*", patterns @ ..], [_, names @ ..]) => tokens_match(patterns, names),
        ([pattern, patterns @ ..], [name, names @ ..]) => {
            pattern == name && tokens_match(patterns, names)
        }
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}
