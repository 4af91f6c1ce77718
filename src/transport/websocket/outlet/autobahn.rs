//! Autobahn's cases against an echo that reads and writes as connections do.
//!
//! `cargo xtask test checkers` runs it with what drives the cases. Frames of the protocol travel in binary messages, so the
//! cases that need text to come back are left out: a message of text ends the connection.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::transport::http::accept_key;
use crate::transport::stream::Stream;
use crate::transport::websocket::unframe::Unframer;

/// Where the driver is.
const DRIVER: &str = "TIDEWIRE_KOSOKU";
/// As large as the largest message of the cases.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(300);
/// Cases that send a message of text and want it back, or checked (6.*: UTF-8), or the end that comes after it; and those of
/// compression (12.*, 13.*), which is not agreed to.
const LEFT_OUT: &[&str] = &[
    "1.1.*", "3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.3",
    "5.4", "5.5", "5.6", "5.7", "5.8", "5.15", "5.18", "5.19", "5.20", "6.*", "7.1.1", "7.1.5",
    "9.1.*", "9.3.*", "9.5.*", "9.7.*", "10.*", "12.*", "13.*",
];
/// The others.
const CASES: usize = 99;

#[test]
#[ignore = "cargo xtask test checkers runs it, with Autobahn's cases"]
fn autobahn_finds_nothing() {
    let driver = std::env::var_os(DRIVER).expect("TIDEWIRE_KOSOKU is the path of kosoku");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reports = tempfile::tempdir().unwrap();
    let status = tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        tokio::task::spawn_local(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                tokio::task::spawn_local(echo(stream));
            }
        });
        let mut command = tokio::process::Command::new(driver);
        for case in LEFT_OUT {
            command.args(["-x", case]);
        }
        command.arg("-o").arg(reports.path()).arg(address).kill_on_drop(true);
        let status = tokio::time::timeout(PATIENCE, command.status()).await;
        status.expect("it ends in time").unwrap()
    });
    // What failed it has said itself.
    assert!(status.success(), "{status}");
    assert_eq!(cases_of(reports.path()), CASES);
}

/// How many cases a report is about.
fn cases_of(reports: &Path) -> usize {
    let index = std::fs::read(reports.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    index.as_object().unwrap().values().map(|cases| cases.as_object().unwrap().len()).sum()
}

/// Sends every message back, until the connection ends.
async fn echo(mut stream: TcpStream) {
    let Some(first) = upgrade(&mut stream).await else { return };
    let halves = Halves::new(Stream::Plain(stream));
    let mut outlet = Outlet::new(halves.clone());
    let mut unframer = Unframer::new(MESSAGE_BYTES_MAX);
    let mut buffer = vec![0; 64 * 1024];
    let mut read = first;
    loop {
        let mut replies = Vec::new();
        let mut received = unframer.take(&read, &mut replies);
        while let Some(message) = received.next_message() {
            let mut messages = Messages { out: outlet.pending.get_or_insert_default(), open: None };
            messages.message(message.len()).share(&message);
            messages.close();
        }
        assert!(outlet.reply(&replies), "more replies than may wait");
        if let Some(end) = received.end {
            outlet.say(&end.into());
            drop(std::future::poll_fn(|cx| outlet.poll_finish(cx)).await);
            return;
        }
        let waiting = std::mem::take(&mut outlet.replies);
        outlet.pending.get_or_insert_default().copy(&waiting);
        if std::future::poll_fn(|cx| write(&mut outlet, cx)).await.is_err() {
            return;
        }
        let count = std::future::poll_fn(|cx| halves.poll_read(cx, &mut buffer)).await;
        match count {
            Ok(0) | Err(_) => return,
            Ok(count) => read = Bytes::copy_from_slice(&buffer[..count]),
        }
    }
}

fn write(outlet: &mut Outlet, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if let Some(out) = &mut outlet.pending {
        let halves = &outlet.halves;
        ready!(out.poll_write(|slices| halves.poll_write_vectored(cx, slices)))?;
        outlet.pending = None;
    }
    outlet.halves.poll_flush(cx)
}

/// Answers the handshake; returns what came behind it.
async fn upgrade(stream: &mut TcpStream) -> Option<Bytes> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).into_owned();
    let key = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_key(key.as_bytes())
    );
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(Bytes::copy_from_slice(&head[end..]))
}
