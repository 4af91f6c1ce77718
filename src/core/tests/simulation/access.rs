//! Permissions in the simulation: nobody gets what they may not have, and everybody what they may.

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

/// A client that follows everything, and holds what it gets against what it may have.
struct Watcher {
    session: SessionId,
    allowed: Vec<bool>,
    /// Where it is in each topic since its permissions changed last.
    next: HashMap<String, u64>,
    seen: u64,
}

impl Watcher {
    fn access(&self) -> Access {
        let names: Vec<String> = (0..TOPICS).map(|index| format!("a.{index}")).collect();
        let allow = |index: usize| -> &[Operation] {
            if self.allowed[index] { &[Operation::Subscribe, Operation::History] } else { &[] }
        };
        let rules: Vec<_> =
            names.iter().enumerate().map(|(index, name)| (name.as_str(), allow(index))).collect();
        access("watcher", &rules)
    }

    fn change(&mut self, net: &mut Net) {
        self.allowed = (0..TOPICS).map(|_| net.chance.one_in(2)).collect();
        self.next.clear();
        give(net, self.session, self.access());
    }

    fn read(&mut self, net: &mut Net, budget: usize) {
        for frame in net.pull(self.session, budget) {
            let (topic, from, next) = match frame {
                ServerFrame::Deliver { topic, from, next, .. } => (topic, from, next),
                ServerFrame::Gap { topic: Some(topic), from, next, .. } => (topic, from, next),
                ServerFrame::Gap { topic: None, .. } => {
                    // Which topics it fell behind in is not known.
                    self.next.clear();
                    continue;
                }
                _ => continue,
            };
            let index: usize = topic.as_str().strip_prefix("a.").unwrap().parse().unwrap();
            assert!(self.allowed[index], "'{topic}' was not for it");
            let expected = self.next.insert(topic.as_str().to_owned(), next);
            assert!(expected.is_none_or(|expected| expected == from), "a hole in '{topic}'");
            self.seen += 1;
        }
    }
}

fn run(seed: u64) -> (u64, usize) {
    let mut net = net(seed);
    let publisher = net.open(0);
    let mut watchers = Vec::new();
    for number in 0..6 {
        let session = net.open(number % usize::from(DISPATCHERS));
        let mut watcher =
            Watcher { session, allowed: vec![false; TOPICS], next: HashMap::new(), seen: 0 };
        watcher.change(&mut net);
        let start = if number < 3 { Start::Earliest } else { Start::Latest };
        net.request(session, subscribe(1, ["a.>", ">", "*.*"][number % 3], start, 0));
        watchers.push(watcher);
    }
    for _ in 0..600 {
        net.now_ms += 1;
        match net.chance.below(8) {
            0..=3 => {
                let topic = topic(net.chance.below(TOPICS));
                net.request(publisher, publish(&topic));
            }
            4 => net.seal(),
            5 => net.arrive(false),
            _ => {
                let chosen = net.chance.below(watchers.len());
                let watcher = &mut watchers[chosen];
                if net.chance.one_in(12) {
                    watcher.change(&mut net);
                }
                let budget = net.chance.below(400);
                watcher.read(&mut net, budget);
            }
        }
    }
    net.settle();
    let mut complete = 0;
    for watcher in &mut watchers {
        watcher.read(&mut net, usize::MAX);
        complete += watcher.next.len();
    }
    (watchers.iter().map(|watcher| watcher.seen).sum(), complete)
}

#[test]
fn a_pattern_shows_what_is_allowed_and_nothing_else() {
    let (mut seen, mut complete) = (0, 0);
    for seed in 0..60 {
        let figures = run(seed);
        seen += figures.0;
        complete += figures.1;
    }
    assert!(seen > 10_000 && complete > 300, "{seen}, {complete}");
}

