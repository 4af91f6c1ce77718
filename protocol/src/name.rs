//! Names of topics and cells, and the patterns that match them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ErrorCode, Refusal};

/// Longest name or pattern in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// A checked name: dot-separated tokens, 1 to 256 bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks a name at the edge; inside the server a name is always valid.
    ///
    /// # Errors
    /// `invalid_name`, saying which rule is broken.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let refuse = |rule: &str| Err(refusal(ErrorCode::InvalidName, "name", raw, rule));
        if let Some(rule) = broken_rule(raw) {
            return refuse(rule);
        }
        if raw.contains(['*', '>']) {
            return refuse("'*' and '>' stand in patterns only");
        }
        Ok(Self(raw.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name belongs to the server (starts with `$`).
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The dot-separated parts.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A checked pattern: a name in which `*` stands for one token and a last `>` for the rest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks a pattern at the edge.
    ///
    /// # Errors
    /// `invalid_pattern`, saying which rule is broken.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let refuse = |rule: &str| Err(refusal(ErrorCode::InvalidPattern, "pattern", raw, rule));
        if let Some(rule) = broken_rule(raw) {
            return refuse(rule);
        }
        let mut tokens = raw.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token == ">" && tokens.peek().is_some() {
                return refuse("'>' must be the last token");
            }
            if token.len() > 1 && token.contains(['*', '>']) {
                return refuse("'*' and '>' must be whole tokens");
            }
        }
        Ok(Self(raw.into()))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The dot-separated parts.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The one name that this pattern matches, if it holds no wildcard.
    #[must_use]
    pub fn as_name(&self) -> Option<Name> {
        if self.0.contains(['*', '>']) { None } else { Some(Name(Arc::clone(&self.0))) }
    }

    /// Whether there is a name that both patterns match.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        // Names of the server are matched by what begins as they do, never by a wildcard.
        let is_system = |pattern: &Self| pattern.0.starts_with('$');
        if is_system(self) != is_system(other) {
            return false;
        }
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        loop {
            match (ours.next(), theirs.next()) {
                (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
                (Some(our), Some(their)) if our == "*" || their == "*" || our == their => {}
                (_, _) => return false,
            }
        }
    }

    /// Whether the pattern matches this name, token by token.
    #[must_use]
    pub fn matches(&self, name: &Name) -> bool {
        let starts_wild = self.0.starts_with(['*', '>']);
        if starts_wild && name.is_system() {
            return false;
        }
        let mut names = name.tokens();
        for pattern in self.tokens() {
            match (pattern, names.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(token)) if literal == token => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// As text; read back through the same check as any other.
impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(deserializer)?;
        Self::parse(&raw).map_err(|refusal| serde::de::Error::custom(refusal.message))
    }
}

/// As text; read back through the same check as any other.
impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(deserializer)?;
        Self::parse(&raw).map_err(|refusal| serde::de::Error::custom(refusal.message))
    }
}

fn broken_rule(raw: &str) -> Option<&'static str> {
    if raw.len() <= NAME_BYTES_MAX && is_plain(raw.as_bytes()) {
        return None;
    }
    if raw.is_empty() {
        return Some("it is empty");
    }
    if raw.len() > NAME_BYTES_MAX {
        return Some("it is longer than 256 bytes");
    }
    if raw.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("white space and control characters are not allowed");
    }
    if raw.split('.').any(str::is_empty) {
        return Some("no token between dots may be empty");
    }
    None
}

/// Whether these are tokens of visible ASCII, as in nearly every name: found in one pass.
fn is_plain(raw: &[u8]) -> bool {
    let mut last = b'.';
    for byte in raw {
        if !byte.is_ascii_graphic() || (*byte == b'.' && last == b'.') {
            return false;
        }
        last = *byte;
    }
    last != b'.'
}

fn refusal(code: ErrorCode, what: &str, raw: &str, rule: &str) -> Refusal {
    let shown: String = raw.chars().take(64).flat_map(char::escape_debug).collect();
    let dots = if raw.chars().count() > 64 { "..." } else { "" };
    Refusal::new(code, format!("invalid {what} '{shown}{dots}': {rule}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(raw: &str) -> Name {
        Name::parse(raw).unwrap()
    }

    #[test]
    fn names_keep_the_rules() {
        for good in ["a", "poll.42.votes", "$sys.audit", "grüße.ö"] {
            assert_eq!(name(good).as_str(), good);
        }
        for bad in ["", ".", "a..b", "a.", ".a", "a b", "a\u{7}", "a.*", ">", &"x".repeat(257)] {
            assert_eq!(Name::parse(bad).unwrap_err().code, ErrorCode::InvalidName, "{bad}");
        }
    }

    #[test]
    fn patterns_overlap_where_a_name_is_matched_by_both() {
        let tokens = ["a", "b", "*", ">", "$s"];
        let mut patterns = Vec::new();
        for first in tokens {
            patterns.push(first.to_owned());
            for second in tokens {
                patterns.push(format!("{first}.{second}"));
                for third in tokens {
                    patterns.push(format!("{first}.{second}.{third}"));
                }
            }
        }
        let patterns: Vec<Pattern> =
            patterns.iter().filter_map(|raw| Pattern::parse(raw).ok()).collect();
        let mut names = vec![];
        for length in 1..=4_u32 {
            for number in 0..3_usize.pow(length) {
                let token = |at: u32| ["a", "b", "$s"][number / 3_usize.pow(at) % 3];
                names.push(name(&(0..length).map(token).collect::<Vec<_>>().join(".")));
            }
        }
        assert!(patterns.len() > 80);
        for one in &patterns {
            for other in &patterns {
                let both = names.iter().any(|name| one.matches(name) && other.matches(name));
                assert_eq!(one.overlaps(other), both, "'{one}' and '{other}'");
            }
        }
    }

    #[test]
    fn what_is_stored_is_checked_when_it_is_read() {
        let stored = rmp_serde::to_vec(&(name("a.b"), Pattern::parse("a.>").unwrap())).unwrap();
        let (read, pattern): (Name, Pattern) = rmp_serde::from_slice(&stored).unwrap();
        assert_eq!((read.as_str(), pattern.as_str()), ("a.b", "a.>"));
        let broken = rmp_serde::to_vec("a..b").unwrap();
        assert!(rmp_serde::from_slice::<Name>(&broken).is_err());
        assert!(rmp_serde::from_slice::<Pattern>(&broken).is_err());
    }

    #[test]
    fn patterns_keep_the_rules() {
        for good in ["a", "*", ">", "a.*.b", "a.>", "*.>"] {
            assert!(Pattern::parse(good).is_ok(), "{good}");
        }
        for bad in ["a.>.b", "a*", "a.b>", "**", ""] {
            assert_eq!(Pattern::parse(bad).unwrap_err().code, ErrorCode::InvalidPattern, "{bad}");
        }
    }

    #[test]
    fn wildcards_match_whole_tokens_and_never_system_names() {
        let cases = [
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*", "a", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("*", "$sys", false),
            (">", "$sys.audit", false),
            ("$sys.>", "$sys.audit", true),
            ("a.b", "a.b", true),
        ];
        for (pattern, raw, expected) in cases {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(&name(raw)), expected, "{pattern}");
        }
    }
}
