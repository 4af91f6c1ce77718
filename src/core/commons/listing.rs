//! The names that every node knows by itself, page by page.

use super::Commons;
use crate::shard::PresenceEntry;
use crate::shard::listing::{Entry, Kind, Page, Wanted};

impl Commons {
    /// Lists eventual counters or presence sets; nothing of any other kind is here.
    #[must_use]
    pub fn list(&self, wanted: &Wanted) -> Page {
        match wanted.kind {
            Kind::Counter => {
                wanted.page(self.counters.all(), |_| true, |_, value| Entry::Eventual(value))
            }
            Kind::Presence => wanted.page(
                self.presence.sets(),
                |_| true,
                |name, members| {
                    let (version, members) = (members.version(), members.len());
                    Entry::Presence(PresenceEntry { name: name.clone(), version, members })
                },
            ),
            Kind::Topic | Kind::Tally | Kind::Group => Page::default(),
        }
    }
}
