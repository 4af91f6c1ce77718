//! Inputs and what came of them, each in one line.

use tidewire_core::cell::Counted;
use tidewire_core::shard::{
    CellValue, Command, DeadLetter, Event, GroupAsk, GroupRequest, Interest, Origin, PublishRun,
    Recalled, Reply, Request, SessionId, Terms, Value,
};
use tidewire_core::topic::Step;
use tidewire_protocol::frame::{CounterOp, PresenceOp, SettleOp, TallyOp, TopicOp};
use tidewire_protocol::options::TopicOptions;
use tidewire_protocol::record::Records;
use tidewire_protocol::tally::Choice;

/// Characters of a payload, member or value that are shown.
const SHOWN_CHARS_MAX: usize = 40;
/// Records of a publish, or choices of a ballot, that are shown.
const SHOWN_MAX: usize = 8;

/// What a shard was told.
pub(super) fn command(command: Option<&Command>) -> String {
    match command {
        None => "time: what was due".to_owned(),
        Some(Command::Request(origin, request)) => {
            let Origin { session, stream: _, req } = origin;
            format!("{} (request {req} of {})", self::request(request), connection(*session))
        }
        Some(Command::Follow(dispatcher, interest)) => {
            format!("dispatcher {dispatcher} follows {}", self::interest(interest))
        }
        Some(Command::Unfollow(dispatcher, interest)) => {
            format!("dispatcher {dispatcher} no longer follows {}", self::interest(interest))
        }
        Some(Command::Publishes(run)) => {
            let PublishRun { session, stream: _, topic, ack, ttl_ms: _, producer, publishes } =
                &**run;
            let records: u64 = publishes.iter().map(|publish| publish.count).sum();
            let (count, ack, of) = (publishes.len(), ack.as_str(), connection(*session));
            let by = producer.map(|producer| format!(", producer {producer}")).unwrap_or_default();
            format!("{count} publishes to {topic}: {records} records, ack {ack}{by} (of {of})")
        }
        Some(Command::DeadLetter(letter)) => {
            let DeadLetter { of, to, .. } = &**letter;
            format!("dead letter to {to}: offset {} of {}, group {}", of.offset, of.topic, of.group)
        }
        Some(Command::Buried(of)) => {
            format!("dead letter arrived: offset {} of {}, group {}", of.offset, of.topic, of.group)
        }
        Some(Command::Stored { next_sequence, next_block, bytes }) => {
            let (batch, block) = (next_sequence, next_block);
            format!("on disk: batches before {batch} in blocks before {block}, {bytes} bytes more")
        }
        Some(Command::Recall(dispatcher, sequence)) => {
            format!("dispatcher {dispatcher} recalls batch {sequence}")
        }
        Some(Command::Recalled(recalled)) => recalled_in(recalled),
        Some(Command::Tenants(table)) => format!("{} tenants from now on", table.iter().count()),
        Some(Command::TenantFull { prefix, is_full }) => {
            let has = if *is_full { "has" } else { "has not" };
            format!("tenant {prefix} {has} all of its names")
        }
        Some(Command::SessionEnded(session)) => format!("{} has ended", connection(*session)),
        Some(Command::PeerEnded(peer)) => format!("node {peer} is gone"),
    }
}

fn recalled_in(Recalled { sequences, bodies, reason }: &Recalled) -> String {
    let (from, next, found) = (sequences.start, sequences.end, bodies.len());
    let why = reason.as_ref().map(|reason| format!("; others: {reason}")).unwrap_or_default();
    format!("recalled: {found} of the batches {from}..{next}{why}")
}

fn connection(SessionId { dispatcher, slot, generation }: SessionId) -> String {
    format!("connection {dispatcher}/{slot}/{generation}")
}

fn terms_of(Terms { ttl_ms, step, expected }: &Terms) -> String {
    let ttl = ttl_ms.map(|ttl_ms| format!(", ttl {ttl_ms} ms"));
    let step = step
        .map(|Step { producer, sequence }| format!(", number {sequence} of producer {producer}"));
    let expected = expected.as_ref().map(|expected| {
        let key = expected.key.as_ref().map(|key| format!(" of key {}", shown(key.as_bytes())));
        format!(", expects offset {}{}", expected.offset, key.unwrap_or_default())
    });
    [ttl, step, expected].into_iter().flatten().collect()
}

fn group_ask(ask: &GroupAsk) -> String {
    match ask {
        GroupAsk::Create { start, .. } => format!("create, from {start:?}"),
        GroupAsk::Delete => "delete".to_owned(),
        GroupAsk::Reset { start } => format!("begin anew, from {start:?}"),
        GroupAsk::Status => "read".to_owned(),
        GroupAsk::Consume { sub, takes } => {
            format!("consume as {sub}, {} records at once", takes.records_max)
        }
        GroupAsk::Leave { sub } => format!("{sub} leaves"),
        GroupAsk::Settle { sub, op, ranges, delay_ms: _, reason } => {
            let ranges =
                ranges.iter().take(SHOWN_MAX).map(|(from, next)| format!("[{from}, {next})"));
            let ranges: Vec<String> = ranges.collect();
            let reason = match op {
                SettleOp::Ack | SettleOp::Extend => String::new(),
                SettleOp::Nack | SettleOp::Reject => {
                    format!(": {}", shown(reason.as_str().as_bytes()))
                }
            };
            format!("{sub} settles {op:?} {}{reason}", ranges.join(", ")).to_lowercase()
        }
    }
}

