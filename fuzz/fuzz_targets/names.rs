//! Names and patterns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewire_protocol::{NAME_BYTES_MAX, Name, Pattern};

fuzz_target!(|input: &[u8]| tidewire_fuzz::check(input, property));

/// A line break stands between a pattern, a name and another pattern. A pattern matches what a naive matcher does,
/// and two that match the same name overlap.
fn property(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (one, name, other) = (Pattern::parse(next()), Name::parse(next()), Pattern::parse(next()));
    if let Ok(name) = &name {
        let text = name.as_str();
        assert!(!text.is_empty() && text.len() <= NAME_BYTES_MAX);
        assert!(!text.contains(['*', '>']) && !text.contains(char::is_whitespace));
        let same = Pattern::parse(text);
        assert!(same.is_ok_and(|same| same.matches(name) && same.as_name().as_ref() == Some(name)));
    }
    if let (Ok(one), Ok(name)) = (&one, &name) {
        let is_hidden = name.is_system() && one.as_str().starts_with(['*', '>']);
        let is_match = naive(one.as_str(), name.as_str()) && !is_hidden;
        assert_eq!(one.matches(name), is_match, "'{one}' and '{name}'");
        if let Ok(other) = &other
            && is_match
            && other.matches(name)
        {
            assert!(one.overlaps(other), "'{one}' and '{other}' match '{name}'");
        }
    }
    if let (Ok(one), Ok(other)) = (&one, &other) {
        assert_eq!(one.overlaps(other), other.overlaps(one));
        assert!(one.overlaps(one));
    }
}

fn naive(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('.'), name.split_once('.')) {
        _ if pattern == ">" => true,
        (Some((first, patterns)), Some((token, names))) => {
            (first == "*" || first == token) && naive(patterns, names)
        }
        (None, None) => pattern == "*" || pattern == name,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
