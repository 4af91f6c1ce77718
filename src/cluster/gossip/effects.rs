//! What foca asks for while it is called is put aside, to be done afterwards.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use foca::{Notification, Runtime, Timer};

use super::timers::Timers;
use super::{Member, Output};

/// What foca wants to be done.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) now_ms: u64,
    pub(super) timers: Timers,
    pub(super) outputs: VecDeque<Output>,
    /// Whether it is worth a look.
    pub(super) has_changed: bool,
    /// Whether others have taken this node for dead, or it has left.
    pub(super) is_defunct: bool,
}

impl Runtime<Member> for Effects {
    fn notify(&mut self, notification: Notification<'_, Member>) {
        self.has_changed = true;
        match notification {
            Notification::Defunct => self.is_defunct = true,
            Notification::MemberUp(_)
            | Notification::MemberDown(_)
            | Notification::Rename(..)
            | Notification::Active
            | Notification::Idle
            | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Member, data: &[u8]) {
        let packet = Bytes::copy_from_slice(data);
        self.outputs.push_back(Output::Send { to, packet });
    }

    fn submit_after(&mut self, event: Timer<Member>, after: Duration) {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.timers.add(self.now_ms.saturating_add(after_ms), event);
    }
}
