//! What is told when the journal takes nothing, or has not kept what it took.

use alloc::vec::Vec;

use tidewire_protocol::Refusal;

use super::message::{CellValue, Command, Event, Origin, Reply, Request, Round};
use super::{PublishRun, Shard};

impl Request {
    /// Whether it changes something that is kept.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Publish { .. }
            | Self::Counter { .. }
            | Self::Vote { .. }
            | Self::Tally { .. } => true,
            Self::Get { .. } | Self::Presence { .. } => false,
        }
    }
}

impl Shard {
    /// Carries out one command as [`Self::handle`] does, but refuses changes.
    pub fn handle_refusing(&mut self, command: Command, now_ms: u64, refusal: &Refusal) {
        match command {
            Command::Request(origin, request) if request.is_change() => {
                self.reply(origin, Reply::Refused(refusal.clone()));
            }
            Command::Publishes(run) => {
                let PublishRun { session, stream, publishes, .. } = *run;
                for publish in publishes {
                    let origin = Origin { session, stream, req: publish.req };
                    self.reply(origin, Reply::Refused(refusal.clone()));
                }
            }
            command @ (Command::Request(..)
            | Command::Follow(..)
            | Command::Unfollow(..)
            | Command::SessionEnded(_)) => self.handle(command, now_ms),
        }
    }
}

impl Round {
    /// Turns a round that was not committed into refusals: nothing of what it did, or read, is
    /// told. `committed`: sequence behind the last batch that was committed.
    pub fn refuse(&mut self, refusal: &Refusal, committed: u64) {
        let events = core::mem::take(&mut self.events);
        for (to, event) in events {
            match event {
                Event::Reply { session, stream, req, reply } => {
                    let is_refused = matches!(reply, Reply::Refused(_));
                    let reply = if is_refused { reply } else { Reply::Refused(refusal.clone()) };
                    self.events.push((to, Event::Reply { session, stream, req, reply }));
                }
                Event::Published { session, stream, acks, .. } => {
                    let refused = acks.into_iter().map(|(req, _)| {
                        let reply = Reply::Refused(refusal.clone());
                        (to, Event::Reply { session, stream, req, reply })
                    });
                    self.events.extend(refused);
                }
                Event::TopicSnapshot { shard, name, .. } => {
                    let refusal = refusal.clone();
                    self.events.push((to, Event::TopicRefused { shard, name, refusal }));
                }
                Event::LogSnapshot { shard, epoch, .. } => {
                    let (base, slots) = (committed, Vec::new());
                    self.events.push((to, Event::LogSnapshot { shard, epoch, base, slots }));
                }
                Event::Cell { shard, kind, name, epoch, snapshot: true, .. } => {
                    let (version, value) = (0, CellValue::Refused(refusal.clone()));
                    let snapshot = true;
                    let event = Event::Cell { shard, kind, name, version, epoch, value, snapshot };
                    self.events.push((to, event));
                }
                refused @ Event::TopicRefused { .. } => self.events.push((to, refused)),
                Event::Appended { .. }
                | Event::Trimmed { .. }
                | Event::Cell { .. }
                | Event::Forward(_) => {}
            }
        }
    }
}
