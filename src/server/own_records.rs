//! Records that the server itself publishes, below `$sys`.

use tidewire_core::shard::{Command, Origin, Request, SessionId, Terms};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::payload_body;

use super::Shared;

impl Shared {
    /// Publishes a line on behalf of nobody; waits while the shard has no room.
    pub(crate) async fn publish(&self, shard: u16, topic: &Name, line: &str) {
        if let Some(queue) = self.shards.get(usize::from(shard)) {
            // Fails only when the server is stopping.
            drop(queue.send(command(topic, line).into()).await);
        }
    }

    /// The same without waiting: a line for which the shard has no room is left out.
    pub(crate) fn offer(&self, shard: u16, topic: &Name, line: &str) {
        let Some(queue) = self.shards.get(usize::from(shard)) else { return };
        if queue.try_send(command(topic, line).into()).is_err() {
            tracing::warn!(%topic, "its shard has no room, so it lacks: {line}");
        }
    }
}

/// The publish of a line.
fn command(topic: &Name, line: &str) -> Command {
    let origin = Origin { session: SessionId::NOBODY, stream: 0, req: 0 };
    let request = Request::Publish {
        topic: topic.clone(),
        ack: AckLevel::None,
        body: payload_body(line.as_bytes()),
        count: 1,
        terms: Terms::default(),
    };
    Command::Request(origin, request)
}
