//! Lines on standard output. A reader that goes away (`| head`) is no error.

use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tidewire_client::Position;

use super::CliError;

/// Buffered standard output.
pub(crate) struct Output {
    out: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 * 1024, io::stdout()) }
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// One line of bytes as they are.
    pub(crate) fn bytes(&mut self, line: &[u8]) -> Result<(), CliError> {
        let written = self.out.write_all(line).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|error| refused(&error))
    }

    /// Bytes as they are, without an end of line.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(|error| refused(&error))
    }

    /// One line of JSON.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), CliError> {
        self.line(&value.to_string())
    }

    /// Shows what was written so far.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(|error| refused(&error))
    }
}

/// Writes one line to standard error.
pub(crate) fn note(text: &str) {
    // Standard error is the last place to complain; when it is gone there is none.
    drop(writeln!(io::stderr(), "{text}"));
}

/// Ends quietly when the reader of standard output has gone.
pub(crate) fn unless_pipe_closed(result: Result<(), CliError>) -> Result<(), CliError> {
    match result {
        Err(error) if error.exit_code == PIPE_CLOSED => Ok(()),
        other => other,
    }
}

/// Never leaves this program: [`unless_pipe_closed`] takes it for success.
const PIPE_CLOSED: u8 = 141;

fn refused(error: &io::Error) -> CliError {
    let exit_code = if error.kind() == ErrorKind::BrokenPipe { PIPE_CLOSED } else { 1 };
    CliError { exit_code, message: format!("cannot write to standard output: {error}") }
}

/// A value of bytes under `name` when it is text, and under `name_base64` when it is not.
pub(crate) fn put_bytes(object: &mut Value, name: &str, bytes: Option<&[u8]>) {
    let Some(fields) = object.as_object_mut() else { return };
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => fields.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => fields.insert(name.to_owned(), json!(text)),
        Some((bytes, Err(_))) => {
            fields.insert(format!("{name}_base64"), json!(STANDARD.encode(bytes)))
        }
    };
}

/// Positions under `name`, each as three numbers; nothing when there are none.
pub(crate) fn put_positions(object: &mut Value, name: &str, positions: &[Position]) {
    if let Some(fields) = object.as_object_mut().filter(|_| !positions.is_empty()) {
        let list = positions.iter().map(|Position(of, epoch, next)| json!([of, epoch, next]));
        fields.insert(name.to_owned(), list.collect());
    }
}

/// Bytes as people read them: what is no text is shown by replacement characters.
pub(crate) fn readable(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_named_so() {
        let mut object = json!({});
        put_bytes(&mut object, "payload", Some(b"hi"));
        put_bytes(&mut object, "key", None);
        put_bytes(&mut object, "raw", Some(&[0xff]));
        assert_eq!(object, json!({"payload": "hi", "key": null, "raw_base64": "/w=="}));
    }
}
