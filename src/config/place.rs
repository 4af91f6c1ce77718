//! Places in the text of a configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest part of a line that is shown.
const SHOWN_CHARS_MAX: usize = 160;

/// A file that was read, and where its keys are.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The value of each key; of a table, what it begins with.
    spans: BTreeMap<String, Range<usize>>,
}

impl File {
    pub(super) fn new(path: &Path, text: String) -> Self {
        let mut spans = BTreeMap::new();
        // A text that is no TOML has no keys; whoever reads it says why.
        if let Ok(table) = DeTable::parse(&text) {
            flatten("", table.get_ref(), &mut spans);
        }
        Self { path: path.to_owned(), text, spans }
    }

    pub(super) fn span(&self, key: &str) -> Option<&Range<usize>> {
        self.spans.get(key)
    }

    /// The key whose value is just there.
    pub(super) fn key_at(&self, span: &Range<usize>) -> Option<&str> {
        self.spans.iter().find(|(_, of)| *of == span).map(|(key, _)| key.as_str())
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let begins_at = before.rfind('\n').map_or(0, |at| at + 1);
        let first_line = |from: usize, to: usize| {
            let text = self.text.get(from..to).unwrap_or_default();
            text.lines().next().unwrap_or_default()
        };
        let marked = first_line(span.start, span.end).chars().count();
        Place {
            path: self.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(begins_at..).unwrap_or_default().chars().count() + 1,
            marked: marked.max(1),
            text: first_line(begins_at, self.text.len()).to_owned(),
        }
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    /// From 1 on.
    pub(super) line: usize,
    column: usize,
    /// Characters that it is about.
    marked: usize,
    /// The line itself.
    text: String,
}

impl Place {
    /// The line with a caret below; nothing if the place is far to the right.
    pub(super) fn shown(&self) -> String {
        if self.column > SHOWN_CHARS_MAX {
            return String::new();
        }
        let text = printable(&self.text);
        let room = text.chars().count().saturating_sub(self.column - 1).max(1);
        let carets = "^".repeat(self.marked.min(room));
        let (line, before) = (self.line, " ".repeat(self.column - 1));
        let gutter = " ".repeat(line.to_string().len());
        format!("\n{gutter} |\n{line} | {text}\n{gutter} | {before}{carets}")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// The beginning of a text, without what would do something to a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn flatten(key: &str, table: &DeTable<'_>, into: &mut BTreeMap<String, Range<usize>>) {
    for (name, value) in table {
        let dot = if key.is_empty() { "" } else { "." };
        put(format!("{key}{dot}{}", name.get_ref()), value, into);
    }
}

/// The parser bounds how deep tables and arrays are nested.
fn put(key: String, value: &Spanned<DeValue<'_>>, into: &mut BTreeMap<String, Range<usize>>) {
    if let Some(table) = value.get_ref().as_table() {
        flatten(&key, table, into);
    }
    for (index, value) in value.get_ref().as_array().into_iter().flatten().enumerate() {
        put(format!("{key}[{index}]"), value, into);
    }
    into.insert(key, value.span());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, key: &str) -> String {
        let file = File::new(Path::new("a.toml"), text.to_owned());
        let place = file.place(file.span(key).unwrap());
        format!("{place}{}", place.shown())
    }

    #[test]
    fn keys_are_found_in_tables_arrays_and_lists() {
        let text = "a = 1\n[b]\nc.d = \"x\"\ne = [\n  7,\n  8]\n[[f]]\n[[f]]\ng = [{ h = true }]\n";
        assert_eq!(shown(text, "a"), "a.toml:1:5\n  |\n1 | a = 1\n  |     ^");
        assert_eq!(shown(text, "b.c.d"), "a.toml:3:7\n  |\n3 | c.d = \"x\"\n  |       ^^^");
        assert_eq!(shown(text, "b.e[1]"), "a.toml:6:3\n  |\n6 |   8]\n  |   ^");
        // Of what goes on, the first line.
        assert_eq!(shown(text, "b.e"), "a.toml:4:5\n  |\n4 | e = [\n  |     ^");
        assert_eq!(
            shown(text, "f[1].g[0].h"),
            "a.toml:9:12\n  |\n9 | g = [{ h = true }]\n  |            ^^^^"
        );
        assert_eq!(shown(text, "f[1]"), "a.toml:8:1\n  |\n8 | [[f]]\n  | ^^^^^");
    }

    #[test]
    fn columns_are_characters_and_long_lines_and_escapes_are_not_shown() {
        assert_eq!(shown("\"ä\" = 1", "ä"), "a.toml:1:7\n  |\n1 | \"ä\" = 1\n  |       ^");
        let long = format!("a = [\"{}\", 1]", "x".repeat(SHOWN_CHARS_MAX));
        assert_eq!(shown(&long, "a[1]"), "a.toml:1:170");
        assert_eq!(shown("a = 1 #\t!", "a"), "a.toml:1:5\n  |\n1 | a = 1 # !\n  |     ^");
        let beyond = File::new(Path::new("a.toml"), "a = 1\n".to_owned()).place(&(9..12));
        assert_eq!(beyond.to_string(), "a.toml:2:1");
    }
}
