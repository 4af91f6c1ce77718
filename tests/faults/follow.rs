//! Who follows topics on a node: what it is told, in order, over faults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidewire_client::{
    Error, ErrorCode, GapReason, Name, Pattern, Start, StartStatus, SubscribeOptions, Subscription,
    SubscriptionEvent,
};
use tokio::time::timeout;

use crate::seat::{Seat, Stage};

const LOOK: Duration = Duration::from_millis(100);
/// How long an event may be missing before it is looked at another node.
const QUIET: Duration = Duration::from_secs(3);
const GIVE_UP: Duration = Duration::from_secs(40);

/// What was told of a topic: by epoch and offset.
pub(crate) type Told = BTreeMap<(u64, u64), String>;

/// How long somebody follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// The load ends.
    Ended,
    /// This was told.
    Told((u64, u64)),
}

/// A follower of one topic.
pub(crate) struct Follower {
    seat: Seat,
    topic: Name,
    /// Whether the topic never begins anew.
    is_kept: bool,
    told: Told,
    next: Option<(u64, u64)>,
    heard: Instant,
    /// When it was told something new.
    told_at: Instant,
}

impl Follower {
    pub(crate) fn of(stage: &Stage, node: usize, topic: Name, is_kept: bool) -> Self {
        let seat = Seat::at(stage, node);
        let (told, next, now) = (Told::new(), None, Instant::now());
        Self { seat, topic, is_kept, told, next, heard: now, told_at: now }
    }

    fn is_done(&self, until: Until) -> bool {
        match until {
            Until::Ended => self.seat.stage.has_ended(),
            Until::Told(at) => self.told.contains_key(&at),
        }
    }

    pub(crate) async fn run(mut self, until: Until) -> Told {
        while !self.is_done(until) {
            match self.subscribe().await {
                Ok(subscription) => self.listen(subscription, until).await,
                // It lacks what another node has told, for a moment.
                Err(Error::Refused(refusal)) if refusal.code == ErrorCode::OutOfRange => {}
                Err(Error::Failed { .. }) => self.seat.leave(),
                Err(error) => {
                    assert!(error.is_retryable(), "{}: {error}", self.topic);
                    self.seat.leave();
                }
            }
            let is_late = self.told_at.elapsed() > GIVE_UP;
            assert!(!is_late, "{}: not {until:?}, {:?} is next", self.topic, self.next);
            tokio::time::sleep(LOOK).await;
        }
        self.told
    }

    async fn subscribe(&mut self) -> Result<Subscription, Error> {
        let start = match self.next {
            Some((epoch, offset)) => Start::Offset { epoch, offset },
            None => Start::Earliest,
        };
        let pattern = Pattern::parse(self.topic.as_str()).unwrap();
        let ask = async |client: &tidewire_client::Client| {
            client.subscribe(&pattern, start.clone(), SubscribeOptions::default()).await
        };
        self.seat.try_once(ask).await
    }

    async fn listen(&mut self, mut subscription: Subscription, until: Until) {
        self.heard = Instant::now();
        while !self.is_done(until) {
            match timeout(LOOK, subscription.next()).await {
                Ok(Some(SubscriptionEvent::Delivery(delivery))) => {
                    self.heard = Instant::now();
                    self.seat.stage.timeline.delivered(delivery.count());
                    for (offset, record) in delivery.records() {
                        let payload = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
                        self.take(delivery.epoch, offset, payload);
                    }
                }
                Ok(Some(SubscriptionEvent::Started(started))) => {
                    // Where it was told to go on, it goes on.
                    let is_missing = started.status == StartStatus::Gap;
                    assert!(!is_missing || !self.is_kept, "{}: {started:?}", self.topic);
                    self.anew(started.epoch);
                    if is_missing {
                        self.next = None;
                    }
                }
                Ok(Some(SubscriptionEvent::Gap(gap))) => {
                    let is_anew = gap.reason == GapReason::NewEpoch;
                    assert!(is_anew && !self.is_kept, "{}: {gap:?}", self.topic);
                    self.next = None;
                }
                Ok(Some(SubscriptionEvent::Progress(_))) => {}
                Ok(Some(SubscriptionEvent::Ended(refusal))) => {
                    assert!(refusal.code.is_retryable(), "{}: {refusal}", self.topic);
                    return self.seat.leave();
                }
                Ok(None) => return self.seat.leave(),
                // A node that stands still says nothing; there is always something to be told.
                Err(_quiet) if self.heard.elapsed() > QUIET => return self.seat.leave(),
                Err(_quiet) => {}
            }
        }
    }

    /// It is told what history this is.
    fn anew(&mut self, epoch: u64) {
        if let Some((known, _)) = self.next
            && known != epoch
        {
            assert!(!self.is_kept, "{} has changed its epoch: {known}, {epoch}", self.topic);
            self.next = None;
        }
    }

    fn take(&mut self, epoch: u64, offset: u64, payload: String) {
        if let Some(next) = self.next {
            assert_eq!((epoch, offset), next, "{}: what is told is out of order", self.topic);
        } else {
            assert!(!self.is_kept || offset == 0, "{} begins at {offset}", self.topic);
        }
        self.next = Some((epoch, offset + 1));
        self.told_at = Instant::now();
        self.told.insert((epoch, offset), payload);
    }
}
