//! Reads ballots from CSV (RFC 4180, UTF-8, a header row): one row per ballot, or per group of
//! equal ballots when a column holds their number.
//!
//! Names are trimmed. An empty cell, `undervote` and `skipped` choose nothing, `overvote` is an
//! over-vote (these words in any case); everything else is the name of an option. Empty lines are
//! passed over. Anything that cannot be read this way is refused with file, line and column,
//! because a ballot that is silently counted otherwise than it was cast is worse than none.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use tidewire_protocol::tally::{CHOICES_MAX, OPTION_BYTES_MAX, OPTIONS_MAX};

use super::election::{Election, Mark};

/// Most ballots of one election; each costs four bytes in the order of casting, and a voter in the
/// server.
pub(crate) const BALLOTS_MAX: u64 = 10_000_000;
/// Largest file of ballots.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

const SHIPPED: &str = include_str!("data/minneapolis-2013.csv");
const SHIPPED_FILE: &str = "minneapolis-2013.csv";
const SHIPPED_TITLE: &str = "Minneapolis mayor, 2013";
const SHIPPED_COUNT_COLUMN: &str = "count";

/// Why ballots cannot be read: the file, the place and the rule.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub(crate) struct ProfileError {
    file: String,
    reason: String,
}

/// Which columns mean what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// The ranked choices, best first; `None`: all but the count.
    pub(crate) ranks: Option<Vec<String>>,
    /// How many ballots a row stands for; `None`: one.
    pub(crate) count: Option<String>,
}

/// The election that comes with the binary: the ballots for the mayor of Minneapolis in 2013.
///
/// # Errors
/// Never in a binary whose tests passed; the data are read like any file.
pub(crate) fn shipped() -> Result<Election, ProfileError> {
    let columns = Columns { ranks: None, count: Some(SHIPPED_COUNT_COLUMN.to_owned()) };
    parse(SHIPPED_FILE, SHIPPED_TITLE, SHIPPED.as_bytes(), &columns)
}

/// Reads a file of ballots; its name without the ending is the election's title.
///
/// # Errors
/// What cannot be read, with the file, the line, the column and the rule.
pub(crate) fn read(path: &Path, columns: &Columns) -> Result<Election, ProfileError> {
    let file = path.display().to_string();
    let refuse = |reason: String| ProfileError { file: file.clone(), reason };
    let mut content = Vec::new();
    File::open(path)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!("is larger than {FILE_BYTES_MAX} bytes: split it")));
    }
    let title = path.file_stem().map_or(file.clone(), |stem| stem.to_string_lossy().into_owned());
    parse(&file, &title, &content, columns)
}

/// Reads the content of a file of this name.
pub(super) fn parse(
    file: &str,
    title: &str,
    content: &[u8],
    columns: &Columns,
) -> Result<Election, ProfileError> {
    Table::open(content, columns)
        .and_then(|table| table.into_election(title))
        .map_err(|reason| ProfileError { file: file.to_owned(), reason })
}

/// A CSV whose header has been read and understood. Errors in here lack only the file's name.
struct Table<'a> {
    content: &'a [u8],
    rows: csv::Reader<&'a [u8]>,
    header: Vec<String>,
    ranks: Vec<usize>,
    count: Option<usize>,
}

impl<'a> Table<'a> {
    fn open(content: &'a [u8], columns: &Columns) -> Result<Self, String> {
        // Flexible, because a row of the wrong length is refused in our own words.
        let mut rows = ReaderBuilder::new().flexible(true).from_reader(content);
        let head = rows.byte_headers().map_err(|error| format!("the header: {error}"))?;
        let line = line_of(content, head);
        let on_line = |fault: String| format!("line {line}: {fault}");
        let header = header_names(head).map_err(|fault| format!("line {line}, {fault}"))?;
        if header.is_empty() {
            return Err("is empty: the first line names the columns".to_owned());
        }
        let find = |name: &String| find(&header, name).map_err(on_line);
        let count = columns.count.as_ref().map(find).transpose()?;
        let ranks = match &columns.ranks {
            Some(names) => names.iter().map(find).collect::<Result<Vec<_>, _>>()?,
            None => (0..header.len()).filter(|index| Some(*index) != count).collect(),
        };
        check_ranks(&header, &ranks, count).map_err(on_line)?;
        Ok(Self { content, rows, header, ranks, count })
    }

    fn into_election(mut self, title: &str) -> Result<Election, String> {
        let mut election = Election::new(title.to_owned(), self.ranks.len());
        let mut ballots = 0_u64;
        let mut row = ByteRecord::new();
        while self.rows.read_byte_record(&mut row).map_err(|error| error.to_string())? {
            let on_line = |fault: String| format!("line {}, {fault}", line_of(self.content, &row));
            if row.len() != self.header.len() {
                let (found, expected) = (row.len(), self.header.len());
                let at = found.min(expected) + 1;
                return Err(on_line(format!(
                    "column {at}: the row has {found} fields and the header {expected}; each row \
                     needs as many as the header"
                )));
            }
            let count = self.row_count(&row).map_err(on_line)?;
            ballots = ballots.saturating_add(count);
            if ballots > BALLOTS_MAX {
                let rule = format!("with it there are more than {BALLOTS_MAX} ballots: use fewer");
                return Err(on_line(rule));
            }
            let marks = self.row_marks(&row, &mut election).map_err(on_line)?;
            election.add(marks, count);
        }
        if ballots == 0 {
            return Err("holds no ballots: each line after the header is one".to_owned());
        }
        if election.options.is_empty() {
            return Err("names no option: every ballot is blank or over-voted".to_owned());
        }
        Ok(election)
    }

