//! A file of frame vectors: each is checked against the crate as it is added.

use std::fmt::Debug;

use bytes::Bytes;
use serde::Serialize;
use tidewire_protocol::frame::{BadFrame, split_first};
use tidewire_protocol::{ClientFrame, ErrorCode, ServerFrame, VERSION};

use super::Failure;
use super::tree::{Tree, from_hex, to_hex};

/// Frames of one direction.
pub(crate) trait Codec: Sized + PartialEq + Debug {
    /// Who sends them.
    const DIRECTION: &'static str;
    /// Decodes one frame.
    fn read(frame: &Bytes) -> Result<Self, BadFrame>;
    /// Encodes the frame.
    fn write(&self) -> Vec<u8>;
}

impl Codec for ClientFrame {
    const DIRECTION: &'static str = "client";

    fn read(frame: &Bytes) -> Result<Self, BadFrame> {
        Self::decode(frame)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

impl Codec for ServerFrame {
    const DIRECTION: &'static str = "server";

    fn read(frame: &Bytes) -> Result<Self, BadFrame> {
        Self::decode(frame)
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// A file of frame vectors, as `vectors/README.md` describes it.
#[derive(Serialize)]
pub(crate) struct FrameFile {
    pub(crate) protocol: u64,
    /// Encode and decode to each other.
    pub(crate) vectors: Vec<Vector>,
    /// Decode to what `means` says.
    pub(crate) decode_only: Vec<Vector>,
    /// Are answered with an error; the connection lives.
    pub(crate) refused: Vec<Vector>,
    /// Are no frames; the connection ends.
    pub(crate) broken: Vec<Vector>,
}

/// One vector.
#[derive(Serialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) direction: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<Tree>,
    pub(crate) bytes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) means: Option<Tree>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) req: Option<u64>,
}

/// Collects the vectors of one file, and what is wrong with them.
pub(crate) struct Group {
    file: FrameFile,
    problems: Vec<String>,
}

impl Group {
    pub(crate) fn new() -> Self {
        let file = FrameFile {
            protocol: VERSION,
            vectors: Vec::new(),
            decode_only: Vec::new(),
            refused: Vec::new(),
            broken: Vec::new(),
        };
        Self { file, problems: Vec::new() }
    }

    /// A frame whose encoding is the JSON's encoding, and the other way round.
    pub(crate) fn both<F: Codec>(&mut self, name: &str, frame: &F, json: &str) {
        let added = checked::<F>(name, json, frame).and_then(|(tree, bytes)| {
            if frame.write() == bytes {
                return Ok(vector::<F>(name, Some(tree), &bytes));
            }
            Err(format!("{name}: encodes as {}, not as {}", to_hex(&frame.write()), to_hex(&bytes)))
        });
        self.added(added, |file| &mut file.vectors);
    }

    /// A frame that must be read although nobody here writes it so.
    pub(crate) fn reads<F: Codec>(&mut self, name: &str, frame: &F, json: &str) {
        let added = checked::<F>(name, json, frame).and_then(|(tree, bytes)| {
            if frame.write() == bytes {
                return Err(format!("{name}: is written so, it belongs to both()"));
            }
            let means = Some(Tree::of_bytes(&frame.write())?);
            Ok(Vector { means, ..vector::<F>(name, Some(tree), &bytes) })
        });
        self.added(added, |file| &mut file.decode_only);
    }

    /// Like [`Self::reads`], for encodings that JSON cannot tell apart.
    pub(crate) fn reads_bytes<F: Codec>(&mut self, name: &str, frame: &F, hex: &str) {
        let added = from_hex(hex).and_then(|bytes| {
            decodes_to(name, &bytes, frame)?;
            let means = Some(Tree::of_bytes(&frame.write())?);
            Ok(Vector { means, ..vector::<F>(name, Tree::of_bytes(&bytes).ok(), &bytes) })
        });
        self.added(added, |file| &mut file.decode_only);
    }

    /// A frame that is refused with this code, in answer to this request.
    pub(crate) fn refuses<F: Codec>(&mut self, name: &str, json: &str, code: ErrorCode, req: u64) {
        let added = Tree::of_json(json).and_then(|tree| {
            let bytes = tree.to_bytes()?;
            refused::<F>(name, &bytes, code, req)
                .map(|vector| Vector { frame: Some(tree), ..vector })
        });
        self.added(added, |file| &mut file.refused);
    }

