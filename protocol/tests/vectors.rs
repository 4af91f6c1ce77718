//! The golden vectors hold for this crate, read from the files as any other client reads them.
//!
//! JSON becomes `MessagePack` here by serde alone, so the crate's encoder is not its own judge.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its expectation does")]

#[path = "../examples/write_vectors/cases/mod.rs"]
mod cases;

use std::collections::HashSet;
use std::path::PathBuf;

use bytes::Bytes;
use cases::tree::{Tree, from_hex, to_hex};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidewire_protocol::frame::{BadFrame, split_first};
use tidewire_protocol::record::{BodyBuilder, Record, Records, validate};
use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, ServerFrame, VERSION};

const FRAME_FILES: [&str; 5] =
    ["connection.json", "topics.json", "cells.json", "tallies.json", "groups.json"];

#[derive(Deserialize)]
struct FrameFile {
    protocol: u64,
    vectors: Vec<Vector>,
    decode_only: Vec<Vector>,
    refused: Vec<Vector>,
    broken: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    direction: String,
    frame: Option<Tree>,
    bytes: String,
    means: Option<Tree>,
    error: Option<String>,
    req: Option<u64>,
}

#[derive(Deserialize)]
struct BodyFile {
    bodies: Vec<Body>,
    decode_only: Vec<Body>,
    refused: Vec<RefusedBody>,
}

#[derive(Deserialize)]
struct Body {
    name: String,
    body: String,
    records: Vec<Tree>,
}

#[derive(Deserialize)]
struct RefusedBody {
    name: String,
    body: String,
    error: String,
}

#[derive(Deserialize)]
struct NameFile {
    names_valid: Vec<String>,
    names_invalid: Vec<String>,
    patterns_valid: Vec<String>,
    patterns_invalid: Vec<String>,
    matches: Vec<Match>,
}

#[derive(Deserialize)]
struct Match {
    pattern: String,
    name: String,
    matches: bool,
}

#[test]
fn the_files_hold_what_the_generator_writes() {
    for file in cases::files().unwrap() {
        assert_eq!(text_of(file.name), file.text, "{} was changed", file.name);
    }
}

#[test]
fn json_and_bytes_of_every_frame_lead_to_each_other() {
    for vector in frame_files().flat_map(|file| file.vectors) {
        let bytes = bytes_of(&vector);
        let frame = vector.frame.as_ref().unwrap();
        assert_eq!(to_hex(&frame.to_bytes().unwrap()), vector.bytes, "{}", vector.name);
        assert_eq!(Tree::of_bytes(&bytes).as_ref(), Ok(frame), "{}", vector.name);
        assert_eq!(split_first(&mut bytes.clone()), Ok(bytes.clone()), "{}", vector.name);
        let written = reencoded(&vector.direction, &bytes).unwrap();
        assert_eq!(to_hex(&written), vector.bytes, "{}", vector.name);
    }
}

#[test]
fn loose_encodings_are_read_as_what_they_mean() {
    for vector in frame_files().flat_map(|file| file.decode_only) {
        let means = vector.means.as_ref().unwrap().to_bytes().unwrap();
        let written = reencoded(&vector.direction, &bytes_of(&vector)).unwrap();
        assert_eq!(to_hex(&written), to_hex(&means), "{}", vector.name);
        assert_ne!(to_hex(&written), vector.bytes, "{}", vector.name);
    }
}

#[test]
fn refused_frames_get_the_stated_code_and_request() {
    for vector in frame_files().flat_map(|file| file.refused) {
        let bytes = bytes_of(&vector);
        assert_eq!(split_first(&mut bytes.clone()), Ok(bytes.clone()), "{}", vector.name);
        let bad = reencoded(&vector.direction, &bytes).unwrap_err();
        assert_eq!(Some(bad.refusal.code.name()), vector.error.as_deref(), "{}", vector.name);
        assert_eq!(Some(bad.req), vector.req, "{}", vector.name);
        assert!(!bad.refusal.message.is_empty(), "{}", vector.name);
        if let Some(frame) = &vector.frame {
            assert_eq!(to_hex(&frame.to_bytes().unwrap()), vector.bytes, "{}", vector.name);
        }
    }
}

#[test]
fn broken_envelopes_yield_no_frame() {
    for vector in frame_files().flat_map(|file| file.broken) {
        let mut message = bytes_of(&vector);
        assert!(split_first(&mut message).is_err(), "{}", vector.name);
        assert_eq!(vector.error.as_deref(), Some(ErrorCode::Malformed.name()), "{}", vector.name);
    }
}

