//! Requests that concern several partitions of a name: a command for each of their shards.

use alloc::vec::Vec;

use bytes::Bytes;
use tidewire_protocol::frame::CellKind;
use tidewire_protocol::record::Records;
use tidewire_protocol::{partition_of, stable_hash};

use super::Dispatcher;
use super::gather::Gathered;
use crate::cell::VoterId;
use crate::shard::{Command, Origin, Request};
use crate::shard_of_partition;
use crate::topic::Step;

impl Dispatcher {
    /// What a request for a name with partitions, at home in this shard, asks of their shards. The first command is
    /// returned, the others are handed out by [`Self::more_commands`].
    pub(super) fn split(
        &mut self,
        origin: Origin,
        home: u16,
        partitions: u16,
        request: Request,
    ) -> Option<(u16, Command)> {
        let (kind, targets): (Gathered, Vec<(u16, Request)>) = match request {
            Request::Publish { topic, ack, body, terms, .. } => {
                let bodies = self.split_body(&body, partitions, terms.step).into_iter();
                let publish = |(partition, body, count)| {
                    let (topic, terms) = (topic.clone(), terms.clone());
                    (partition, Request::Publish { topic, ack, body, count, terms })
                };
                (Gathered::Publish, bodies.map(publish).collect())
            }
            // The home partition passes it on to the others, and all of them reply.
            Request::Tally { .. } => {
                return Some(self.ask_home(origin, home, partitions, request));
            }
            Request::Get {
                kind: kind @ (CellKind::Tally | CellKind::Rounds | CellKind::Topic),
                ..
            } => {
                let everyone = (0..partitions).map(|partition| (partition, request.clone()));
                (Gathered::Get(kind), everyone.collect())
            }
            Request::Invalidate { tally, voters, issuer } => {
                let mut parts: Vec<(u16, Vec<VoterId>)> = Vec::new();
                for voter in voters {
                    let partition = partition_of_voter(voter, partitions);
                    match parts.iter_mut().find(|(known, _)| *known == partition) {
                        Some((_, voters)) => voters.push(voter),
                        None => parts.push((partition, Vec::from([voter]))),
                    }
                }
                let invalidate = |(partition, voters)| {
                    let (tally, issuer) = (tally.clone(), issuer.clone());
                    (partition, Request::Invalidate { tally, voters, issuer })
                };
                (Gathered::Settled, parts.into_iter().map(invalidate).collect())
            }
            Request::Topic { .. } => {
                let everyone = (0..partitions).map(|partition| (partition, request.clone()));
                (Gathered::Topic, everyone.collect())
            }
            Request::Vote { voter, .. } => {
                let shard = shard_of_partition(home, partition_of_voter(voter, partitions));
                return Some((shard, Command::Request(origin, request)));
            }
            // These are not spread.
            Request::Counter { .. }
            | Request::Get { .. }
            | Request::Presence { .. }
            | Request::Group(_) => {
                return Some((home, Command::Request(origin, request)));
            }
        };
        let gather = self.gathers.begin(origin, kind, targets.len());
        for (partition, request) in targets {
            let origin = Origin { req: gather.req(partition), ..origin };
            let shard = shard_of_partition(home, partition);
            self.more_commands.push_back((shard, Command::Request(origin, request)));
        }
        self.more_commands.pop_front()
    }

    /// What the last request asks of shards beyond the command that [`Self::request`] returned;
    /// to be sent with it, in order.
    pub fn more_commands(&mut self) -> Option<(u16, Command)> {
        self.more_commands.pop_front()
    }

    fn ask_home(
        &mut self,
        origin: Origin,
        home: u16,
        partitions: u16,
        request: Request,
    ) -> (u16, Command) {
        let gather = self.gathers.begin(origin, Gathered::Tally, usize::from(partitions));
        let origin = Origin { req: gather.req(0), ..origin };
        (home, Command::Request(origin, request))
    }

    /// The records of a body by partition, in their order, with their number.
    fn split_body(
        &mut self,
        body: &Bytes,
        partitions: u16,
        step: Option<Step>,
    ) -> Vec<(u16, Bytes, u64)> {
        // What a producer repeats goes where it went before.
        let of_step = |step: Step| step.producer.wrapping_add(step.sequence);
        let mut keyless = step.map(|step| of_step(step) % u64::from(partitions.max(1)));
        let mut of = |key: Option<&str>, counter: &mut u64| match key {
            Some(key) => partition_of(key, partitions),
            None => {
                let partition = *keyless.get_or_insert_with(|| {
                    *counter += 1;
                    *counter % u64::from(partitions)
                });
                u16::try_from(partition).unwrap_or(0)
            }
        };
        let mut bodies: Vec<(u16, Vec<u8>, u64)> = Vec::new();
        for record in Records::of(body) {
            let partition = of(record.key, &mut self.keyless);
            let at = bodies.iter().position(|(known, ..)| *known == partition);
            let place = match at {
                Some(at) => bodies.get_mut(at),
                None => {
                    bodies.push((partition, Vec::new(), 0));
                    bodies.last_mut()
                }
            };
            if let Some((_, bytes, count)) = place {
                bytes.extend_from_slice(record.encoded);
                *count += 1;
            }
        }
        if let [(partition, _, count)] = bodies.as_slice() {
            // All of them go to the same one: the bytes as they came.
            return Vec::from([(*partition, body.clone(), *count)]);
        }
        bodies
            .into_iter()
            .map(|(partition, bytes, count)| (partition, bytes.into(), count))
            .collect()
    }
}

/// The partition that holds a voter's ballot.
fn partition_of_voter(VoterId(id): VoterId, partitions: u16) -> u16 {
    let number = stable_hash(&id) % u64::from(partitions.max(1));
    u16::try_from(number).unwrap_or(0)
}
