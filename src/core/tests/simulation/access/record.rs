//! What is put on record.

use super::*;

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