fn request(request: &Request) -> String {
    match request {
        Request::Publish { topic, ack, body, count, terms } => {
            let records = Records::of(body).take(SHOWN_MAX).map(|record| {
                let key = record.key.map(|key| format!("{}=", shown(key.as_bytes())));
                let payload = record.payload.map_or_else(|| "nil".to_owned(), shown);
                key.unwrap_or_default() + &payload
            });
            let mut listed: Vec<String> = records.collect();
            if *count > SHOWN_MAX as u64 {
                listed.push("...".to_owned());
            }
            let (ack, terms, listed) = (ack.as_str(), terms_of(terms), listed.join(", "));
            format!("publish {topic}: {count} records, ack {ack}{terms}: {listed}")
        }
        Request::Counter { name, op, operand, options } => {
            let op = match op {
                CounterOp::Add => "add",
                CounterOp::Set => "set",
                CounterOp::Reset => "reset",
            };
            let id = options.id.as_ref().map(|id| format!(", id {}", shown(id.as_bytes())));
            let ttl = options.ttl_ms.map(|ttl_ms| format!(", ttl {ttl_ms} ms"));
            let (id, ttl) = (id.unwrap_or_default(), ttl.unwrap_or_default());
            format!("counter {name}: {op} {operand}{id}{ttl}")
        }
        Request::Vote { tally, voter, choices, revision, issuer: _ } => {
            let voter: String = voter.0.iter().map(|byte| format!("{byte:02x}")).collect();
            let choices: Vec<String> = choices.iter().take(SHOWN_MAX).map(choice).collect();
            let revision = revision.map(|revision| format!(", revision {revision}"));
            let (choices, revision) = (choices.join(", "), revision.unwrap_or_default());
            format!("tally {tally}: voter {voter} votes [{choices}]{revision}")
        }
        Request::Tally { name, op, rules, incarnation } => {
            let op = match op {
                TallyOp::Create => "create",
                TallyOp::Open => "open",
                TallyOp::Close => "close",
                TallyOp::Delete => "delete",
            };
            let options = rules.as_ref().map(|rules| format!(", {} options", rules.options.len()));
            let passed_on = if incarnation.is_some() { ", passed on by its home" } else { "" };
            format!("tally {name}: {op}{}{passed_on}", options.unwrap_or_default())
        }
        Request::Invalidate { tally, voters, issuer: _ } => {
            format!("tally {tally}: take the ballots of {} voters out", voters.len())
        }
        Request::Topic { topic, op, options: TopicOptions { before_offset, before_time_ms } } => {
            let before = match (op, before_offset, before_time_ms) {
                (TopicOp::Truncate, Some(offset), _) => format!(" before offset {offset}"),
                (TopicOp::Truncate, None, Some(time_ms)) => format!(" before time {time_ms}"),
                (TopicOp::Truncate, None, None) | (TopicOp::Delete, ..) => String::new(),
            };
            format!("topic {topic}: {op:?}{before}").to_lowercase()
        }
        Request::Group(request) => {
            let GroupRequest { topic, group, ask } = &**request;
            format!("group {group} of {topic}: {}", group_ask(ask))
        }
        Request::Get { kind, name, key, options: _ } => {
            let key = key.as_ref().map(|key| format!(", key {}", shown(key.as_bytes())));
            format!("read {} {name}{}", kind.as_str(), key.unwrap_or_default())
        }
        Request::Presence { name, op, member, data } => {
            let member = shown(member.as_bytes());
            match op {
                PresenceOp::Join => format!("presence {name}: {member} joins, {}", shown(data)),
                PresenceOp::Leave => format!("presence {name}: {member} leaves"),
            }
        }
    }
}

fn choice(choice: &Choice) -> String {
    match choice {
        Choice::Index(index) => index.to_string(),
        Choice::Name(name) => shown(name.as_bytes()),
        Choice::Skipped => "skipped".to_owned(),
        Choice::Over => "over-vote".to_owned(),
    }
}

fn interest(interest: &Interest) -> String {
    match interest {
        Interest::Topic(name) => format!("topic {name}"),
        Interest::CommitLog => "all topics".to_owned(),
        Interest::Cell(kind, name) => format!("{} {name}", kind.as_str()),
    }
}

