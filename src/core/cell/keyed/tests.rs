use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use tidewire_protocol::frame::read_entries;

use super::*;

fn value(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The keys, versions and values of some changes.
fn listed(changes: Changes<'_>) -> Vec<(String, u64, Option<Bytes>)> {
    changes.map(|c| (c.key.to_string(), c.version, c.value.cloned())).collect()
}

fn entry(key: &str, version: u64, text: Option<&'static str>) -> (String, u64, Option<Bytes>) {
    (key.to_string(), version, text.map(value))
}

#[test]
fn changes_come_in_order_of_version_with_the_keys_that_went() {
    let mut keyed = Keyed::new(10, 10);
    keyed.set("b", value("1"), None, 3).unwrap();
    keyed.set("a", value("2"), None, 5).unwrap();
    keyed.set("b", value("3"), None, 8).unwrap();
    assert!(keyed.remove("a", 9));
    let delta = keyed.changes_since(Some(5));
    assert!(!delta.is_full());
    assert_eq!(delta.version(), 9);
    assert_eq!(listed(delta), [entry("b", 8, Some("3")), entry("a", 9, None)]);
    assert!(keyed.changes_since(Some(9)).next().is_none());
    let full = keyed.changes_since(None);
    assert!(full.is_full());
    assert_eq!(listed(full), [entry("b", 8, Some("3"))]);
    assert_eq!((keyed.len(), keyed.version()), (1, 9));
}

#[test]
fn a_key_that_is_not_there_is_removed_without_a_change() {
    let mut keyed = Keyed::new(10, 10);
    keyed.set("a", value("1"), None, 1).unwrap();
    assert!(keyed.remove("a", 2));
    assert!(!keyed.remove("a", 3) && !keyed.remove("b", 4));
    assert_eq!((keyed.version(), keyed.is_empty()), (2, true));
}

#[test]
fn a_new_key_beyond_the_limit_is_refused_and_known_ones_may_change() {
    let mut keyed = Keyed::new(2, 10);
    keyed.set("a", value("1"), None, 1).unwrap();
    keyed.set("b", value("1"), None, 2).unwrap();
    let refused = keyed.set("c\n", value("1"), None, 3).unwrap_err();
    assert_eq!(refused.code, ErrorCode::LimitExceeded);
    assert_eq!(refused.message, "key 'c\\n' finds no room: the limit of 2 keys is reached");
    assert_eq!(keyed.version(), 2);
    keyed.set("b", value("2"), None, 3).unwrap();
    keyed.remove("a", 4);
    keyed.set("c", value("1"), None, 5).unwrap();
    assert!(keyed.set("a", value("back"), None, 6).is_err());
}

#[test]
fn a_dropped_tombstone_raises_the_horizon() {
    let mut keyed = Keyed::new(10, 1);
    for (key, version) in ["a", "b", "c"].into_iter().zip(1..) {
        keyed.set(key, value("1"), None, version).unwrap();
    }
    keyed.remove("a", 4);
    assert_eq!(keyed.horizon(), 1);
    keyed.remove("b", 5);
    assert_eq!(keyed.horizon(), 4);
    assert!(keyed.changes_since(Some(3)).is_full());
    let delta = keyed.changes_since(Some(4));
    assert!(!delta.is_full());
    assert_eq!(listed(delta), [entry("b", 5, None)]);
}

#[test]
fn what_an_earlier_cell_of_the_name_left_behind_is_replaced() {
    let mut keyed = Keyed::new(10, 10);
    keyed.set("new", value("1"), None, 20).unwrap();
    assert_eq!(keyed.horizon(), 20);
    assert!(keyed.changes_since(Some(12)).is_full());
    assert!(keyed.changes_since(Some(21)).is_full(), "a version that was never reached");
}

#[test]
fn keys_expire_in_order_of_their_time_and_a_new_value_has_its_own() {
    let mut keyed = Keyed::new(10, 10);
    keyed.set("late", value("1"), Some(30), 1).unwrap();
    keyed.set("soon", value("1"), Some(10), 2).unwrap();
    keyed.set("kept", value("1"), Some(5), 3).unwrap();
    keyed.set("kept", value("2"), None, 4).unwrap();
    assert_eq!(keyed.next_expiry_ms(), Some(10));
    assert_eq!(keyed.expired(9), None);
    let mut gone = Vec::new();
    while let Some(key) = keyed.expired(30) {
        assert!(keyed.remove(&key, 5 + gone.len() as u64));
        gone.push(key.to_string());
    }
    assert_eq!(gone, ["soon", "late"]);
    assert_eq!((keyed.len(), keyed.next_expiry_ms()), (1, None));
}

#[test]
fn a_watcher_of_one_key_gets_its_value_or_that_it_is_gone() {
    let mut keyed = Keyed::new(10, 10);
    keyed.set("a", value("1"), None, 4).unwrap();
    keyed.set("b", value("2"), None, 6).unwrap();
    keyed.remove("a", 7);
    for (key, version, content) in [("b", 6, Some(value("2"))), ("a", 7, None), ("never", 4, None)]
    {
        let mut out = vec![0x91];
        let encoded = keyed.encode_key(key, &mut out);
        assert_eq!(encoded, Encoded { full: true, count: 1, version: 7 });
        let entries = read_entries(&out.into()).unwrap();
        assert_eq!((entries[0].key.as_str(), entries[0].version), (key, version));
        assert_eq!(entries[0].value, content);
    }
}

#[test]
fn a_replica_ignores_what_it_knows_and_keeps_up_with_what_it_never_saw() {
    let mut replica = Keyed::replica(10, 8);
    replica.apply("a", 3, Some(value("1")));
    replica.apply("b", 8, Some(value("2")));
    assert_eq!((replica.version(), replica.horizon(), replica.len()), (8, 8, 2));
    replica.apply("b", 7, None);
    replica.apply("b", 8, None);
    assert_eq!(replica.get("b").unwrap().value, &value("2"));
    replica.apply("passing", 11, None);
    assert_eq!((replica.version(), replica.len()), (11, 2));
    assert!(replica.changes_since(Some(8)).next().is_none());
    replica.advance(15);
    assert_eq!(replica.version(), 15);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8, Option<u64>),
    Remove(u8),
    Expire(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0_u8..8, any::<u8>(), proptest::option::of(0_u64..100))
            .prop_map(|(key, value, expiry)| Step::Set(key, value, expiry)),
        3 => (0_u8..8).prop_map(Step::Remove),
        1 => (0_u64..100).prop_map(Step::Expire),
    ]
}

