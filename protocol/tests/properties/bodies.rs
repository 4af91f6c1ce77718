//! Bodies yield the records that were pushed; filters select what they say.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use tidewire_protocol::ErrorCode;
use tidewire_protocol::options::{CONDITIONS_MAX, Condition, Filter};
use tidewire_protocol::record::{BodyBuilder, RECORDS_MAX, Records, validate};

#[derive(Clone, Debug)]
struct Pushed {
    key: Option<String>,
    headers: Vec<(String, String)>,
    payload: Option<Vec<u8>>,
}

fn pushed() -> impl Strategy<Value = Pushed> {
    let header = ("[ab]{1,2}|\\PC{1,30}", "[ab]{0,3}");
    (of("[ab]{1,3}|\\PC{1,60}"), vec(header, 0..5), of(vec(any::<u8>(), 0..300)))
        .prop_map(|(key, headers, payload)| Pushed { key, headers, payload })
}

proptest! {
    #[test]
    fn records_yields_what_was_pushed(pushed in vec(pushed(), 1..20)) {
        let body = body_of(&pushed);
        prop_assert_eq!(validate(&body), Ok(pushed.len()));
        let mut encoded = Vec::new();
        let mut read = 0;
        for (record, stated) in Records::of(&body).zip(&pushed) {
            prop_assert_eq!(record.key, stated.key.as_deref());
            prop_assert_eq!(record.payload, stated.payload.as_deref());
            prop_assert!(record.headers().eq(borrowed(&stated.headers)));
            encoded.extend_from_slice(record.encoded);
            read += 1;
        }
        prop_assert_eq!(read, pushed.len());
        prop_assert_eq!(Records::of(&body).count(), pushed.len());
        prop_assert_eq!(encoded, body);
    }

    #[test]
    fn a_body_that_is_valid_is_read_to_its_end(
        pushed in vec(pushed(), 1..5),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut body = body_of(&pushed).to_vec();
        for (at, byte) in changes {
            *at.get_mut(&mut body) = byte;
        }
        let read: usize = Records::of(&body).map(|record| record.encoded.len()).sum();
        match validate(&body) {
            Ok(count) => {
                prop_assert_eq!(Records::of(&body).count(), count);
                prop_assert_eq!(read, body.len());
            }
            Err(_) => prop_assert!(read < body.len()),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        if validate(&bytes).is_ok() {
            prop_assert!(Records::of(&bytes).count() > 0);
        }
    }

    #[test]
    fn filters_select_what_a_naive_reading_selects(
        pushed in pushed(),
        conditions in vec(condition(), 0..4),
    ) {
        let body = body_of(std::slice::from_ref(&pushed));
        let record = Records::of(&body).next().unwrap();
        let expected = conditions.iter().all(|condition| naive(condition, &pushed));
        prop_assert_eq!(Filter::parse(&conditions).unwrap().matches(&record), expected);
    }

    #[test]
    fn arbitrary_conditions_are_refused_as_invalid_arguments(
        conditions in vec((".{0,10}", ".{0,10}", of(".{0,10}")), 0..20),
    ) {
        let conditions: Vec<Condition> = conditions
            .into_iter()
            .map(|(field, op, value)| Condition(field, op, value))
            .collect();
        match Filter::parse(&conditions) {
            Ok(_) => prop_assert!(conditions.len() <= CONDITIONS_MAX),
            Err(refusal) => prop_assert_eq!(refusal.code, ErrorCode::InvalidArgument),
        }
    }
}

#[test]
fn a_body_holds_ten_thousand_records_and_not_one_more() {
    let mut body = BodyBuilder::new();
    for _ in 0..RECORDS_MAX {
        body.push(None, &[], None);
    }
    assert_eq!(validate(&body.clone().finish()), Ok(RECORDS_MAX));
    body.push(None, &[], None);
    assert_eq!(validate(&body.finish()).unwrap_err().code, ErrorCode::InvalidArgument);
}

fn body_of(pushed: &[Pushed]) -> bytes::Bytes {
    let mut body = BodyBuilder::new();
    for each in pushed {
        let headers: Vec<_> = borrowed(&each.headers).collect();
        body.push(each.key.as_deref(), &headers, each.payload.as_deref());
    }
    assert_eq!(body.len(), pushed.len());
    body.finish()
}

fn borrowed(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn condition() -> impl Strategy<Value = Condition> {
    let field = prop_oneof![Just("key".to_owned()), "header:[ab]{1,2}"];
    let valued = (field.clone(), prop::sample::select(vec!["eq", "ne", "prefix"]), "[ab]{0,2}")
        .prop_map(|(field, op, value)| Condition(field, op.to_owned(), Some(value)));
    let bare = (field, prop::sample::select(vec!["exists", "absent"]))
        .prop_map(|(field, op)| Condition(field, op.to_owned(), None));
    prop_oneof![3 => valued, 2 => bare]
}

/// The specification's table of operators, word by word.
fn naive(Condition(field, op, value): &Condition, record: &Pushed) -> bool {
    let mut found: Vec<&str> = Vec::new();
    if field == "key" {
        found.extend(record.key.as_deref());
    }
    for (name, value) in &record.headers {
        if *field == format!("header:{name}") && found.is_empty() {
            found.push(value);
        }
    }
    let value = value.as_deref().unwrap_or_default();
    match op.as_str() {
        "eq" => found == [value],
        "ne" => found != [value],
        "prefix" => !found.is_empty() && found[0].as_bytes().starts_with(value.as_bytes()),
        "exists" => !found.is_empty(),
        "absent" => found.is_empty(),
        other => panic!("operator {other}"),
    }
}
