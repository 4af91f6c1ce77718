//! What is told when the journal takes nothing, or has not kept what it took.

use alloc::vec::Vec;

use tidewire_protocol::{ErrorCode, Refusal};

use super::cold::Recalled;
use super::message::{
    CellValue, Command, DispatcherId, Event, Origin, Reply, Request, Round, SessionId,
};

impl Request {
    /// Whether it changes something that is kept.
    #[must_use]
    pub fn is_change(&self) -> bool {
        match self {
            Self::Publish { .. }
            | Self::Counter { .. }
            | Self::Vote { .. }
            | Self::Tally { .. }
            | Self::Invalidate { .. }
            | Self::Topic { .. } => true,
            Self::Group(request) => request.ask.is_change(),
            Self::Get { .. } | Self::Presence { .. } => false,
        }
    }
}

impl Command {
    /// Takes the commands that change something out of the list, and returns what their connections
    /// are to be told. The shard never hears of them.
    pub fn refuse_changes(
        commands: &mut Vec<Self>,
        refusal: &Refusal,
    ) -> Vec<(DispatcherId, Event)> {
        let mut told = Vec::new();
        commands.retain(|command| {
            if let Self::Request(_, request) = command {
                // It makes room.
                let makes_room = matches!(request, Request::Topic { .. });
                if !request.is_change() || makes_room && refusal.code == ErrorCode::StorageFull {
                    return true;
                }
            }
            // A dead letter is sent again. That one has arrived is kept, or it would be sent again and
            // again while the disk is full.
            !matches!(command, Self::DeadLetter(_)) && !command.refuse(refusal, &mut told)
        });
        told
    }

    /// Tells the connections of a request that it is refused. Returns false if it is none.
    pub fn refuse(&self, refusal: &Refusal, told: &mut Vec<(DispatcherId, Event)>) -> bool {
        let mut tell = |session: SessionId, stream, req| {
            let reply = Reply::Refused(refusal.clone());
            told.push((session.dispatcher, Event::Reply { session, stream, req, reply }));
        };
        match self {
            Self::Request(Origin { session, stream, req }, _) => tell(*session, *stream, *req),
            Self::Publishes(run) => {
                let each = run.publishes.iter();
                each.for_each(|publish| tell(run.session, run.stream, publish.req));
            }
            Self::DeadLetter(_)
            | Self::Buried(_)
            | Self::Follow(..)
            | Self::Unfollow(..)
            | Self::SessionEnded(_)
            | Self::Stored { .. }
            | Self::Recall(..)
            | Self::Recalled(_)
            | Self::Tenants(_)
            | Self::TenantFull { .. }
            | Self::PeerEnded(_) => return false,
        }
        true
    }
}

impl Round {
    /// Turns a round whose outcome is not known into refusals. Who began to follow something in it is
    /// told how it is by what stands for the shard from now on.
    pub fn lose(&mut self, refusal: &Refusal) {
        self.events.retain(|(_, event)| match event {
            Event::TopicSnapshot { .. }
            | Event::LogSnapshot { .. }
            | Event::Cell { snapshot: true, .. } => false,
            Event::Reply { .. }
            | Event::Published { .. }
            | Event::TopicRefused { .. }
            | Event::Appended { .. }
            | Event::Trimmed { .. }
            | Event::Cooled { .. }
            | Event::Recalled { .. }
            | Event::Cell { .. }
            | Event::Leased { .. }
            | Event::ConsumerEnded { .. }
            | Event::Renumbered { .. }
            | Event::Behind { .. }
            | Event::Forward(_) => true,
        });
        self.refuse(refusal, 0);
    }

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
                Event::Recalled { shard, recalled } => {
                    let sequences = recalled.sequences.clone();
                    let reason = Some(refusal.message.clone());
                    let recalled = Recalled { sequences, reason, bodies: Vec::new() };
                    self.events.push((to, Event::Recalled { shard, recalled: recalled.into() }));
                }
                told @ (Event::Cooled { .. } | Event::Renumbered { .. } | Event::Behind { .. }) => {
                    self.events.push((to, told));
                }
                refused @ (Event::TopicRefused { .. } | Event::ConsumerEnded { .. }) => {
                    self.events.push((to, refused))
                }
                Event::Appended { .. }
                | Event::Trimmed { .. }
                | Event::Cell { .. }
                | Event::Leased { .. }
                | Event::Forward(_) => {}
            }
        }
    }
}
