//! The HTTP API of a running daemon, asked by sockets alone.

mod counting;
mod events;
mod figures;
mod manual;
mod records;
mod rules;
mod version_two;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::daemon::{Daemon, PATIENCE};

/// What was answered.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The code of a refusal with this status.
    #[track_caller]
    fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Asks over a connection of its own.
pub(crate) fn ask(daemon: &Daemon, request: &str, headers: &[&str], body: &str) -> Reply {
    let mut stream = connect(daemon);
    send(daemon, &mut stream, request, &[headers, &["Connection: close"]].concat(), body);
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) fn get(daemon: &Daemon, path: &str) -> Reply {
    ask(daemon, &format!("GET {path}"), &[], "")
}

pub(crate) fn post(daemon: &Daemon, path: &str, body: &str) -> Reply {
    ask(daemon, &format!("POST {path}"), &["Content-Type: application/json"], body)
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(daemon: &Daemon, stream: &mut TcpStream, request: &str, headers: &[&str], body: &str) {
    let (host, length) = (daemon.address(), body.len());
    let mut text = format!("{request} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    write!(stream, "{text}\r\n{body}").unwrap();
}

/// An event as a client of server-sent events reads it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    id: String,
    pub(crate) data: Value,
}

/// A stream of events.
pub(crate) struct Stream {
    lines: BufReader<TcpStream>,
    pub(crate) last_id: String,
    heartbeats: usize,
}

impl Stream {
    pub(crate) fn open(daemon: &Daemon, path: &str, headers: &[&str]) -> Self {
        let mut stream = connect(daemon);
        send(daemon, &mut stream, &format!("GET {path}"), headers, "");
        let mut stream =
            Self { lines: BufReader::new(stream), last_id: String::new(), heartbeats: 0 };
        assert!(stream.line().unwrap().starts_with("HTTP/1.1 200"));
        let mut head = String::new();
        while let Some(line) = stream.line().filter(|line| !line.is_empty()) {
            head.push_str(&line);
        }
        assert!(head.contains("text/event-stream"), "{head}");
        // Whoever follows is there when the pause is known.
        while !stream.text().unwrap().starts_with("retry: ") {}
        stream
    }

    /// The next event; nothing more when the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let (mut event, mut data) = (Event::default(), None::<String>);
        loop {
            let line = self.text()?;
            match line.split_once(": ") {
                None if line.is_empty() && data.is_some() => {
                    event.id.clone_from(&self.last_id);
                    event.data = serde_json::from_str(data?.as_str()).unwrap();
                    return Some(event);
                }
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => self.last_id = id.to_owned(),
                Some(("data", text)) => data = Some(text.to_owned()),
                Some(("", "heartbeat")) => self.heartbeats += 1,
                Some(("retry", _)) => {}
                None if line.is_empty() => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// A line of the text, which comes in chunks (RFC 9112, section 7.1) that end with a whole line.
    fn text(&mut self) -> Option<String> {
        loop {
            let line = self.line()?;
            let is_size = !line.is_empty() && line.chars().all(|char| char.is_ascii_hexdigit());
            if line == "0" {
                return None;
            }
            if !is_size {
                return Some(line);
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