#[test]
fn conflation_and_the_last_records_show_no_more() {
    let mut net = net(3);
    let publisher = net.open(0);
    for index in 0..TOPICS {
        net.ask(publisher, publish(&topic(index)));
    }
    let rules: &[(&str, &[Operation])] =
        &[("a.1", &[Operation::Subscribe, Operation::History]), ("a.2", &[Operation::Subscribe])];
    for (start, mode) in [
        (Start::Earliest, 0),
        (Start::Last(1), 0),
        (Start::Time(0), 0),
        (Start::Earliest, 1),
        (Start::Last(1), 1),
    ] {
        let session = open(&mut net, 1, access("ann", rules));
        let frames = net.ask(session, subscribe(1, ">", start.clone(), mode));
        let topics: Vec<&str> = frames
            .iter()
            .filter_map(|frame| match frame {
                ServerFrame::Deliver { topic, .. } => Some(topic.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(topics, ["a.1"], "{start:?}, mode {mode}: what is past needs history");
        net.close(session);
    }
}

/// A frame for each operation, on this name.
fn frames_of(on: &str) -> Vec<(Operation, ClientFrame)> {
    let mut frames = frames_of_records(on);
    frames.extend(frames_of_people(on));
    frames.extend(frames_of_groups(on));
    frames
}

fn frames_of_records(on: &str) -> Vec<(Operation, ClientFrame)> {
    let (name, req) = (name(on), 4);
    let kind = CellKind::Counter;
    vec![
        (Operation::Publish, publish(&name)),
        (Operation::Subscribe, subscribe(1, on, Start::Latest, 0)),
        (Operation::History, subscribe(2, on, Start::Earliest, 0)),
        (Operation::History, subscribe(3, on, Start::Offset { epoch: 0, offset: 0 }, 0)),
        (
            Operation::Subscribe,
            ClientFrame::Watch {
                req,
                sub: 4,
                kind,
                name: name.clone(),
                options: WatchOptions::default(),
            },
        ),
        (Operation::Subscribe, ClientFrame::Get { req, kind, name: name.clone(), key: None }),
        (
            Operation::Incr,
            ClientFrame::Incr {
                req,
                counter: name.clone(),
                op: CounterOp::Add,
                operand: 1,
                options: CounterOptions::default(),
            },
        ),
    ]
}

fn frames_of_people(on: &str) -> Vec<(Operation, ClientFrame)> {
    let (name, req) = (name(on), 4);
    let rules = Some(TallyRules::new(TallyKind::Single, vec!["A".into()]));
    let invalid = vec!["voter".to_owned()];
    vec![
        (
            Operation::Admin,
            ClientFrame::Tally { req, op: TallyOp::Create, tally: name.clone(), rules },
        ),
        (
            Operation::Vote,
            ClientFrame::Vote {
                req,
                tally: name.clone(),
                voter: String::new(),
                choices: vec![Choice::Index(0)],
                revision: None,
            },
        ),
        (
            Operation::Admin,
            ClientFrame::Invalidate { req, tally: name.clone(), voters: invalid, hashes: None },
        ),
        (
            Operation::Presence,
            ClientFrame::Presence {
                req,
                op: PresenceOp::Join,
                name: name.clone(),
                member: String::new(),
                data: None,
            },
        ),
    ]
}

fn frames_of_groups(on: &str) -> Vec<(Operation, ClientFrame)> {
    let (name, req) = (name(on), 4);
    vec![
        (
            Operation::Group,
            ClientFrame::Group {
                req,
                op: GroupOp::Create,
                topic: name.clone(),
                group: self::name("workers"),
                options: GroupOptions::default(),
            },
        ),
        (
            Operation::Group,
            ClientFrame::Consume {
                req,
                sub: 6,
                topic: name.clone(),
                group: self::name("workers"),
                options: ConsumeOptions::default(),
            },
        ),
        (
            Operation::Admin,
            ClientFrame::Topic {
                req,
                op: TopicOp::Truncate,
                topic: name,
                options: TopicOptions { before_offset: Some(0), before_time_ms: None },
            },
        ),
    ]
}

#[test]
fn each_request_needs_its_operation_and_the_refusal_names_it() {
    let all: Vec<Operation> = Operation::ALL.to_vec();
    let mut net = net(5);
    let open_to_all = open(&mut net, 0, access("ann", &[("a.b", &all)]));
    for (operation, frame) in frames_of("a.b") {
        let shown = format!("{frame:?}");
        let frames = net.ask(open_to_all, frame.clone());
        assert_eq!(refusal(&frames), None, "{shown}");
        let others: Vec<Operation> =
            all.iter().copied().filter(|other| *other != operation).collect();
        for rules in [&[("a.b", others.as_slice())][..], &[("b.>", all.as_slice())], &[]] {
            let session = open(&mut net, 1, access("bob", rules));
            let frames = net.ask(session, frame.clone());
            let (code, message) = refusal(&frames).unwrap_or_else(|| panic!("{shown}"));
            assert_eq!(code, ErrorCode::Forbidden, "{shown}: {message}");
            assert!(message.starts_with("'bob' may not "), "{message}");
            assert!(message.contains("'a.b': ") && message.contains("role 'test'"), "{message}");
            net.close(session);
        }
    }
}

#[test]
fn whatever_its_rules_a_tenant_can_do_nothing_outside_of_its_names() {
    let all: Vec<Operation> = Operation::ALL.to_vec();
    let of_tenant = |prefix: &str| {
        let free = access("ann", &[(">", &all)]);
        let lists = free.permissions.lists.clone();
        let tenant = Some(Tenant::parse(prefix).unwrap());
        Access { permissions: Arc::new(Permissions { lists, tenant }), ..free }
    };
    let mut net = net(7);
    let own = open(&mut net, 0, of_tenant("a"));
    let other = open(&mut net, 1, of_tenant("b"));
    let watcher = open(&mut net, 1, of_tenant("b"));
    let outside = |frames: &[ServerFrame], shown: &str| {
        let (code, message) = refusal(frames).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(code, ErrorCode::Forbidden, "{shown}: {message}");
        assert!(message.contains("tenant 'b' has only names of 'b.>'"), "{message}");
    };
    for (_, frame) in frames_of("a.b") {
        let shown = format!("{frame:?}");
        assert_eq!(refusal(&net.ask(own, frame.clone())), None, "{shown}");
        outside(&net.ask(other, frame), &shown);
    }
    outside(&net.ask(other, subscribe(2, "a.>", Start::Earliest, 0)), "a.>");
    for pattern in [">", "*.*"] {
        assert_eq!(refusal(&net.ask(watcher, subscribe(1, pattern, Start::Latest, 0))), None);
        net.ask(own, publish(&name("a.c")));
        net.ask(other, publish(&name("b.c")));
        net.settle();
        let topics: Vec<String> = net
            .pull(watcher, usize::MAX)
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Deliver { topic, .. } => Some(topic.as_str().to_owned()),
                ServerFrame::Gap { topic: Some(topic), .. } => Some(topic.as_str().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(topics, ["b.c"], "{pattern}");
        net.ask(watcher, ClientFrame::Unsubscribe { req: 3, sub: 1 });
    }
}

#[test]
fn dead_letters_are_no_way_around_a_rule() {
    let mut net = net(6);
    let rules: &[(&str, &[Operation])] =
        &[("a.b", &[Operation::Group]), ("a.dead", &[Operation::Publish])];
    let session = open(&mut net, 0, access("ann", rules));
    let create = |dead_letter: &str| {
        let options =
            GroupOptions { dead_letter: Some(dead_letter.to_owned()), ..GroupOptions::default() };
        let (topic, group) = (name("a.b"), name("workers"));
        ClientFrame::Group { req: 4, op: GroupOp::Create, topic, group, options }
    };
    let frames = net.ask(session, create("secret"));
    let (code, message) = refusal(&frames).unwrap();
    assert_eq!(code, ErrorCode::Forbidden);
    assert!(message.contains("may not publish 'secret'"), "{message}");
    assert_eq!(refusal(&net.ask(session, create("a.dead"))), None);
}

#[test]
fn what_is_not_allowed_any_more_ends() {
    let mut net = net(7);
    let all: Vec<Operation> = Operation::ALL.to_vec();
    let session = open(&mut net, 0, access("ann", &[("a.b", &all), ("a.c", &all)]));
    for (_, frame) in frames_of("a.b") {
        net.ask(session, frame);
    }
    net.ask(session, subscribe(10, "a.c", Start::Latest, 0));
    net.ask(session, subscribe(11, ">", Start::Latest, 0));
    let publisher = net.open(1);
    net.ask(publisher, publish(&name("a.b")));
    let taken = net.pull(session, usize::MAX);
    let leased = taken.iter().any(|frame| matches!(frame, ServerFrame::Leased { sub: 6, .. }));
    assert!(leased, "{taken:?}");

    give(&mut net, session, access("ann", &[("a.c", &all)]));
    net.settle();
    let ended: Vec<u32> = net
        .pull(session, usize::MAX)
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Error { code, sub: Some(sub), .. }
                if *code == u64::from(ErrorCode::Forbidden.number()) =>
            {
                Some(*sub)
            }
            _ => None,
        })
        .collect();
    let mut sorted = ended.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4, 6], "not 10 and 11");
    let settle = ClientFrame::Settle {
        req: 8,
        sub: 6,
        op: SettleOp::Ack,
        offsets: vec![(0, 1)],
        options: SettleOptions::default(),
    };
    assert!(refusal(&net.ask(session, settle)).is_some(), "it consumes no more");
    net.ask(publisher, publish(&name("a.b")));
    net.ask(publisher, publish(&name("a.c")));
    let topics: Vec<String> = net
        .pull(session, usize::MAX)
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Deliver { sub, topic, .. } => Some(format!("{sub} {topic}")),
            _ => None,
        })
        .collect();
    assert_eq!(topics.len(), 2, "{topics:?}");
    assert!(topics.iter().all(|topic| topic.ends_with("a.c")), "{topics:?}");
    // What it had leased is another's.
    let worker = net.open(2);
    let (topic, group) = (name("a.b"), name("workers"));
    let consume =
        ClientFrame::Consume { req: 4, sub: 1, topic, group, options: ConsumeOptions::default() };
    let frames = net.ask(worker, consume);
    assert!(frames.iter().any(|frame| matches!(frame, ServerFrame::Leased { .. })), "{frames:?}");
}

