//! Asking a server over HTTP, one request per connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the server answers, in JSON.
///
/// # Errors
/// When it does not answer, or with anything but a success.
pub(super) fn ask(address: SocketAddr, method: &str, path: &str) -> Result<Value, String> {
    let named = |error: &dyn std::fmt::Display| format!("{method} {path} at {address}: {error}");
    let exchange = || {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let request =
            format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = exchange().map_err(|error| named(&error))?;
    read(&answer).map_err(|error| named(&error))
}

/// The body of a success.
fn read(answer: &str) -> Result<Value, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is cut off")?;
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(format!("status {status}: {}", body.trim()));
    }
    serde_json::from_str(body).map_err(|error| format!("the answer: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_success_is_an_answer() {
        let answer = read("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}");
        assert_eq!(answer.unwrap()["a"], 1);
        let refused = read("HTTP/1.0 409 Conflict\r\n\r\nnot empty\n").unwrap_err();
        assert_eq!(refused, "status 409: not empty");
        assert!(read("HTTP/1.0 200 OK\r\n").is_err());
        assert!(read("HTTP/1.0 200 OK\r\n\r\nhello").is_err());
    }
}