#[test]
fn every_frame_type_of_the_specification_has_a_vector() {
    let client = [1, 3, 4, 10, 12, 15, 18, 20, 22, 24, 26, 29, 30, 31, 32, 33, 35, 36, 37, 38];
    let server = [2, 3, 4, 5, 6, 7, 11, 13, 14, 16, 17, 21, 23, 25, 27, 28, 34];
    let stated = client.iter().map(|kind| ("client".to_owned(), *kind));
    let stated: HashSet<_> =
        stated.chain(server.iter().map(|kind| ("server".to_owned(), *kind))).collect();
    let found: HashSet<_> = frame_files()
        .flat_map(|file| file.vectors)
        .map(|vector| match vector.frame {
            Some(Tree::List(fields)) => match fields.first() {
                Some(Tree::Uint(kind)) => (vector.direction, *kind),
                other => panic!("{}: no type but {other:?}", vector.name),
            },
            other => panic!("{}: no array but {other:?}", vector.name),
        })
        .collect();
    assert_eq!(found, stated);
}

#[test]
fn every_vector_of_a_file_has_a_name_of_its_own() {
    for file in frame_files() {
        assert_eq!(file.protocol, VERSION);
        let mut names = HashSet::new();
        let sections = [file.vectors, file.decode_only, file.refused, file.broken];
        for vector in sections.into_iter().flatten() {
            assert!(names.insert(vector.name.clone()), "two are called {}", vector.name);
        }
    }
}

#[test]
fn bodies_are_read_and_built_as_stated() {
    for body in read_file::<BodyFile>("records.json").bodies {
        let bytes = from_hex(&body.body).unwrap();
        let stated: Vec<u8> =
            body.records.iter().flat_map(|each| each.to_bytes().unwrap()).collect();
        assert_eq!(to_hex(&stated), body.body, "{}", body.name);
        assert_eq!(validate(&bytes), Ok(body.records.len()), "{}", body.name);
        let mut built = BodyBuilder::new();
        for (record, stated) in Records::of(&bytes).zip(&body.records) {
            assert_eq!(tree_of(&record), *stated, "{}", body.name);
            let headers: Vec<_> = record.headers().collect();
            built.push(record.key, &headers, record.payload);
        }
        assert_eq!(built.len(), body.records.len(), "{}", body.name);
        assert_eq!(to_hex(&built.finish()), body.body, "{}", body.name);
    }
}

#[test]
fn loose_bodies_are_read_as_stated() {
    for body in read_file::<BodyFile>("records.json").decode_only {
        let bytes = from_hex(&body.body).unwrap();
        assert_eq!(validate(&bytes), Ok(body.records.len()), "{}", body.name);
        let read: Vec<Tree> = Records::of(&bytes).map(|record| tree_of(&record)).collect();
        assert_eq!(read, body.records, "{}", body.name);
    }
}

#[test]
fn refused_bodies_get_the_stated_code() {
    for body in read_file::<BodyFile>("records.json").refused {
        let refusal = validate(&from_hex(&body.body).unwrap()).unwrap_err();
        assert_eq!(refusal.code.name(), body.error, "{}", body.name);
    }
}

#[test]
fn names_and_patterns_are_taken_or_refused_as_stated() {
    let file = read_file::<NameFile>("names.json");
    for raw in &file.names_valid {
        assert_eq!(Name::parse(raw).unwrap().as_str(), raw);
    }
    for raw in &file.names_invalid {
        assert_eq!(Name::parse(raw).unwrap_err().code, ErrorCode::InvalidName, "{raw:?}");
    }
    for raw in &file.patterns_valid {
        assert_eq!(Pattern::parse(raw).unwrap().as_str(), raw);
    }
    for raw in &file.patterns_invalid {
        assert_eq!(Pattern::parse(raw).unwrap_err().code, ErrorCode::InvalidPattern, "{raw:?}");
    }
    for Match { pattern, name, matches } in &file.matches {
        let found = Pattern::parse(pattern).unwrap().matches(&Name::parse(name).unwrap());
        assert_eq!(found, *matches, "{pattern} and {name}");
    }
}

fn frame_files() -> impl Iterator<Item = FrameFile> {
    FRAME_FILES.into_iter().map(read_file)
}

fn read_file<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&text_of(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text_of(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn bytes_of(vector: &Vector) -> Bytes {
    from_hex(&vector.bytes).unwrap().into()
}

/// Decodes by the crate and encodes again.
fn reencoded(direction: &str, bytes: &Bytes) -> Result<Vec<u8>, BadFrame> {
    let mut out = Vec::new();
    match direction {
        "client" => ClientFrame::decode(bytes)?.encode(&mut out),
        "server" => ServerFrame::decode(bytes)?.encode(&mut out),
        other => panic!("direction {other}"),
    }
    Ok(out)
}

fn tree_of(record: &Record<'_>) -> Tree {
    let headers: Vec<_> = record
        .headers()
        .map(|(name, value)| (name.to_owned(), Tree::Text(value.to_owned())))
        .collect();
    Tree::List(vec![
        record.key.map_or(Tree::Nil, |key| Tree::Text(key.to_owned())),
        if headers.is_empty() { Tree::Nil } else { Tree::Map(headers) },
        record.payload.map_or(Tree::Nil, |payload| Tree::Bin(payload.to_vec())),
    ])
}