#[test]
fn a_voter_is_who_the_token_says() {
    let mut net = net(8);
    let (poll, all) = (name("poll"), Operation::ALL.to_vec());
    let rules: &[(&str, &[Operation])] = &[("poll", &all)];
    let mut backend = access("shop", rules);
    let lists = &mut Arc::get_mut(&mut backend.permissions).unwrap().lists;
    lists[0].acts_for_others = true;
    let backend = open(&mut net, 0, backend);
    let create = TallyRules::new(TallyKind::Single, vec!["A".into(), "B".into()]);
    let create = ClientFrame::Tally {
        req: 1,
        op: TallyOp::Create,
        tally: poll.clone(),
        rules: Some(create),
    };
    assert_eq!(refusal(&net.ask(backend, create)), None);
    let vote = |voter: &str, option: u64| ClientFrame::Vote {
        req: 2,
        tally: poll.clone(),
        voter: voter.to_owned(),
        choices: vec![Choice::Index(option)],
        revision: None,
    };
    let status = |frames: &[ServerFrame]| match frames {
        [ServerFrame::Voted { status, .. }] => *status,
        other => panic!("{other:?}"),
    };
    let ann = open(&mut net, 1, access("ann", rules));
    assert_eq!(status(&net.ask(ann, vote("", 0))), 0, "accepted");
    assert_eq!(status(&net.ask(ann, vote("ann", 0))), 2, "the same ballot");
    let frames = net.ask(ann, vote("bob", 0));
    let (code, message) = refusal(&frames).unwrap();
    assert_eq!(code, ErrorCode::Forbidden);
    assert!(message.contains("'ann' may not vote 'poll' as 'bob'"), "{message}");
    // The back end means the same people.
    assert_eq!(status(&net.ask(backend, vote("ann", 0))), 2);
    assert_eq!(status(&net.ask(backend, vote("bob", 1))), 0);

    let mut stranger = access("ann", rules);
    stranger.identity.issuer = "evil.example".into();
    let stranger = open(&mut net, 2, stranger);
    let frames = net.ask(stranger, vote("", 1));
    let (code, message) = refusal(&frames).unwrap();
    assert_eq!(code, ErrorCode::Forbidden);
    assert!(message.contains("'id.example'") && message.contains("'evil.example'"), "{message}");
}

