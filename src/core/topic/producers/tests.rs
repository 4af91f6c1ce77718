use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const LIMITS: ProducerLimits = ProducerLimits { window: 4, entries_max: 6, idle_ms: 1_000 };

fn topic(name: &str) -> Name {
    Name::parse(name).unwrap()
}

/// An appending topic: where each publish went, as a memory without bounds would know it.
#[derive(Default)]
struct Truth {
    appended: HashMap<(u64, u64), u64>,
    next: u64,
}

/// Publishes, and says what became of it.
fn publish(
    producers: &mut Producers,
    truth: &mut Truth,
    step: Step,
    count: u64,
    now_ms: u64,
) -> Result<u64, ErrorCode> {
    let key = (step.producer, step.sequence);
    let known = producers.check(&topic("t"), step, &LIMITS, now_ms).map_err(|r| r.code)?;
    if let Some(place) = known {
        assert_eq!(truth.appended.get(&key), Some(&place.offset), "{step:?} stands elsewhere");
        return Ok(place.offset);
    }
    let offset = truth.next;
    assert!(truth.appended.insert(key, offset).is_none(), "{step:?} is appended twice");
    truth.next += count;
    producers.record(&topic("t"), step, Place { epoch: 1, offset }, count, &LIMITS, now_ms);
    Ok(offset)
}

proptest! {
    /// However publishes are repeated, delayed and forgotten: none is appended twice, and what is
    /// said to stand somewhere stands there.
    #[test]
    fn nothing_is_appended_twice(
        steps in proptest::collection::vec((1_u64..5, 1_u64..30, 1_u64..3, 0_u64..400), 1..200),
        saves in any::<prop::sample::Index>(),
    ) {
        let mut producers = Producers::new(7, 0);
        let (mut truth, mut now_ms) = (Truth::default(), 0);
        let saved_at = saves.index(steps.len());
        for (number, (producer, sequence, count, wait_ms)) in steps.into_iter().enumerate() {
            now_ms += wait_ms;
            // Their order is part of what is published: a sequence has one number of records.
            let count = if sequence % 2 == 0 { 1 } else { count.min(1 + sequence % 3) };
            let count = truth.appended.get(&(producer, sequence)).map_or(count, |_| count);
            let step = Step { producer, sequence };
            let refused = publish(&mut producers, &mut truth, step, count, now_ms).err();
            let known = [ErrorCode::ProducerUnknown, ErrorCode::SequenceTooOld];
            prop_assert!(refused.is_none_or(|code| known.contains(&code)));
            prop_assert!(producers.entries <= LIMITS.entries_max);
            if number == saved_at {
                producers = Producers::restore(producers.save(), 7).unwrap();
            }
        }
    }
}

#[test]
fn a_repeated_publish_gets_the_offset_of_the_first_one() {
    let (mut producers, mut truth) = (Producers::new(7, 10), Truth::default());
    let steps: Vec<Step> = (1..=4).map(|sequence| Step { producer: 11, sequence }).collect();
    for again in 0..3 {
        for (step, offset) in steps.iter().zip([0, 2, 4, 6]) {
            let got = publish(&mut producers, &mut truth, *step, 2, again);
            assert_eq!(got, Ok(offset));
        }
    }
    assert_eq!((truth.next, producers.entries), (8, 1), "a row is one entry");
}

#[test]
fn a_late_publish_is_taken_while_the_window_knows_that_it_is_new() {
    let (mut producers, mut truth) = (Producers::new(7, 0), Truth::default());
    let mut at = |sequence| {
        let step = Step { producer: 1, sequence };
        publish(&mut producers, &mut truth, step, 1, 0)
    };
    assert_eq!([at(10), at(30), at(20), at(20)], [Ok(0), Ok(1), Ok(2), Ok(2)]);
    assert_eq!([at(40), at(50)], [Ok(3), Ok(4)], "the window holds four");
    assert_eq!(at(10), Err(ErrorCode::SequenceTooOld));
    assert_eq!(at(9), Err(ErrorCode::SequenceTooOld));
    assert_eq!(at(11), Ok(5), "it is known that it was not there");
}

#[test]
fn who_may_have_been_forgotten_is_told_so_and_who_cannot_is_new() {
    let (mut producers, mut truth) = (Producers::new(7, 3), Truth::default());
    let mut by = |producer, now_ms| {
        publish(&mut producers, &mut truth, Step { producer, sequence: 1 }, 1, now_ms)
    };
    assert_eq!(by(3, 0), Err(ErrorCode::ProducerUnknown), "issued before anything was remembered");
    assert_eq!([by(5, 0), by(5, 999)], [Ok(0), Ok(0)]);
    assert_eq!(by(5, 1_000), Err(ErrorCode::ProducerUnknown), "idle for too long");
    assert_eq!(by(4, 1_000), Err(ErrorCode::ProducerUnknown), "older than one that was forgotten");
    assert_eq!(by(6, 1_000), Ok(1));
}

#[test]
fn a_topic_that_begins_anew_does_not_take_what_the_old_one_may_have_had() {
    let mut producers = Producers::new(7, 0);
    let step = |sequence| Step { producer: 1, sequence };
    let place = |epoch| Place { epoch, offset: 0 };
    producers.record(&topic("t"), step(5), place(1), 1, &LIMITS, 0);
    let mut check = |sequence| producers.check(&topic("t"), step(sequence), &LIMITS, 0);
    assert_eq!(check(5), Ok(Some(place(1))), "it was appended, though the topic is gone");
    producers.record(&topic("t"), step(6), place(2), 1, &LIMITS, 0);
    let mut check = |sequence| producers.check(&topic("t"), step(sequence), &LIMITS, 0);
    assert_eq!(check(5).unwrap_err().code, ErrorCode::SequenceTooOld);
    assert_eq!(check(6), Ok(Some(place(2))));
}
