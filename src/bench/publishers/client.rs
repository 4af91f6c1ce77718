//! Publishing through the client, for transports that the bench has no lean connection for.

use std::future::poll_fn;

use tidewire_client::{Client, Error, Pending, PublishOptions, Published};
use tokio::sync::mpsc;

use super::{Acknowledged, Sent, Task, Work};
use crate::cli::CliError;

/// Publishes at its pace until the run is over.
///
/// # Errors
/// The first publish that is refused.
pub(super) async fn publish(client: Client, work: Work, task: Task) -> Result<Sent, CliError> {
    let Task { topic, mut pace, token: _ } = task;
    let (sending, mut acknowledging) = mpsc::channel(work.in_flight_max);
    let publish = async {
        // The receiver goes only when a publish was refused, which ends this side too.
        while let Ok(room) = sending.reserve().await {
            let next = poll_fn(|cx| pace.poll_next(cx, work.clock, &work.phase));
            let Some(from_ns) = next.await else { break };
            let body = work.batch.body(from_ns);
            let options = PublishOptions::default();
            room.send((from_ns, client.start_publish(&topic, body, work.ack, options).await?));
        }
        drop(sending);
        Ok::<(), Error>(())
    };
    let acknowledge = acknowledge(Acknowledged::new(work.clone()), &mut acknowledging);
    let ((), sent) = tokio::try_join!(publish, acknowledge)?;
    Ok(sent)
}

async fn acknowledge(
    mut acknowledged: Acknowledged,
    acknowledging: &mut mpsc::Receiver<(u64, Pending<Published>)>,
) -> Result<Sent, Error> {
    while let Some((from_ns, pending)) = acknowledging.recv().await {
        acknowledged.take(from_ns, pending.await?.offset);
    }
    Ok(acknowledged.sent)
}
