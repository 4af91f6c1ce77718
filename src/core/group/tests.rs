use std::collections::{BTreeMap, BTreeSet};
use std::string::{String, ToString};
use std::vec::Vec;

use proptest::prelude::*;
use tidewire_protocol::record::{BodyBuilder, Records};

use super::*;
use crate::shard::SessionId;
use crate::topic::{Batch, Ring};

const TAKES: Member = Member { records_max: 3, bytes_max: 1 << 20 };

fn rules() -> GroupRules {
    GroupRules {
        ack_timeout_ms: 100,
        deliveries_max: 0,
        backoff_ms: 10,
        backoff_max_ms: 35,
        dead_letter: None,
        ordered: false,
    }
}

fn group(rules: GroupRules) -> Group {
    Group::new(Arc::new(rules), 0)
}

fn member(slot: u32) -> MemberId {
    (SessionId { dispatcher: 0, slot, generation: 1 }, 7)
}

fn append(ring: &mut Ring, keys: &[&str]) {
    let mut body = BodyBuilder::new();
    for (number, key) in keys.iter().enumerate() {
        let payload = (ring.next() + number as u64).to_string();
        body.push(Some(key), &[], Some(payload.as_bytes()));
    }
    let appended = ring.append(Arc::new(Batch {
        topic: Name::parse("t").unwrap(),
        topic_id: 0,
        shard: 0,
        epoch: 1,
        base: ring.next(),
        count: keys.len() as u64,
        time_ms: 0,
        sequence: ring.next(),
        body: body.finish().into(),
    }));
    assert!(appended);
}

/// What was leased: member's slot, offset, delivery. The bodies must be those of the offsets.
fn offers(group: &mut Group, ring: &Ring, now_ms: u64) -> Vec<(u32, u64, u32)> {
    let mut all = Vec::new();
    for Leased { member: (session, _), deliveries, body, .. } in group.offer(ring, now_ms).0 {
        let payloads: Vec<String> = Records::of(&body)
            .map(|record| String::from_utf8(record.payload.unwrap().to_vec()).unwrap())
            .collect();
        let offsets: Vec<String> = deliveries.iter().map(|(at, _)| at.to_string()).collect();
        assert_eq!(payloads, offsets);
        all.extend(deliveries.into_iter().map(|(offset, count)| (session.slot, offset, count)));
    }
    all
}

fn take_dead(group: &mut Group, now_ms: u64) -> Vec<Dead> {
    group.take_dead(&Ring::default(), now_ms).0
}

#[test]
fn records_are_shared_and_each_member_has_only_so_many() {
    let (mut group, mut ring) = (group(rules()), Ring::default());
    append(&mut ring, &["a"; 10]);
    assert!(offers(&mut group, &ring, 0).is_empty(), "nobody is there");
    group.join(member(1), TAKES);
    group.join(member(2), TAKES);
    let first = offers(&mut group, &ring, 0);
    assert_eq!(first, [(1, 0, 1), (1, 1, 1), (1, 2, 1), (2, 3, 1), (2, 4, 1), (2, 5, 1)]);
    assert_eq!((group.floor(), group.lag(10)), (0, 10));
    assert_eq!(group.settle(member(2), 3, 5).ranges, [(3, 5)]);
    assert_eq!(group.settle(member(2), 0, 3).records, 0, "that is another's");
    assert_eq!(offers(&mut group, &ring, 0), [(2, 6, 1), (2, 7, 1)]);
    assert_eq!(group.settle(member(1), 0, 9).ranges, [(0, 3)]);
    assert_eq!((group.floor(), group.lag(10)), (5, 5));
}

