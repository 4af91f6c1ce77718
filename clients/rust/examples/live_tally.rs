//! A poll, live: makes it, votes, and prints where it stands until all ballots are in.
//!
//! `cargo run --example live_tally [URL]`, beside `tidewire serve`.
#![allow(clippy::print_stdout, reason = "that is what it shows")]

use tidewire_client::{Client, Error, TallyRules, WatchOptions, WatchValue};

const OPTIONS: [&str; 3] = ["pizza", "salad", "soup"];
const VOTERS: u64 = 30;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:7171".to_owned());
    let client = Client::connect(&url).await?;
    let poll = client.tally("poll.lunch")?;
    poll.create(TallyRules::single(OPTIONS)).await?;
    let mut standings = poll.watch(WatchOptions::default()).await?;

    let voting = tokio::spawn({
        let poll = poll.clone();
        async move {
            for voter in 0..VOTERS {
                // Whoever votes twice is counted once.
                poll.vote(&format!("voter-{voter}"), [voter % 3]).await?;
            }
            Ok::<(), Error>(())
        }
    });
    while let Some(event) = standings.next().await {
        let WatchValue::Standings(now) = event.value else { continue };
        let shown: Vec<String> =
            OPTIONS.iter().zip(&now.counts).map(|(option, n)| format!("{option} {n}")).collect();
        println!("{} after {} ballots", shown.join(", "), now.ballots);
        if now.ballots >= VOTERS {
            break;
        }
    }
    if let Some(error) = standings.end_reason() {
        return Err(error);
    }
    if let Ok(outcome) = voting.await {
        outcome?;
    }
    client.close().await;
    Ok(())
}
