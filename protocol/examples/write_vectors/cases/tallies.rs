//! TALLY, VOTE and their replies: rules, ballots, standings, rounds.

use bytes::Bytes;
use serde::Serialize;
use tidewire_protocol::frame::TallyOp;
use tidewire_protocol::tally::{
    Choice, Overvote, Round, Rounds, Standings, TallyInfo, TallyKind, TallyReply, TallyRules,
    TallyState,
};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, ServerFrame, wire};

use super::Failure;
use super::group::Group;

const PLAIN_RULES: &str = r#"{"kind": "single", "options": ["a", "b"], "final": false,
    "overvote": "skip", "exhaust_after_skips": 0}"#;

pub(crate) fn group() -> Result<Group, Failure> {
    let poll = Name::parse("poll.7")?;
    let mut group = Group::new();
    operations(&mut group, &poll);
    rules(&mut group, &poll);
    ballots(&mut group, &poll);
    replies(&mut group);
    standings(&mut group);
    rounds(&mut group);
    loose(&mut group, &poll);
    refused(&mut group);
    invalidations(&mut group, &Name::parse("poll")?);
    Ok(group)
}

fn operations(group: &mut Group, poll: &Name) {
    let operations = [
        ("create", TallyOp::Create),
        ("open", TallyOp::Open),
        ("close", TallyOp::Close),
        ("delete", TallyOp::Delete),
    ];
    for (number, (what, op)) in operations.into_iter().enumerate() {
        group.both(
            &format!("tally {what} without rules"),
            &tally(poll, op, None),
            &format!(r#"[30, 3, {number}, "poll.7", null]"#),
        );
    }
}

fn rules(group: &mut Group, poll: &Name) {
    let plain = plain_rules();
    group.both(
        "tally create with default rules",
        &tally(poll, TallyOp::Create, Some(plain.clone())),
        &format!(r#"[30, 3, 0, "poll.7", {PLAIN_RULES}]"#),
    );
    let multiple = TallyRules {
        kind: TallyKind::Multiple,
        choices_max: Some(2),
        is_final: true,
        ..plain.clone()
    };
    group.both(
        "tally create of several choices",
        &tally(poll, TallyOp::Create, Some(multiple)),
        r#"[30, 3, 0, "poll.7", {"kind": "multiple", "options": ["a", "b"], "choices_max": 2,
            "final": true, "overvote": "skip", "exhaust_after_skips": 0}]"#,
    );
    let ranked = TallyRules {
        kind: TallyKind::Ranked,
        choices_max: Some(255),
        opens_at_ms: Some(1_764_000_000_000),
        closes_at_ms: Some(1_764_000_060_000),
        overvote: Overvote::Exhaust,
        exhaust_after_skips: 2,
        hidden: true,
        identity: Some("local".into()),
        ..plain
    };
    group.both(
        "tally create with every rule",
        &tally(poll, TallyOp::Create, Some(ranked)),
        r#"[30, 3, 0, "poll.7", {"kind": "ranked", "options": ["a", "b"], "choices_max": 255,
            "final": false, "opens_at_ms": 1764000000000, "closes_at_ms": 1764000060000,
            "overvote": "exhaust", "exhaust_after_skips": 2, "hidden": true,
            "identity": "local"}]"#,
    );
}