#[test]
fn a_member_is_who_the_token_says() {
    let mut net = net(9);
    let rules: &[(&str, &[Operation])] = &[("room", &[Operation::Presence, Operation::Subscribe])];
    let session = open(&mut net, 0, access("ann", rules));
    let join = |member: &str| ClientFrame::Presence {
        req: 1,
        op: PresenceOp::Join,
        name: name("room"),
        member: member.to_owned(),
        data: None,
    };
    assert_eq!(refusal(&net.ask(session, join(""))), None);
    assert_eq!(refusal(&net.ask(session, join("bob"))).unwrap().0, ErrorCode::Forbidden);
    let get = ClientFrame::Get {
        req: 2,
        kind: CellKind::Presence,
        name: name("room"),
        key: Some("ann".to_owned()),
    };
    let frames = net.ask(session, get);
    assert!(matches!(&frames[..], [ServerFrame::Value { .. }]), "{frames:?}");
}

#[test]
fn an_access_that_has_run_out_ends_the_connection() {
    let mut net = net(10);
    let access = Access { expires_at_ms: Some(5_000), ..access("ann", &[]) };
    let session = open(&mut net, 0, access);
    let closing = |net: &mut Net, now_ms| {
        net.dispatchers[0].handle_timeout(now_ms);
        net.dispatchers[0].take_closing()
    };
    assert!(closing(&mut net, 4_999).is_empty());
    let closed = closing(&mut net, 7_000);
    assert_eq!(closed.len(), 1);
    assert_eq!((closed[0].0, closed[0].1.code), (session, ErrorCode::Unauthenticated));
}

