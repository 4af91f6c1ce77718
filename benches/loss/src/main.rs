//! Follows topics over one connection and prints how long each record took: its payload begins with the time at
//! which it was published, on a clock that both sides share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use tidewire_client::{
    Client, Delivery, Error, Pattern, Start, SubscribeOptions, Subscription, SubscriptionEvent,
    Trust,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Follow topics and print how long their records took
#[derive(Parser)]
struct Args {
    /// The server: wss://HOST:PORT or quic://HOST:PORT
    #[arg(long)]
    url: String,
    /// SHA-256 of its certificate, in hexadecimal
    #[arg(long, value_parser = fingerprint)]
    fingerprint: [u8; 32],
    /// The topics, each with a subscription of its own
    #[arg(long, value_delimiter = ',', required = true)]
    topics: Vec<String>,
    /// A topic that is subscribed to as well and never read
    #[arg(long)]
    stalled: Option<String>,
    /// Milliseconds before the measurement
    #[arg(long, default_value_t = 1000)]
    settle_ms: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// What a subscription has got.
#[derive(Default)]
struct Heard {
    delays_us: Vec<u64>,
    next: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let trust = Trust::Fingerprint(args.fingerprint);
    // Whatever is lost is to be waited for, not connected to anew.
    let client = Client::builder(&args.url)?.trust(trust).reconnect(false).connect().await?;
    let stalled = match &args.stalled {
        Some(topic) => Some(subscribe(&client, topic).await?),
        None => None,
    };
    let begin = Instant::now() + Duration::from_millis(args.settle_ms);
    let end = begin + Duration::from_secs(args.seconds);
    let mut listening = JoinSet::new();
    for topic in &args.topics {
        let subscription = subscribe(&client, topic).await?;
        listening.spawn(listen(subscription, begin, end));
    }
    let mut delays_us = Vec::new();
    while let Some(heard) = listening.join_next().await {
        delays_us.extend(heard??);
    }
    drop(stalled);
    emit(&delays_us)?;
    Ok(())
}

async fn subscribe(client: &Client, topic: &str) -> Result<Subscription, Error> {
    client.subscribe(&Pattern::parse(topic)?, Start::Latest, SubscribeOptions::default()).await
}

/// Takes what comes until the end.
async fn listen(
    mut subscription: Subscription,
    begin: Instant,
    end: Instant,
) -> Result<Vec<u64>, String> {
    let mut heard = Heard::default();
    while let Ok(event) = timeout_at(end, subscription.next()).await {
        match event {
            Some(SubscriptionEvent::Delivery(delivery)) => heard.take(&delivery, begin)?,
            Some(SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_)) => {}
            Some(SubscriptionEvent::Gap(gap)) => {
                return Err(format!("records are missing: {gap:?}"));
            }
            Some(SubscriptionEvent::Ended(refusal)) => return Err(refusal.to_string()),
            None => return Err("the subscription has ended".to_owned()),
        }
    }
    Ok(heard.delays_us)
}

impl Heard {
    fn take(&mut self, delivery: &Delivery, begin: Instant) -> Result<(), String> {
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        if let Some(next) = self.next.filter(|next| *next != delivery.from) {
            return Err(format!("behind record {next} came {}", delivery.from));
        }
        self.next = Some(delivery.next);
        if Instant::now() < begin {
            return Ok(());
        }
        for (offset, record) in delivery.records() {
            let sent = record.payload.and_then(|payload| payload.first_chunk());
            let sent_ns = sent.map(|bytes| u128::from(u64::from_be_bytes(*bytes)));
            let sent_ns = sent_ns.ok_or_else(|| format!("record {offset} has no time"))?;
            let delay_us = now_ns.saturating_sub(sent_ns) / 1000;
            self.delays_us.push(u64::try_from(delay_us).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the result is what this program is for")]
fn emit(delays_us: &[u64]) -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string(delays_us)?);
    Ok(())
}

fn fingerprint(raw: &str) -> Result<[u8; 32], String> {
    let byte = |at: usize| raw.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    let bytes: Option<Vec<u8>> = (0..raw.len()).step_by(2).map(byte).collect();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
}
