//! Redis: RESP 2, publish and subscribe, and a script that increments and publishes.

use super::{CELL, Cell, Item, LOG, LOG_PAYLOAD, Role, Session, Step, TOPIC, decimal, quote};

/// What a writer runs: the new value reaches the watchers and comes back as the reply.
const SCRIPT: &str = "local v=redis.call('INCR',KEYS[1]) redis.call('PUBLISH',KEYS[1],v) return v";
/// The SHA-1 of [`SCRIPT`], by which Redis knows it once it is loaded.
const SCRIPT_SHA1: &str = "398a92a43f6bacc9874bf7788f3f775ee4e25954";

/// One connection.
#[derive(Debug)]
pub(crate) struct Redis {
    role: Role,
    /// Increments answered; Redis answers in order.
    answered: u64,
}

/// One reply's form, borrowed.
enum Value<'a> {
    Status,
    Integer(u64),
    Text(&'a [u8]),
    Array { kind: &'a [u8], last: &'a [u8] },
}

impl Redis {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, answered: 0 }
    }

    fn item<'a>(&mut self, value: &Value<'a>) -> Result<Item<'a>, String> {
        match (value, &self.role) {
            (Value::Array { kind: b"message", last }, Role::Watcher(_)) => decimal(last)
                .map(Item::Update)
                .ok_or_else(|| format!("'{}' is no value of the counter", quote(last))),
            (Value::Array { kind: b"message", last }, _) => Ok(Item::Message(last)),
            (Value::Array { kind: b"subscribe", .. }, _)
            | (Value::Status, Role::Publisher | Role::Writer(Cell::Log, _)) => Ok(Item::Ready),
            (Value::Text(_), Role::Writer(Cell::Log, _)) => {
                let id = self.answered;
                self.answered += 1;
                Ok(Item::Reply { id, version: 0 })
            }
            (Value::Text(sha), Role::Writer(..)) if *sha == SCRIPT_SHA1.as_bytes() => {
                Ok(Item::Ready)
            }
            (Value::Integer(version), Role::Writer(..)) => {
                let id = self.answered;
                self.answered += 1;
                Ok(Item::Reply { id, version: *version })
            }
            (Value::Integer(_), Role::Publisher) => Ok(Item::Nothing),
            (Value::Text(text), _) => Err(format!("Redis says '{}'", quote(text))),
            (Value::Array { kind, .. }, _) => Err(format!("Redis sends '{}'", quote(kind))),
            (Value::Status | Value::Integer(_), _) => {
                Err("Redis sends a status or a number to a subscriber".to_owned())
            }
        }
    }
}

impl Session for Redis {
    fn opening(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.role {
            Role::Publisher | Role::Writer(Cell::Log, _) => put_command(&mut out, &[b"PING"]),
            Role::Subscriber => put_command(&mut out, &[b"SUBSCRIBE", TOPIC.as_bytes()]),
            Role::Writer(..) => put_command(&mut out, &[b"SCRIPT", b"LOAD", SCRIPT.as_bytes()]),
            Role::Watcher(_) => put_command(&mut out, &[b"SUBSCRIBE", CELL.as_bytes()]),
        }
        out
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let Some((value, len)) = read(bytes)? else { return Ok(None) };
        Ok(Some((len, self.item(&value)?)))
    }
}

/// One reply and its length.
fn read(bytes: &[u8]) -> Result<Option<(Value<'_>, usize)>, String> {
    let Some((mark, text, mut at)) = line(bytes) else { return Ok(None) };
    let broken = || format!("'{}' is no RESP", quote(bytes));
    Ok(match mark {
        b'+' => Some((Value::Status, at)),
        b'-' => return Err(format!("Redis refuses: {}", quote(text))),
        b':' => Some((Value::Integer(decimal(text).ok_or_else(broken)?), at)),
        b'$' => bulk(bytes, text, at)?.map(|(text, end)| (Value::Text(text), end)),
        b'*' => {
            let count = decimal(text).filter(|count| *count > 0).ok_or_else(broken)?;
            let mut kind: &[u8] = &[];
            let mut last: &[u8] = &[];
            for number in 0..count {
                let rest = bytes.get(at..).unwrap_or_default();
                let Some((mark, text, head)) = line(rest) else { return Ok(None) };
                let (content, len) = match mark {
                    b'$' => match bulk(rest, text, head)? {
                        Some(bulk) => bulk,
                        None => return Ok(None),
                    },
                    b':' => (text, head),
                    _ => return Err(broken()),
                };
                if number == 0 {
                    kind = content;
                }
                last = content;
                at += len;
            }
            Some((Value::Array { kind, last }, at))
        }
        _ => return Err(broken()),
    })
}

