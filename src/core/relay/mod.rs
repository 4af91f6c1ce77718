//! What stands for a shard on a node that does not hold it: commands go to the node that leads it, and
//! what is told there comes back.
//!
//! The node as a whole is one follower of the leader's shard, so every event crosses the link once,
//! however many of its dispatchers follow; here it is given to each of them. What a dispatcher asks
//! for is answered in the order in which it was asked, and exactly once, also when the leader is
//! another one meanwhile. The relay holds no records.

mod followed;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use tidewire_protocol::{Name, Refusal};

use crate::group::MemberId;
use crate::shard::{
    CellValue, Command, DispatcherId, Dispatchers, Event, Following, GroupAsk, Interest, Interests,
    Origin, Recalled, Reply, Request, SessionId,
};
use crate::topic::TopicId;
use followed::Followed;

/// What the relay has told whom.
pub type Told = Vec<(DispatcherId, Event)>;

/// The relay of one shard. See the module's documentation.
#[derive(Debug)]
pub struct Relay {
    shard: u16,
    followed: BTreeMap<Interest, Followed>,
    /// The topics that are followed, by the numbers that the leader's shard gives them.
    topics: BTreeMap<TopicId, Name>,
    /// Requests that the leader has not answered yet.
    pending: BTreeSet<(SessionId, u16, u64)>,
    /// Connections whose end concerns the leader.
    sessions: BTreeSet<SessionId>,
    consumers: BTreeSet<MemberId>,
    recalls: BTreeSet<(u64, DispatcherId)>,
}

impl Relay {
    /// The relay of a shard, whose dispatchers here follow this so far. They are told how it is when
    /// the leader is known.
    #[must_use]
    pub fn new(shard: u16, interests: Interests) -> Self {
        let followed = interests
            .into_iter()
            .map(|following| (following.interest, Followed::by(following.stays)));
        Self {
            shard,
            followed: followed.collect(),
            topics: BTreeMap::new(),
            pending: BTreeSet::new(),
            sessions: BTreeSet::new(),
            consumers: BTreeSet::new(),
            recalls: BTreeSet::new(),
        }
    }

    /// The same relay without those who follow something: it waits for the same answers.
    #[must_use]
    pub fn without_followers(&mut self) -> Self {
        Self {
            shard: self.shard,
            followed: BTreeMap::new(),
            topics: BTreeMap::new(),
            pending: core::mem::take(&mut self.pending),
            sessions: core::mem::take(&mut self.sessions),
            consumers: core::mem::take(&mut self.consumers),
            recalls: core::mem::take(&mut self.recalls),
        }
    }

    /// Dispatchers that have followed this elsewhere do so by way of the relay from now on.
    pub fn follow(&mut self, interests: Interests) {
        for following in interests {
            self.followed.insert(following.interest, Followed::by(following.stays));
        }
    }

