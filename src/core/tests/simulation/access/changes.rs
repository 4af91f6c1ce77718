//! Permissions that come, go and run out on open connections.

use super::*;

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