/// The content of a bulk string whose head, with the length `text`, ends at `start`.
fn bulk<'a>(
    bytes: &'a [u8],
    text: &[u8],
    start: usize,
) -> Result<Option<(&'a [u8], usize)>, String> {
    let len = decimal(text)
        .and_then(|len| usize::try_from(len).ok())
        .filter(|len| *len <= crate::connection::ELEMENT_BYTES_MAX)
        .ok_or_else(|| format!("'{}' is no length", quote(text)))?;
    let (content, end) = (start + len, start + len + 2);
    match bytes.get(content..end) {
        Some(b"\r\n") => Ok(bytes.get(start..content).map(|content| (content, end))),
        Some(_) => Err("a text of RESP does not end where it should".to_owned()),
        None => Ok(None),
    }
}

/// The mark of a line, its text, and its length with the line end.
fn line(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (mark, text) = bytes.get(..end)?.split_first()?;
    Some((*mark, text.strip_suffix(b"\r").unwrap_or(text), end + 1))
}

fn put_command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends one publish command per payload.
pub(crate) fn put_publish(out: &mut Vec<u8>, payloads: &[&[u8]]) {
    for payload in payloads {
        put_command(out, &[b"PUBLISH", TOPIC.as_bytes(), payload]);
    }
}

/// Appends one append to the log, which Redis keeps as a stream.
pub(crate) fn put_append(out: &mut Vec<u8>) {
    put_command(out, &[b"XADD", LOG.as_bytes(), b"*", b"p", &LOG_PAYLOAD]);
}

/// Appends one increment.
pub(crate) fn put_increment(out: &mut Vec<u8>) {
    put_command(out, &[b"EVALSHA", SCRIPT_SHA1.as_bytes(), b"1", CELL.as_bytes()]);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hear, hear_split};
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_split() {
        let mut stream = b"*3\r\n$9\r\nsubscribe\r\n$9\r\npeers.fan\r\n:1\r\n".to_vec();
        for payload in [&b"one"[..], b"", b"with\r\nline\nends", &[0xff; 300]] {
            put_command(&mut stream, &[b"message", TOPIC.as_bytes(), payload]);
        }
        let heard = hear_split(|| Redis::new(Role::Subscriber), &stream);
        assert_eq!((heard.ready, heard.messages.len()), (1, 4));
        assert_eq!(heard.messages[2], b"with\r\nline\nends");
    }

    #[test]
    fn replies_are_numbered_in_order() {
        let stream = format!("$40\r\n{SCRIPT_SHA1}\r\n:7\r\n:9\r\n");
        let heard = hear_split(|| Redis::new(Role::Writer(Cell::Counter, 0)), stream.as_bytes());
        assert_eq!((heard.ready, heard.replies), (1, vec![(0, 7), (1, 9)]));
    }

    #[test]
    fn a_watcher_reads_values() {
        let mut stream = Vec::new();
        put_command(&mut stream, &[b"message", CELL.as_bytes(), b"41"]);
        let heard = hear_split(|| Redis::new(Role::Watcher(Cell::Counter)), &stream);
        assert_eq!(heard.updates, [41]);
    }

    #[test]
    fn what_is_no_resp_is_an_error() {
        for bad in [
            &b"-ERR no\r\n"[..],
            b"hello\r\n",
            b"*x\r\n",
            b"*1\r\n$2\r\nabc\r\n",
            b"$99999999999\r\n",
            b"*1\r\n+x\r\n",
            b":12a\r\n",
        ] {
            let refused = hear(&mut Redis::new(Role::Subscriber), bad, bad.len());
            assert!(refused.is_err(), "{}", quote(bad));
        }
    }
}
