//! Watches: the newest version of a cell, never a queue of versions.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::{CellKind, flags, put_update_entries_header, put_update_header};
use tidewire_protocol::options::WatchOptions;
use tidewire_protocol::{ErrorCode, Name, Refusal, ServerFrame};

use super::large::{PART_BYTES, PART_HEAD_BYTES, Taking};
use super::pull::Pull;
use super::session::{Mode, OnGap, Owner, Sub};
use super::sink::Lane;
use super::subscribe::check_interval;
use super::watched::{Encoding, ViewValue};
use super::{CursorId, Dispatcher, Target, Turn};
use crate::access::{Operation, Operations};
use crate::shard::Origin;

/// A cell is quiet when it has not changed for so long; its last version then goes out reliably.
const QUIET_MS: u64 = 200;
/// Largest value that travels in a datagram.
const DATAGRAM_VALUE_BYTES_MAX: usize = 1000;

/// A watcher: the version it holds.
#[derive(Debug)]
pub(super) struct WatchCursor {
    pub(super) view: usize,
    /// Version last sent, by whatever lane.
    sent: Option<u64>,
    /// Version last sent on the reliable lane.
    reliable: Option<u64>,
    /// What the client said it holds: epoch and version.
    held: Option<(u64, u64)>,
    key: Option<String>,
    /// Whether it was told that the value may be stale.
    pub(super) told_behind: bool,
    pub(super) started: bool,
    /// The large update that it is in the middle of.
    pub(super) taking: Option<Taking>,
}

impl WatchCursor {
    /// It has been sent this version, reliably.
    pub(super) fn taken(&mut self, version: u64) {
        self.sent = Some(version);
        self.reliable = Some(version);
        self.taking = None;
    }

    /// Whether it has not been sent this version reliably.
    pub(super) fn lacks(&self, version: u64) -> bool {
        self.reliable != Some(version)
    }

    /// Whether it has not been sent this version by any lane.
    pub(super) fn is_behind(&self, version: u64) -> bool {
        self.sent != Some(version)
    }
}

impl Dispatcher {
    /// Carries out WATCH. The reply comes when the cell's state is here.
    pub(super) fn watch(
        &mut self,
        origin: Origin,
        sub: u32,
        kind: CellKind,
        name: &Name,
        options: WatchOptions,
    ) -> Result<(), Refusal> {
        let slot = self.check_sub(origin.session, sub)?;
        if !Self::can_watch(kind) {
            let message =
                format!("'{name}': {} cannot be watched; read it with GET", kind.as_str());
            return Err(Refusal::new(ErrorCode::Unsupported, message));
        }
        let interval_ms = check_interval(options.interval_ms)?.unwrap_or(0);
        let key = match (options.key, kind) {
            (key, CellKind::Map | CellKind::Presence) => key,
            (None, _) => None,
            (Some(_), _) => {
                let message = format!("'{name}': a {} has no keys to watch", kind.as_str());
                return Err(Refusal::new(ErrorCode::InvalidArgument, message));
            }
        };
        let view = self.cell_view(kind, name);
        let index = view;
        // Somebody here watches a tally that has been deleted, and perhaps made again since with
        // other rules: only the shard knows.
        let outdated = kind == CellKind::Tally
            && self.cells.get(view).is_some_and(|view| view.ready && view.info.is_none());
        let entry = Sub {
            cursors: Vec::new(),
            credit: None,
            filter: None,
            mode: Mode::Every,
            interval_ms,
            on_gap: OnGap::Continue,
            opening: None,
            origin,
            pattern: None,
            needs: Operations::from_iter([Operation::Subscribe]),
            is_open: false,
        };
        let owner = self.insert_sub(slot, sub, entry, 1);
        let at = self.cells.get(view).map_or(0, |view| view.followers.len());
        let target = WatchCursor {
            view,
            sent: None,
            reliable: None,
            held: options.epoch.zip(options.version),
            key,
            told_behind: false,
            started: false,
            taking: None,
        };
        let id = self.insert_cursor(owner, at, Target::Watch(Box::new(target)));
        if let Some(view) = self.cells.get_mut(view) {
            view.followers.push(id);
        }
        if outdated {
            self.ask_for_cell(index);
        } else {
            self.start_watch(id);
            self.wake(id);
        }
        Ok(())
    }

    /// Answers WATCH, once the cell's state is here.
    pub(super) fn start_watch(&mut self, id: CursorId) {
        let Some(cursor) = self.cursors.get_mut(id) else { return };
        let owner = cursor.owner;
        let Target::Watch(target) = &mut cursor.target else { return };
        let Some(view) = self.cells.get(target.view).filter(|view| view.ready) else { return };
        if target.started {
            return;
        }
        target.started = true;
        if let Some((epoch, version)) = target.held
            && epoch == view.epoch
            && version <= view.version
        {
            target.sent = Some(version);
            target.reliable = Some(version);
        }
        let version = match view.value {
            ViewValue::Absent => 0,
            ViewValue::Whole(_) | ViewValue::Keyed(_) => view.version,
        };
        let Some(entry) = self.subs.get_mut(owner.entry) else { return };
        let frame = ServerFrame::Watching {
            req: entry.origin.req,
            sub: owner.sub,
            epoch: view.epoch,
            version,
            info: view.info.clone(),
        };
        self.open_with(owner.entry, &frame);
    }

