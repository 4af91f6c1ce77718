//! A scoreboard: games publish their scores under their names, and the board shows the newest of each, a few times
//! a second, however many there are.
//!
//! `cargo run --example scoreboard [URL]`, beside `tidewire serve`.
#![allow(clippy::print_stdout, reason = "that is what it shows")]

use std::collections::BTreeMap;

use tidewire_client::{Client, Error, Start, SubscribeOptions, SubscriptionEvent};

const GAMES: u64 = 4;
const GOALS: u64 = 500;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:7171".to_owned());
    let client = Client::connect(&url).await?;
    let scores = client.topic("scores.today")?;
    // Mode 1: of each key the newest record only, and at most one delivery in 100 ms.
    let newest =
        SubscribeOptions { mode: Some(1), interval_ms: Some(100), ..SubscribeOptions::default() };
    let mut events = scores.subscribe_with(Start::Latest, newest).await?;

    let playing = tokio::spawn({
        let scores = scores.clone();
        async move {
            for goal in 1..=GOALS {
                for game in 0..GAMES {
                    scores.publish_keyed(&format!("game-{game}"), goal.to_string()).await?;
                }
            }
            Ok::<(), Error>(())
        }
    });
    let mut board: BTreeMap<String, String> = BTreeMap::new();
    let mut ended = 0;
    while ended < GAMES {
        match events.next().await {
            Some(SubscriptionEvent::Delivery(delivery)) => {
                for (_, record) in delivery.records() {
                    let (Some(game), Some(score)) = (record.key, record.payload) else { continue };
                    let score = String::from_utf8_lossy(score).into_owned();
                    ended += u64::from(score == GOALS.to_string());
                    board.insert(game.to_owned(), score);
                }
                println!("{board:?}");
            }
            Some(SubscriptionEvent::Gap(gap)) => println!("missing: {gap:?}"),
            Some(SubscriptionEvent::Ended(refusal)) => return Err(refusal.into()),
            Some(SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_)) => {}
            None => break,
        }
    }
    if let Ok(outcome) = playing.await {
        outcome?;
    }
    client.close().await;
    Ok(())
}