/// The plain form: values by key, and when they expire.
type Model = BTreeMap<String, (Bytes, Option<u64>)>;

/// Carries out a step on both; returns the version that comes next.
fn carry_out(step: Step, keyed: &mut Keyed, model: &mut Model, mut version: u64) -> u64 {
    let name = |key: u8| key.to_string();
    match step {
        Step::Set(key, byte, expires_at_ms) => {
            let content = Bytes::from(vec![byte]);
            let fits = model.len() < 5 || model.contains_key(&name(key));
            let set = keyed.set(&name(key), content.clone(), expires_at_ms, version);
            assert_eq!(set.is_ok(), fits);
            if fits {
                model.insert(name(key), (content, expires_at_ms));
            }
        }
        Step::Remove(key) => {
            assert_eq!(keyed.remove(&name(key), version), model.remove(&name(key)).is_some());
        }
        Step::Expire(now_ms) => {
            while let Some(key) = keyed.expired(now_ms) {
                assert!(keyed.remove(&key, version));
                version += 1;
            }
            model.retain(|_, (_, at_ms)| at_ms.is_none_or(|at_ms| now_ms < at_ms));
        }
    }
    version + 2
}

fn values(keyed: &Keyed) -> BTreeMap<String, Bytes> {
    let changes = keyed.changes_since(None);
    changes.map(|change| (change.key.to_string(), change.value.unwrap().clone())).collect()
}

/// What a client holds after an update in these parts.
fn merge(held: &mut BTreeMap<String, Bytes>, encoded: &EncodedChanges) {
    if encoded.full {
        held.clear();
    }
    for Part { count, bytes } in &encoded.parts {
        let mut array = vec![0xdc];
        array.extend_from_slice(&(*count as u16).to_be_bytes());
        array.extend(bytes);
        for entry in read_entries(&array.into()).unwrap() {
            match entry.value {
                Some(content) => held.insert(entry.key, content),
                None => held.remove(&entry.key),
            };
        }
    }
}

