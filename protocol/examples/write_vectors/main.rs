//! Writes the golden vectors: `cargo run -p tidewire-protocol --example write_vectors`.
//!
//! Vectors are a promise to clients, so this does not overwrite a file of the same protocol
//! version that says something else: give the protocol a new version, or pass `--force` when a
//! vector was only added.

mod cases;

use std::fs;
use std::path::Path;

use cases::{Failure, files};

fn main() -> Result<(), Failure> {
    let force = std::env::args().skip(1).any(|argument| argument == "--force");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    fs::create_dir_all(&directory)?;
    for file in files()? {
        let path = directory.join(file.name);
        if !force && path.exists() {
            refuse_to_change(&path, &file.text)?;
        }
        fs::write(path, file.text)?;
    }
    Ok(())
}

fn refuse_to_change(path: &Path, text: &str) -> Result<(), Failure> {
    let kept = fs::read_to_string(path)?;
    let version = serde_json::from_str::<serde_json::Value>(&kept)?
        .get("protocol")
        .and_then(serde_json::Value::as_u64);
    if kept == text || version != Some(tidewire_protocol::VERSION) {
        return Ok(());
    }
    Err(format!(
        "{} holds other vectors of the same protocol version; they are kept. If vectors were \
         only added, run this again with --force; if any changed, the protocol needs a new version",
        path.display()
    )
    .into())
}
