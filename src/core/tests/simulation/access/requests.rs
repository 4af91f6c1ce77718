//! Each request needs its operation, and a tenant keeps to its names.

use super::*;

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