#[test]
fn parts_keep_to_their_size_unless_one_entry_is_larger() {
    let mut keyed = Keyed::new(100, 10);
    for version in 1..=40 {
        let content = vec![7; if version == 20 { 500 } else { 20 }];
        keyed.set(&std::format!("key {version:02}"), content.into(), None, version).unwrap();
    }
    let encoded = keyed.encode_since(None, 100);
    let sizes: Vec<usize> = encoded.parts.iter().map(|part| part.bytes.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 100 || *size > 500), "{sizes:?}");
    assert_eq!(sizes.iter().filter(|size| **size > 100).count(), 1);
    assert_eq!(encoded.parts.iter().map(|part| part.count).sum::<usize>(), 40);
    let nothing = keyed.encode_since(Some(40), 100);
    assert_eq!(nothing.parts, [Part { count: 0, bytes: Bytes::new() }]);
}

#[test]
fn a_version_is_near_while_little_has_changed_since() {
    let mut keyed = Keyed::new(100, 10);
    for version in 1..=40 {
        keyed.set(&version.to_string(), value("1"), None, version).unwrap();
    }
    for version in 41..=50 {
        keyed.set("7", value("2"), None, version).unwrap();
    }
    assert!(keyed.is_near(40), "one key has changed, often");
    for key in 11..=20_u64 {
        keyed.set(&key.to_string(), value("2"), None, 40 + key).unwrap();
    }
    assert!(keyed.is_near(50) && !keyed.is_near(40));
    assert!(!keyed.is_near(99), "a version that was never reached");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_changes_since_a_version_lead_a_copy_of_it_to_the_newest(
        steps in proptest::collection::vec(step(), 1..60),
        tombstones_max in 0_usize..5,
        part_bytes_max in 0_usize..60,
        replica_from in 0_usize..60,
    ) {
        let mut keyed = Keyed::new(5, tombstones_max);
        let mut model = Model::new();
        let mut version = 1;
        let mut copies = vec![(0, BTreeMap::new())];
        let mut replica: Option<Keyed> = None;
        for (number, step) in steps.into_iter().enumerate() {
            let told = keyed.version();
            version = carry_out(step, &mut keyed, &mut model, version);
            copies.push((keyed.version(), values(&keyed)));
            if let Some(replica) = &mut replica {
                let changes = keyed.changes_since(Some(told));
                // What the first change makes is sent as a whole, and so is what lost a
                // tombstone at once; a replica is begun anew then.
                if changes.is_full() { *replica = Keyed::replica(tombstones_max, keyed.version()); }
                for change in changes {
                    replica.apply(change.key, change.version, change.value.cloned());
                }
                prop_assert_eq!(values(replica), values(&keyed));
                prop_assert_eq!(replica.version(), keyed.version());
            } else if number >= replica_from {
                let mut begun = Keyed::replica(tombstones_max, keyed.version());
                for change in keyed.changes_since(None) {
                    begun.apply(change.key, change.version, change.value.cloned());
                }
                replica = Some(begun);
            }
        }
        let expected: BTreeMap<String, Bytes> =
            model.iter().map(|(key, (content, _))| (key.clone(), content.clone())).collect();
        prop_assert_eq!(&values(&keyed), &expected);
        prop_assert_eq!(keyed.len(), expected.len());
        prop_assert!(keyed.tombstones.len() <= tombstones_max);
        prop_assert_eq!(keyed.log.len(), keyed.slots.len());
        let next = model.values().filter_map(|(_, at_ms)| *at_ms).min();
        prop_assert_eq!(keyed.next_expiry_ms(), next);
        for source in [Some(&keyed), replica.as_ref()].into_iter().flatten() {
            for (since, copy) in &copies {
                let mut held = copy.clone();
                let encoded = source.encode_since(Some(*since), part_bytes_max);
                prop_assert_eq!(encoded.full, *since < source.horizon());
                merge(&mut held, &encoded);
                prop_assert_eq!(&held, &expected);
            }
        }
    }
}