#[test]
fn what_is_not_acknowledged_comes_again_and_what_is_refused_after_a_pause() {
    let (mut group, mut ring) = (group(rules()), Ring::default());
    append(&mut ring, &["a", "b"]);
    group.join(member(1), TAKES);
    offers(&mut group, &ring, 0);
    assert_eq!(group.due_ms(), Some(100));
    assert_eq!(group.extend(member(1), 1, 2, 50), 1);
    assert_eq!(group.handle_timeout(100), [(0, 1)]);
    assert!(offers(&mut group, &ring, 100).is_empty(), "who says nothing gets nothing");
    assert_eq!(group.extend(member(1), 1, 2, 50), 1);
    assert_eq!(offers(&mut group, &ring, 100), [(1, 0, 2)]);
    let said = Reason::Said("no".into());
    let mut now_ms = 100;
    for (deliveries, pause_ms) in [(2, 20), (3, 35), (4, 35)] {
        let (records, failed) = group.refuse(member(1), (0, 1), None, &said, now_ms);
        assert_eq!((records, failed), (1, Vec::from([(0, deliveries)])));
        now_ms += pause_ms;
        group.extend(member(1), 1, 2, now_ms);
        assert!(group.handle_timeout(now_ms - 1).is_empty());
        assert!(offers(&mut group, &ring, now_ms - 1).is_empty());
        assert!(group.handle_timeout(now_ms).is_empty());
        assert_eq!(offers(&mut group, &ring, now_ms), [(1, 0, deliveries + 1)]);
    }
    let left = group.leave(member(1));
    assert_eq!(left, [(0, 5), (1, 1)]);
    assert_eq!(group.settle(member(2), 0, 1).records, 0, "never its own");
    assert_eq!(group.settle(member(1), 0, 1).records, 1, "late, and nobody else has it");
    group.join(member(2), TAKES);
    assert_eq!(offers(&mut group, &ring, now_ms), [(2, 1, 2)]);
    group.handle_timeout(now_ms + 100);
    group.join(member(3), TAKES);
    assert_eq!(offers(&mut group, &ring, now_ms + 100), [(3, 1, 3)]);
    group.handle_timeout(now_ms + 200);
    assert_eq!(group.settle(member(2), 1, 2).records, 0, "another had it since");
    assert_eq!(group.settle(member(3), 1, 2).records, 1);
}

#[test]
fn after_a_restart_what_was_given_up_is_a_dead_letter_and_what_is_gone_is_passed() {
    let (mut group, mut ring) =
        (group(GroupRules { deliveries_max: 2, ..rules() }), Ring::default());
    append(&mut ring, &["a", "b", "c"]);
    group.join(member(1), TAKES);
    offers(&mut group, &ring, 0);
    let (records, failed) = group.reject(member(1), (1, 2), &Reason::Said("no".into()));
    assert_eq!((records, failed.len()), (1, 1));
    let mut again = self::group(GroupRules { deliveries_max: 2, ..rules() });
    for (offset, deliveries) in failed.into_iter().chain([(0, 1), (2, 2)]) {
        again.recover_failed(offset, deliveries);
    }
    again.resume();
    again.end_recovery();
    let dead = |offset, deliveries| Dead { offset, deliveries, reason: Reason::Forgotten };
    again.handle_timeout(1);
    assert_eq!(take_dead(&mut again, 1), [dead(1, 0), dead(2, 2)]);
    again.recover_first(1);
    assert_eq!((again.floor(), again.lag(3)), (1, 2));
    again.recover_first(9);
    assert_eq!((again.floor(), again.lag(9)), (9, 0));
}

#[test]
fn too_many_deliveries_make_a_dead_letter_that_is_sent_until_it_arrives() {
    let (mut group, mut ring) =
        (group(GroupRules { deliveries_max: 2, ..rules() }), Ring::default());
    append(&mut ring, &["a", "b"]);
    group.join(member(1), TAKES);
    offers(&mut group, &ring, 0);
    assert_eq!(group.settle(member(1), 1, 2).records, 1);
    let said = Reason::Said("broken".into());
    group.refuse(member(1), (0, 1), Some(5), &said, 0);
    assert!(take_dead(&mut group, 0).is_empty());
    group.handle_timeout(5);
    assert_eq!(offers(&mut group, &ring, 5), [(1, 0, 2)]);
    group.refuse(member(1), (0, 1), None, &said, 6);
    let dead = Dead { offset: 0, deliveries: 2, reason: said };
    assert_eq!(take_dead(&mut group, 6), core::slice::from_ref(&dead));
    assert!(take_dead(&mut group, 7).is_empty(), "it is under way");
    assert!(offers(&mut group, &ring, 7).is_empty());
    group.handle_timeout(6 + DEAD_LETTER_TIMEOUT_MS);
    assert_eq!(take_dead(&mut group, 6 + DEAD_LETTER_TIMEOUT_MS), [dead]);
    assert_eq!(group.floor(), 0);
    assert!(group.buried(0, true) && !group.buried(0, true));
    assert_eq!((group.floor(), group.counts().dead), (2, 1));
}