    /// One turn of a watcher: the newest version, if it is not the one it holds.
    pub(super) fn pull_watch(&mut self, id: CursorId, owner: Owner, pull: &mut Pull<'_>) -> Turn {
        let sub = owner.sub;
        let datagrams =
            self.sessions.get(owner.slot).is_some_and(|session| session.options.datagrams);
        let Some(cursor) = self.cursors.get_mut(id) else { return Turn::Ended };
        let Target::Watch(target) = &mut cursor.target else { return Turn::Ended };
        let Some(view) = self.cells.get_mut(target.view).filter(|view| view.ready) else {
            return Turn::Done;
        };
        if !target.started {
            return Turn::Done;
        }
        view.sum_up();
        if target.taking.is_some() {
            return self.take_parts(id, owner, pull);
        }
        let version = view.version;
        let quiet = target.sent == Some(version);
        let is_told = target.told_behind == view.behind_ms.is_some();
        if quiet && target.reliable == Some(version) && is_told {
            return Turn::Done;
        }
        if !pull.has_room(self, owner) {
            return if pull.budget <= 0 { Turn::More } else { Turn::Blocked };
        }
        // After a datagram the same version follows on the reliable lane, once it is the last.
        let by_datagram = datagrams && !quiet && self.fits_datagram(id);
        let lane = if by_datagram { Lane::Datagram(sub) } else { Lane::Sub(sub) };
        if self.send_update(id, owner, lane, pull) == Sent::InParts {
            return self.take_parts(id, owner, pull);
        }
        self.set_due(id, owner);
        if by_datagram {
            let quiet_at_ms = self.now_ms.saturating_add(QUIET_MS);
            if let Some(cursor) = self.cursors.get_mut(id)
                && cursor.timer_ms.is_none()
            {
                cursor.timer_ms = Some(quiet_at_ms);
                self.timers.insert((quiet_at_ms, id));
            }
        }
        Turn::Done
    }

    fn fits_datagram(&self, id: CursorId) -> bool {
        let Some(Target::Watch(target)) = self.cursors.get(id).map(|c| &c.target) else {
            return false;
        };
        // The first value travels reliably, behind WATCHING.
        target.reliable.is_some()
            && self.cells.get(target.view).is_some_and(|view| match &view.value {
                ViewValue::Whole(value) => value.len() <= DATAGRAM_VALUE_BYTES_MAX,
                ViewValue::Absent | ViewValue::Keyed(_) => false,
            })
    }

    fn send_update(&mut self, id: CursorId, owner: Owner, lane: Lane, pull: &mut Pull<'_>) -> Sent {
        let (sub, behind_ms) = (owner.sub, self.behind_at(id));
        let stale = self.stale_flags(owner, behind_ms);
        let Some(Target::Watch(target)) = self.cursors.get_mut(id).map(|c| &mut c.target) else {
            return Sent::Whole;
        };
        let Some(view) = self.cells.get_mut(target.view) else { return Sent::Whole };
        let is_news =
            core::mem::replace(&mut target.told_behind, behind_ms.is_some()) != behind_ms.is_some();
        let version = view.version;
        let since = target.reliable.max(target.sent);
        pull.head.clear();
        let shared = match (&view.value, &target.key) {
            // Who has never held a value is not told that there is none.
            (ViewValue::Absent, _) if since.is_none() && !is_news => None,
            (ViewValue::Absent, _) => {
                put_update_header(pull.head, sub, version, flags::FULL | flags::DELETED | stale);
                pull.head.push(NIL);
                Some(Bytes::new())
            }
            (ViewValue::Whole(value), _) => {
                put_update_header(pull.head, sub, version, flags::FULL | stale);
                Some(value.clone())
            }
            (ViewValue::Keyed(keyed), Some(key))
                if !is_news && since.is_some_and(|since| keyed.key_version(key) <= since) =>
            {
                None
            }
            (ViewValue::Keyed(keyed), Some(key)) => {
                // Straight into the head: hardly anybody watches the same key, so it is not shared.
                put_update_entries_header(pull.head, sub, version, flags::FULL | stale, 1);
                keyed.encode_key(key, pull.head);
                Some(Bytes::new())
            }
            (ViewValue::Keyed(_), None) => {
                let part_bytes =
                    PART_BYTES.min(self.limits.max_frame_bytes.saturating_sub(PART_HEAD_BYTES));
                match view.changes_since(since, part_bytes, &mut self.large) {
                    Encoding::Large(number) => {
                        target.taking = Some(self.large.begin(number));
                        return Sent::InParts;
                    }
                    Encoding::Whole { full, count, bytes } => {
                        let full = if full { flags::FULL } else { 0 };
                        put_update_entries_header(pull.head, sub, version, full | stale, count);
                        Some(bytes)
                    }
                }
            }
        };
        target.sent = Some(version);
        if matches!(lane, Lane::Sub(_)) {
            target.reliable = Some(version);
        }
        if let Some(shared) = shared {
            self.stats.updates += 1;
            pull.send_on(lane, &shared);
        }
        Sent::Whole
    }
}

/// How a watcher's newest version goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// In one frame, which has been sent, or it has nothing to say.
    Whole,
    /// In parts, none of which has been sent.
    InParts,
}

/// The encoding of nil.
const NIL: u8 = 0xc0;
