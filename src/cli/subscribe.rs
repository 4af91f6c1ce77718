//! `tidewire sub`: prints the records of topics as they come.

use clap::Args;
use serde_json::{Map, Value, json};
use tidewire_client::{
    Condition, Delivery, Gap, GapReason, Pattern, Position, Record, Start, StartStatus,
    SubscribeOptions, SubscribedInfo, Subscription, SubscriptionEvent,
};

use super::connection::{ConnectionArgs, parse_pattern};
use super::interrupt::{interrupted, stopped};
use super::output::{Output, note, put_bytes, unless_pipe_closed};
use super::timestamp::parse_rfc3339;
use super::{CliError, Globals};

/// Print the records of a topic, or of all topics that match a pattern
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
In a pattern * stands for one token and > for the rest: poll.*.votes, logs.>

Examples:
  tidewire sub news
  tidewire sub 'logs.>' --from last:10 --json
  tidewire sub trades --from time:2026-11-24T12:00:00Z --count 100
  tidewire sub prices --latest --interval-ms 500 --filter 'key prefix EUR'")]
pub(crate) struct SubscribeArgs {
    /// The topic or pattern
    #[arg(value_parser = parse_pattern)]
    pub(crate) pattern: Pattern,

    /// Where to start: latest, earliest, last:N, offset:N, offset:N@EPOCH or time:RFC3339
    #[arg(long, value_name = "START", default_value = "latest", value_parser = parse_start)]
    pub(crate) from: Start,

    /// End after so many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// Only the newest record per key
    #[arg(long)]
    pub(crate) latest: bool,

    /// With --latest: at most one delivery per topic in so long
    #[arg(long, value_name = "MS", requires = "latest")]
    pub(crate) interval_ms: Option<u64>,

    /// Only records that fulfil 'FIELD OP [VALUE]': FIELD is key or header:NAME, OP is eq, ne,
    /// prefix, exists or absent; may be repeated
    #[arg(long = "filter", value_name = "CONDITION", value_parser = parse_condition)]
    pub(crate) filters: Vec<Condition>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Prints records until the count is reached or the command is stopped. Gaps go to standard error.
///
/// # Errors
/// When there is no connection, or the server refuses or ends the subscription.
pub(super) async fn run(args: SubscribeArgs, globals: &Globals) -> Result<(), CliError> {
    let client = args.connection.connect_lasting().await?;
    let options = SubscribeOptions {
        mode: args.latest.then_some(1),
        interval_ms: args.interval_ms,
        filter: (!args.filters.is_empty()).then(|| args.filters.clone()),
        ..SubscribeOptions::default()
    };
    let mut subscription = client.subscribe(&args.pattern, args.from.clone(), options).await?;
    let mut printer =
        Printer { output: Output::new(), json: globals.json, seen: 0, wanted: args.count };
    let followed = tokio::select! {
        followed = follow(&mut subscription, &mut printer) => followed,
        () = interrupted() => printer.output.flush().and_then(|()| stopped(printer.seen, args.count)),
    };
    drop(subscription);
    client.close().await;
    unless_pipe_closed(followed)
}

async fn follow(subscription: &mut Subscription, printer: &mut Printer) -> Result<(), CliError> {
    while !printer.is_done() {
        let event = match subscription.try_next() {
            Some(event) => event,
            None => {
                // Nothing is there at the moment: show what was printed, then wait.
                printer.output.flush()?;
                let Some(event) = subscription.next().await else { break };
                event
            }
        };
        match event {
            SubscriptionEvent::Started(info) => note_start(&info),
            SubscriptionEvent::Delivery(delivery) => printer.delivery(&delivery)?,
            SubscriptionEvent::Gap(gap) => note(&gap_in_words(&gap)),
            SubscriptionEvent::Progress(_) => {}
            SubscriptionEvent::Ended(refusal) => {
                printer.output.flush()?;
                return Err(tidewire_client::Error::Refused(refusal).into());
            }
        }
    }
    printer.output.flush()
}

struct Printer {
    output: Output,
    json: bool,
    seen: u64,
    wanted: Option<u64>,
}

impl Printer {
    fn is_done(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.seen >= wanted)
    }

