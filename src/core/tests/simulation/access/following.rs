//! Who follows much gets what they may have, and nothing else.

use super::*;

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
        match net.chance.index(8) {
            0..=3 => {
                let topic = topic(net.chance.index(TOPICS));
                net.request(publisher, publish(&topic));
            }
            4 => net.seal(),
            5 => net.arrive(false),
            _ => {
                let chosen = net.chance.index(watchers.len());
                let watcher = &mut watchers[chosen];
                if net.chance.one_in(12) {
                    watcher.change(&mut net);
                }
                let budget = net.chance.index(400);
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
