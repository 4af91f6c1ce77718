//! NATS: its lines, core publish and subscribe, and JetStream's counters.

use super::{CELL, Cell, Item, LOG_PAYLOAD, Role, Session, Step, TOPIC, decimal, quote};
use crate::connection::ELEMENT_BYTES_MAX;

/// Headers of an increment by one.
const INCREMENT: &str = "NATS/1.0\r\nNats-Incr: 1\r\n\r\n";
/// Where new totals are passed on to the watchers.
const TOTALS: &str = "totals";
/// The request that creates [`consumer`].
const CONSUMER: &str = "CONSUMER.DURABLE.CREATE.PEERS.totals";

/// One connection.
#[derive(Debug)]
pub(crate) struct Nats {
    role: Role,
    introduced: bool,
}

impl Nats {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, introduced: false }
    }

    /// What is sent when the server has introduced itself.
    fn introduction(&self) -> Vec<u8> {
        let mut out = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\
                       \"no_responders\":true,\"lang\":\"peers\",\"version\":\"1\"}\r\n"
            .to_owned();
        match self.role {
            Role::Publisher => {}
            Role::Subscriber => out.push_str(&format!("SUB {TOPIC} 1\r\n")),
            Role::Watcher(_) => out.push_str(&format!("SUB {TOTALS} 1\r\n")),
            Role::Writer(cell, writer) => {
                out.push_str(&format!("SUB _R{writer}.* 1\r\n"));
                let requests = match cell.log_of(writer) {
                    Some(log) => vec![log_stream(&log, cell.copies())],
                    None => vec![
                        ("STREAM.CREATE.PEERS".to_owned(), stream()),
                        (CONSUMER.to_owned(), consumer()),
                    ],
                };
                for (request, json) in requests {
                    let len = json.len();
                    let command = format!("PUB $JS.API.{request} _R{writer}.c {len}\r\n{json}\r\n");
                    out.push_str(&command);
                }
                return out.into_bytes();
            }
        }
        out.push_str("PING\r\n");
        out.into_bytes()
    }

    /// What a delivered message is. `head` is the line behind `MSG ` or `HMSG `.
    fn message<'a>(&self, head: &[u8], payload: &'a [u8]) -> Result<Item<'a>, String> {
        match self.role {
            Role::Publisher | Role::Subscriber => Ok(Item::Message(payload)),
            Role::Watcher(_) => Ok(Item::Update(total(payload)?)),
            Role::Writer(cell, _) => {
                let subject = head.split(|byte| *byte == b' ').next().unwrap_or_default();
                let name = subject.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
                let logs = matches!(cell, Cell::Log | Cell::Copied { .. });
                match decimal(name) {
                    Some(id) if !logs => Ok(Item::Reply { id, version: total(payload)? }),
                    Some(id) if contains(payload, b"\"seq\"") => Ok(Item::Reply { id, version: 0 }),
                    Some(_) => Err(format!("NATS does not append: {}", quote(payload))),
                    None if contains(payload, b"\"error\"") => {
                        Err(format!("NATS does not create the stream: {}", quote(payload)))
                    }
                    None if contains(payload, b"consumer_create_response") => Ok(Item::Ready),
                    None if logs => Ok(Item::Ready),
                    None => Ok(Item::Nothing),
                }
            }
        }
    }
}

impl Session for Nats {
    /// The server speaks first.
    fn opening(&self) -> Vec<u8> {
        Vec::new()
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line = bytes.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let start = end + 1;
        if let Some(head) = line.strip_prefix(b"MSG ") {
            let [_, len] = sizes(line, head)?;
            return Ok(match payload(bytes, start, 0, len)? {
                Some((payload, end)) => Some((end, self.message(head, payload)?)),
                None => None,
            });
        }
        if let Some(head) = line.strip_prefix(b"HMSG ") {
            let [headers, len] = sizes(line, head)?;
            return Ok(match payload(bytes, start, headers, len)? {
                Some((payload, end)) => Some((end, self.message(head, payload)?)),
                None => None,
            });
        }
        let item = match line.split(|byte| *byte == b' ').next().unwrap_or_default() {
            b"INFO" if !self.introduced => {
                self.introduced = true;
                Item::Answer(self.introduction())
            }
            b"INFO" => Item::Nothing,
            b"PING" => Item::Answer(b"PONG\r\n".to_vec()),
            b"PONG" => Item::Ready,
            b"+OK" => Item::Nothing,
            _ => return Err(format!("NATS says: {}", quote(line))),
        };
        Ok(Some((start, item)))
    }
}

