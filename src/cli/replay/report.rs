//! What a replay prints.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};
use tidewire_core::shard::Inventory;

use super::{Ending, brief};
use crate::cli::output::Output;
use crate::cli::timestamp::show_rfc3339;
use crate::cli::{CliError, Globals};
use crate::recording::{Checked, Difference, Divergence, Done, Replay, ShardReplay};

/// The outcome: shard by shard, and on the whole; with what is there if it is to stop early.
pub(super) fn print<R: Read>(
    file: &Path,
    with_state: bool,
    replay: &Replay<R>,
    ending: &Ending,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    if globals.json {
        return output.json(&object(file, with_state, replay, ending));
    }
    let header = replay.header();
    output.line(&format!(
        "recording {} of {} ({}), begun {}",
        file.display(),
        header.node,
        header.server,
        show_rfc3339(header.started_at_ms)
    ))?;
    output.line("shard      inputs  state hash                        against the recording")?;
    for (number, shard) in replay.shards() {
        let (inputs, hash) = (shard.inputs, shard.shard.state_hash());
        let verdict = verdict(shard, ending, *number);
        output.line(&format!("{number:>5}  {inputs:>10}  {hash}  {verdict}"))?;
    }
    if with_state {
        for (number, shard) in replay.shards() {
            state(*number, &shard.shard.inventory(), output)?;
        }
    }
    output.line(&last_line(replay, ending))
}

fn verdict(shard: &ShardReplay, ending: &Ending, number: u16) -> String {
    match (shard.last, ending) {
        (_, Ending::Diverged(divergence)) if divergence.shard == number => "differs".to_owned(),
        (Some(_), _) => "equal".to_owned(),
        (None, _) => format!("equal at input {}, and by figures since", shard.hashed),
    }
}

fn last_line<R: Read>(replay: &Replay<R>, ending: &Ending) -> String {
    let number = replay.number();
    match (ending, replay.end(), replay.torn()) {
        (Ending::Diverged(_), _, _) => format!("different after {number} inputs"),
        (Ending::Unreadable(_), _, _) => format!("unreadable after {number} inputs"),
        (Ending::Stopped, _, _) => {
            let joined = replay.shards().len();
            format!(
                "stopped after {number} inputs; {joined} shards had joined the recording by then"
            )
        }
        (Ending::Over, Some(end), _) => format!(
            "equal: {number} inputs; the recording ended {}: {}",
            show_rfc3339(end.ended_at_ms),
            end.reason
        ),
        (Ending::Over, None, Some(torn)) => format!(
            "equal as far as it goes: {number} inputs; the recording has no end and breaks off at \
             byte {}, in the middle of a frame ({} bytes of it are there): the server was killed, \
             or is still writing",
            torn.offset, torn.bytes
        ),
        (Ending::Over, None, None) => format!(
            "equal as far as it goes: {number} inputs; the recording has no end: the server was \
             killed, or is still writing"
        ),
    }
}

fn object<R: Read>(file: &Path, with_state: bool, replay: &Replay<R>, ending: &Ending) -> Value {
    let shards: Vec<Value> = replay
        .shards()
        .iter()
        .map(|(number, shard)| {
            let differs = matches!(ending, Ending::Diverged(found) if found.shard == *number);
            let equal = if differs { Some(false) } else { shard.last.map(|_| true) };
            let mut object = json!({
                "shard": number,
                "inputs": shard.inputs,
                "now_ms": shard.now_ms,
                "hash": shard.shard.state_hash().to_string(),
                "recorded_hash": shard.last.map(|hash| hash.to_string()),
                "equal": equal,
                "hashes_equal": shard.hashes,
                "hash_equal_at_input": shard.hashed,
            });
            if let (true, Some(fields)) = (with_state, object.as_object_mut()) {
                fields.insert("state".to_owned(), state_object(&shard.shard.inventory()));
            }
            object
        })
        .collect();
    let (ended, equal) = match ending {
        Ending::Over => ("over", Some(true)),
        Ending::Stopped => ("stopped", None),
        Ending::Diverged(_) => ("diverged", Some(false)),
        Ending::Unreadable(_) => ("unreadable", None),
    };
    json!({
        "file": file,
        "server": replay.header().server,
        "node": replay.header().node,
        "started_at_ms": replay.header().started_at_ms,
        "inputs": replay.number(),
        "ended": ended,
        "equal": equal,
        "end": replay.end().map(|end| json!({
            "code": end.code, "reason": end.reason, "ended_at_ms": end.ended_at_ms,
            "inputs": end.inputs,
        })),
        "torn": replay.torn().map(|torn| json!({ "offset": torn.offset, "bytes": torn.bytes })),
        "divergence": match ending {
            Ending::Diverged(found) => json!({
                "input": found.number, "shard": found.shard, "shard_input": found.input,
                "hash_equal_at_input": found.hashed, "message": divergence(found),
            }),
            Ending::Over | Ending::Stopped | Ending::Unreadable(_) => Value::Null,
        },
        "shards": shards,
    })
}

