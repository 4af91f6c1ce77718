//! `tidewire admin names`: what there is on a server, name by name.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use http::Method;
use serde_json::{Value, json};
use tidewire_client::Name;

use super::connections::percent;
use super::http::ask;
use super::{CliError, Globals};
use crate::cli::connection::parse_name;
use crate::cli::output::{Output, note};

/// Names of one request.
const PAGE: usize = 500;

pub(super) const HELP: &str = "\
Examples:
  tidewire admin names topic
  tidewire admin names tally --matching 'poll.>'
  tidewire admin names group --limit 20 --json";

/// What is listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Topic,
    Counter,
    Tally,
    Presence,
    /// Consumer groups, by the names of their topics
    Group,
}

#[derive(Args, Clone, Debug)]
pub(super) struct NamesArgs {
    /// What to list
    kind: Kind,
    /// Only names that match
    #[arg(long, alias = "pattern", value_name = "PATTERN")]
    matching: Option<String>,
    /// Only names behind this one
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    after: Option<Name>,
    /// So many names at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

/// The columns of each kind: heading, and where the figure stands in the answer.
type Columns = &'static [(&'static str, &'static str)];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Counter => "counter",
            Self::Tally => "tally",
            Self::Presence => "presence",
            Self::Group => "group",
        }
    }

    fn columns(self) -> Columns {
        match self {
            Self::Topic => &[
                ("topic", "name"),
                ("records", "records"),
                ("next", "next"),
                ("bytes", "bytes"),
                ("keys", "map_keys"),
                ("partitions", "partitions"),
                ("on disk", "is_on_disk"),
            ],
            Self::Counter => &[
                ("counter", "name"),
                ("value", "value"),
                ("eventual", "is_eventual"),
                ("on disk", "is_on_disk"),
            ],
            Self::Tally => &[
                ("tally", "name"),
                ("state", "state"),
                ("ballots", "ballots"),
                ("leading", "leading"),
                ("on disk", "is_on_disk"),
            ],
            Self::Presence => &[("presence", "name"), ("members", "members")],
            Self::Group => &[
                ("topic", "topic"),
                ("group", "group"),
                ("lag", "lag"),
                ("leased", "leased"),
                ("consumers", "consumers"),
                ("redelivered", "redelivered"),
                ("dead", "dead"),
                ("missed", "missed"),
            ],
        }
    }
}

/// Lists names, page after page, up to the limit.
pub(super) async fn run(
    admin: SocketAddr,
    args: NamesArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let NamesArgs { kind, matching, after, limit } = args;
    let mut after = after.map(|name| name.as_str().to_owned());
    let (mut names, mut answer) = (Vec::new(), Value::Null);
    while names.len() < limit {
        let count = (limit - names.len()).min(PAGE);
        let mut path = format!("/v1/names?kind={}&limit={count}", kind.name());
        for (key, value) in [("pattern", &matching), ("after", &after)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", percent(value)));
            }
        }
        answer = ask(admin, Method::GET, &path, None).await?;
        let listed = answer.get("names").and_then(Value::as_array);
        names.extend(listed.into_iter().flatten().cloned());
        after = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    print(kind, &names, &answer, after.as_deref(), globals)
}

fn print(
    kind: Kind,
    names: &[Value],
    answer: &Value,
    next: Option<&str>,
    globals: &Globals,
) -> Result<(), CliError> {
    let (matching, missing) = (answer.get("matching"), answer.get("missing_shards"));
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({
            "names": names, "matching": matching, "next": next, "missing_shards": missing,
        }))?;
        return output.flush();
    }
    if !names.is_empty() {
        output.line(&table(kind.columns(), names).trim_fmt())?;
    }
    output.flush()?;
    let matching = matching.and_then(Value::as_u64).unwrap_or(0);
    note(&match next {
        Some(next) => format!("{} of {matching}; go on with --after {next}", names.len()),
        None => format!("{matching} in all"),
    });
    let missing = missing.and_then(Value::as_array).map_or(0, Vec::len);
    if missing > 0 {
        note(&format!(
            "without those of {missing} shards, of which this node has no copy, or which did not answer in time"
        ));
    }
    Ok(())
}

fn table(columns: Columns, names: &[Value]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(columns.iter().map(|(heading, _)| heading.to_uppercase()));
    for name in names {
        table.add_row(columns.iter().map(|(_, field)| cell(name.get(field))));
    }
    for (at, (_, field)) in columns.iter().enumerate() {
        let is_number = names.iter().any(|name| name.get(field).is_some_and(Value::is_number));
        if is_number && let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Bool(is)) => if *is { "yes" } else { "no" }.to_owned(),
        Some(Value::String(text)) => text.escape_default().to_string(),
        Some(Value::Array(leading)) => {
            let each = leading.iter().map(|one| {
                let option = one.get(0).and_then(Value::as_str).unwrap_or_default();
                format!("{} {}", option.escape_default(), one.get(1).unwrap_or(&Value::Null))
            });
            each.collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_column() {
        let tally = json!({
            "name": "lunch", "state": "open", "ballots": 3, "leading": [["pizza", 2], ["sal\u{7}ad", 1]],
            "is_on_disk": true, "is_hidden": false,
        });
        let shown = table(Kind::Tally.columns(), &[tally]).trim_fmt();
        let lines: Vec<Vec<&str>> =
            shown.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["TALLY", "STATE", "BALLOTS", "LEADING", "ON", "DISK"]);
        assert_eq!(lines[1], ["lunch", "open", "3", "pizza", "2,", "sal\\u{7}ad", "1", "yes"]);
    }
}
