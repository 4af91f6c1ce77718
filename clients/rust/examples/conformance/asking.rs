//! Requests that are answered once.

use std::time::Duration;

use serde_json::{Value, json};
use tidewire_client::{Choice, Client, Error, VoteStatus};

use crate::consuming::settle;
use crate::watching::texts;
use crate::{Running, failed, name, say, text};

/// Asks, for as long as the command says, and tells what became of it.
pub(crate) async fn ask(client: &Client, running: &Running, command: &Value) {
    let answer = answer(client, running, command);
    let outcome = match command["timeout_ms"].as_u64() {
        Some(timeout_ms) => tokio::time::timeout(Duration::from_millis(timeout_ms), answer).await,
        None => Ok(answer.await),
    };
    match outcome {
        Ok(Ok(done)) => say(done),
        Ok(Err(error)) => failed(&command["as"], &error),
        Err(_elapsed) => say(json!({
            "event": "failed", "as": command["as"], "code": "timeout", "retryable": true,
        })),
    }
}

async fn answer(client: &Client, running: &Running, command: &Value) -> Result<Value, Error> {
    let mut done = json!({ "event": "done", "as": command["as"] });
    match text(command, "op") {
        "publish" => {
            let topic = client.topic(text(command, "topic"))?;
            let published = topic.publish(text(command, "payload")).await?;
            done["offset"] = json!(published.offset);
            if published.duplicate {
                done["duplicate"] = true.into();
            }
        }
        "incr" => {
            let delta = command["delta"].as_i64().unwrap_or(1);
            let counted = client.counter(text(command, "counter"))?.add(delta).await?;
            done["value"] = json!(counted.value);
        }
        "add_eventual" => {
            let increments = client.increments().await?;
            let counted = increments.add(&name(command, "counter")?, 1).await?;
            done["value"] = json!(counted.value);
        }
        "get" => {
            let value = client.counter(text(command, "counter"))?.get().await?;
            done = json!({ "event": "value", "as": command["as"], "value": value });
        }
        "vote" => {
            let choice = Choice::from(text(command, "choice"));
            let voted = client
                .tally(text(command, "tally"))?
                .vote(text(command, "voter"), [choice])
                .await?;
            if voted.status == VoteStatus::Duplicate {
                done["duplicate"] = true.into();
            }
        }
        "presence_join" => {
            let set = client.presence(text(command, "presence"))?;
            set.join(member(command), text(command, "data")).await?;
        }
        "presence_leave" => {
            client.presence(text(command, "presence"))?.leave(member(command)).await?;
        }
        "presence_members" => {
            let members = client.presence(text(command, "presence"))?.members().await?;
            done["value"] = texts(&members);
        }
        "ack" | "nack" | "reject" | "extend" => {
            done["counts"] = settle(running, command).await?.into();
        }
        other => return Err(Error::Config(format!("{other} is no command"))),
    }
    Ok(done)
}

fn member(command: &Value) -> &str {
    command["member"].as_str().unwrap_or_else(|| text(command, "as"))
}
