//! Voters and members are who their tokens say.

use super::*;
use tidewire_protocol::options::GetOptions;

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
        options: GetOptions::default(),
    };
    let frames = net.ask(session, get);
    assert!(matches!(&frames[..], [ServerFrame::Value { .. }]), "{frames:?}");
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
