//! Requests of connections: what one read brings goes to the shards together.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidewire_core::shard::Command;
use tidewire_protocol::ClientFrame;

use super::connection::Connection;
use crate::server::Core;

/// Commands that are collected before they are passed on.
const COLLECTED_MAX: usize = 1024;

/// Commands on their way to shards. What is collected and not passed on when the connection ends
/// was not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_shard: Vec<(u16, Vec<Command>)>,
    collected: usize,
    taken: u64,
}

impl Requests {
    /// Takes one frame: waits until the connection may ask, and collects what a shard has to do.
    pub(super) async fn take(
        &mut self,
        core: &Rc<Core>,
        connection: &Connection,
        stream: u16,
        frame: &Bytes,
    ) {
        let decoded = ClientFrame::decode(frame);
        if self.collected >= COLLECTED_MAX
            || !connection.reads(core)
            || !decoded.as_ref().is_ok_and(is_for_shards)
        {
            // What the dispatcher does itself comes after what was asked before.
            self.pass_on(core).await;
            connection.may_read(core).await;
        }
        self.taken += 1;
        let hash_voter = |tally: &_, voter: &str| core.shared.hash_voter(tally, voter);
        let mut dispatcher = core.dispatcher.borrow_mut();
        let mut next = dispatcher.request(connection.id(), stream, decoded, &hash_voter);
        if next.is_none() {
            core.changed();
        }
        while let Some((shard, command)) = next {
            self.collect(shard, command);
            next = dispatcher.more_commands();
        }
    }

    /// Sends the shards what was collected; waits while their queues are full.
    pub(super) async fn pass_on(&mut self, core: &Core) {
        if let Some(figures) = core.figures() {
            figures.requests.fetch_add(std::mem::take(&mut self.taken), Relaxed);
        }
        self.collected = 0;
        for (shard, commands) in &mut self.by_shard {
            core.send_all(*shard, commands).await;
        }
    }

    fn collect(&mut self, shard: u16, command: Command) {
        self.collected += 1;
        match self.by_shard.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, commands)) => commands.push(command),
            None => self.by_shard.push((shard, vec![command])),
        }
    }
}

/// Whether a shard, not the dispatcher, carries the request out.
fn is_for_shards(frame: &ClientFrame) -> bool {
    match frame {
        ClientFrame::Publish { .. }
        | ClientFrame::Incr { .. }
        | ClientFrame::Vote { .. }
        | ClientFrame::Get { .. }
        | ClientFrame::Presence { .. }
        | ClientFrame::Tally { .. } => true,
        ClientFrame::Hello { .. }
        | ClientFrame::Ping { .. }
        | ClientFrame::Pong { .. }
        | ClientFrame::Credit { .. }
        | ClientFrame::Subscribe { .. }
        | ClientFrame::Unsubscribe { .. }
        | ClientFrame::Watch { .. } => false,
    }
}
