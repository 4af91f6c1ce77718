//! Centrifugo: its bidirectional protocol over WebSocket, in Protobuf. A message of the WebSocket
//! holds replies (or commands), each behind its length as a varint.

use super::{Item, Role, Session, Step, TOPIC, quote, websocket};
use crate::connection::ELEMENT_BYTES_MAX;
use websocket::Front;

const PATH: &str = "/connection/websocket";
const SUBPROTOCOL: &str = "centrifuge-protobuf";

/// Requests of the opening; a publication's id says nothing.
const CONNECT_ID: u64 = 1;
const SUBSCRIBE_ID: u64 = 2;
const PUBLISH_ID: u64 = 3;

/// Protobuf's wire types.
const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Numbers of fields: of a command, of a reply, of a push, of a publication.
const COMMAND_CONNECT: u64 = 4;
const COMMAND_SUBSCRIBE: u64 = 5;
const COMMAND_PUBLISH: u64 = 7;
const REPLY_ERROR: u64 = 2;
const REPLY_PUSH: u64 = 4;
const PUSH_PUBLICATION: u64 = 4;
const PUBLICATION_DATA: u64 = 4;

/// One connection.
#[derive(Debug)]
pub(crate) struct Centrifugo {
    role: Role,
    opened: bool,
    /// Bytes of the WebSocket's message that are still to come.
    left: u64,
}

impl Centrifugo {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, opened: false, left: 0 }
    }

    fn introduction(&self) -> Vec<u8> {
        let mut commands = Vec::new();
        put_command(&mut commands, CONNECT_ID, COMMAND_CONNECT, &[]);
        if self.role == Role::Subscriber {
            let mut subscribe = Vec::new();
            put_field(&mut subscribe, 1, TOPIC.as_bytes());
            put_command(&mut commands, SUBSCRIBE_ID, COMMAND_SUBSCRIBE, &subscribe);
        }
        let mut out = Vec::new();
        websocket::put_message(&mut out, &commands);
        out
    }

    fn item<'a>(&self, reply: &'a [u8]) -> Result<Item<'a>, String> {
        if reply.is_empty() {
            // A ping, answered by an empty command.
            let mut pong = Vec::new();
            websocket::put_message(&mut pong, &[0]);
            return Ok(Item::Answer(pong));
        }
        let mut id = 0;
        let mut rest = reply;
        while let Some((number, value)) = field(&mut rest)? {
            match (number, value) {
                (1, Value::Number(number)) => id = number,
                (REPLY_ERROR, _) => return Err(format!("Centrifugo refuses: {}", quote(reply))),
                (REPLY_PUSH, Value::Bytes(push)) => return publication(push),
                _ => {}
            }
        }
        let last = if self.role == Role::Subscriber { SUBSCRIBE_ID } else { CONNECT_ID };
        Ok(if id == last { Item::Ready } else { Item::Nothing })
    }
}

impl Session for Centrifugo {
    fn opening(&self) -> Vec<u8> {
        websocket::request(PATH, SUBPROTOCOL)
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        if !self.opened {
            let Some(len) = websocket::accepted(bytes)? else { return Ok(None) };
            self.opened = true;
            return Ok(Some((len, Item::Answer(self.introduction()))));
        }
        if self.left == 0 {
            return Ok(match websocket::front(bytes)? {
                None => None,
                Some(Front::Message { header, len }) => {
                    self.left = len;
                    Some((header, Item::Nothing))
                }
                Some(Front::Ping { whole, pong }) => Some((whole, Item::Answer(pong))),
                Some(Front::Pong { whole }) => Some((whole, Item::Nothing)),
            });
        }
        let mut rest = bytes;
        let Some(len) = varint(&mut rest)? else { return Ok(None) };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let whole = (bytes.len() - rest.len()).saturating_add(len);
        if len > ELEMENT_BYTES_MAX || whole as u64 > self.left {
            return Err("a reply of Centrifugo is longer than its message".to_owned());
        }
        let Some(reply) = rest.get(..len) else { return Ok(None) };
        self.left -= whole as u64;
        Ok(Some((whole, self.item(reply)?)))
    }
}

/// The payload of a push, if it is a publication.
fn publication(push: &[u8]) -> Result<Item<'_>, String> {
    let mut rest = push;
    while let Some((number, value)) = field(&mut rest)? {
        if let (PUSH_PUBLICATION, Value::Bytes(mut publication)) = (number, value) {
            while let Some((number, value)) = field(&mut publication)? {
                if let (PUBLICATION_DATA, Value::Bytes(data)) = (number, value) {
                    return Ok(Item::Message(data));
                }
            }
        }
    }
    Ok(Item::Nothing)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The next field of a message of Protobuf.