fn ballots(group: &mut Group, poll: &Name) {
    let ballots = [
        ("a blank ballot", vec![], "[]"),
        ("an option by index", vec![Choice::Index(0)], "[0]"),
        ("an option by a high index", vec![Choice::Index(999)], "[999]"),
        ("an option by name", vec![Choice::Name("a".into())], r#"["a"]"#),
        ("a skipped rank", vec![Choice::Skipped, Choice::Index(1)], "[null, 1]"),
        ("an over-vote", vec![Choice::Over, Choice::Index(1)], "[[], 1]"),
        (
            "every form of choice",
            vec![Choice::Index(1), Choice::Name("b".into()), Choice::Skipped, Choice::Over],
            r#"[1, "b", null, []]"#,
        ),
    ];
    for (what, choices, json) in ballots {
        group.both(
            &format!("vote with {what}"),
            &vote(poll, choices, None),
            &format!(r#"[22, 4, "poll.7", "ann", {json}, null]"#),
        );
    }
    for revision in [0, 1, u64::MAX] {
        group.both(
            &format!("vote of revision {revision}"),
            &vote(poll, vec![Choice::Index(1)], Some(revision)),
            &format!(r#"[22, 4, "poll.7", "ann", [1], {{"int": "{revision}"}}]"#),
        );
    }
}

fn replies(group: &mut Group) {
    for (status, what) in ["accepted", "changed", "duplicate"].into_iter().enumerate() {
        let status = status as u64;
        group.both(
            &format!("voted: {what}"),
            &voted(status, None),
            &format!("[23, 4, 3, 12, {status}, 2]"),
        );
    }
    group.both("voted in a partition", &voted(0, Some(3)), "[23, 4, 3, 12, 0, 2, 3]");
    group.reads("voted in no partition", &voted(0, None), "[23, 4, 3, 12, 0, 2, null]");
    let states = [TallyState::Scheduled, TallyState::Open, TallyState::Closed];
    for state in states {
        let reply = TallyReply { created: state == TallyState::Open, state, version: 1 };
        let (created, name) = (reply.created, state.as_str());
        group.both(
            &format!("ok to a tally that is {name}"),
            &ServerFrame::Ok { req: 3, result: Some(encoded(&reply)) },
            &format!(r#"[7, 3, {{"created": {created}, "state": "{name}", "version": 1}}]"#),
        );
    }
}

fn voted(status: u64, partition: Option<u64>) -> ServerFrame {
    ServerFrame::Voted { req: 4, epoch: 3, version: 12, status, revision: 2, partition }
}

fn standings(group: &mut Group) {
    let standings = Standings {
        counts: vec![3, 300],
        ballots: 306,
        blank: 2,
        overvotes: 1,
        state: TallyState::Open,
        partitions: None,
        hidden: false,
        options: None,
        rules: None,
    };
    group.both(
        "update of standings",
        &ServerFrame::Update { sub: 8, version: 306, flags: 1, value: Some(encoded(&standings)) },
        r#"[28, 8, 306, 1,
            {"counts": [3, 300], "ballots": 306, "blank": 2, "overvotes": 1, "state": "open"}]"#,
    );
    let added = Standings { partitions: Some(vec![300, 6]), ..standings.clone() };
    group.both(
        "update of standings with partitions",
        &ServerFrame::Update { sub: 8, version: 306, flags: 1, value: Some(encoded(&added)) },
        r#"[28, 8, 306, 1, {"counts": [3, 300], "ballots": 306, "blank": 2, "overvotes": 1,
            "state": "open", "partitions": [300, 6]}]"#,
    );
    let options = vec!["a".to_owned(), "b".to_owned()];
    let whole = Standings {
        state: TallyState::Closed,
        options: Some(options.clone()),
        rules: Some(plain_rules()),
        ..standings
    };
    group.both(
        "value of standings",
        &ServerFrame::Value {
            req: 5,
            kind: 2,
            epoch: 3,
            version: 306,
            value: Some(encoded(&whole)),
            as_of: None,
        },
        &format!(
            r#"[25, 5, 2, 3, 306, {{"counts": [3, 300], "ballots": 306, "blank": 2,
            "overvotes": 1, "state": "closed", "options": ["a", "b"], "rules": {PLAIN_RULES}}}]"#
        ),
    );
    let info = TallyInfo { options, rules: plain_rules() };
    let info = Some(encoded(&info));
    group.both(
        "watching a tally",
        &ServerFrame::Watching { req: 6, sub: 8, epoch: 3, version: 306, info },
        &format!(r#"[27, 6, 8, 3, 306, {{"options": ["a", "b"], "rules": {PLAIN_RULES}}}]"#),
    );
}

fn rounds(group: &mut Group) {
    let round = |votes: [u64; 3], exhausted, eliminated, winner| Round {
        votes: votes.to_vec(),
        exhausted,
        eliminated,
        winner,
    };
    let rounds = Rounds {
        options: vec!["a".into(), "b".into(), "c".into()],
        rounds: vec![round([4, 3, 2], 0, Some(2), None), round([4, 4, 0], 1, None, Some(0))],
        ballots: 9,
    };
    group.both(
        "value of rounds",
        &ServerFrame::Value {
            req: 5,
            kind: 6,
            epoch: 3,
            version: 9,
            value: Some(encoded(&rounds)),
            as_of: None,
        },
        r#"[25, 5, 6, 3, 9, {"options": ["a", "b", "c"], "rounds": [
            {"votes": [4, 3, 2], "exhausted": 0, "eliminated": 2},
            {"votes": [4, 4, 0], "exhausted": 1, "winner": 0}], "ballots": 9}]"#,
    );
}