    fn delivery(&mut self, delivery: &Delivery) -> Result<(), CliError> {
        for (offset, record) in delivery.records() {
            if self.is_done() {
                break;
            }
            self.seen += 1;
            if self.json {
                self.output.json(&record_json(delivery, offset, &record))?;
            } else {
                self.output.bytes(record.payload.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

pub(crate) fn record_json(delivery: &Delivery, offset: u64, record: &Record<'_>) -> Value {
    let headers: Map<String, Value> =
        record.headers().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let mut object = json!({
        "topic": delivery.topic.as_str(),
        "offset": offset,
        "epoch": delivery.epoch,
        "time_ms": delivery.time_ms,
        "key": record.key,
        "headers": headers,
    });
    put_bytes(&mut object, "payload", record.payload);
    if let (Some(fields), Some(Position(of, epoch, next))) =
        (object.as_object_mut(), delivery.position)
    {
        fields.insert("position".to_owned(), json!([of, epoch, next]));
    }
    object
}

fn note_start(info: &SubscribedInfo) {
    match info.status {
        StartStatus::Fresh | StartStatus::Resumed | StartStatus::Other(_) => {}
        StartStatus::Gap => match info.missing {
            Some((from, next)) if from < next => {
                note(&format!("gap: offsets {from} to {} are no longer kept", next - 1));
            }
            Some(_) | None => note("gap: some records are no longer kept"),
        },
        // A pattern has no epoch and no offset of its own.
        StartStatus::NewEpoch if info.epoch == 0 => {
            note("gap: the server's history is a new one; it starts at the oldest records kept");
        }
        StartStatus::NewEpoch => note(&format!(
            "gap: the topic's history is a new one (epoch {}); it starts at offset {}",
            info.epoch, info.offset
        )),
    }
}

fn gap_in_words(gap: &Gap) -> String {
    let last = gap.next.saturating_sub(1);
    let what = match &gap.topic {
        Some(topic) => format!("{topic} offsets {} to {last}", gap.from),
        None => format!("{} batches of one shard", gap.next.saturating_sub(gap.from)),
    };
    let why = match gap.reason {
        GapReason::Retention => "removed by retention before they were read".to_owned(),
        GapReason::NewEpoch => format!("the history is a new one (epoch {})", gap.epoch),
        GapReason::Jumped => "passed over to the newest".to_owned(),
        GapReason::Unexplained => "left out by the server without a reason".to_owned(),
        GapReason::Other(number) => format!("reason {number}"),
    };
    format!("gap: {what} missing: {why}")
}

pub(crate) fn parse_start(raw: &str) -> Result<Start, String> {
    let number = |text: &str, what: &str| {
        text.parse::<u64>().map_err(|error| format!("'{text}' is no {what}: {error}"))
    };
    match raw.split_once(':') {
        None if raw == "latest" => Ok(Start::Latest),
        None if raw == "earliest" => Ok(Start::Earliest),
        Some(("last", count)) => Ok(Start::Last(number(count, "number of records")?)),
        Some(("offset", place)) => {
            let (offset, epoch) = place.split_once('@').unwrap_or((place, "0"));
            Ok(Start::Offset { epoch: number(epoch, "epoch")?, offset: number(offset, "offset")? })
        }
        Some(("time", time)) => Ok(Start::Time(parse_rfc3339(time)?)),
        _ => {
            Err("use latest, earliest, last:N, offset:N, offset:N@EPOCH or time:RFC3339".to_owned())
        }
    }
}

fn parse_condition(raw: &str) -> Result<Condition, String> {
    let mut parts = raw.splitn(3, ' ').map(str::to_owned);
    let (Some(field), Some(op)) = (parts.next(), parts.next()) else {
        return Err("write a condition as 'FIELD OP [VALUE]', such as 'key prefix abc'".to_owned());
    };
    let condition = Condition(field, op, parts.next());
    tidewire_client::protocol::options::Filter::parse(std::slice::from_ref(&condition))
        .map_err(|refusal| refusal.message)?;
    Ok(condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read_as_they_are_written() {
        for (raw, start) in [
            ("latest", Start::Latest),
            ("earliest", Start::Earliest),
            ("last:10", Start::Last(10)),
            ("offset:7", Start::Offset { epoch: 0, offset: 7 }),
            ("offset:7@99", Start::Offset { epoch: 99, offset: 7 }),
            ("time:1970-01-01T00:00:01Z", Start::Time(1_000)),
        ] {
            assert_eq!(parse_start(raw), Ok(start));
        }
        for bad in ["", "newest", "last", "last:x", "offset:1@", "time:now", "latest:1"] {
            assert!(parse_start(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn conditions_are_checked_before_they_are_sent() {
        let condition = Condition("key".into(), "prefix".into(), Some("a b".into()));
        assert_eq!(parse_condition("key prefix a b"), Ok(condition));
        let condition = Condition("header:kind".into(), "exists".into(), None);
        assert_eq!(parse_condition("header:kind exists"), Ok(condition));
        for bad in ["key", "key like x", "payload eq x", "key eq"] {
            assert!(parse_condition(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_gap_names_what_is_missing_and_why() {
        let topic = tidewire_client::Name::parse("news").ok();
        let gap =
            Gap { topic, epoch: 7, from: 3, next: 9, reason: GapReason::Retention, position: None };
        let words = "gap: news offsets 3 to 8 missing: removed by retention before they were read";
        assert_eq!(gap_in_words(&gap), words);
    }
}
