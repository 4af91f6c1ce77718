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
        let mut tell = |session: SessionId, stream, req| {
            let reply = Reply::Refused(refusal.clone());
            told.push((session.dispatcher, Event::Reply { session, stream, req, reply }));
        };
        commands.retain(|command| match command {
            // It makes room.
            Self::Request(_, Request::Topic { .. }) if refusal.code == ErrorCode::StorageFull => {
                true
            }
            Self::Request(Origin { session, stream, req }, request) if request.is_change() => {
                tell(*session, *stream, *req);
                false
            }
            Self::Publishes(run) => {
                for publish in &run.publishes {
                    tell(run.session, run.stream, publish.req);
                }
                false
            }
            // It is sent again.
            Self::DeadLetter(_) => false,
            // What has arrived is not to be sent again and again while the disk is full.
            Self::Buried(_)
            | Self::Request(..)
            | Self::Follow(..)
            | Self::Unfollow(..)
            | Self::SessionEnded(_)
            | Self::Stored { .. }
            | Self::Recall(..)
            | Self::Recalled(_)
            | Self::Tenants(_)
            | Self::TenantFull { .. }
            | Self::PeerEnded(_) => true,
        });
        told
    }
}

impl Command {
    /// Takes all requests out of the list, and returns what their connections are told.
    pub fn refuse_requests(
        commands: &mut Vec<Self>,
        refusal: &Refusal,
    ) -> Vec<(DispatcherId, Event)> {
        let reply = |session: SessionId, stream, req| {
            let reply = Reply::Refused(refusal.clone());
            (session.dispatcher, Event::Reply { session, stream, req, reply })
        };
        let mut told = Vec::new();
        commands.retain(|command| match command {
            Self::Request(Origin { session, stream, req }, _) => {
                told.push(reply(*session, *stream, *req));
                false
            }
            Self::Publishes(run) => {
                let each = run.publishes.iter();
                told.extend(each.map(|publish| reply(run.session, run.stream, publish.req)));
                false
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
            | Self::PeerEnded(_) => true,
        });
        told
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
                told @ (Event::Cooled { .. } | Event::Renumbered { .. }) => {
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