fn loose(group: &mut Group, poll: &Name) {
    let create = tally(poll, TallyOp::Create, Some(plain_rules()));
    group.reads(
        "tally create with the fewest rules",
        &create,
        r#"[30, 3, 0, "poll.7", {"kind": "single", "options": ["a", "b"]}]"#,
    );
    group.reads(
        "tally create with an unknown rule in another order",
        &create,
        r#"[30, 3, 0, "poll.7", {"options": ["a", "b"], "secret": {"for": 1}, "kind": "single"}]"#,
    );
    group.reads(
        "tally open without trailing fields",
        &tally(poll, TallyOp::Open, None),
        r#"[30, 3, 1, "poll.7"]"#,
    );
    let over = vote(poll, vec![Choice::Over, Choice::Index(2)], None);
    group.reads("vote without trailing fields", &over, r#"[22, 4, "poll.7", "ann", [[], 2]]"#);
    group.reads(
        "vote with an over-vote that names its options",
        &over,
        r#"[22, 4, "poll.7", "ann", [[0, "b", null], 2], null]"#,
    );
    group.reads(
        "vote with a field of a later version",
        &over,
        r#"[22, 4, "poll.7", "ann", [[], 2], null, {"weight": 2}]"#,
    );
    group.reads_bytes(
        "vote for an index in int 8",
        &vote(poll, vec![Choice::Index(2)], None),
        "951604a6706f6c6c2e37a3616e6e91d002",
    );
    group.reads_bytes(
        "vote for an index in uint 64",
        &vote(poll, vec![Choice::Index(2)], None),
        "951604a6706f6c6c2e37a3616e6e91cf0000000000000002",
    );
}

fn refused(group: &mut Group) {
    use ErrorCode::{InvalidArgument, InvalidName, Malformed};
    let cases = [
        ("vote without choices", r#"[22, 4, "poll.7", "ann"]"#, Malformed),
        ("vote with choices that are a number", r#"[22, 4, "poll.7", "ann", 1]"#, Malformed),
        ("vote for a negative index", r#"[22, 4, "poll.7", "ann", [-1]]"#, Malformed),
        ("vote for a boolean", r#"[22, 4, "poll.7", "ann", [true]]"#, Malformed),
        ("vote for bytes", r#"[22, 4, "poll.7", "ann", [{"bin": "61"}]]"#, Malformed),
        ("vote by a voter that is a number", r#"[22, 4, "poll.7", 7, [0]]"#, Malformed),
        ("vote without voter", r#"[22, 4, "poll.7", null, [0]]"#, Malformed),
        ("vote of a negative revision", r#"[22, 4, "poll.7", "ann", [0], -1]"#, Malformed),
        (
            "vote in a tally with a space in its name",
            r#"[22, 4, "poll 7", "ann", [0]]"#,
            InvalidName,
        ),
        ("tally with an unknown operation", r#"[30, 4, 4, "poll.7"]"#, InvalidArgument),
        ("tally without name", "[30, 4, 0]", Malformed),
        ("tally with rules in an array", r#"[30, 4, 0, "poll.7", ["single", ["a"]]]"#, Malformed),
        (
            "tally with rules without options",
            r#"[30, 4, 0, "poll.7", {"kind": "single"}]"#,
            Malformed,
        ),
        (
            "tally of an unknown kind",
            r#"[30, 4, 0, "poll.7", {"kind": "approval", "options": ["a"]}]"#,
            Malformed,
        ),
    ];
    for (name, json, code) in cases {
        group.refuses::<ClientFrame>(name, json, code, 4);
    }
    group.refuses::<ServerFrame>("voted without revision", "[23, 4, 3, 12, 0]", Malformed, 0);
}

fn plain_rules() -> TallyRules {
    TallyRules::new(TallyKind::Single, vec!["a".into(), "b".into()])
}

fn tally(name: &Name, op: TallyOp, rules: Option<TallyRules>) -> ClientFrame {
    ClientFrame::Tally { req: 3, op, tally: name.clone(), rules }
}

fn vote(poll: &Name, choices: Vec<Choice>, revision: Option<u64>) -> ClientFrame {
    ClientFrame::Vote { req: 4, tally: poll.clone(), voter: "ann".into(), choices, revision }
}

fn encoded<T: Serialize>(value: &T) -> Bytes {
    let mut out = Vec::new();
    wire::put_value(&mut out, value);
    out.into()
}

fn invalidations(group: &mut Group, poll: &Name) {
    let invalidate = |voters: &[&str], hashes: Option<&[&str]>| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (tally, voters, hashes) = (poll.clone(), owned(voters), hashes.map(owned));
        ClientFrame::Invalidate { req: 6, tally, voters, hashes }
    };
    group.both(
        "invalidate ballots",
        &invalidate(&["ann", "bob"], None),
        r#"[37, 6, "poll", ["ann", "bob"], null]"#,
    );
    group.both(
        "invalidate ballots by hash",
        &invalidate(&[], Some(&["00112233445566778899aabbccddeeff"])),
        r#"[37, 6, "poll", [], ["00112233445566778899aabbccddeeff"]]"#,
    );
}
