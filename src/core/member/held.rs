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
            return refuse(&command, told);
        }
        self.commands.push_back((now_ms.saturating_add(HELD_MS), command));
    }

    pub(super) fn take_all(&mut self) -> Vec<Command> {
        self.commands.drain(..).map(|(_, command)| command).collect()
    }

    /// The next command that has waited for too long.
    pub(super) fn take_late(&mut self, now_ms: u64) -> Option<Command> {
        let (at_ms, _) = self.commands.front()?;
        if *at_ms > now_ms {
            return None;
        }
        self.commands.pop_front().map(|(_, command)| command)
    }

    /// Commands that wait.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn next_timeout_ms(&self) -> Option<u64> {
        self.commands.front().map(|(at_ms, _)| *at_ms)
    }
}

/// Refuses what no leader was found for.
pub(super) fn refuse(command: &Command, told: &mut Told) {
    // What is no request waits for nobody's answer.
    let _is_request = command.refuse(&no_leader(), told);
}
