//! The laws of merging.

use proptest::prelude::*;

use super::*;

const NODES: usize = 3;

/// Three nodes that have counted and told each other this and that. Histories are the same for the same
/// steps, so any two such groups have prefixes of the same histories.
fn counted(steps: &[(usize, u8, i64, u64)], tells: &[(usize, usize)]) -> Vec<EventualCounters> {
    let mut nodes: Vec<_> =
        (1..=NODES as u64).map(|id| EventualCounters::new(actor(id, 1), small(), id)).collect();
    for (at, (node, counter, amount, session)) in steps.iter().enumerate() {
        let counter = name(["a", "b", "c"][usize::from(*counter) % 3]);
        let attempt = (*session > 0).then_some(Attempt {
            session: *session * NODES as u64 + *node as u64,
            sequence: at as u64 + 1,
            tried: &[],
        });
        // Twice in one round if nobody repeats it, and then back.
        nodes[*node].add(&counter, *amount, attempt, at as u64).unwrap();
        for again in [*amount, -*amount] {
            nodes[*node].add(&counter, again, None, at as u64).unwrap();
        }
        end_round(&mut nodes[*node]);
        if let Some((from, to)) = tells.get(at).filter(|(from, to)| from != to) {
            let owed = owed(&nodes[*from], &nodes[*to]);
            owed.into_iter().for_each(|delta| {
                nodes[*to].merge(delta);
            });
        }
    }
    nodes
}

/// A node that counts nothing and knows what the others know that are told to it in this order.
fn joined<'a>(nodes: impl IntoIterator<Item = &'a EventualCounters>) -> EventualCounters {
    let mut observer = EventualCounters::new(actor(100, 1), small(), 3);
    nodes.into_iter().for_each(|node| tell(node, &mut observer));
    observer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        steps in proptest::collection::vec((0..NODES, any::<u8>(), -9_i64..9, 0_u64..4), 1..60),
        tells in proptest::collection::vec((0..NODES, 0..NODES), 60),
    ) {
        let nodes = counted(&steps, &tells);
        let [a, b, c] = &nodes[..] else { unreachable!() };
        let all = joined([a, b, c]);
        let hash = all.common_hash();
        prop_assert_eq!(joined([a, b]).common_hash(), joined([b, a]).common_hash());
        prop_assert_eq!(joined([c, a, b]).common_hash(), hash);
        prop_assert_eq!(joined([&joined([a, b]), c]).common_hash(), hash);
        prop_assert_eq!(joined([a, &joined([b, c])]).common_hash(), hash);
        prop_assert_eq!(joined([a, b, c, b, a, &all]).common_hash(), hash);
        for counter in ["a", "b", "c"] {
            let wanted: i64 = steps
                .iter()
                .filter(|step| ["a", "b", "c"][usize::from(step.1) % 3] == counter)
                .map(|step| step.2)
                .sum();
            prop_assert_eq!(all.value(&name(counter)).unwrap_or(0), wanted);
            let sum: i128 = all.totals(&name(counter)).map(|(_, total)| total).sum();
            prop_assert_eq!(all.exact(&name(counter)).unwrap_or(0), sum);
        }
    }

    /// Deltas of all kinds in any order, some of them often: when all that were refused for
    /// what is missing before them have come again, everybody has the same.
    #[test]
    fn the_order_of_deltas_does_not_matter(
        steps in proptest::collection::vec((0..NODES, any::<u8>(), -9_i64..9, 0_u64..4), 1..60),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 80),
        cut in any::<prop::sample::Index>(),
    ) {
        let early = counted(&steps[..cut.index(steps.len())], &[]);
        let nodes = counted(&steps, &[]);
        let mut observer = joined(&early);
        let mut deltas = Vec::new();
        for node in &nodes {
            for known in [Versions::default(), observer.known()] {
                let owed = node.changes_since(&known, 200);
                deltas.extend(owed.deltas);
            }
            deltas.extend(node.snapshot(node.own(), 90).unwrap());
        }
        for index in &order {
            observer.merge(deltas[index.index(deltas.len())].clone());
        }
        let before = observer.known();
        for delta in deltas.iter().chain(&deltas) {
            observer.merge(delta.clone());
        }
        prop_assert!(observer.known().covers(&before), "nothing is lost");
        prop_assert_eq!(observer.common_hash(), joined(&nodes).common_hash());
    }
}
