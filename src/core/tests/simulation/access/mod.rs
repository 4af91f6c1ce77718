//! Permissions in the simulation: nobody gets what they may not have, and everybody what they may.

mod changes;
mod following;
mod frames;
mod people;
mod record;
mod requests;

use std::collections::HashMap;
use std::sync::Arc;

use tidewire_core::access::{Access, Identity, Operation, Permissions, Rule, RuleList, Tenant};
use tidewire_core::fanout::{Dispatcher, FanoutLimits};
use tidewire_core::shard::{SessionId, ShardLimits};
use tidewire_core::topic::{Policy, PolicyTable};
use tidewire_protocol::frame::{
    AckLevel, CellKind, CounterOp, GroupOp, PresenceOp, SettleOp, Start, TallyOp, TopicOp,
};
use tidewire_protocol::group::{ConsumeOptions, GroupOptions, SettleOptions};
use tidewire_protocol::options::{
    CounterOptions, PublishOptions, SubscribeOptions, TopicOptions, WatchOptions,
};
use tidewire_protocol::record::payload_body;
use tidewire_protocol::tally::{Choice, TallyKind, TallyRules};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame};

use crate::net::{DISPATCHERS, Net};
use frames::{frames_of, frames_of_groups};

const TOPICS: usize = 8;

fn name(raw: &str) -> Name {
    Name::parse(raw).unwrap()
}

fn topic(index: usize) -> Name {
    name(&format!("a.{index}"))
}

fn access(subject: &str, rules: &[(&str, &[Operation])]) -> Access {
    let rules = rules.iter().zip(1..).filter_map(|((names, allow), number)| {
        Rule::for_subject(number, names, allow.iter().copied().collect(), Some(subject))
    });
    let (source, rules) = ("role 'test'".into(), rules.collect());
    let list = RuleList { source, rules, acts_for_others: false };
    Access {
        identity: Identity { issuer: "id.example".into(), subject: subject.into() },
        permissions: Arc::new(Permissions { lists: vec![list], tenant: None }),
        expires_at_ms: None,
    }
}

fn net(seed: u64) -> Net {
    let policy =
        Policy { retention_records: 20, map_keys_max: 10, allow_delete: true, ..Policy::default() };
    Net::new(seed, PolicyTable::new(Vec::new(), policy), ShardLimits::default())
}

fn give(net: &mut Net, session: SessionId, access: Access) {
    net.dispatchers[usize::from(session.dispatcher)].set_access(session, access);
}

fn open(net: &mut Net, dispatcher: usize, access: Access) -> SessionId {
    let session = net.open(dispatcher);
    give(net, session, access);
    session
}

fn publish(topic: &Name) -> ClientFrame {
    let (ack, body) = (AckLevel::Memory, payload_body(b"x"));
    let options = PublishOptions::default();
    ClientFrame::Publish { req: 9, topic: topic.clone(), ack, body, options }
}

fn subscribe(sub: u32, pattern: &str, start: Start, mode: u64) -> ClientFrame {
    let options =
        SubscribeOptions { mode: Some(mode), interval_ms: Some(0), ..SubscribeOptions::default() };
    let pattern = Pattern::parse(pattern).unwrap();
    ClientFrame::Subscribe { req: 5, sub, pattern, start, options }
}

fn refusal(frames: &[ServerFrame]) -> Option<(ErrorCode, &str)> {
    frames.iter().find_map(|frame| match frame {
        ServerFrame::Error { code, message, .. } => {
            Some((ErrorCode::from_number(*code).unwrap(), message.as_str()))
        }
        _ => None,
    })
}