#[test]
fn equal_permissions_are_kept_once_and_go_with_their_connections() {
    let mut net = net(11);
    let rules: &[(&str, &[Operation])] = &[("a.>", &[Operation::Subscribe])];
    let sessions: Vec<SessionId> =
        (0..10).map(|number| open(&mut net, 0, access(&format!("s{number}"), rules))).collect();
    assert_eq!(net.dispatchers[0].permissions(), 1);
    let other = open(&mut net, 0, access("ann", &[("{identity}", &[Operation::Subscribe])]));
    assert_eq!(net.dispatchers[0].permissions(), 2);
    for session in sessions.into_iter().chain([other]) {
        net.close(session);
    }
    assert_eq!(net.dispatchers[0].permissions(), 0);
}

#[test]
fn rules_that_come_later_end_what_was_there_before() {
    let mut net = net(12);
    let session = net.open(0);
    for (_, frame) in frames_of("a.b") {
        net.ask(session, frame);
    }
    let nothing: &[(&str, &[Operation])] = &[];
    give(&mut net, session, access("ann", nothing));
    net.settle();
    let ended = net.pull(session, usize::MAX);
    let ended = ended.iter().filter(|frame| matches!(frame, ServerFrame::Error { .. })).count();
    assert_eq!(ended, 5, "three subscriptions, a watch and a consumer");
    assert_eq!(net.dispatchers[0].subscriptions(), 0);
}

#[test]
fn what_waits_for_its_answer_gets_a_refusal_for_it() {
    let mut net = net(13);
    let all: Vec<Operation> = Operation::ALL.to_vec();
    let session = open(&mut net, 0, access("ann", &[("a.>", &all)]));
    for (_, frame) in frames_of_groups("a.b") {
        net.ask(session, frame);
    }
    net.pull(session, usize::MAX);
    let consume = |sub| ClientFrame::Consume {
        req: 70,
        sub,
        topic: name("a.b"),
        group: name("workers"),
        options: ConsumeOptions::default(),
    };
    net.request(session, subscribe(30, "a.new", Start::Latest, 0));
    net.request(session, consume(31));
    give(&mut net, session, access("ann", &[("b", &all)]));
    net.settle();
    let frames = net.pull(session, usize::MAX);
    let refused = |req: u64, sub: Option<u32>| {
        frames.iter().any(|frame| match frame {
            ServerFrame::Error { req: of, sub: about, code, .. } => {
                (*of, *about) == (req, sub) && *code == u64::from(ErrorCode::Forbidden.number())
            }
            _ => false,
        })
    };
    assert!(refused(5, None), "SUBSCRIBE is answered: {frames:?}");
    // The shard has taken it in, and it leaves again.
    assert!(frames.iter().any(|frame| matches!(frame, ServerFrame::Ok { req: 70, .. })));
    assert!(refused(0, Some(31)), "{frames:?}");
    let publisher = net.open(1);
    net.ask(publisher, publish(&name("a.b")));
    let worker = net.open(2);
    let frames = net.ask(worker, consume(1));
    assert!(frames.iter().any(|frame| matches!(frame, ServerFrame::Leased { .. })), "{frames:?}");
}

#[test]
fn a_pattern_without_anything_that_may_be_seen_is_refused() {
    let mut net = net(14);
    let rules: &[(&str, &[Operation])] = &[("a.*.c", &[Operation::Subscribe]), ("b.>", &[])];
    let session = open(&mut net, 0, access("ann", rules));
    for (pattern, start, is_taken) in [
        (">", Start::Latest, true),
        ("a.>", Start::Latest, true),
        ("*.b.*", Start::Latest, true),
        ("a.*", Start::Latest, false),
        ("b.>", Start::Latest, false),
        ("c.>", Start::Latest, false),
        (">", Start::Earliest, false),
    ] {
        let frames = net.ask(session, subscribe(1, pattern, start.clone(), 0));
        let refused = refusal(&frames).map(|(code, _)| code);
        let expected = (!is_taken).then_some(ErrorCode::Forbidden);
        assert_eq!(refused, expected, "{pattern} from {start:?}");
        net.ask(session, ClientFrame::Unsubscribe { req: 2, sub: 1 });
    }
}

