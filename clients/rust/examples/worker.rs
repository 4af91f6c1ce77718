//! A worker of a consumer group: each job goes to one of them, and comes again until one has done it.
//!
//! `cargo run --example worker [URL]`, beside `tidewire serve`; start it several times to share the work.
#![allow(clippy::print_stdout, reason = "that is what it shows")]

use tidewire_client::{Client, ConsumeOptions, Error, GroupOptions, Job};

const JOBS: u64 = 20;

/// Pretends to be unable to do every fourth job at first.
fn is_done(job: &Job) -> bool {
    job.offset() % 4 != 3 || job.deliveries() > 1
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:7171".to_owned());
    let client = Client::connect(&url).await?;
    let jobs = client.topic("jobs.mail")?;
    let group = jobs.group("mailers")?;
    let rules = GroupOptions {
        start: Some(vec![1]),
        deliveries_max: Some(5),
        dead_letter: Some("jobs.dead".to_owned()),
        ..GroupOptions::default()
    };
    group.create(rules).await?;
    jobs.publish_batch((0..JOBS).map(|number| format!("mail {number}"))).await?;

    let mut consumer = group.consume(ConsumeOptions { in_flight: Some(8) }).await?;
    let mut done = 0;
    while done < JOBS {
        let Some(job) = consumer.next().await else {
            return Err(consumer.end().unwrap_or(Error::Closed));
        };
        if !is_done(&job) {
            println!("offset {}: not now", job.offset());
            job.nack(Some(50), Some("no answer".to_owned())).await?;
            continue;
        }
        let text = job.record().and_then(|record| record.payload.map(String::from_utf8_lossy));
        println!("{} (delivery {})", text.unwrap_or_default(), job.deliveries());
        done += u64::from(job.ack().await?);
    }
    let status = group.status().await?;
    println!("{} jobs are left, {} came again", status.lag, status.redelivered);
    client.close().await;
    Ok(())
}
