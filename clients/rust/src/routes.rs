//! Subscriptions and watches, by the id that their frames carry.

use std::collections::HashMap;
use std::sync::Arc;

use tidewire_protocol::ClientFrame;

use crate::error::Error;
use crate::inbox::Inbox;
use crate::shelf::Shelf;
use crate::watch_slot::WatchSlot;

/// Subscriptions and watches by id.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    last: u32,
    pub(crate) table: HashMap<u32, Route>,
}

/// Where frames with a subscription's id go.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    Subscription(Arc<Inbox>),
    Watch(Arc<WatchSlot>),
    Consumer(Arc<Shelf>),
}

impl Route {
    pub(crate) fn open(&self, req: u64, sub: u32) -> Option<ClientFrame> {
        match self {
            Self::Subscription(inbox) => inbox.open(req, sub),
            Self::Watch(slot) => slot.open(req, sub),
            Self::Consumer(shelf) => shelf.open(req, sub),
        }
    }

    pub(crate) fn is_opening(&self) -> bool {
        match self {
            Self::Subscription(inbox) => inbox.is_opening(),
            Self::Watch(slot) => slot.is_opening(),
            Self::Consumer(shelf) => shelf.is_opening(),
        }
    }

    pub(crate) fn end(&self, why: &Error) {
        match self {
            Self::Subscription(inbox) => inbox.end(why),
            Self::Watch(slot) => slot.end(why),
            Self::Consumer(shelf) => shelf.end(why),
        }
    }
}

impl Routes {
    pub(crate) fn insert(&mut self, route: Route) -> u32 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.table.contains_key(&self.last) {
                self.table.insert(self.last, route);
                return self.last;
            }
        }
    }
}
