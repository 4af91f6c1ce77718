//! Requests that wait for a leader: nothing has been done for them, so whoever leads next may do it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::no_leader;
use crate::relay::Told;
use crate::shard::Command;

/// How long a request waits for a leader before it is refused: longer than one takes to be elected.
pub const HELD_MS: u64 = 5_000;
/// Requests of one shard that wait; those beyond are refused.
const HELD_MAX: usize = 8_192;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// With the time at which it is refused.
    commands: VecDeque<(u64, Command)>,
}

impl Held {
    pub(super) fn hold(&mut self, command: Command, now_ms: u64, told: &mut Told) {
        if self.commands.len() >= HELD_MAX {
            return refuse(command, told);
        }
        self.commands.push_back((now_ms.saturating_add(HELD_MS), command));
    }

    pub(super) fn take_all(&mut self) -> Vec<Command> {
        self.commands.drain(..).map(|(_, command)| command).collect()
    }

    pub(super) fn refuse_late(&mut self, now_ms: u64, told: &mut Told) {
        while let Some((at_ms, command)) = self.commands.pop_front() {
            if at_ms > now_ms {
                return self.commands.push_front((at_ms, command));
            }
            refuse(command, told);
        }
    }

    pub(super) fn next_timeout_ms(&self) -> Option<u64> {
        self.commands.front().map(|(at_ms, _)| *at_ms)
    }
}

fn refuse(command: Command, told: &mut Told) {
    let mut commands = Vec::from([command]);
    told.extend(Command::refuse_requests(&mut commands, &no_leader()));
}
