//! The laws of the codec, against an encoder that is not ours.
#![allow(clippy::unwrap_used)] // What is unexpected fails the test.

use nooterra_protocol::codec::{self, Value};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Any value that the project's types can hold.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Integer(i128::from(number))),
        any::<u64>().prop_map(|number| Value::Integer(i128::from(number))),
        any::<f64>().prop_map(Value::Float),
        any::<f32>().prop_map(|number| Value::Float(f64::from(number))),
        "\\PC{0,12}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::btree_map("[a-z]{0,4}", inner, 0..6).prop_map(|map| {
                Value::Map(map.into_iter().map(|(key, value)| (Value::Text(key), value)).collect())
            }),
        ]
    })
}

/// The same in ciborium's terms, with map keys in the order of RFC 8949 §4.2.1.
fn for_ciborium(value: &Value) -> ciborium::Value {
    match value {
        Value::Null => ciborium::Value::Null,
        Value::Bool(flag) => ciborium::Value::Bool(*flag),
        Value::Integer(number) => ciborium::Value::Integer((*number).try_into().unwrap()),
        Value::Float(number) => ciborium::Value::Float(*number),
        Value::Text(text) => ciborium::Value::Text(text.clone()),
        Value::Bytes(bytes) => ciborium::Value::Bytes(bytes.clone()),
        Value::Array(items) => ciborium::Value::Array(items.iter().map(for_ciborium).collect()),
        Value::Map(map) => {
            let encoded = |value: &ciborium::Value| {
                let mut bytes = Vec::new();
                ciborium::into_writer(value, &mut bytes).unwrap();
                bytes
            };
            let sorted: BTreeMap<Vec<u8>, _> = map
                .iter()
                .map(|(key, value)| (for_ciborium(key), for_ciborium(value)))
                .map(|pair| (encoded(&pair.0), pair))
                .collect();
            ciborium::Value::Map(sorted.into_values().collect())
        }
        other => panic!("no strategy makes {other:?}"),
    }
}

/// Equal, where NaN equals NaN.
fn same(a: &Value, b: &Value) -> bool {
    codec::to_vec(a).unwrap() == codec::to_vec(b).unwrap()
}

proptest! {
    #[test]
    fn what_is_encoded_is_canonical_and_reads_back(value in any_value()) {
        let bytes = codec::to_vec(&value).unwrap();
        codec::validate(&bytes).unwrap();
        let again: Value = codec::from_slice(&bytes).unwrap();
        prop_assert!(same(&value, &again));
    }

    #[test]
    fn an_independent_encoder_gives_the_same_bytes(value in any_value()) {
        let mut theirs = Vec::new();
        ciborium::into_writer(&for_ciborium(&value), &mut theirs).unwrap();
        prop_assert_eq!(codec::to_vec(&value).unwrap(), theirs);
    }

    #[test]
    fn a_value_has_one_form_only(value in any_value(), at in any::<usize>(), to in any::<u8>()) {
        let mut bytes = codec::to_vec(&value).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        // Whatever the change made of it: when it is accepted, it is the one form of its value.
        if let Ok(read) = codec::from_slice::<Value>(&bytes) {
            prop_assert_eq!(codec::to_vec(&read).unwrap(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = codec::from_slice::<Value>(&bytes);
    }
}

#[test]
fn every_rule_of_the_form_is_held() {
    let refused: [(&str, &[u8]); 14] = [
        ("an integer that fits a shorter form", &[0x18, 0x17]),
        ("a length that fits a shorter form", &[0x58, 0x01, 0x00]),
        ("an indefinite string", &[0x5f, 0x41, 0x00, 0xff]),
        ("an indefinite array", &[0x9f, 0xff]),
        ("keys out of order", &[0xa2, 0x61, b'b', 0, 0x61, b'a', 0]),
        ("a longer key before a shorter", &[0xa2, 0x62, b'a', b'a', 0, 0x61, b'b', 0]),
        ("a key twice", &[0xa2, 0x61, b'a', 0, 0x61, b'a', 0]),
        ("a tag", &[0xc0, 0x60]),
        ("undefined", &[0xf7]),
        ("a float that fits a shorter form", &[0xfa, 0x3f, 0x80, 0x00, 0x00]),
        ("a NaN with a payload", &[0xf9, 0x7e, 0x01]),
        ("text that is not UTF-8", &[0x61, 0xff]),
        ("bytes after the end", &[0x00, 0x00]),
        ("nothing", &[]),
    ];
    for (what, bytes) in refused {
        assert!(codec::validate(bytes).is_err(), "{what} was taken");
    }
}

#[test]
fn nesting_without_end_is_refused_without_using_the_stack() {
    let bytes = vec![0x81; 1_000_000];
    assert!(codec::validate(&bytes).is_err());
}
