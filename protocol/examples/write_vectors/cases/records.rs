//! Bodies: what they hold, and bodies that are refused.

use serde::Serialize;
use tidewire_protocol::ErrorCode;
use tidewire_protocol::VERSION;
use tidewire_protocol::record::{Record, Records, validate};

use super::Failure;
use super::group::lines;
use super::tree::{Tree, from_hex, to_hex};

/// A body and its records, each `[key, headers, payload]`.
#[derive(Serialize)]
pub(crate) struct Body {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) records: Vec<Tree>,
}

/// A body that is refused.
#[derive(Serialize)]
pub(crate) struct RefusedBody {
    pub(crate) name: String,
    pub(crate) body: String,
    pub(crate) error: String,
}

/// A record as an array of three.
fn record_tree(record: &Record<'_>) -> Tree {
    let headers: Vec<(String, Tree)> = record
        .headers()
        .map(|(name, value)| (name.to_owned(), Tree::Text(value.to_owned())))
        .collect();
    let bytes = |payload: &[u8]| Tree::Bin(payload.to_vec());
    Tree::List(vec![
        record.key.map_or(Tree::Nil, |key| Tree::Text(key.to_owned())),
        if headers.is_empty() { Tree::Nil } else { Tree::Map(headers) },
        record.payload.map_or(Tree::Nil, bytes),
    ])
}

pub(crate) fn text() -> Result<String, Failure> {
    let mut text = format!("{{\n\"protocol\": {VERSION}");
    text.push_str(&lines("bodies", &bodies()?)?);
    text.push_str(&lines("decode_only", &loose()?)?);
    text.push_str(&lines("refused", &refused()?)?);
    text.push_str("\n}\n");
    Ok(text)
}

fn bodies() -> Result<Vec<Body>, Failure> {
    let key = "k".repeat(256);
    let header = "h".repeat(128);
    let many: Vec<String> = (0..32).map(|number| format!(r#""h{number}": "v""#)).collect();
    let wide = to_hex(&[0x61; 256]);
    let cases = [
        ("a payload", r#"[[null, null, {"bin": "6869"}]]"#.to_owned()),
        ("an empty payload", r#"[[null, null, {"bin": ""}]]"#.to_owned()),
        ("a payload of 256 bytes", format!(r#"[[null, null, {{"bin": "{wide}"}}]]"#)),
        ("a key", r#"[["player.7", null, {"bin": "00"}]]"#.to_owned()),
        ("a key of UTF-8", r#"[["größe", null, {"bin": "00"}]]"#.to_owned()),
        ("the longest key", format!(r#"[["{key}", null, {{"bin": "00"}}]]"#)),
        ("a tombstone", r#"[["player.7", null, null]]"#.to_owned()),
        ("a tombstone without key", "[[null, null, null]]".to_owned()),
        ("headers", r#"[[null, {"type": "goal", "lang": ""}, {"bin": "00"}]]"#.to_owned()),
        ("the longest header name", format!(r#"[[null, {{"{header}": "v"}}, null]]"#)),
        ("the most headers", format!("[[null, {{{}}}, null]]", many.join(", "))),
        (
            "several records",
            r#"[["a", {"t": "x"}, {"bin": "01"}], [null, null, {"bin": "02"}], ["a", null, null]]"#
                .to_owned(),
        ),
    ];
    cases.into_iter().map(|(name, json)| body(name, &json)).collect()
}

fn body(name: &str, json: &str) -> Result<Body, Failure> {
    let Tree::List(records) = Tree::of_json(json)? else {
        return Err(format!("{name}: is no list of records").into());
    };
    let mut body = Vec::new();
    for record in &records {
        body.extend(record.to_bytes()?);
    }
    checked(name, &body, &records)
}

fn checked(name: &str, body: &[u8], records: &[Tree]) -> Result<Body, Failure> {
    let count = validate(body)?;
    let read: Vec<Tree> = Records::of(body).map(|record| record_tree(&record)).collect();
    if count != records.len() || read != records {
        return Err(format!("{name}: reads as {read:?}").into());
    }
    Ok(Body { name: name.to_owned(), body: to_hex(body), records: read })
}

fn loose() -> Result<Vec<Body>, Failure> {
    let plain = r#"[["k", null, {"bin": "6869"}]]"#;
    let cases = [
        ("an array 16", "dc0003a16bc0c4026869", plain),
        ("a str 8 and a bin 32", "93d9016bc0c6000000026869", plain),
        ("empty headers", "93a16b80c4026869", plain),
        ("headers in a map 16", "93c0de0001a174a178c0", r#"[[null, {"t": "x"}, null]]"#),
        ("a header twice", "93c082a174a178a174a179c0", r#"[[null, {"t": "x", "t": "y"}, null]]"#),
    ];
    let body = |(name, hex, json): (&str, &str, &str)| {
        let Tree::List(records) = Tree::of_json(json)? else {
            return Err(format!("{name}: is no list of records").into());
        };
        checked(name, &from_hex(hex)?, &records)
    };
    cases.into_iter().map(body).collect()
}

fn refused() -> Result<Vec<RefusedBody>, Failure> {
    use ErrorCode::{InvalidArgument, Malformed, RecordTooLarge};
    let long_key = format!("93da0101{}c0c0", "61".repeat(257));
    let many: String = (0..33_u8).map(|number| format!("a2{:02x}61a0", number + 0x40)).collect();
    let large = format!("93c081a174da1000{}c0", "61".repeat(4096));
    let long_name = format!("93c081d981{}a0c0", "61".repeat(129));
    let cases = [
        ("nothing", String::new(), InvalidArgument),
        ("an enclosing array", "9193c0c0c4026869".to_owned(), Malformed),
        ("a record of two elements", "92c0c0".to_owned(), Malformed),
        ("a record of four elements", "94c0c0c0c0".to_owned(), Malformed),
        ("a record that is a map", "81a16bc0".to_owned(), Malformed),
        ("a record that is cut off", "93c0c0c40268".to_owned(), Malformed),
        ("half a second record", "93c0c0c093c0".to_owned(), Malformed),
        ("a payload of text", "93c0c0a26869".to_owned(), Malformed),
        ("a key that is a number", "9307c0c0".to_owned(), Malformed),
        ("an empty key", "93a0c0c0".to_owned(), RecordTooLarge),
        ("a key that is not UTF-8", "93a1ffc0c0".to_owned(), Malformed),
        ("a key of 257 bytes", long_key, RecordTooLarge),
        ("headers in an array", "93c090c0".to_owned(), Malformed),
        ("a header that is a number", "93c081a17407c0".to_owned(), Malformed),
        ("a header that is not UTF-8", "93c081a174a1ffc0".to_owned(), Malformed),
        ("an empty header name", "93c081a0a178c0".to_owned(), RecordTooLarge),
        ("a header name of 129 bytes", long_name, RecordTooLarge),
        ("33 headers", format!("93c0de0021{many}c0"), RecordTooLarge),
        ("headers over 4,096 bytes", large, RecordTooLarge),
        ("the reserved byte", "93c0c0c1".to_owned(), Malformed),
    ];
    let refused = |(name, body, code): (&str, String, ErrorCode)| match validate(&from_hex(&body)?)
    {
        Err(refusal) if refusal.code == code => {
            Ok(RefusedBody { name: name.to_owned(), body, error: code.name().to_owned() })
        }
        other => Err(format!("{name}: gives {other:?}, not {code}").into()),
    };
    cases.into_iter().map(refused).collect()
}
