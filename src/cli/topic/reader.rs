//! Reads a topic from a start to the end that it has now.

use std::collections::BTreeMap;

use tidewire_client::{
    Client, Delivery, Error, Gap, Name, Pattern, Position, Record, Start, SubscribeOptions,
    SubscribedInfo, Subscription, SubscriptionEvent,
};

use crate::cli::CliError;
use crate::cli::output::note;

/// The records of a topic that were there when reading began.
pub(super) struct Reader {
    subscription: Subscription,
    /// Where each partition ended then, and how far it has been read; one of number 0 if the topic
    /// has no partitions.
    ends: BTreeMap<u64, u64>,
    read: BTreeMap<u64, u64>,
    /// Records that were removed before they could be read.
    pub(super) missing: u64,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// `not_found` when there is no such topic, or when the connection is lost.
    pub(super) async fn open(
        client: &Client,
        topic: &Name,
        start: Start,
    ) -> Result<Self, CliError> {
        client.topic_info(topic).await?;
        let pattern =
            Pattern::parse(topic.as_str()).map_err(|refusal| CliError::usage(refusal.message))?;
        let options = SubscribeOptions::default;
        let mut end = client.subscribe(&pattern, Start::Latest, options()).await?;
        let ends = places(&started(&mut end).await?);
        drop(end);
        let mut subscription = client.subscribe(&pattern, start, options()).await?;
        let read = places(&started(&mut subscription).await?);
        Ok(Self { subscription, ends, read, missing: 0 })
    }

    fn is_done(&self) -> bool {
        self.ends.iter().all(|(of, end)| self.read.get(of).is_some_and(|read| read >= end))
    }

    /// The next records; `None` when everything was read.
    ///
    /// # Errors
    /// When the subscription has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Delivery>, CliError> {
        while !self.is_done() {
            match self.subscription.next().await {
                Some(SubscriptionEvent::Delivery(delivery)) => {
                    self.advance(delivery.position, delivery.next);
                    return Ok(Some(delivery));
                }
                Some(SubscriptionEvent::Gap(gap)) => self.skip(&gap),
                Some(SubscriptionEvent::Started(_) | SubscriptionEvent::Progress(_)) => {}
                Some(SubscriptionEvent::Ended(refusal)) => {
                    return Err(Error::Refused(refusal).into());
                }
                None => return Err(Error::Closed.into()),
            }
        }
        Ok(None)
    }

    fn advance(&mut self, position: Option<Position>, next: u64) {
        self.read.insert(position.map_or(0, |Position(of, ..)| of), next);
    }

    fn skip(&mut self, gap: &Gap) {
        let count = gap.next.saturating_sub(gap.from);
        self.missing += count;
        note(&format!("{count} records were removed before they could be read"));
        self.advance(gap.position, gap.next);
    }

    /// The records of a delivery that were there when reading began.
    pub(super) fn records<'a>(
        &self,
        delivery: &'a Delivery,
    ) -> impl Iterator<Item = (u64, Record<'a>)> + use<'a> {
        let of = delivery.position.map_or(0, |Position(of, ..)| of);
        let end = self.ends.get(&of).copied().unwrap_or(0);
        delivery.records().take_while(move |(offset, _)| *offset < end)
    }

    /// An error if something was missed.
    ///
    /// # Errors
    /// How many records there were.
    pub(super) fn finish(&self) -> Result<(), CliError> {
        match self.missing {
            0 => Ok(()),
            missing => Err(CliError {
                exit_code: 1,
                message: format!(
                    "{missing} records are missing: retention removed them meanwhile; read faster, \
                     or keep more"
                ),
            }),
        }
    }
}

async fn started(subscription: &mut Subscription) -> Result<SubscribedInfo, CliError> {
    match subscription.next().await {
        Some(SubscriptionEvent::Started(info)) => Ok(info),
        Some(SubscriptionEvent::Ended(refusal)) => Err(Error::Refused(refusal).into()),
        Some(
            SubscriptionEvent::Delivery(_)
            | SubscriptionEvent::Gap(_)
            | SubscriptionEvent::Progress(_),
        )
        | None => Err(Error::BadReply("SUBSCRIBED expected".to_owned()).into()),
    }
}

fn places(info: &SubscribedInfo) -> BTreeMap<u64, u64> {
    match info.positions.as_slice() {
        [] => BTreeMap::from([(0, info.offset)]),
        positions => positions.iter().map(|Position(of, _, offset)| (*of, *offset)).collect(),
    }
}
