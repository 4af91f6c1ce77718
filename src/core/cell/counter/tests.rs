use proptest::prelude::*;
use std::string::ToString;

use super::*;

fn bounds(min: Option<i64>, max: Option<i64>) -> CounterOptions {
    CounterOptions { min, max, ..CounterOptions::default() }
}

fn with_id(id: &str) -> CounterOptions {
    CounterOptions { id: Some(id.to_string()), ..CounterOptions::default() }
}

fn with_ttl(ttl_ms: u64) -> CounterOptions {
    CounterOptions { ttl_ms: Some(ttl_ms), ..CounterOptions::default() }
}

fn at(value: i64) -> Counter {
    Counter { value, version: 1, ..Counter::new() }
}

#[test]
fn a_result_beyond_a_bound_is_clamped_and_says_how_much_was_applied() {
    let mut counter = at(8);
    let counted = counter.apply(CounterOp::Add, 5, &bounds(None, Some(10)), 4, 0).unwrap();
    assert_eq!(counted, Counted { version: 4, value: 10, applied: 2, duplicate: false });
    let again = counter.apply(CounterOp::Add, 5, &bounds(None, Some(10)), 6, 0).unwrap();
    assert_eq!((again.value, again.applied, again.version), (10, 0, 6));
    assert_eq!(counter.version(), 6);
    let set = counter.apply(CounterOp::Set, -3, &bounds(Some(0), None), 7, 0).unwrap();
    assert_eq!((set.value, set.applied), (0, -10));
}

#[test]
fn an_overflow_is_clamped_like_a_bound() {
    let plain = CounterOptions::default();
    let mut counter = at(i64::MAX - 1);
    let counted = counter.apply(CounterOp::Add, 5, &plain, 2, 0).unwrap();
    assert_eq!((counted.value, counted.applied), (i64::MAX, 1));
    let mut counter = at(i64::MIN);
    let counted = counter.apply(CounterOp::Add, -1, &bounds(Some(-9), None), 2, 0).unwrap();
    assert_eq!((counted.value, counted.applied), (-9, i64::MAX - 8));
    let counted = at(i64::MIN).apply(CounterOp::Set, i64::MAX, &plain, 2, 0).unwrap();
    assert_eq!((counted.value, counted.applied), (i64::MAX, i64::MAX));
}

#[test]
fn a_refused_operation_changes_nothing_and_can_be_sent_again() {
    let mut counter = at(5);
    counter.apply(CounterOp::Add, 0, &with_ttl(100), 2, 0).unwrap();
    let strict =
        CounterOptions { max: Some(6), strict: Some(true), ttl_ms: Some(7), ..with_id("a") };
    let refused = counter.apply(CounterOp::Add, 2, &strict, 3, 10).unwrap_err();
    assert_eq!(refused.code, ErrorCode::OutOfRange);
    assert!(refused.message.contains("the result 7"), "{}", refused.message);
    assert_eq!((counter.value(), counter.version()), (5, 2));
    assert_eq!(counter.expires_at_ms(), Some(100));
    assert!(!counter.apply(CounterOp::Add, 1, &strict, 4, 10).unwrap().duplicate);
    let overflow = CounterOptions { strict: Some(true), ..CounterOptions::default() };
    let refused = at(i64::MAX).apply(CounterOp::Add, 1, &overflow, 2, 0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::OutOfRange);
}

#[test]
fn arguments_that_contradict_themselves_are_refused() {
    let code = |op, operand, options: &CounterOptions| {
        at(0).apply(op, operand, options, 2, 0).unwrap_err().code
    };
    let crossed = bounds(Some(2), Some(1));
    assert_eq!(code(CounterOp::Add, 1, &crossed), ErrorCode::InvalidArgument);
    assert_eq!(code(CounterOp::Add, 1, &with_id("")), ErrorCode::InvalidArgument);
    let long = with_id(&"x".repeat(65));
    assert_eq!(code(CounterOp::Add, 1, &long), ErrorCode::InvalidArgument);
    let plain = CounterOptions::default();
    assert_eq!(code(CounterOp::Reset, 1, &plain), ErrorCode::InvalidArgument);
    assert!(at(0).apply(CounterOp::Add, 1, &with_id(&"x".repeat(64)), 2, 0).is_ok());
}

#[test]
fn a_time_to_live_stays_until_it_is_changed_or_removed() {
    let mut counter = Counter::new();
    let plain = CounterOptions::default();
    counter.apply(CounterOp::Add, 1, &with_ttl(100), 1, 10).unwrap();
    counter.apply(CounterOp::Add, 1, &plain, 2, 20).unwrap();
    assert_eq!(counter.expires_at_ms(), Some(110));
    counter.apply(CounterOp::Set, 1, &with_ttl(5), 3, 30).unwrap();
    assert_eq!(counter.expires_at_ms(), Some(35));
    counter.apply(CounterOp::Add, 1, &with_ttl(0), 4, 30).unwrap();
    assert_eq!(counter.expires_at_ms(), None);
    counter.apply(CounterOp::Add, 1, &with_ttl(u64::MAX), 5, 40).unwrap();
    assert_eq!(counter.expires_at_ms(), Some(u64::MAX));
    counter.apply(CounterOp::Reset, 0, &with_ttl(9), 6, 40).unwrap();
    assert_eq!((counter.value(), counter.expires_at_ms()), (0, None));
}