#[test]
fn of_a_key_one_record_is_out_and_a_failed_one_holds_the_others_up() {
    let (mut group, mut ring) = (group(GroupRules { ordered: true, ..rules() }), Ring::default());
    append(&mut ring, &["a", "a", "b", "a", "b"]);
    group.join(member(1), TAKES);
    group.join(member(2), TAKES);
    assert_eq!(offers(&mut group, &ring, 0), [(1, 0, 1), (1, 2, 1)]);
    group.settle(member(1), 2, 3);
    group.refuse(member(1), (0, 1), None, &Reason::TimedOut, 0);
    assert_eq!(offers(&mut group, &ring, 0), [(1, 4, 1)], "'a' waits for its first");
    group.handle_timeout(10);
    assert_eq!(offers(&mut group, &ring, 10), [(1, 0, 2)]);
    group.settle(member(1), 0, 1);
    assert_eq!(offers(&mut group, &ring, 10), [(1, 1, 1)]);
    assert_eq!(group.lag(5), 3);
}

#[test]
fn what_has_left_the_topic_is_missed_and_a_reset_begins_anew() {
    let (mut group, mut ring) = (group(rules()), Ring::default());
    append(&mut ring, &["a", "b"]);
    append(&mut ring, &["a", "b", "c"]);
    group.join(member(1), Member { records_max: 1, ..TAKES });
    offers(&mut group, &ring, 0);
    ring.pop();
    group.handle_timeout(100);
    group.settle(member(1), 0, 1);
    assert_eq!(offers(&mut group, &ring, 100), [(1, 2, 1)]);
    assert_eq!(group.counts().missed, 1);
    group.reset(4);
    assert_eq!(group.settle(member(1), 2, 3).records, 0);
    assert_eq!(offers(&mut group, &ring, 100), [(1, 4, 1)]);
}

/// What a test asks of a group.
#[derive(Clone, Debug)]
enum Ask {
    Append(Vec<u8>),
    Join(u32),
    Leave(u32),
    Settle(u32, u64, u64),
    Refuse(u32, u64, u64),
    Wait(u64),
    Pop,
    Restart,
    Save,
}

fn ask() -> impl Strategy<Value = Ask> {
    let range = || (0_u32..3, 0_u64..40, 1_u64..4);
    prop_oneof![
        proptest::collection::vec(0_u8..3, 1..5).prop_map(Ask::Append),
        (0_u32..3).prop_map(Ask::Join),
        (0_u32..3).prop_map(Ask::Leave),
        range().prop_map(|(member, from, count)| Ask::Settle(member, from, from + count)),
        range().prop_map(|(member, from, count)| Ask::Settle(member, from, from + count)),
        range().prop_map(|(member, from, count)| Ask::Refuse(member, from, from + count)),
        (1_u64..120).prop_map(Ask::Wait),
        Just(Ask::Pop),
        Just(Ask::Restart),
        Just(Ask::Save),
    ]
}

