//! `tidewire tally`: declares polls, votes, and shows where they stand.

mod args;
mod rebuild;
mod show;

use serde_json::json;
use tidewire_client::{
    CellKind, Choice, Client, Name, TallyReply, VoteStatus, Voted, WatchOptions, WatchValue,
};

pub(super) use args::TallyArgs;
use args::{InvalidateArgs, NameArgs, TallyCommand, WatchArgs};

use super::interrupt::{interrupted, stopped};
use super::output::{Output, unless_pipe_closed};
use super::{CliError, Globals};

/// Runs one tally command.
///
/// # Errors
/// When there is no connection, or the server refuses.
pub(super) async fn run(args: TallyArgs, globals: &Globals) -> Result<(), CliError> {
    if let TallyCommand::Rebuild(args) = &args.command {
        return unless_pipe_closed(rebuild::run(args, globals).await);
    }
    let mut output = Output::new();
    let lasting = matches!(args.command, TallyCommand::Watch(_));
    let client = if lasting {
        args.connection.connect_lasting().await?
    } else {
        args.connection.connect().await?
    };
    let done = perform(&client, args.command, globals, &mut output).await;
    let done = done.and_then(|()| output.flush());
    client.close().await;
    unless_pipe_closed(done)
}

async fn perform(
    client: &Client,
    command: TallyCommand,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    match command {
        TallyCommand::Create(create) => {
            let name = create.name.clone();
            let reply = client.create_tally(&name, create.into()).await?;
            let done = if reply.created { "created" } else { "exists with the same rules" };
            print_state(&name, done, &reply, globals, output)
        }
        TallyCommand::Vote(vote) => {
            let choices = choices(&vote.choices);
            let voted = client.vote(&vote.name, &vote.voter, choices, vote.revision).await?;
            print_voted(&vote.name, &voted, globals, output)
        }
        TallyCommand::Get(NameArgs { name }) => {
            let (version, standings) = client.standings(&name).await?;
            let options = standings.options.clone().unwrap_or_default();
            if globals.json {
                output.json(&show::standings_json(&name, version, &options, &standings))
            } else {
                show::table(&name, &options, &standings, output)
            }
        }
        TallyCommand::Watch(watch) => follow(client, &watch, globals, output).await,
        TallyCommand::Rounds(NameArgs { name }) => {
            let rounds = client.rounds(&name).await?;
            if globals.json {
                output.json(&show::rounds_json(&name, &rounds))
            } else {
                show::rounds(&rounds, output)
            }
        }
        TallyCommand::Open(NameArgs { name }) => {
            let reply = client.open_tally(&name).await?;
            print_state(&name, "opened", &reply, globals, output)
        }
        TallyCommand::Close(NameArgs { name }) => {
            let reply = client.close_tally(&name).await?;
            print_state(&name, "closed", &reply, globals, output)
        }
        TallyCommand::Delete(NameArgs { name }) => {
            let reply = client.delete_tally(&name).await?;
            print_state(&name, "deleted", &reply, globals, output)
        }
        TallyCommand::Invalidate(InvalidateArgs { name, voters, hashes }) => {
            let count = client.invalidate_ballots(&name, voters, hashes).await?;
            match globals.json {
                true => output.json(&json!({ "tally": name.as_str(), "invalidated": count })),
                false => output.line(&format!("{name}: {count} ballots taken out")),
            }
        }
        // It needs no connection.
        TallyCommand::Rebuild(_) => Ok(()),
    }
}

fn choices(raw: &[String]) -> Vec<Choice> {
    let choice = |raw: &String| {
        if raw == "-" { Choice::Skipped } else { Choice::Name(raw.clone()) }
    };
    raw.iter().map(choice).collect()
}

fn print_state(
    name: &Name,
    done: &str,
    reply: &TallyReply,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    let state = reply.state.as_str();
    if globals.json {
        return output.json(&json!({
            "tally": name.as_str(),
            "created": reply.created,
            "state": state,
            "version": reply.version,
        }));
    }
    if done == "deleted" || done == state || (done == "opened" && state == "open") {
        output.line(&format!("{name} {done}"))
    } else {
        output.line(&format!("{name} {done} ({state})"))
    }
}

fn print_voted(
    name: &Name,
    voted: &Voted,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    let status = match voted.status {
        VoteStatus::Accepted => "accepted",
        VoteStatus::Changed => "changed",
        VoteStatus::Duplicate => "duplicate",
    };
    if globals.json {
        return output.json(&json!({
            "tally": name.as_str(),
            "status": status,
            "revision": voted.revision,
            "version": voted.version,
            "partition": voted.partition,
            "epoch": voted.epoch,
        }));
    }
    let words = match voted.status {
        VoteStatus::Accepted => "ballot accepted",
        VoteStatus::Changed => "ballot changed",
        VoteStatus::Duplicate => "the same ballot was there already",
    };
    output.line(&format!("{words} (revision {})", voted.revision))
}

async fn follow(
    client: &Client,
    args: &WatchArgs,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    let options = WatchOptions { interval_ms: args.interval_ms, ..WatchOptions::default() };
    let mut watch = client.watch(CellKind::Tally, &args.name, options).await?;
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        let options = watch.tally_info().map(|info| info.options).unwrap_or_default();
        let event = tokio::select! {
            event = watch.next() => event,
            () = interrupted() => return stopped(seen, args.count),
        };
        let Some(event) = event else { break };
        seen += 1;
        match event.value {
            WatchValue::Standings(standings) if globals.json => {
                let version = event.version;
                output.json(&show::standings_json(&args.name, version, &options, &standings))?;
            }
            WatchValue::Standings(standings) => output.line(&show::line(&options, &standings))?,
            WatchValue::Absent | WatchValue::Counter(_) | WatchValue::Entries { .. } => {
                output.line(&format!("{} does not exist any more", args.name))?;
            }
        }
        output.flush()?;
    }
    watch.end_reason().map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hyphen_skips_a_rank() {
        let raw = ["B", "-", "A"].map(str::to_owned);
        let expected = [Choice::Name("B".into()), Choice::Skipped, Choice::Name("A".into())];
        assert_eq!(choices(&raw), expected);
    }
}