#[test]
fn an_operation_after_the_time_to_live_counts_from_zero() {
    let mut counter = Counter::new();
    let options = CounterOptions { ttl_ms: Some(100), ..with_id("a") };
    counter.apply(CounterOp::Add, 5, &options, 1, 0).unwrap();
    let counted = counter.apply(CounterOp::Add, 2, &with_id("a"), 2, 100).unwrap();
    assert_eq!(counted, Counted { version: 2, value: 2, applied: 2, duplicate: false });
    assert_eq!(counter.expires_at_ms(), None);
}

#[test]
fn a_retry_is_answered_with_the_first_reply_for_ten_minutes() {
    let mut counter = Counter::new();
    let first = counter.apply(CounterOp::Add, 5, &with_id("a"), 1, 0).unwrap();
    counter.apply(CounterOp::Add, 1, &CounterOptions::default(), 2, 1).unwrap();
    let retry = counter.apply(CounterOp::Add, 5, &with_id("a"), 3, REMEMBERED_MS - 1).unwrap();
    assert_eq!(retry, Counted { duplicate: true, ..first });
    assert_eq!((counter.value(), counter.version()), (6, 2));
    let late = counter.apply(CounterOp::Add, 5, &with_id("a"), 4, REMEMBERED_MS).unwrap();
    assert_eq!((late.value, late.duplicate), (11, false));
    counter.apply(CounterOp::Add, 1, &CounterOptions::default(), 5, u64::MAX).unwrap();
    assert!(counter.remembered.is_none(), "old ids are kept for nothing");
}

#[test]
fn the_oldest_id_is_forgotten_beyond_the_bound() {
    let mut counter = Counter::new();
    for number in 0..=REMEMBERED_MAX {
        let id = with_id(&number.to_string());
        counter.apply(CounterOp::Add, 1, &id, number as u64 + 1, 0).unwrap();
    }
    assert_eq!(counter.remembered.as_ref().unwrap().by_id.len(), REMEMBERED_MAX);
    assert!(counter.apply(CounterOp::Add, 1, &with_id("1"), 5000, 0).unwrap().duplicate);
    assert!(!counter.apply(CounterOp::Add, 1, &with_id("0"), 5001, 0).unwrap().duplicate);
}

fn operation() -> impl Strategy<Value = (CounterOp, i64)> {
    let operand = prop_oneof![-20_i64..20, Just(i64::MIN), Just(i64::MAX)];
    prop_oneof![
        6 => operand.clone().prop_map(|operand| (CounterOp::Add, operand)),
        2 => operand.prop_map(|operand| (CounterOp::Set, operand)),
        1 => Just((CounterOp::Reset, 0)),
    ]
}

proptest! {
    #[test]
    fn the_value_equals_a_naive_count_and_every_reply_says_what_was_applied(
        operations in proptest::collection::vec(
            (operation(), proptest::option::of(-9_i64..0), proptest::option::of(0_i64..9),
                any::<bool>(), proptest::option::of(0_u8..8)),
            1..80,
        ),
    ) {
        let mut counter = Counter::new();
        let mut naive = 0_i128;
        let mut seen: BTreeMap<u8, Counted> = BTreeMap::new();
        for (step, ((op, operand), min, max, strict, id)) in operations.into_iter().enumerate() {
            let version = step as u64 + 1;
            let id_text = id.map(|id| id.to_string());
            let options =
                CounterOptions { min, max, strict: Some(strict), id: id_text, ..CounterOptions::default() };
            let outcome = counter.apply(op, operand, &options, version, 0);
            if let Some(first) = id.and_then(|id| seen.get(&id)) {
                prop_assert_eq!(outcome, Ok(Counted { duplicate: true, ..*first }));
                continue;
            }
            let sum = match op {
                CounterOp::Add => naive + i128::from(operand),
                CounterOp::Set => i128::from(operand),
                CounterOp::Reset => 0,
            };
            let low = i128::from(min.unwrap_or(i64::MIN));
            let high = i128::from(max.unwrap_or(i64::MAX));
            let fits = low <= sum && sum <= high;
            if strict && !fits {
                prop_assert_eq!(outcome.unwrap_err().code, ErrorCode::OutOfRange);
                continue;
            }
            let expected = sum.max(low).min(high);
            let counted = outcome.unwrap();
            prop_assert_eq!(i128::from(counted.value), expected);
            if let Ok(applied) = i64::try_from(expected - naive) {
                prop_assert_eq!(counted.applied, applied);
            }
            prop_assert_eq!((counted.version, counter.version()), (version, version));
            naive = expected;
            seen.extend(id.map(|id| (id, counted)));
        }
    }
}