proptest! {
    /// Whatever happens: no record has two holders, a key one record out, everything that is not
    /// settled comes again, and in the end everything has been delivered.
    #[test]
    fn each_record_is_with_one_member_until_it_is_settled(
        asks in proptest::collection::vec(ask(), 1..120),
        ordered in any::<bool>(),
    ) {
        let mut group = group(GroupRules { ordered, ..rules() });
        let mut ring = Ring::default();
        let mut keys: Vec<u8> = Vec::new();
        let mut out: BTreeMap<u64, u32> = BTreeMap::new();
        let mut settled: BTreeSet<u64> = BTreeSet::new();
        let mut now_ms = 0;
        for ask in asks.into_iter().chain([Ask::Join(0), Ask::Wait(200)]) {
            match ask {
                Ask::Append(more) => {
                    let texts: Vec<String> = more.iter().map(u8::to_string).collect();
                    append(&mut ring, &texts.iter().map(String::as_str).collect::<Vec<_>>());
                    keys.extend(more);
                }
                Ask::Join(slot) => group.join(member(slot), TAKES),
                Ask::Leave(slot) => {
                    group.leave(member(slot));
                    out.retain(|_, holder| *holder != slot);
                }
                Ask::Settle(slot, from, next) => {
                    for (from, next) in group.settle(member(slot), from, next).ranges {
                        for offset in from..next {
                            prop_assert!(out.remove(&offset).is_none_or(|holder| holder == slot));
                            prop_assert!(settled.insert(offset), "settled twice");
                        }
                    }
                }
                Ask::Refuse(slot, from, next) => {
                    group.refuse(member(slot), (from, next), None, &Reason::Gone, now_ms);
                    out.retain(|at, holder| *holder != slot || !(from..next).contains(at));
                }
                Ask::Wait(wait_ms) => {
                    now_ms += wait_ms;
                    for (offset, _) in group.handle_timeout(now_ms) {
                        out.remove(&offset);
                    }
                }
                Ask::Pop => drop(ring.pop()),
                Ask::Restart => {
                    group.resume();
                    out.clear();
                }
                Ask::Save => group = Group::restore(group.save()),
            }
            for (slot, offset, _) in offers(&mut group, &ring, now_ms) {
                prop_assert!(!settled.contains(&offset), "{offset} is settled");
                prop_assert!(out.insert(offset, slot).is_none(), "{offset} has two holders");
            }
            if ordered {
                let mut busy = BTreeSet::new();
                prop_assert!(out.keys().all(|at| busy.insert(keys[*at as usize])), "{out:?}");
            }
            prop_assert_eq!(group.leased(), out.len());
        }
        // Whoever is there does the rest.
        for _ in 0..200 {
            let held: Vec<(u64, u32)> = out.iter().map(|(at, slot)| (*at, *slot)).collect();
            for (offset, slot) in held {
                prop_assert_eq!(group.settle(member(slot), offset, offset + 1).records, 1);
                out.remove(&offset);
            }
            group.extend(member(0), 0, 1, now_ms + 100);
            now_ms += 40;
            group.handle_timeout(now_ms);
            out.extend(offers(&mut group, &ring, now_ms).iter().map(|(slot, at, _)| (*at, *slot)));
        }
        prop_assert_eq!(group.lag(ring.next()), 0);
        prop_assert_eq!(group.floor(), ring.next());
    }
}

#[test]
fn dead_letters_that_cannot_be_read_do_not_hold_up_others() {
    let (mut group, mut ring) = (group(rules()), Ring::default());
    append(&mut ring, &["a"; 300]);
    append(&mut ring, &["b"; 2]);
    let takes = Member { records_max: 400, bytes_max: 1 << 20 };
    group.join(member(1), takes);
    assert_eq!(offers(&mut group, &ring, 0).len(), 302);
    assert_eq!(group.reject(member(1), (0, 302), &Reason::TimedOut).0, 302);
    let cold = ring.find(0).unwrap().cooled();
    assert!(ring.replace(Arc::new(cold)));
    let (dead, wanted) = group.take_dead(&ring, 5);
    assert_eq!((dead.len(), wanted), (0, Some(0)), "the first ones are asked for");
    group.put_letters_off((0, 300), 5);
    let (dead, wanted) = group.take_dead(&ring, 5);
    let offsets: Vec<u64> = dead.iter().map(|dead| dead.offset).collect();
    assert_eq!((offsets, wanted), (Vec::from([300, 301]), None));
    assert!(group.buried(300, true) && group.buried(301, true));
    group.handle_timeout(5 + DEAD_LETTER_TIMEOUT_MS);
    assert_eq!(group.take_dead(&ring, 5 + DEAD_LETTER_TIMEOUT_MS).1, Some(0), "tried again");
    assert!(group.buried(7, false), "one that has left the topic is no dead letter any more");
}
