//! Records that the server itself publishes, below `$sys`.

use tidewire_core::shard::{Command, Origin, Request, SessionId, Terms};
use tidewire_protocol::Name;
use tidewire_protocol::frame::AckLevel;
use tidewire_protocol::record::payload_body;

use super::Shared;

impl Shared {
    /// Publishes a line on behalf of nobody.
    pub(crate) async fn publish(&self, shard: u16, topic: &Name, line: &str) {
        let session = SessionId { dispatcher: 0, slot: u32::MAX, generation: 0 };
        let origin = Origin { session, stream: 0, req: 0 };
        let request = Request::Publish {
            topic: topic.clone(),
            ack: AckLevel::None,
            body: payload_body(line.as_bytes()),
            count: 1,
            terms: Terms::default(),
        };
        if let Some(queue) = self.shards.get(usize::from(shard)) {
            // Fails only when the server is stopping.
            drop(queue.send(Command::Request(origin, request).into()).await);
        }
    }
}
