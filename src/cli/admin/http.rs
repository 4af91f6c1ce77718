//! One request to the admin listener.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
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
pub(crate) async fn ask(
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

/// Longest pause between two pieces of a long answer.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a GET and writes the answer to `out` as it comes; `progress` is told the bytes so far.
///
/// # Errors
/// When there is no server, it refuses, the answer ends early or cannot be written.
pub(in crate::cli) async fn download(
    admin: SocketAddr,
    path: &str,
    out: &mut (impl AsyncWrite + Unpin),
    progress: impl Fn(u64),
) -> Result<(), CliError> {
    let lost = |reason: String| CliError {
        exit_code: NOT_CONNECTED,
        message: format!("http://{admin}{path}: {reason}; is this the server's admin address?"),
    };
    let asked = tokio::time::timeout(TIMEOUT, request(admin, Method::GET, path, None)).await;
    let answer = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(lost(error.to_string())),
        Err(elapsed) => return Err(lost(elapsed.to_string())),
    };
    let status = answer.status();
    let mut body = answer.into_body();
    if !status.is_success() {
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| lost(error.to_string()))?.to_bytes();
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = value.get("message").and_then(Value::as_str).map(str::to_owned);
        let message = message.unwrap_or_else(|| format!("the server answers {status}"));
        return Err(CliError { exit_code: REFUSED, message });
    }
    let mut bytes = 0;
    loop {
        let frame = tokio::time::timeout(PIECE_TIMEOUT, body.frame()).await;
        let Some(frame) = frame.map_err(|elapsed| lost(elapsed.to_string()))? else {
            return Ok(());
        };
        let frame = frame.map_err(|error| lost(format!("the answer was cut off: {error}")))?;
        if let Ok(piece) = frame.into_data() {
            out.write_all(&piece).await.map_err(|error| {
                CliError::usage(format!("the answer cannot be written: {error}"))
            })?;
            bytes += piece.len() as u64;
            progress(bytes);
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Bytes), Failure> {
    let answer = request(admin, method, path, body).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok((status, body))
}

/// Sends a request; the connection goes on until its answer is read or dropped.
async fn request(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, Failure> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, admin.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    Ok(sender.send_request(request).await?)
}
