//! A command on its way to a shard.

use tidewire_core::shard::Command;
use tokio::sync::OwnedSemaphorePermit;

/// A command that waits for its shard, and what it takes of its flow's room while several flows ask:
/// given back when the shard has taken it on.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(super) command: Command,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Queued {
    /// The command; its flow has its room again.
    pub(super) fn into_command(self) -> Command {
        self.command
    }

    /// Takes commands and the room that they took apart.
    pub(super) fn unpack(
        queued: &mut Vec<Self>,
        commands: &mut Vec<Command>,
        room: &mut Vec<OwnedSemaphorePermit>,
    ) {
        for Self { command, room: of_flow } in queued.drain(..) {
            commands.push(command);
            room.extend(of_flow);
        }
    }
}

impl From<Command> for Queued {
    fn from(command: Command) -> Self {
        Self { command, room: None }
    }
}
