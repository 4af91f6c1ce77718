//! The client's side of the WebSocket: the handshake, headers of frames, masked messages.

use super::quote;
use crate::connection::ELEMENT_BYTES_MAX;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Any four bytes mask as well as others.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x17, 0x88];

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// The header of a binary message with so much content behind it.
    Message { header: usize, len: u64 },
    /// A whole ping with its header, and the answer to it.
    Ping { whole: usize, pong: Vec<u8> },
    /// A whole pong with its header.
    Pong { whole: usize },
}

/// Reads what stands at the front; `None` until more has come.
///
/// # Errors
/// When the server closes, or sends what the benchmarked protocols never send.
pub(crate) fn front(bytes: &[u8]) -> Result<Option<Front>, String> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return Err("a WebSocket frame is fragmented, compressed or masked".to_owned());
    }
    let width = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(digits) = rest.get(..width) else { return Ok(None) };
    let header = 2 + width;
    let len = match width {
        0 => u64::from(second & 0x7f),
        _ => digits.iter().fold(0, |len, digit| len << 8 | u64::from(*digit)),
    };
    if first & 0x0f == BINARY {
        return Ok(Some(Front::Message { header, len }));
    }
    let whole = header + usize::try_from(len).unwrap_or(usize::MAX).min(ELEMENT_BYTES_MAX);
    let Some(content) = bytes.get(header..whole) else { return Ok(None) };
    match first & 0x0f {
        PING => {
            let mut pong = Vec::new();
            put_frame(&mut pong, PONG, content);
            Ok(Some(Front::Ping { whole, pong }))
        }
        PONG => Ok(Some(Front::Pong { whole })),
        CLOSE => {
            let status = content.get(..2).unwrap_or_default();
            let status = status.iter().fold(0_u16, |status, byte| status << 8 | u16::from(*byte));
            let reason = quote(content.get(2..).unwrap_or_default());
            Err(format!("the server closes with status {status}: {reason}"))
        }
        other => Err(format!("a WebSocket frame with opcode {other} is not expected")),
    }
}

/// The request that opens a WebSocket.
pub(crate) fn request(path: &str, subprotocol: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    .into_bytes()
}

/// The length of the answer to [`request`]; `None` until all of it has come.
///
/// # Errors
/// When the server answers with anything but 101.
pub(crate) fn accepted(bytes: &[u8]) -> Result<Option<usize>, String> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(at) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    if bytes.starts_with(b"HTTP/1.1 101 ") {
        return Ok(Some(at + END.len()));
    }
    Err(format!("the server does not open a WebSocket: {}", quote(bytes)))
}

/// Appends a binary message.
pub(crate) fn put_message(out: &mut Vec<u8>, content: &[u8]) {
    put_frame(out, BINARY, content);
}

fn put_frame(out: &mut Vec<u8>, opcode: u8, content: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(content.len()), u16::try_from(content.len())) {
        (Ok(len), _) if len < 126 => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            let len = u64::try_from(content.len()).unwrap_or(u64::MAX);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(content.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A binary message as a server sends it.
#[cfg(test)]
pub(crate) fn server_message(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(&mut out, BINARY, content);
    let header = out.len() - content.len() - MASK.len();
    out.truncate(header);
    out[1] &= 0x7f;
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_three_widths_are_read() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let message = server_message(&vec![7; len]);
            let header = message.len() - len;
            for cut in 0..header {
                assert_eq!(front(&message[..cut]), Ok(None), "{cut} of {header}");
            }
            let expected = Front::Message { header, len: len as u64 };
            assert_eq!(front(&message), Ok(Some(expected)));
        }
    }

    #[test]
    fn a_ping_is_answered_with_its_content() {
        let Ok(Some(Front::Ping { whole: 4, pong })) = front(&[0x89, 2, b'h', b'i', 9]) else {
            panic!("no ping");
        };
        assert_eq!(pong[..2], [0x8a, 0x82]);
        assert_eq!(pong[6] ^ pong[2], b'h');
        assert_eq!(front(&[0x89, 2, b'h']), Ok(None));
    }

    #[test]
    fn what_servers_do_not_send_is_an_error() {
        assert!(front(&[0x88, 2, 3, 0xe8]).unwrap_err().contains("1000"));
        for bad in [&[0x02, 1][..], &[0xc2, 1], &[0x82, 0x81], &[0x81, 1, b'x']] {
            assert!(front(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_status_101_opens() {
        let accept = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nrest";
        assert_eq!(accepted(accept), Ok(Some(accept.len() - 4)));
        assert_eq!(accepted(&accept[..40]), Ok(None));
        assert!(accepted(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
    }
}
