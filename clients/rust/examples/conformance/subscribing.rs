//! Subscriptions.

use std::sync::Arc;

use serde_json::{Value, json};
use tidewire_client::{
    Client, Error, GapReason, Pattern, Start, StartStatus, SubscribeOptions, SubscribedInfo,
    Subscription, SubscriptionEvent,
};
use tokio::sync::Notify;

use crate::{Running, locked, say, text};

pub(crate) async fn subscribe(
    client: Client,
    command: &Value,
    running: &Running,
    ended: &Notify,
) -> Result<(), Error> {
    let pattern = Pattern::parse(text(command, "topic"))?;
    let label = &command["as"];
    let options =
        SubscribeOptions { credit: command["credit"].as_u64(), ..SubscribeOptions::default() };
    let held = command["hold"].as_bool().unwrap_or(false).then(|| {
        let held = Arc::new(Notify::new());
        locked(&running.held).insert(text(command, "as").to_owned(), Arc::clone(&held));
        held
    });
    let code = match client.subscribe(&pattern, start_of(command), options).await {
        Ok(subscription) => {
            if let Some(held) = held {
                held.notified().await;
            }
            follow(subscription, label, ended).await
        }
        Err(error) => Some(error.code()),
    };
    say(json!({ "event": "unsubscribed", "as": label, "code": code }));
    Ok(())
}

fn start_of(command: &Value) -> Start {
    let start = &command["start"];
    match (start["offset"].as_u64(), start.as_str()) {
        (Some(offset), _) => Start::Offset { epoch: start["epoch"].as_u64().unwrap_or(0), offset },
        (None, Some("earliest")) => Start::Earliest,
        (None, _) => Start::Latest,
    }
}

async fn follow(
    mut subscription: Subscription,
    label: &Value,
    ended: &Notify,
) -> Option<&'static str> {
    loop {
        let event = tokio::select! {
            event = subscription.next() => event?,
            () = ended.notified() => return None,
        };
        match event {
            SubscriptionEvent::Started(info) => {
                let mut told = json!({
                    "event": "subscribed", "as": label, "epoch": info.epoch, "offset": info.offset,
                });
                if info.status != StartStatus::Fresh {
                    told["resumed"] = true.into();
                }
                say(told);
                tell_missing(label, &info);
            }
            SubscriptionEvent::Delivery(delivery) => {
                for (offset, record) in delivery.records() {
                    let payload = record.payload.map(String::from_utf8_lossy);
                    say(json!({
                        "event": "record", "as": label, "offset": offset, "payload": payload,
                    }));
                }
            }
            SubscriptionEvent::Gap(gap) => {
                let reason = match gap.reason {
                    GapReason::Retention => "retention",
                    GapReason::NewEpoch => "new_epoch",
                    GapReason::Jumped => "jumped",
                    GapReason::Unexplained | GapReason::Other(_) => "unexplained",
                };
                say(json!({
                    "event": "gap", "as": label, "reason": reason, "from": gap.from, "to": gap.next,
                }));
            }
            SubscriptionEvent::Progress(_) => {}
            SubscriptionEvent::Ended(refusal) => return Some(refusal.code.name()),
        }
    }
}

/// What is missing before the place where a subscription goes on.
fn tell_missing(label: &Value, info: &SubscribedInfo) {
    let (reason, (from, to)) = match info.status {
        StartStatus::Gap => ("retention", info.missing.unwrap_or_default()),
        StartStatus::NewEpoch => ("new_epoch", (0, info.offset)),
        StartStatus::Fresh | StartStatus::Resumed | StartStatus::Other(_) => return,
    };
    say(json!({ "event": "gap", "as": label, "reason": reason, "from": from, "to": to }));
}
