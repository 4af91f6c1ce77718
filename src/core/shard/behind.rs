//! Whether what is shown on a node is as of now, and who was told that it is not.

use alloc::vec::Vec;

use super::interest::Dispatchers;
use super::message::{DispatcherId, Event, is_peer};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    as_of_ms: Option<u64>,
    /// They are told when it is over, too.
    told: Dispatchers,
}

impl Behind {
    /// Whether it is not as of now.
    pub(crate) fn is_there(&self) -> bool {
        self.as_of_ms.is_some()
    }

    /// From now on what is shown is as of this time.
    pub(crate) fn begin(
        &mut self,
        shard: u16,
        as_of_ms: u64,
        to: Dispatchers,
        told: &mut Vec<(DispatcherId, Event)>,
    ) {
        self.as_of_ms = Some(as_of_ms);
        to.iter().for_each(|dispatcher| self.tell(shard, dispatcher, told));
    }

    /// Somebody is about to be shown something: it is told so, once.
    pub(crate) fn tell(
        &mut self,
        shard: u16,
        to: DispatcherId,
        told: &mut Vec<(DispatcherId, Event)>,
    ) {
        if self.as_of_ms.is_some() && !is_peer(to) && !self.told.contains(to) {
            self.told.insert(to);
            told.push((to, Event::Behind { shard, as_of_ms: self.as_of_ms }));
        }
    }

    /// What is shown is as of now.
    pub(crate) fn end(&mut self, shard: u16, told: &mut Vec<(DispatcherId, Event)>) {
        self.as_of_ms = None;
        for dispatcher in core::mem::take(&mut self.told).iter() {
            told.push((dispatcher, Event::Behind { shard, as_of_ms: None }));
        }
    }
}
