//! The load: who publishes, votes and counts, on all nodes, each request until it is answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire_client::protocol::options::ProducerInfo;
use tidewire_client::protocol::wire;
use tidewire_client::{
    AckLevel, BodyBuilder, CellKind, Choice, Client, ClientFrame, CounterOp, CounterOptions, Error,
    ErrorCode, GetOptions, Name, PublishOptions, ServerFrame, TallyKind, TallyRules, Value,
    VoteStatus,
};

use crate::seat::{Answered, Seat, Stage};

pub(crate) const TOPICS: usize = 4;
const OPTIONS: u64 = 3;
const COUNT_PAUSE: Duration = Duration::from_millis(80);

pub(crate) fn topic(number: usize) -> Name {
    name(&format!("log.{number}"))
}

/// A topic in memory: it may begin anew, and says so.
pub(crate) fn passing() -> Name {
    name("passing")
}

pub(crate) fn tally() -> Name {
    name("poll.faults")
}

pub(crate) fn counter() -> Name {
    name("count.faults")
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// A record that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) topic: Name,
    pub(crate) epoch: u64,
    pub(crate) offset: u64,
    pub(crate) payload: String,
}

/// Something that was done to the counter, or a reading of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) is_read: bool,
    /// What it was then; None if the answer is that of a repetition.
    pub(crate) value: Option<i64>,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

pub(crate) async fn prepare(stage: &Stage) {
    let options: Vec<String> = (0..OPTIONS).map(|option| format!("option {option}")).collect();
    let mut rules = TallyRules::new(TallyKind::Single, options);
    rules.is_final = true;
    Seat::at(stage, 0).ask(async |client| client.create_tally(&tally(), rules.clone()).await).await;
}

/// A name among producers, which makes repetitions count once.
async fn producer(client: &Client) -> Result<u64, Error> {
    let asked = client.request(|req| ClientFrame::Producer { req }).await?.await?;
    let ServerFrame::Ok { result: Some(result), .. } = asked else { panic!("{asked:?}") };
    Ok(wire::from_slice::<ProducerInfo>(&result).unwrap().producer)
}

fn body(payload: &str) -> Bytes {
    let mut body = BodyBuilder::new();
    body.push(None, &[], Some(payload.as_bytes()));
    body.finish()
}

/// Publishes one record after the other.
pub(crate) async fn publish(stage: Stage, node: usize, topic: Name) -> Vec<Sent> {
    let mut seat = Seat::at(&stage, node);
    let id = seat.ask(producer).await.answer;
    let (mut sent, mut sequence) = (Vec::new(), 0);
    while !stage.has_ended() {
        sequence += 1;
        let payload = format!("{id}:{sequence}");
        let body = body(&payload);
        let published = seat.write(async |client| {
            let (producer, sequence) = (Some(id), Some(sequence));
            let options = PublishOptions { producer, sequence, ..PublishOptions::default() };
            client.publish_body(&topic, body.clone(), AckLevel::Policy, options).await
        });
        let published = published.await.answer;
        assert_eq!(published.level, AckLevel::Quorum);
        let (epoch, offset) = (published.epoch, published.offset.unwrap());
        sent.push(Sent { topic: topic.clone(), epoch, offset, payload });
    }
    sent
}

/// The same in a topic that begins anew when its leader dies: what was not answered is not sent again.
pub(crate) async fn publish_passing(stage: Stage, node: usize) -> Vec<Sent> {
    let (mut seat, topic, mut sent) = (Seat::at(&stage, node), passing(), Vec::new());
    let mut number = 0_u64;
    while !stage.has_ended() {
        // A repetition is another record here.
        let tries = AtomicU64::new(number);
        let published = seat.write(async |client| {
            let number = tries.fetch_add(1, Ordering::Relaxed) + 1;
            let body = body(&format!("{node}:{number}"));
            let options = PublishOptions::default();
            client.publish_body(&topic, body, AckLevel::Policy, options).await
        });
        let published = published.await.answer;
        number = tries.into_inner();
        let (epoch, offset) = (published.epoch, published.offset.unwrap());
        let payload = format!("{node}:{number}");
        sent.push(Sent { topic: topic.clone(), epoch, offset, payload });
    }
    sent
}

/// Voters that vote twice, the second time on another node and for somebody else. How many voted.
pub(crate) async fn vote(stage: Stage, node: usize) -> [u64; OPTIONS as usize] {
    let (mut first, mut second) = (Seat::at(&stage, node), Seat::at(&stage, node + 1));
    let mut voted = [0; OPTIONS as usize];
    let mut number = 0_u64;
    while !stage.has_ended() {
        number += 1;
        let (voter, option) = (format!("{node}:{number}"), number % OPTIONS);
        let once = cast(&mut first, &voter, option).await;
        // A repetition of one that was not answered is the second.
        assert!(once.answer == Some(VoteStatus::Accepted) || once.lost > 0, "{:?}", once.answer);
        let again = cast(&mut second, &voter, (option + 1) % OPTIONS).await.answer;
        assert_eq!(again, None, "{voter} has voted twice");
        voted[usize::try_from(option).unwrap()] += 1;
    }
    voted
}

/// A ballot; nothing, if the voter has cast another one.
async fn cast(seat: &mut Seat, voter: &str, option: u64) -> Answered<Option<VoteStatus>> {
    let cast = async |client: &Client| match client
        .vote(&tally(), voter, vec![Choice::Index(option)], None)
        .await
    {
        Ok(voted) => Ok(Some(voted.status)),
        Err(Error::Refused(refusal)) if refusal.code == ErrorCode::AlreadyVoted => Ok(None),
        Err(error) => Err(error),
    };
    seat.write(cast).await
}

/// Counts up by one.
pub(crate) async fn count(stage: Stage, node: usize) -> Vec<Operation> {
    let (mut seat, mut operations) = (Seat::at(&stage, node), Vec::new());
    let mut number = 0_u64;
    while !stage.has_ended() {
        number += 1;
        let id = format!("{node}:{number}");
        let counted = seat.write(async |client| {
            let options = CounterOptions { id: Some(id.clone()), ..CounterOptions::default() };
            client.count(&counter(), CounterOp::Add, 1, options).await
        });
        let counted = counted.await;
        let value = (!counted.answer.duplicate).then_some(counted.answer.value);
        let (begun, ended) = (counted.begun, counted.ended);
        operations.push(Operation { is_read: false, value, begun, ended });
        // A counter remembers its newest 1,024 ids: nobody is to wait while the others count so far.
        tokio::time::sleep(COUNT_PAUSE).await;
    }
    operations
}

/// Reads it. What is marked as stale says of itself that it may be old.
pub(crate) async fn read(stage: Stage, node: usize) -> Vec<Operation> {
    let (mut seat, mut operations) = (Seat::at(&stage, node), Vec::new());
    while !stage.has_ended() {
        let (kind, name) = (CellKind::Counter, counter());
        let read = seat
            .ask(async |client| client.get_with(kind, &name, None, GetOptions::default()).await);
        let read = read.await;
        let is_stale = |value: &Value| value.as_of.is_some_and(|as_of| as_of.is_stale);
        if !read.answer.as_ref().is_some_and(is_stale) {
            let value = read.answer.map_or(0, |value| value.counter().unwrap());
            let (begun, ended) = (read.begun, read.ended);
            operations.push(Operation { is_read: true, value: Some(value), begun, ended });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    operations
}