/// The last two words of a message's head: for `HMSG` the sizes of the headers and of all, for
/// `MSG` something else and the size.
fn sizes(line: &[u8], head: &[u8]) -> Result<[usize; 2], String> {
    let mut words = head.rsplit(|byte| *byte == b' ');
    let mut size = || decimal(words.next()?).and_then(|size| usize::try_from(size).ok());
    let all = size().filter(|all| *all <= ELEMENT_BYTES_MAX);
    let headers = size();
    match (all, headers) {
        (Some(all), headers) => Ok([headers.unwrap_or_default(), all]),
        (None, _) => Err(format!("'{}' has no size of a message", quote(line))),
    }
}

/// The message without its headers, and where it and its line end stop.
fn payload(
    bytes: &[u8],
    start: usize,
    headers: usize,
    len: usize,
) -> Result<Option<(&[u8], usize)>, String> {
    let end = start + len;
    match bytes.get(end..end + 2) {
        Some(b"\r\n") => match bytes.get(start + headers..end) {
            Some(payload) => Ok(Some((payload, end + 2))),
            None => Err("a message's headers are longer than the message".to_owned()),
        },
        Some(_) => Err("a message of NATS does not end where it should".to_owned()),
        None => Ok(None),
    }
}

/// The counter's total in an acknowledgement or in a stored message.
fn total(json: &[u8]) -> Result<u64, String> {
    const KEY: &[u8] = b"\"val\":\"";
    let missing = || format!("'{}' holds no total", quote(json));
    let at = json.windows(KEY.len()).position(|window| window == KEY).ok_or_else(missing)?;
    let digits = json.get(at + KEY.len()..).unwrap_or_default();
    let digits = digits.split(|byte| *byte == b'"').next().unwrap_or_default();
    decimal(digits).ok_or_else(missing)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The stream of the counter: in memory, and only the newest total.
fn stream() -> String {
    format!(
        "{{\"name\":\"PEERS\",\"subjects\":[\"{CELL}\"],\"storage\":\"memory\",\
         \"retention\":\"limits\",\"max_msgs_per_subject\":1,\"num_replicas\":1,\
         \"allow_direct\":true,\"allow_msg_counter\":true}}"
    )
}

/// The request that makes the stream that is a log on disk, and what it says.
fn log_stream(log: &str, copies: usize) -> (String, String) {
    let name = log.replace('.', "_");
    let json = format!(
        "{{\"name\":\"{name}\",\"subjects\":[\"{log}\"],\"storage\":\"file\",\
         \"retention\":\"limits\",\"num_replicas\":{copies}}}"
    );
    (format!("STREAM.CREATE.{name}"), json)
}

/// The consumer that passes new totals on. One for all watchers: one each costs the server more,
/// and so does `republish`, which adds five headers to every total.
fn consumer() -> String {
    format!(
        "{{\"stream_name\":\"PEERS\",\"config\":{{\"durable_name\":\"totals\",\
         \"deliver_subject\":\"{TOTALS}\",\"deliver_policy\":\"new\",\
         \"ack_policy\":\"none\",\"replay_policy\":\"instant\",\"mem_storage\":true}}}}"
    )
}

/// Appends one publish command per payload.
pub(crate) fn put_publish(out: &mut Vec<u8>, payloads: &[&[u8]]) {
    for payload in payloads {
        out.extend_from_slice(format!("PUB {TOPIC} {}\r\n", payload.len()).as_bytes());
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends increments, or appends to the writer's log, each answered under its number.
pub(crate) fn put_increments(out: &mut Vec<u8>, cell: Cell, writer: usize, ids: &[u64]) {
    match cell.log_of(writer) {
        Some(log) => ids.iter().for_each(|id| put_append(out, &log, writer, *id)),
        None => ids.iter().for_each(|id| put_increment(out, writer, *id)),
    }
}

fn put_append(out: &mut Vec<u8>, log: &str, writer: usize, id: u64) {
    let len = LOG_PAYLOAD.len();
    out.extend_from_slice(format!("PUB {log} _R{writer}.{id} {len}\r\n").as_bytes());
    out.extend_from_slice(&LOG_PAYLOAD);
    out.extend_from_slice(b"\r\n");
}

fn put_increment(out: &mut Vec<u8>, writer: usize, id: u64) {
    let len = INCREMENT.len();
    let command = format!("HPUB {CELL} _R{writer}.{id} {len} {len}\r\n{INCREMENT}\r\n");
    out.extend_from_slice(command.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::Cell;
    use super::super::testing::{hear, hear_split};
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_split() {
        let stream = b"INFO {\"version\":\"2\"}\r\nINFO {}\r\nPONG\r\nMSG peers.fan 1 3\r\none\r\n\
            MSG peers.fan 1 9\r\nMSG x 1\r\n\r\nPING\r\nMSG peers.fan 1 _R.x 0\r\n\r\n\
            HMSG peers.fan 1 12 15\r\nNATS/1.0\r\n\r\nabc\r\n";
        let heard = hear_split(|| Nats::new(Role::Subscriber), stream);
        assert_eq!(heard.ready, 1);
        assert_eq!(heard.messages, [&b"one"[..], b"MSG x 1\r\n", b"", b"abc"]);
        assert_eq!(heard.answers.len(), 2);
        assert_eq!(heard.answers[1], b"PONG\r\n");
    }

    #[test]
    fn a_writer_reads_totals_under_their_numbers() {
        let stream = b"MSG _R3.c 1 14\r\n{\"type\":\"...\"}\r\n\
            MSG _R3.c 1 35\r\n{\"type\":\"consumer_create_response\"}\r\n\
            MSG _R3.15 1 34\r\n{\"stream\":\"C\",\"seq\":1,\"val\":\"123\"}\r\n";
        let heard = hear_split(|| Nats::new(Role::Writer(Cell::Counter, 0)), stream);
        assert_eq!((heard.ready, heard.replies), (1, vec![(15, 123)]));
    }

    #[test]
    fn a_writer_makes_its_log_and_appends_to_it() {
        let role = Role::Writer(Cell::Copied { logs: 4 }, 6);
        let opening = b"INFO {}\r\nMSG _R6.c 1 10\r\n{\"config\":\r\n";
        let heard = hear_split(|| Nats::new(role.clone()), opening);
        assert_eq!(heard.ready, 1);
        let said = String::from_utf8(heard.answers[0].clone()).unwrap();
        assert!(said.contains("PUB $JS.API.STREAM.CREATE.peers_log_2 _R6.c "), "{said}");
        assert!(said.contains("\"subjects\":[\"peers.log.2\"]"), "{said}");
        assert!(said.contains("\"num_replicas\":3"), "{said}");
        let mut out = Vec::new();
        put_increments(&mut out, Cell::Copied { logs: 4 }, 6, &[41]);
        assert!(out.starts_with(b"PUB peers.log.2 _R6.41 128\r\nxxx"), "{}", quote(&out));
    }

    #[test]
    fn a_watcher_reads_totals_behind_headers() {
        let stream = b"HMSG totals.peers.cell 1 12 23\r\nNATS/1.0\r\n\r\n{\"val\":\"7\"}\r\n";
        let heard = hear_split(|| Nats::new(Role::Watcher(Cell::Counter)), stream);
        assert_eq!(heard.updates, [7]);
    }

    #[test]
    fn what_nats_refuses_or_breaks_is_an_error() {
        for bad in [
            &b"-ERR 'Slow Consumer'\r\n"[..],
            b"MSG peers.fan 1 x\r\n",
            b"MSG peers.fan 1 2\r\nabcd\r\n",
            b"MSG peers.fan 1 99999999\r\n",
            b"HMSG peers.fan 1 9 4\r\nabcd\r\n",
            b"hello\r\n",
        ] {
            let refused = hear(&mut Nats::new(Role::Subscriber), bad, bad.len());
            assert!(refused.is_err(), "{}", quote(bad));
        }
        let refused = b"MSG _R3.c 1 14\r\n{\"error\":null}\r\n";
        let mut writer = Nats::new(Role::Writer(Cell::Counter, 0));
        assert!(hear(&mut writer, refused, refused.len()).is_err());
    }
}