/// Where a replay left its recording, as a sentence.
pub(super) fn divergence(found: &Divergence) -> String {
    let Divergence { number, shard, input, hashed, what } = found;
    let what = match what {
        Difference::Progress { recorded, replayed } => {
            format!("recorded was {recorded:?}, replayed is {replayed:?}")
        }
        Difference::Hash { recorded, replayed } => {
            format!("the recorded state hash was {recorded}, the replayed one is {replayed}")
        }
    };
    format!(
        "the replay leaves the recording at input {number}, input {input} of shard {shard}: {what}; \
         the state was equal after input {hashed} of the shard"
    )
}

/// A state hash that was equal on the way.
pub(super) fn equal(
    checked: &Checked,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    let Checked { shard, after, hash, last } = checked;
    if globals.json {
        return output.json(&json!({ "shard": shard, "equal_at_input": after,
            "hash": hash.to_string(), "last": last }));
    }
    output.line(&format!("shard {shard}: equal after its input {after}, {hash}"))
}

/// One input, what it told, and the state hash.
pub(super) fn step<R: Read>(
    done: &Done,
    replay: &Replay<R>,
    globals: &Globals,
    output: &mut Output,
) -> Result<(), CliError> {
    let what = &done.what;
    let input = brief::command(done.command.as_ref());
    let effects = done.effects.iter().map(|(to, event)| (to, brief::event(event)));
    let hash = replay.shards().get(&what.shard).map(|shard| shard.shard.state_hash().to_string());
    if globals.json {
        let effects: Vec<Value> =
            effects.map(|(to, event)| json!({ "dispatcher": to, "told": event })).collect();
        return output.json(&json!({
            "input": what.number, "shard": what.shard, "shard_input": what.input,
            "now_ms": what.now_ms, "command": input, "effects": effects,
            "sealed": done.is_sealed, "hash": hash,
        }));
    }
    let (number, shard, nth, at) = (what.number, what.shard, what.input, show_rfc3339(what.now_ms));
    output.line(&format!("#{number} shard {shard} input {nth} at {at}"))?;
    output.line(&format!("  {input}"))?;
    for (to, event) in effects {
        output.line(&format!("  -> {to}: {event}"))?;
    }
    output.line(&format!("  hash {}", hash.unwrap_or_default()))
}

fn state(number: u16, inventory: &Inventory, output: &mut Output) -> Result<(), CliError> {
    let Inventory { topics, counters, tallies, presence } = inventory;
    for topic in topics {
        let keys = topic.map_keys.map(|keys| format!(", map of {keys} keys")).unwrap_or_default();
        output.line(&format!(
            "{number:>5}  topic {}: {}..{}, {} batches, {} bytes{keys}",
            topic.name, topic.first, topic.next, topic.batches, topic.bytes
        ))?;
    }
    for counter in counters {
        let (name, value, version) = (&counter.name, counter.value, counter.version);
        output.line(&format!("{number:>5}  counter {name}: {value}, version {version}"))?;
    }
    for tally in tallies {
        let counts: Vec<String> = tally
            .counts
            .iter()
            .map(|(option, votes)| format!("{} {votes}", option.escape_debug()))
            .collect();
        let (name, state, ballots) = (&tally.name, tally.state.as_str(), tally.ballots);
        output.line(&format!(
            "{number:>5}  tally {name}: {state}, {ballots} ballots: {}",
            counts.join(", ")
        ))?;
    }
    for set in presence {
        output.line(&format!("{number:>5}  presence {}: {} members", set.name, set.members))?;
    }
    Ok(())
}

fn state_object(inventory: &Inventory) -> Value {
    let Inventory { topics, counters, tallies, presence } = inventory;
    json!({
        "topics": topics.iter().map(|topic| json!({
            "name": topic.name.as_str(), "first": topic.first, "next": topic.next,
            "batches": topic.batches, "bytes": topic.bytes, "map_keys": topic.map_keys,
        })).collect::<Vec<_>>(),
        "counters": counters.iter().map(|counter| json!({
            "name": counter.name.as_str(), "value": counter.value, "version": counter.version,
            "expires_at_ms": counter.expires_at_ms,
        })).collect::<Vec<_>>(),
        "tallies": tallies.iter().map(|tally| json!({
            "name": tally.name.as_str(), "state": tally.state.as_str(),
            "version": tally.version, "ballots": tally.ballots,
            "counts": tally.counts.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })).collect::<Vec<_>>(),
        "presence": presence.iter().map(|set| json!({
            "name": set.name.as_str(), "version": set.version, "members": set.members,
        })).collect::<Vec<_>>(),
    })
}
