//! One request to the admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::CliError;

/// How long a request may take; the end of a recording waits for the disk.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Exit codes: refused by the server, no connection.
const REFUSED: u8 = 1;
const NOT_CONNECTED: u8 = 3;

/// Sends a request and returns the answer's JSON.
///
/// # Errors
/// When there is no server, or it refuses; with the server's own sentence.
pub(super) async fn ask(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, CliError> {
    let lost = |reason: String| CliError {
        exit_code: NOT_CONNECTED,
        message: format!("http://{admin}{path}: {reason}; is this the server's admin address?"),
    };
    let asked = tokio::time::timeout(TIMEOUT, exchange(admin, method, path, body)).await;
    let (status, answer) = match asked {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(elapsed) => return Err(lost(elapsed.to_string())),
    };
    let value: Value = serde_json::from_slice(&answer).unwrap_or_default();
    if status.is_success() && value.is_object() {
        return Ok(value);
    }
    match value.get("message").and_then(Value::as_str) {
        Some(message) => Err(CliError { exit_code: REFUSED, message: message.to_owned() }),
        None => Err(lost(format!("the answer is {status}, and no JSON of this server"))),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Failure> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, admin.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}
