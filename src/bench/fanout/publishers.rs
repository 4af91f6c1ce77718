//! Publishers: a bounded number of publishes under way, each record with the time it counts from.

use std::sync::Arc;

use tidewire_client::{
    AckLevel, BodyBuilder, Client, Error, Name, Pending, PublishOptions, Published,
};
use tokio::sync::mpsc;

use super::super::phase::Phase;
use super::flow::Flow;
use crate::demo::freshness::Clock;

/// Publishes that are not acknowledged yet.
const UNACKNOWLEDGED_MAX: usize = 512;

/// One connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) client: Client,
    pub(crate) topic: Name,
    pub(crate) payload_bytes: usize,
    /// Records per publish.
    pub(crate) batch: u32,
    pub(crate) phase: Arc<Phase>,
    pub(crate) clock: Clock,
}

impl Publisher {
    /// Publishes whenever the window has room, until the run is over. Returns the offset after
    /// its last record.
    ///
    /// # Errors
    /// The first publish that is refused.
    pub(crate) async fn saturate(self, flow: Arc<Flow>) -> Result<u64, Error> {
        let (sending, acknowledging) = mpsc::channel(UNACKNOWLEDGED_MAX);
        let publish = async {
            while !self.phase.is_over() {
                flow.room_for(self.batch.into()).await;
                self.publish(self.clock.now_ns(), &sending).await?;
            }
            drop(sending);
            Ok(())
        };
        let ((), end) = tokio::try_join!(publish, self.acknowledge(acknowledging))?;
        Ok(end)
    }

    /// Publishes a batch for each time that falls due, and lets its records count from then.
    /// Returns the offset after its last record.
    ///
    /// # Errors
    /// The first publish that is refused.
    pub(crate) async fn follow(self, mut due: mpsc::Receiver<u64>) -> Result<u64, Error> {
        let (sending, acknowledging) = mpsc::channel(UNACKNOWLEDGED_MAX);
        let publish = async {
            while let Some(due_ns) = due.recv().await {
                // Over: what has piled up is of no more interest.
                if self.phase.is_over() {
                    break;
                }
                self.publish(due_ns, &sending).await?;
            }
            drop(sending);
            Ok(())
        };
        let ((), end) = tokio::try_join!(publish, self.acknowledge(acknowledging))?;
        Ok(end)
    }

    async fn publish(
        &self,
        from_ns: u64,
        sending: &mpsc::Sender<Pending<Published>>,
    ) -> Result<(), Error> {
        // The receiver goes only when a publish was refused, which ends this one too.
        let Ok(room) = sending.reserve().await else { return Ok(()) };
        let mut body = BodyBuilder::new();
        let mut payload = vec![0; self.payload_bytes];
        if let Some(stamp) = payload.first_chunk_mut() {
            *stamp = from_ns.to_be_bytes();
        }
        for _ in 0..self.batch {
            body.push(None, &[], Some(&payload));
        }
        let body = body.finish();
        let options = PublishOptions::default();
        room.send(self.client.start_publish(&self.topic, body, AckLevel::Memory, options).await?);
        Ok(())
    }

    async fn acknowledge(
        &self,
        mut acknowledging: mpsc::Receiver<Pending<Published>>,
    ) -> Result<u64, Error> {
        let mut end = 0;
        while let Some(pending) = acknowledging.recv().await {
            let first = pending.await?.offset.unwrap_or(0);
            end = end.max(first + u64::from(self.batch));
        }
        Ok(end)
    }
}