    fn row_count(&self, row: &ByteRecord) -> Result<u64, String> {
        let Some(column) = self.count else { return Ok(1) };
        let fault = |rule: &str| format!("column {}: {rule}", self.name(column));
        let cell = text(row.get(column).unwrap_or_default()).map_err(|rule| fault(&rule))?;
        let digits = !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        match cell.parse() {
            Ok(count) if digits => Ok(count),
            _ => Err(fault(&format!(
                "'{}' is no count of ballots: use a whole number, digits only, of at most \
                 {BALLOTS_MAX}",
                cell.escape_debug()
            ))),
        }
    }

    fn row_marks(&self, row: &ByteRecord, election: &mut Election) -> Result<Box<[Mark]>, String> {
        let mut marks = Vec::with_capacity(self.ranks.len());
        for column in &self.ranks {
            let cell = row.get(*column).unwrap_or_default();
            let mark = text(cell).and_then(|name| mark(name, election));
            marks.push(mark.map_err(|rule| format!("column {}: {rule}", self.name(*column)))?);
        }
        Ok(marks.into())
    }

    /// A column as messages name it: its place, counted from 1, and its name.
    fn name(&self, column: usize) -> String {
        let name = self.header.get(column).map_or("", String::as_str);
        format!("{} ('{}')", column + 1, name.escape_debug())
    }
}

fn header_names(head: &ByteRecord) -> Result<Vec<String>, String> {
    let name = |(cell, at): (&[u8], usize)| match text(cell) {
        Ok(name) => Ok(name.to_owned()),
        Err(rule) => Err(format!("column {at}: {rule}")),
    };
    head.iter().zip(1..).map(name).collect()
}

fn mark(name: &str, election: &mut Election) -> Result<Mark, String> {
    let is = |word: &str| name.eq_ignore_ascii_case(word);
    if name.is_empty() || is("undervote") || is("skipped") {
        return Ok(Mark::Skipped);
    }
    if is("overvote") {
        return Ok(Mark::Over);
    }
    if name.len() > OPTION_BYTES_MAX {
        return Err(format!(
            "a name has at most {OPTION_BYTES_MAX} bytes, this one {}",
            name.len()
        ));
    }
    election
        .mark(name)
        .filter(|_| election.options.len() <= OPTIONS_MAX)
        .ok_or_else(|| format!("'{name}' is one option too many: at most {OPTIONS_MAX}"))
}

/// A cell as trimmed text.
fn text(cell: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(cell)
        .map_err(|error| format!("not valid UTF-8 after {} bytes", error.valid_up_to()))?;
    // Looked for before trimming: a quote that is never closed swallows line breaks.
    if text.chars().any(char::is_control) {
        return Err("holds a line break or another control character; is a quote left open?".into());
    }
    Ok(text.trim())
}

fn find(header: &[String], name: &str) -> Result<usize, String> {
    let name = name.trim();
    let mut found = header.iter().enumerate().filter(|(_, column)| *column == name);
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        (Some(_), Some(_)) => Err(format!("two columns are named '{name}': rename one")),
        (None, _) => {
            Err(format!("no column is named '{name}'; there are: '{}'", header.join("', '")))
        }
    }
}

fn check_ranks(header: &[String], ranks: &[usize], count: Option<usize>) -> Result<(), String> {
    if ranks.is_empty() || ranks.len() > CHOICES_MAX {
        return Err(format!(
            "a ballot has 1 to {CHOICES_MAX} ranked columns, here {}",
            ranks.len()
        ));
    }
    for (at, column) in ranks.iter().enumerate() {
        let name = header.get(*column).map_or("", String::as_str);
        if Some(*column) == count {
            return Err(format!("column '{name}' is both a choice and the count"));
        }
        if ranks.iter().take(at).any(|earlier| earlier == column) {
            return Err(format!("column '{name}' is asked for twice among the choices"));
        }
    }
    Ok(())
}

/// The line a row begins on, from 1. The reader's own count takes the empty lines before a row
/// for its beginning.
fn line_of(content: &[u8], row: &ByteRecord) -> usize {
    let at = row.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(0);
    let (before, from) = content.split_at_checked(at).unwrap_or((content, &[]));
    let empty = from.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let skipped = from.get(..empty).unwrap_or_default();
    1 + line_breaks(before, skipped.first()) + line_breaks(skipped, None)
}

/// Line breaks in these bytes; CR LF, CR and LF each are one. `next` is the byte after them.
fn line_breaks(bytes: &[u8], next: Option<&u8>) -> usize {
    let followers = bytes.iter().skip(1).map(Some).chain(std::iter::once(next));
    let breaks = |(byte, next): &(&u8, Option<&u8>)| match byte {
        b'\n' => true,
        b'\r' => *next != Some(&b'\n'),
        _ => false,
    };
    bytes.iter().zip(followers).filter(breaks).count()
}

#[cfg(test)]
mod tests;