#[test]
fn acting_for_others_goes_as_far_as_its_own_role() {
    let mut net = net(15);
    let all: Vec<Operation> = Operation::ALL.to_vec();
    let mut both = access("ann", &[("poll", &all)]);
    let rule = Rule::for_subject(1, "room", [Operation::Presence].into_iter().collect(), None);
    let list = RuleList {
        source: "role 'host'".into(),
        rules: rule.into_iter().collect(),
        acts_for_others: true,
    };
    Arc::get_mut(&mut both.permissions).unwrap().lists.push(list);
    let session = open(&mut net, 0, both);
    let rules = Some(TallyRules::new(TallyKind::Single, vec!["A".into()]));
    let (req, op) = (1, TallyOp::Create);
    net.ask(session, ClientFrame::Tally { req, op, tally: name("poll"), rules });
    let vote = |voter: &str| ClientFrame::Vote {
        req: 2,
        tally: name("poll"),
        voter: voter.to_owned(),
        choices: vec![Choice::Index(0)],
        revision: None,
    };
    let join = |op, on: &str| ClientFrame::Presence {
        req: 3,
        op,
        name: name(on),
        member: "bob".to_owned(),
        data: None,
    };
    assert_eq!(refusal(&net.ask(session, join(PresenceOp::Join, "room"))), None);
    assert_eq!(refusal(&net.ask(session, vote("bob"))).unwrap().0, ErrorCode::Forbidden);
    let frames = net.ask(session, join(PresenceOp::Join, "poll"));
    assert_eq!(refusal(&frames).unwrap().0, ErrorCode::Forbidden);
    assert_eq!(refusal(&net.ask(session, vote(""))), None);
    // A name is shown in a refusal, so it must be short before anything else.
    let long = net.ask(session, vote(&"\u{7f}".repeat(1_000)));
    assert_eq!(refusal(&long).unwrap().0, ErrorCode::InvalidArgument);
    // Who may not be there any more may leave.
    give(&mut net, session, access("ann", &[("b", &all)]));
    assert_eq!(refusal(&net.ask(session, join(PresenceOp::Leave, "room"))), None);
}

#[test]
fn the_record_is_of_the_request_that_was_answered() {
    let mut net = net(16);
    let plain = Dispatcher::new(0, 1, FanoutLimits::default());
    let dispatcher = std::mem::replace(&mut net.dispatchers[0], plain);
    net.dispatchers[0] = dispatcher.with_audit();
    let all: Vec<Operation> = Operation::ALL.to_vec();
    let session = open(&mut net, 0, access("ann", &[("poll", &all)]));
    let rules = TallyRules::new(TallyKind::Single, vec!["A".into()]);
    let tally = |req, op, on: &str| {
        let rules = (op == TallyOp::Create).then(|| rules.clone());
        ClientFrame::Tally { req, op, tally: name(on), rules }
    };
    // Under one request id: what is allowed, what is not, and what nobody puts on record.
    for req in [7, 0] {
        net.request(session, tally(req, TallyOp::Create, "poll"));
        net.request(session, tally(req, TallyOp::Close, "other"));
        net.request(session, subscribe(0, "poll", Start::Latest, 0));
        let ClientFrame::Publish { topic, ack, body, options, .. } = publish(&name("poll")) else {
            unreachable!()
        };
        net.request(session, ClientFrame::Publish { req, topic, ack, body, options });
        net.request(session, tally(req, TallyOp::Close, "poll"));
        net.settle();
        let frames = net.pull(session, usize::MAX);
        let of_seven =
            frames.iter().filter(|frame| matches!(frame, ServerFrame::Ok { req: 7, .. })).count();
        assert_eq!(of_seven, if req == 7 { 2 } else { 0 }, "{frames:?}");
    }
    net.request(session, tally(9, TallyOp::Delete, "poll"));
    net.close(session);
    net.settle();
    let mut seen = Vec::new();
    while let Some(audited) = net.dispatchers[0].audited() {
        assert_eq!(&*audited.identity.unwrap().subject, "ann");
        let (action, on) = audited.action.unwrap();
        seen.push(format!("{action} {on} {}", audited.refusal.is_none()));
    }
    seen.sort();
    let twice = ["tally.close other false", "tally.close poll true", "tally.create poll true"];
    let mut expected: Vec<String> =
        twice.iter().flat_map(|entry| [entry.to_string(), entry.to_string()]).collect();
    expected.push("tally.delete poll true".to_owned());
    assert_eq!(seen, expected, "also of a connection that is gone");
}