    /// Like [`Self::refuses`], for frames that have no JSON form.
    pub(crate) fn refuses_bytes<F: Codec>(
        &mut self,
        name: &str,
        hex: &str,
        code: ErrorCode,
        req: u64,
    ) {
        let added = from_hex(hex).and_then(|bytes| refused::<F>(name, &bytes, code, req));
        self.added(added, |file| &mut file.refused);
    }

    /// Bytes that do not begin with a frame.
    pub(crate) fn breaks(&mut self, name: &str, hex: &str) {
        let added = from_hex(hex).and_then(|bytes| {
            if split_first(&mut Bytes::from(bytes.clone())).is_ok() {
                return Err(format!("{name}: is an intact envelope"));
            }
            let error = Some(ErrorCode::Malformed.name().to_owned());
            Ok(Vector { error, req: Some(0), ..vector::<ClientFrame>(name, None, &bytes) })
        });
        self.added(added, |file| &mut file.broken);
    }

    /// The file's text: one vector per line.
    pub(crate) fn finish(self) -> Result<String, Failure> {
        if !self.problems.is_empty() {
            return Err(self.problems.join("\n").into());
        }
        let file = &self.file;
        let sections = [
            ("vectors", &file.vectors),
            ("decode_only", &file.decode_only),
            ("refused", &file.refused),
            ("broken", &file.broken),
        ];
        let mut text = format!("{{\n\"protocol\": {}", file.protocol);
        for (section, vectors) in sections {
            text.push_str(&lines(section, vectors)?);
        }
        text.push_str("\n}\n");
        Ok(text)
    }

    fn added(
        &mut self,
        vector: Result<Vector, String>,
        section: impl Fn(&mut FrameFile) -> &mut Vec<Vector>,
    ) {
        match vector {
            Ok(vector) => section(&mut self.file).push(vector),
            Err(problem) => self.problems.push(problem),
        }
    }
}

/// A section of a file: one item per line.
pub(crate) fn lines<T: Serialize>(section: &str, items: &[T]) -> Result<String, Failure> {
    let items: Vec<String> = items.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    if items.is_empty() {
        return Ok(format!(",\n\"{section}\": []"));
    }
    Ok(format!(",\n\"{section}\": [\n  {}\n]", items.join(",\n  ")))
}

fn checked<F: Codec>(name: &str, json: &str, frame: &F) -> Result<(Tree, Vec<u8>), String> {
    let tree = Tree::of_json(json).map_err(|error| format!("{name}: {error}"))?;
    let bytes = tree.to_bytes()?;
    decodes_to(name, &bytes, frame)?;
    Ok((tree, bytes))
}

fn decodes_to<F: Codec>(name: &str, bytes: &[u8], frame: &F) -> Result<(), String> {
    match F::read(&Bytes::copy_from_slice(bytes)) {
        Ok(read) if read == *frame => Ok(()),
        other => Err(format!("{name}: decodes as {other:?}, not as {frame:?}")),
    }
}

fn refused<F: Codec>(
    name: &str,
    bytes: &[u8],
    code: ErrorCode,
    req: u64,
) -> Result<Vector, String> {
    let frame = Bytes::copy_from_slice(bytes);
    if split_first(&mut frame.clone()) != Ok(frame.clone()) {
        return Err(format!("{name}: is not one intact envelope"));
    }
    match F::read(&frame) {
        Err(bad) if bad.refusal.code == code && bad.req == req => {
            let error = Some(code.name().to_owned());
            Ok(Vector { error, req: Some(req), ..vector::<F>(name, None, bytes) })
        }
        other => Err(format!("{name}: gives {other:?}, not {code} for request {req}")),
    }
}

fn vector<F: Codec>(name: &str, frame: Option<Tree>, bytes: &[u8]) -> Vector {
    Vector {
        name: name.to_owned(),
        direction: F::DIRECTION.to_owned(),
        frame,
        bytes: to_hex(bytes),
        means: None,
        error: None,
        req: None,
    }
}
