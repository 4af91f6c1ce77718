//! `tidewire admin cluster unsafe-recover`: the last resort when a majority is gone for good.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::json;

use super::{CliError, Globals};
use crate::backup::{GroupLeft, Survivors};
use crate::cli::output::{Output, note};
use crate::cli::timestamp::show_rfc3339;
use crate::config::Loaded;

#[derive(Args, Clone, Debug)]
pub(in crate::cli::admin) struct UnsafeRecoverArgs {
    /// Configuration of one of the nodes that are left: its policies, its name and its master key
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: Option<PathBuf>,

    /// Data directory of a node that is left and stopped; may be named several times: the newest of each group counts
    /// [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,

    /// The data directory that is made, for a server of its own
    #[arg(long, value_name = "DIR")]
    into: PathBuf,

    /// What the nodes that are gone had and these have not is lost for good. Without this it is only shown what is left
    #[arg(long)]
    yes_i_may_lose_data: bool,
}

/// Makes a data directory of what is left.
///
/// # Errors
/// When a directory is in use or damaged, or it was not confirmed.
pub(super) fn unsafe_recover(args: UnsafeRecoverArgs, globals: &Globals) -> Result<(), CliError> {
    let UnsafeRecoverArgs { config, mut from, into, yes_i_may_lose_data } = args;
    let loaded = Loaded::read(config.as_deref(), std::env::vars_os(), Vec::new());
    let config = loaded.map_err(|error| CliError::usage(error.to_string()))?.config;
    if from.is_empty() {
        let missing = "no data directory: name one with --from, or a configuration that has `data_dir` (--config)";
        from.push(config.data_dir.clone().ok_or_else(|| CliError::usage(missing.to_owned()))?);
    }
    let refused = |error: crate::backup::RecoverError| CliError::usage(error.to_string());
    let survivors = Survivors::read(&from, &config).map_err(refused)?;
    let groups = survivors.groups();
    let mut output = Output::new();
    if yes_i_may_lose_data {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        survivors.recover(&into, now_ms).map_err(refused)?;
    }
    match globals.json {
        true => output.json(&json!({
            "into": into.display().to_string(), "made": yes_i_may_lose_data, "groups": groups,
        }))?,
        false => output.line(&table(&groups))?,
    }
    output.flush()?;
    tell(&groups);
    if !yes_i_may_lose_data {
        let message = "nothing was made: a later entry than these is lost for good if the nodes that are gone had one. If \
                       they never come back, repeat it with --yes-i-may-lose-data";
        return Err(CliError::usage(message.to_owned()));
    }
    let into = into.display();
    note(&format!(
        "{into} is made, and the directories of the nodes are as they were. Next: set `data_dir` to it and start the server \
         without [cluster]; or make a new authority (`tidewire admin cluster ca init`) and certificates, start it with \
         them, and `tidewire admin cluster init`. Never start the old directories again"
    ));
    Ok(())
}

/// What is not as it should be.
fn tell(groups: &[GroupLeft]) {
    let numbers = |is_so: &dyn Fn(&&GroupLeft) -> bool| {
        let found = groups.iter().filter(is_so).map(|left| left.group.to_string());
        found.collect::<Vec<_>>().join(", ")
    };
    let lost = numbers(&|left| left.node.is_none());
    if !lost.is_empty() {
        note(&format!(
            "nothing is left of the groups {lost}: names of their shards begin anew. Name the directories of other nodes that \
             are left, if there are some (--from)"
        ));
    }
    let old = numbers(&|left| left.is_given_away);
    if !old.is_empty() {
        note(&format!(
            "of the groups {old} there is only what a node had when it gave its copy away: others went on since"
        ));
    }
}

fn table(groups: &[GroupLeft]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["GROUP", "NODE", "ENTRIES", "TERM", "UNCERTAIN", "CHANGED", "DIRECTORY"]);
    for left in groups {
        let of = |shown: String| if left.node.is_some() { shown } else { "-".to_owned() };
        table.add_row([
            left.group.to_string(),
            left.node.map_or("-".to_owned(), |node| node.to_string()),
            of(left.entries.to_string()),
            of(left.term.to_string()),
            of(left.uncertain.to_string()),
            if left.changed_ms == 0 { "-".to_owned() } else { show_rfc3339(left.changed_ms) },
            left.directory.as_ref().map_or("-".to_owned(), |path| path.display().to_string()),
        ]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if matches!(index, 0..=4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