/// What a dispatcher was told.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Reply { session, stream: _, req, reply } => {
            format!("{}, request {req}: {}", connection(*session), self::reply(reply))
        }
        Event::Published { session, stream: _, epoch: _, level: _, acks } => {
            format!("{}: {} publishes have succeeded", connection(*session), acks.len())
        }
        Event::TopicSnapshot { shard: _, name, topic_id: _, epoch: _, next, batches } => {
            format!("topic {name} as it is: {} batches up to {next}", batches.len())
        }
        Event::TopicRefused { shard: _, name, refusal } => {
            format!("topic {name}: {}", refused(&refusal.message))
        }
        Event::Forward(commands) => format!("{} commands for other shards", commands.len()),
        Event::ConsumerEnded { member, refusal } => {
            format!("{} consumes no more: {}", connection(member.0), refused(&refusal.message))
        }
        Event::Leased { topic, epoch: _, partition: _, lease } => {
            let (to, offsets) = (connection(lease.member.0), &lease.deliveries);
            let offsets: Vec<String> =
                offsets.iter().take(SHOWN_MAX).map(|(offset, _)| offset.to_string()).collect();
            let count = lease.deliveries.len();
            format!("{to} gets {count} records of {topic}: {}", offsets.join(", "))
        }
        Event::Appended { batch, first, evicted } => {
            let (topic, base, next) = (&batch.topic, batch.base, batch.next());
            let gone = evicted.len();
            format!("topic {topic}: {base}..{next} appended, {gone} batches gone, first {first}")
        }
        Event::Trimmed { shard: _, topic_id, first, evicted } => {
            format!("topic number {topic_id}: {} batches gone, first {first}", evicted.len())
        }
        Event::Cooled { batches } => format!("{} batches are on disk only", batches.len()),
        Event::Recalled { shard: _, recalled } => recalled_in(recalled),
        Event::Renumbered { shard: _ } => "the shard was made again".to_owned(),
        Event::Behind { shard: _, as_of_ms } => match as_of_ms {
            Some(at_ms) => format!("what is shown is as of {at_ms}"),
            None => "what is shown is as of now".to_owned(),
        },
        Event::LogSnapshot { shard: _, epoch: _, base, slots } => {
            format!("all topics as they are: {} batches from {base} on", slots.len())
        }
        Event::Cell { shard: _, kind, name, version, epoch: _, value, snapshot } => {
            let how = if *snapshot { "as it is" } else { "changed" };
            let value = match value {
                CellValue::Absent => "absent".to_owned(),
                CellValue::Whole { value, info: _ } => format!("{} bytes", value.len()),
                CellValue::Entries { full, entries } => {
                    format!("{} entries{}", entries.len(), if *full { ", all" } else { "" })
                }
                CellValue::Part(part, _info) => format!("{} ballots", part.standings.ballots),
                CellValue::Refused(refusal) => refused(&refusal.message),
            };
            format!("{} {name} {how}: version {version}, {value}", kind.as_str())
        }
    }
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Refused(refusal) => {
            format!("{} ({})", refused(&refusal.message), refusal.code.name())
        }
        Reply::Published { epoch: _, offset, level: _, duplicate } => {
            let before = if *duplicate { " before" } else { "" };
            match offset {
                Some(offset) => format!("published{before} at {offset}"),
                None => format!("published{before}, not committed yet"),
            }
        }
        Reply::Silent => "published, no acknowledgement wanted".to_owned(),
        Reply::Counted { epoch: _, counted, as_of: _ } => {
            let Counted { version, value, applied, duplicate } = counted;
            let again = if *duplicate { ", a repetition" } else { "" };
            format!("counted to {value} (by {applied}), version {version}{again}")
        }
        Reply::Voted { epoch: _, voted, partition: _ } => {
            format!("{:?}, revision {}, version {}", voted.status, voted.revision, voted.version)
                .to_lowercase()
        }
        Reply::Tally(tally) => format!("{}, version {}", tally.state.as_str(), tally.version),
        Reply::Done => "done".to_owned(),
        Reply::Topic(info) => format!("from {} to {}", info.first, info.next),
        Reply::Group(info) => format!("at {} of {}, lag {}", info.position, info.next, info.lag),
        Reply::Settled(records) => format!("{records} records"),
        Reply::Value { kind, epoch: _, version, value, as_of: _ } => {
            format!("{} at version {version}: {}", kind.as_str(), self::value(value))
        }
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Absent => "absent".to_owned(),
        Value::Counter(value) => value.to_string(),
        Value::Standings(standings, _) => {
            format!("{} ballots, counts {:?}", standings.ballots, standings.counts)
        }
        Value::Part(part, _) => format!("{} ballots in one partition", part.standings.ballots),
        Value::Ballots { profile, .. } => format!("{} distinct ballots", profile.ballots.len()),
        Value::Rounds(rounds) => format!("{} rounds", rounds.rounds.len()),
        Value::Entries(entries) => format!("{} entries", entries.len()),
        Value::Bytes(bytes) => shown(bytes),
        Value::Topic(topic) => format!("{}..{}", topic.first, topic.next),
    }
}

fn refused(message: &str) -> String {
    format!("refused: {}", message.escape_debug())
}

/// The beginning of some bytes, in quotes, as it may stand on a terminal.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String =
        text.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    format!("\"{shown}\"")
}