fn field<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, String> {
    if rest.is_empty() {
        return Ok(None);
    }
    let broken = || "a reply of Centrifugo is no Protobuf".to_owned();
    let key = varint(rest)?.ok_or_else(broken)?;
    let number = varint(rest)?.ok_or_else(broken)?;
    match key & 7 {
        VARINT => Ok(Some((key >> 3, Value::Number(number)))),
        BYTES => {
            let len = usize::try_from(number).unwrap_or(usize::MAX);
            let (content, after) = rest.split_at_checked(len).ok_or_else(broken)?;
            *rest = after;
            Ok(Some((key >> 3, Value::Bytes(content))))
        }
        _ => Err(broken()),
    }
}

/// Takes a varint; `None` if it is cut off.
fn varint(rest: &mut &[u8]) -> Result<Option<u64>, String> {
    let mut number = 0_u64;
    for (place, byte) in rest.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            *rest = rest.get(place + 1..).unwrap_or_default();
            return Ok(Some(number));
        }
    }
    if rest.len() < 10 { Ok(None) } else { Err("a varint has more than 10 bytes".to_owned()) }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(0x80 | u8::try_from(number & 0x7f).unwrap_or_default());
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

fn put_field(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_varint(out, number << 3 | BYTES);
    put_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn put_command(out: &mut Vec<u8>, id: u64, number: u64, request: &[u8]) {
    let mut command = Vec::with_capacity(request.len() + 16);
    put_varint(&mut command, 1 << 3 | VARINT);
    put_varint(&mut command, id);
    put_field(&mut command, number, request);
    put_varint(out, command.len() as u64);
    out.extend_from_slice(&command);
}

/// Appends one publish command per payload, all in one message of the WebSocket.
pub(crate) fn put_publish(out: &mut Vec<u8>, payloads: &[&[u8]]) {
    let mut commands = Vec::new();
    for payload in payloads {
        let mut publish = Vec::with_capacity(payload.len() + 24);
        put_field(&mut publish, 1, TOPIC.as_bytes());
        put_field(&mut publish, 2, payload);
        put_command(&mut commands, PUBLISH_ID, COMMAND_PUBLISH, &publish);
    }
    websocket::put_message(out, &commands);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hear, hear_split};
    use super::websocket::server_message;
    use super::*;

    const ACCEPT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";

    fn push(payload: &[u8]) -> Vec<u8> {
        let mut publication = Vec::new();
        put_field(&mut publication, PUBLICATION_DATA, payload);
        put_field(&mut publication, 5, b"\x12\x02id");
        let mut push = Vec::new();
        put_field(&mut push, 2, TOPIC.as_bytes());
        put_field(&mut push, PUSH_PUBLICATION, &publication);
        let mut reply = Vec::new();
        put_field(&mut reply, REPLY_PUSH, &push);
        let mut out = Vec::new();
        put_varint(&mut out, reply.len() as u64);
        out.extend_from_slice(&reply);
        out
    }

    #[test]
    fn publications_are_counted_however_the_bytes_are_split() {
        let mut replies = Vec::new();
        put_command(&mut replies, CONNECT_ID, 5, b"");
        put_command(&mut replies, SUBSCRIBE_ID, 6, b"");
        let two = [push(b"one"), push(&[9; 300])].concat();
        let stream = [
            ACCEPT,
            &server_message(&replies),
            &server_message(&two),
            &server_message(&[0]),
            &server_message(&push(b"")),
        ]
        .concat();
        let heard = hear_split(|| Centrifugo::new(Role::Subscriber), &stream);
        assert_eq!((heard.ready, heard.messages.len(), heard.answers.len()), (1, 3, 2));
        assert_eq!(heard.messages[1], [9; 300]);
    }

    #[test]
    fn refusals_and_broken_replies_are_errors() {
        let mut refusal = Vec::new();
        put_command(&mut refusal, SUBSCRIBE_ID, REPLY_ERROR, b"\x08\x67");
        for bad in [&refusal[..], &[9, 1], &[2, 0x0b, 0], &[3, 0x22, 9, 0]] {
            let stream = [ACCEPT, &server_message(bad)].concat();
            let refused = hear(&mut Centrifugo::new(Role::Subscriber), &stream, stream.len());
            assert!(refused.is_err(), "{bad:?}");
        }
    }
}
