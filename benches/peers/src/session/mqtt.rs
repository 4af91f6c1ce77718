//! MQTT 3.1.1 with QoS 0.

use super::{Item, Role, Session, Step, TOPIC, quote};
use crate::connection::ELEMENT_BYTES_MAX;

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBACK: u8 = 0x90;

/// One connection.
#[derive(Debug)]
pub(crate) struct Mqtt {
    role: Role,
}

impl Mqtt {
    pub(crate) fn new(role: Role) -> Self {
        Self { role }
    }

    fn item<'a>(&self, kind: u8, content: &'a [u8]) -> Result<Item<'a>, String> {
        match (kind, content) {
            (CONNACK, [_, 0]) if self.role == Role::Publisher => Ok(Item::Ready),
            (CONNACK, [_, 0]) => Ok(Item::Answer(subscribe())),
            (CONNACK, [_, code]) => Err(format!("the broker refuses with return code {code}")),
            (SUBACK, [_, _, 0]) => Ok(Item::Ready),
            (SUBACK, _) => Err("the broker refuses the subscription".to_owned()),
            (PUBLISH, [high, low, rest @ ..]) => rest
                .get(usize::from(u16::from_be_bytes([*high, *low]))..)
                .map(Item::Message)
                .ok_or_else(|| "a topic is longer than its packet".to_owned()),
            _ => Err(format!("packet type {kind:#x} is not expected: '{}'", quote(content))),
        }
    }
}

impl Session for Mqtt {
    /// A clean session, no keep-alive, an identifier of the broker's choice.
    fn opening(&self) -> Vec<u8> {
        vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0x02, 0, 0, 0, 0]
    }

    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let Some((kind, after_kind)) = bytes.split_first() else { return Ok(None) };
        let Some((len, digits)) = remaining_length(after_kind)? else { return Ok(None) };
        let start = 1 + digits;
        let Some(content) = bytes.get(start..start + len) else { return Ok(None) };
        Ok(Some((start + len, self.item(*kind, content)?)))
    }
}

/// The length of what follows, and how many bytes say so.
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut len = 0_usize;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            let fits = len <= ELEMENT_BYTES_MAX;
            let refuse = || format!("a packet of {len} bytes is too long");
            return fits.then_some(Some((len, place + 1))).ok_or_else(refuse);
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err("a length has more than 4 bytes".to_owned()) }
}

fn put_length(out: &mut Vec<u8>, mut len: usize) {
    loop {
        let digit = u8::try_from(len & 0x7f).unwrap_or_default();
        len >>= 7;
        out.push(if len > 0 { digit | 0x80 } else { digit });
        if len == 0 {
            return;
        }
    }
}

fn put_topic(out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(TOPIC.len()).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(TOPIC.as_bytes());
}

fn subscribe() -> Vec<u8> {
    let mut out = vec![0x82];
    put_length(&mut out, 2 + 2 + TOPIC.len() + 1);
    out.extend_from_slice(&[0, 1]);
    put_topic(&mut out);
    out.push(0);
    out
}

/// Appends one publish packet per payload.
pub(crate) fn put_publish(out: &mut Vec<u8>, payloads: &[&[u8]]) {
    for payload in payloads {
        out.push(PUBLISH);
        put_length(out, 2 + TOPIC.len() + payload.len());
        put_topic(out);
        out.extend_from_slice(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hear, hear_split};
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_split() {
        let mut stream = vec![CONNACK, 2, 0, 0, SUBACK, 3, 0, 1, 0];
        put_publish(&mut stream, &[b"one", b"", &[7; 128], &[8; 20_000]]);
        let heard = hear_split(|| Mqtt::new(Role::Subscriber), &stream);
        assert_eq!((heard.ready, heard.messages.len()), (1, 4));
        assert_eq!(heard.answers, [subscribe()]);
        assert_eq!(heard.messages[3], [8; 20_000]);
    }

    #[test]
    fn a_publisher_is_ready_without_a_subscription() {
        let heard = hear_split(|| Mqtt::new(Role::Publisher), &[CONNACK, 2, 0, 0]);
        assert_eq!((heard.ready, heard.answers.len()), (1, 0));
    }

    #[test]
    fn refusals_and_broken_packets_are_errors() {
        for bad in [
            &[CONNACK, 2, 0, 5][..],
            &[SUBACK, 3, 0, 1, 0x80],
            &[PUBLISH, 3, 0, 9, b'x'],
            &[PUBLISH, 0xff, 0xff, 0xff, 0xff],
            &[PUBLISH, 0xff, 0xff, 0xff, 0x7f],
            &[0xf0, 0],
        ] {
            let refused = hear(&mut Mqtt::new(Role::Subscriber), bad, bad.len());
            assert!(refused.is_err(), "{bad:?}");
        }
    }
}
