//! The length of a value, against an independent reader.

use proptest::collection::vec;
use proptest::prelude::*;
use rmpv::Value;
use tidewire_protocol::wire::{Broken, DEPTH_MAX, value_len};

use super::generated::number;

/// A value that nests a few levels, extensions and floats included.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        vec(any::<u8>(), 0..300).prop_map(Value::from),
        (any::<i8>(), vec(any::<u8>(), 0..40)).prop_map(|(kind, data)| Value::Ext(kind, data)),
    ];
    leaf.prop_recursive(6, 40, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::Array),
            vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn the_length_is_what_was_written(value in value(), behind in vec(any::<u8>(), 0..4)) {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        let len = bytes.len();
        for cut in 0..len.min(64) {
            prop_assert_eq!(value_len(&bytes[..cut]), Err(Broken::Truncated));
        }
        bytes.extend(behind);
        prop_assert_eq!(value_len(&bytes), Ok(len));
    }

    #[test]
    fn arbitrary_bytes_have_the_length_that_another_reader_finds(
        bytes in prop_oneof![vec(any::<u8>(), 0..200), vec(marker(), 0..200)],
    ) {
        let mut rest = bytes.as_slice();
        let read = rmpv::decode::read_value(&mut rest);
        let consumed = bytes.len() - rest.len();
        match (value_len(&bytes), read) {
            (Ok(len), Ok(value)) => {
                prop_assert_eq!(len, consumed);
                prop_assert!(depth(&value) <= DEPTH_MAX);
            }
            (Err(Broken::Truncated), read) => prop_assert!(read.is_err()),
            // The other reader limits nothing here: what it reads must really be too deep.
            (Err(Broken::TooDeep), Ok(value)) => prop_assert!(depth(&value) > DEPTH_MAX),
            (Err(Broken::TooDeep), Err(_)) => {}
            // The other reader takes the reserved byte for nil.
            (Err(Broken::Reserved), _) => prop_assert!(bytes.contains(&0xc1)),
            (Ok(len), Err(error)) => prop_assert!(false, "length {}, but {}", len, error),
        }
    }

    #[test]
    fn sixteen_levels_are_read_and_seventeen_are_not(levels in 0..40_usize, maps in any::<u64>()) {
        let mut bytes = Vec::new();
        for level in 0..levels {
            let opening: &[u8] = if maps >> level & 1 == 1 { &[0x81, 0xc0] } else { &[0x91] };
            bytes.extend_from_slice(opening);
        }
        bytes.push(0xc0);
        let expected = if levels <= DEPTH_MAX { Ok(bytes.len()) } else { Err(Broken::TooDeep) };
        prop_assert_eq!(value_len(&bytes), expected);
    }
}

/// Bytes that open small collections most of the time, so that values get deep.
fn marker() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 0x91..=0x93_u8, 3 => 0x81..=0x82_u8, 2 => 0xc0..=0xdf_u8, 2 => any::<u8>()]
}

/// Levels of collections that hold something.
fn depth(value: &Value) -> usize {
    let inner = if let Value::Array(items) = value {
        items.iter().map(depth).max()
    } else if let Value::Map(entries) = value {
        entries.iter().map(|(key, value)| depth(key).max(depth(value))).max()
    } else {
        None
    };
    inner.map_or(0, |deepest| deepest + 1)
}
