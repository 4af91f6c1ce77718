//! What was refused of late, for operators who look on as it happens. What nobody looks at is forgotten.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tidewire_core::fanout::Refused;
use tidewire_protocol::Refusal;
use tokio::sync::watch;

use super::{Core, Who, session_name, wall_ms};

/// Refusals that are kept; the oldest go.
const KEPT_MAX: usize = 256;

/// Something that was refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RefusalInfo {
    /// Unix time.
    pub(crate) time_ms: u64,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Whose it was; nothing of a connection that was not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
}

/// The last refusals of all cores.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    window: Mutex<Window>,
    /// Wakes who waits for more.
    so_far: watch::Sender<SoFar>,
}

#[derive(Debug, Default)]
struct Window {
    kept: VecDeque<RefusalInfo>,
    so_far: SoFar,
}

/// Refusals so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SoFar {
    /// Those that were kept, at least for a time.
    kept: u64,
    /// Those that came too fast for that.
    left_out: u64,
}

/// What was refused since somebody looked last.
#[derive(Debug, Default, Serialize)]
pub(crate) struct News {
    refusals: Vec<RefusalInfo>,
    /// More than these were refused meanwhile.
    left_out: u64,
    /// What to ask with the next time.
    #[serde(skip)]
    pub(crate) so_far: SoFar,
}

impl RefusalInfo {
    pub(crate) fn new(time_ms: u64, refusal: &Refusal, who: Who) -> Self {
        let Who { session, address, issuer: _, subject } = who;
        let (code, message) = (refusal.code.name(), refusal.message.clone());
        Self { time_ms, code, message, session, address, subject }
    }
}

impl Refusals {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was refused; `left_out` more were.
    pub(crate) fn add(&self, refusals: impl IntoIterator<Item = RefusalInfo>, left_out: u64) {
        let mut window = self.window();
        for refusal in refusals {
            if window.kept.len() >= KEPT_MAX {
                window.kept.pop_front();
            }
            window.kept.push_back(refusal);
            window.so_far.kept += 1;
        }
        window.so_far.left_out += left_out;
        let so_far = window.so_far;
        drop(window);
        self.so_far.send_replace(so_far);
    }

    /// What was refused since it was so far.
    pub(crate) fn since(&self, before: SoFar) -> News {
        let window = self.window();
        let SoFar { kept, left_out } = window.so_far;
        let news = kept.saturating_sub(before.kept);
        let shown = usize::try_from(news).unwrap_or(usize::MAX).min(window.kept.len());
        let older = window.kept.len() - shown;
        News {
            refusals: window.kept.iter().skip(older).cloned().collect(),
            left_out: news - shown as u64 + left_out.saturating_sub(before.left_out),
            so_far: window.so_far,
        }
    }

    /// Tells when there are more.
    pub(crate) fn changes(&self) -> watch::Receiver<SoFar> {
        self.so_far.subscribe()
    }
}

impl Core {
    /// Passes on what the dispatcher has refused.
    pub(crate) fn show_refusals(&self) {
        let taken = self.dispatcher.borrow_mut().take_refused();
        let Some((refused, left_out)) = taken else { return };
        let infos: Vec<_> = refused.into_iter().map(|refused| self.refusal_info(refused)).collect();
        self.shared.refusals.add(infos, left_out);
    }

    fn refusal_info(&self, Refused { at_ms, session, refusal }: Refused) -> RefusalInfo {
        let time_ms = wall_ms().saturating_sub(self.now_ms().saturating_sub(at_ms));
        let connection = self.connections.borrow().get(session);
        let who = match connection {
            Some(connection) => Self::who(&connection),
            None => Who { session: Some(session_name(session)), ..Who::default() },
        };
        RefusalInfo::new(time_ms, &refusal, who)
    }
}

#[cfg(test)]
mod tests {
    use tidewire_protocol::ErrorCode;

    use super::*;

    fn refusal(number: u64) -> RefusalInfo {
        let refusal = Refusal::new(ErrorCode::Conflict, format!("number {number}"));
        RefusalInfo::new(number, &refusal, Who::default())
    }

    #[test]
    fn who_looks_sees_what_is_new() {
        let refusals = Refusals::default();
        assert!(refusals.since(SoFar::default()).refusals.is_empty());
        refusals.add([refusal(0)], 0);
        let before = refusals.since(SoFar::default()).so_far;
        refusals.add([refusal(1), refusal(2)], 7);
        let news = refusals.since(before);
        assert_eq!(news.refusals.iter().map(|one| one.time_ms).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(news.left_out, 7);
        let nothing = refusals.since(news.so_far);
        assert!(nothing.refusals.is_empty() && nothing.left_out == 0);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let refusals = Refusals::default();
        refusals.add((0..1_000).map(refusal), 0);
        let news = refusals.since(SoFar::default());
        assert_eq!(news.refusals.len(), KEPT_MAX);
        assert_eq!(news.left_out, 1_000 - KEPT_MAX as u64);
        assert_eq!(news.refusals.last().unwrap().time_ms, 999);
    }
}