    /// Takes a command of this node; returns what is to be sent to the leader for it, which may be
    /// another one, or nothing.
    pub fn handle(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Request(origin, request) => {
                self.note(&origin, &request);
                Some(Command::Request(origin, request))
            }
            Command::Publishes(run) => {
                let (session, stream) = (run.session, run.stream);
                let asked = run.publishes.iter().filter(|publish| publish.req != 0);
                self.pending.extend(asked.map(|publish| (session, stream, publish.req)));
                Some(Command::Publishes(run))
            }
            Command::Follow(dispatcher, interest) => {
                self.followed.entry(interest.clone()).or_default().ask(dispatcher);
                Some(Command::Follow(dispatcher, interest))
            }
            Command::Unfollow(dispatcher, interest) => self.unfollow(dispatcher, interest),
            Command::SessionEnded(session) => {
                self.pending.retain(|(of, ..)| *of != session);
                self.consumers.retain(|(of, _)| *of != session);
                self.sessions.remove(&session).then_some(Command::SessionEnded(session))
            }
            Command::Recall(dispatcher, sequence) => {
                self.recalls.insert((sequence, dispatcher));
                Some(Command::Recall(dispatcher, sequence))
            }
            command @ (Command::DeadLetter(_) | Command::Buried(_)) => Some(command),
            Command::Stored { .. }
            | Command::Recalled(_)
            | Command::Tenants(_)
            | Command::TenantFull { .. }
            | Command::PeerEnded(_) => None,
        }
    }

    /// Takes what the leader has told this node; `told` gets what each dispatcher is told for it.
    pub fn take(&mut self, event: Event, told: &mut Told) {
        match event {
            event @ (Event::Reply { .. }
            | Event::Published { .. }
            | Event::Leased { .. }
            | Event::ConsumerEnded { .. }) => {
                let (to, event) = event.at_home();
                self.answered(&event);
                told.extend(to.map(|to| (to, event)));
            }
            Event::TopicSnapshot { ref name, topic_id, .. } => {
                let interest = Interest::Topic(name.clone());
                self.topics.retain(|_, known| known != name);
                self.topics.insert(topic_id, name.clone());
                self.answer(&interest, true, event, told);
            }
            Event::TopicRefused { ref name, .. } => {
                let interest = Interest::Topic(name.clone());
                self.answer(&interest, false, event, told);
            }
            Event::LogSnapshot { .. } => self.answer(&Interest::CommitLog, true, event, told),
            Event::Cell { kind, ref name, ref value, snapshot: true, .. } => {
                let interest = Interest::Cell(kind, name.clone());
                let is_followed = !matches!(value, CellValue::Refused(_));
                self.answer(&interest, is_followed, event, told);
            }
            Event::Cell { kind, ref name, .. } => {
                tell(self.live(&Interest::Cell(kind, name.clone())), event, told);
            }
            Event::Appended { ref batch, .. } => {
                tell(self.live_in_topic(&batch.topic), event, told);
            }
            Event::Trimmed { topic_id, .. } => {
                let to = match self.topics.get(&topic_id) {
                    Some(name) => self.live_in_topic(name),
                    None => self.live(&Interest::CommitLog),
                };
                tell(to, event, told);
            }
            Event::Cooled { ref batches } => {
                let to = batches.iter().map(|batch| self.live_in_topic(&batch.topic));
                let to = to.fold(Dispatchers::default(), Dispatchers::union);
                tell(to, event, told);
            }
            Event::Recalled { ref recalled, .. } => {
                let to = self.take_recallers(recalled);
                tell(to, event, told);
            }
            Event::Renumbered { .. } => {
                self.topics.clear();
                tell(self.all(), event, told);
            }
            // They are for the dispatchers of the leader's node.
            Event::Forward(_) | Event::Behind { .. } => {}
        }
    }

    /// A leader is known, who knows nothing of this node yet: returns what it is to be told.
    pub fn connect(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for (interest, followed) in &mut self.followed {
            for dispatcher in followed.ask_again() {
                commands.push(Command::Follow(dispatcher, interest.clone()));
            }
            // Who waits for an answer gets it, though nobody wants to hear of changes any more.
            if let (false, Some(Command::Follow(dispatcher, _))) =
                (followed.is_followed(), commands.last())
            {
                let dispatcher = *dispatcher;
                commands.push(Command::Unfollow(dispatcher, interest.clone()));
            }
        }
        // What was to be recalled while nobody led is asked for now.
        let recall =
            |(sequence, dispatcher): &(u64, DispatcherId)| Command::Recall(*dispatcher, *sequence);
        commands.extend(self.recalls.iter().map(recall));
        commands
    }

    /// What is to be recalled and has not been, for what stands for the shard from now on.
    pub(crate) fn take_recalls(&mut self) -> impl Iterator<Item = Command> + use<> {
        let recalls = core::mem::take(&mut self.recalls);
        recalls.into_iter().map(|(sequence, dispatcher)| Command::Recall(dispatcher, sequence))
    }

    /// The leader is gone. Who waits for an answer is told so, since it may or may not have been
    /// carried out; who follows something keeps what it has.
    pub fn disconnect(&mut self, refusal: &Refusal, told: &mut Told) {
        for (session, stream, req) in core::mem::take(&mut self.pending) {
            let reply = Reply::Refused(refusal.clone());
            told.push((session.dispatcher, Event::Reply { session, stream, req, reply }));
        }
        for member in core::mem::take(&mut self.consumers) {
            let refusal = refusal.clone();
            told.push((member.0.dispatcher, Event::ConsumerEnded { member, refusal }));
        }
        // They ask again, if they still have to.
        for (sequence, dispatcher) in core::mem::take(&mut self.recalls) {
            let sequences = sequence..sequence + 1;
            let recalled = Arc::new(Recalled { sequences, ..Recalled::default() });
            told.push((dispatcher, Event::Recalled { shard: self.shard, recalled }));
        }
        tell(self.all(), Event::Renumbered { shard: self.shard }, told);
        self.sessions.clear();
        self.topics.clear();
    }

    /// What is followed here, for what stands for the shard from now on.
    #[must_use]
    pub fn into_interests(self) -> Interests {
        let mut interests = Interests::new();
        for (interest, followed) in self.followed {
            for (to, stays) in followed.into_questions() {
                interests.push(Following { interest: interest.clone(), to, stays });
            }
        }
        interests
    }

    /// Requests that wait for an answer.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Things that are followed.
    #[must_use]
    pub fn followed(&self) -> usize {
        self.followed.len()
    }

    fn note(&mut self, origin: &Origin, request: &Request) {
        let Origin { session, stream, req } = *origin;
        if req != 0 {
            self.pending.insert((session, stream, req));
        }
        match request {
            Request::Presence { .. } => {
                self.sessions.insert(session);
            }
            Request::Group(group) => match group.ask {
                GroupAsk::Consume { sub, .. } => {
                    self.sessions.insert(session);
                    self.consumers.insert((session, sub));
                }
                GroupAsk::Leave { sub } => {
                    self.consumers.remove(&(session, sub));
                }
                GroupAsk::Create { .. }
                | GroupAsk::Delete
                | GroupAsk::Reset { .. }
                | GroupAsk::Status
                | GroupAsk::Settle { .. } => {}
            },
            Request::Publish { .. }
            | Request::Counter { .. }
            | Request::Vote { .. }
            | Request::Tally { .. }
            | Request::Get { .. }
            | Request::Invalidate { .. }
            | Request::Topic { .. } => {}
        }
    }

    /// Nobody waits for this any more.
    fn answered(&mut self, event: &Event) {
        match event {
            Event::Reply { session, stream, req, .. } => {
                self.pending.remove(&(*session, *stream, *req));
            }
            Event::Published { session, stream, acks, .. } => {
                for (req, _) in acks {
                    self.pending.remove(&(*session, *stream, *req));
                }
            }
            Event::ConsumerEnded { member, .. } => {
                self.consumers.remove(member);
            }
            Event::Leased { .. }
            | Event::TopicSnapshot { .. }
            | Event::TopicRefused { .. }
            | Event::Appended { .. }
            | Event::Trimmed { .. }
            | Event::Cooled { .. }
            | Event::Recalled { .. }
            | Event::LogSnapshot { .. }
            | Event::Cell { .. }
            | Event::Renumbered { .. }
            | Event::Behind { .. }
            | Event::Forward(_) => {}
        }
    }

    fn unfollow(&mut self, dispatcher: DispatcherId, interest: Interest) -> Option<Command> {
        let followed = self.followed.get_mut(&interest)?;
        let was_followed = followed.is_followed();
        followed.leave(dispatcher);
        if followed.is_followed() || !was_followed {
            return None;
        }
        if followed.is_done() {
            self.followed.remove(&interest);
        }
        Some(Command::Unfollow(dispatcher, interest))
    }

    /// What was asked for first is answered; or all are told who follow it, if nobody asked.
    fn answer(&mut self, interest: &Interest, is_followed: bool, event: Event, told: &mut Told) {
        let Some(followed) = self.followed.get_mut(interest) else { return };
        tell(followed.answered(is_followed), event, told);
        if followed.is_done() {
            self.followed.remove(interest);
        }
    }

    /// Who follows anything.
    pub(crate) fn all(&self) -> Dispatchers {
        let each = self.followed.values().map(Followed::all);
        each.fold(Dispatchers::default(), Dispatchers::union)
    }

    fn live(&self, interest: &Interest) -> Dispatchers {
        self.followed.get(interest).map(Followed::live).unwrap_or_default()
    }

    fn live_in_topic(&self, name: &Name) -> Dispatchers {
        let topic = self.live(&Interest::Topic(name.clone()));
        topic.union(self.live(&Interest::CommitLog))
    }

    /// Who has asked for something of what was recalled.
    fn take_recallers(&mut self, recalled: &Recalled) -> Dispatchers {
        let (first, behind) = (recalled.sequences.start, recalled.sequences.end);
        let asked: Vec<(u64, DispatcherId)> =
            self.recalls.range((first, 0)..(behind, 0)).copied().collect();
        let mut to = Dispatchers::default();
        for recall in asked {
            self.recalls.remove(&recall);
            to.insert(recall.1);
        }
        to
    }
}

/// Each member gets the event; the last one the event itself.
fn tell(to: Dispatchers, event: Event, told: &mut Told) {
    let mut to = to.iter().peekable();
    while let Some(dispatcher) = to.next() {
        if to.peek().is_none() {
            return told.push((dispatcher, event));
        }
        told.push((dispatcher, event.clone()));
    }
}
