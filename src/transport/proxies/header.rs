//! The PROXY header that a TCP connection begins with, in its text form and its binary form (HAProxy,
//! "The PROXY protocol", versions 1 and 2). Not a byte beyond it is read.

use std::net::IpAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The text form begins so.
const TEXT_BEGIN: &[u8] = b"PROXY ";
/// Longest text form in bytes, with its line end (section 2.1).
const TEXT_BYTES_MAX: usize = 107;
/// Bytes of what a binary form says of itself, after which its length is known (section 2.2).
const BINARY_BEGIN_BYTES: usize = 16;
/// Longest rest of a binary form in bytes: addresses, and what the proxy says beyond them.
const BINARY_REST_BYTES_MAX: usize = 4 * 1024;

/// Why there is no PROXY header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The connection ended or broke within it.
    #[error("the connection ends within its PROXY header: {0}")]
    Cut(#[from] std::io::Error),
    /// The connection begins with something else.
    #[error(
        "the connection does not begin with a PROXY header: let the proxy send one, or set \
         proxy.proxy_protocol = false"
    )]
    Missing,
    /// It is longer than any that is needed.
    #[error("the PROXY header has more than {0} bytes")]
    TooLong(usize),
    /// It breaks a rule.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(String),
}

/// Reads the header; returns the address that it stands for. Nothing: the proxy speaks for itself (a
/// health check), or does not say for whom.
pub(super) async fn read<R: AsyncRead + Unpin>(
    from: &mut R,
) -> Result<Option<IpAddr>, HeaderError> {
    // Shorter than the shortest of either form.
    let mut begin = [0; v2::PROTOCOL_PREFIX.len()];
    from.read_exact(&mut begin).await?;
    let mut header = begin.to_vec();
    if header == v2::PROTOCOL_PREFIX {
        header.resize(BINARY_BEGIN_BYTES, 0);
        from.read_exact(header.get_mut(begin.len()..).unwrap_or_default()).await?;
        let rest = header.last_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
        if rest > BINARY_REST_BYTES_MAX {
            return Err(HeaderError::TooLong(BINARY_BEGIN_BYTES + BINARY_REST_BYTES_MAX));
        }
        header.resize(BINARY_BEGIN_BYTES + rest, 0);
        from.read_exact(header.get_mut(BINARY_BEGIN_BYTES..).unwrap_or_default()).await?;
        return binary(&header);
    }
    if !header.starts_with(TEXT_BEGIN) {
        return Err(HeaderError::Missing);
    }
    // Its length is not known before its end, and what comes behind is not the header's.
    while header.last() != Some(&b'\n') {
        if header.len() == TEXT_BYTES_MAX {
            return Err(HeaderError::TooLong(TEXT_BYTES_MAX));
        }
        header.push(from.read_u8().await?);
    }
    text(&header)
}

fn text(bytes: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let malformed = |rule: &dyn std::fmt::Display| HeaderError::Malformed(rule.to_string());
    let header = v1::Header::try_from(bytes).map_err(|error| malformed(&error))?;
    if header.header.len() != bytes.len() {
        return Err(malformed(&"it goes on behind its end"));
    }
    Ok(match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
    })
}

fn binary(bytes: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let malformed = |rule: &dyn std::fmt::Display| HeaderError::Malformed(rule.to_string());
    let header = v2::Header::try_from(bytes).map_err(|error| malformed(&error))?;
    for further in header.tlvs() {
        further.map_err(|error| malformed(&error))?;
    }
    if header.command == v2::Command::Local {
        return Ok(None);
    }
    match (header.protocol, header.addresses) {
        (v2::Protocol::Stream, v2::Addresses::IPv4(addresses)) => {
            Ok(Some(addresses.source_address.into()))
        }
        (v2::Protocol::Stream, v2::Addresses::IPv6(addresses)) => {
            Ok(Some(addresses.source_address.into()))
        }
        (v2::Protocol::Unspecified, v2::Addresses::Unspecified) => Ok(None),
        (protocol, _) => Err(malformed(&format!(
            "its addresses are not those of a TCP connection ({protocol:?})"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    /// What comes of these bytes, and how many are left behind the header.
    fn take(bytes: &[u8]) -> (Result<Option<IpAddr>, HeaderError>, usize) {
        let mut from = bytes;
        let outcome = read(&mut from).now_or_never().expect("it waits for nothing");
        (outcome, from.len())
    }

    fn source(bytes: &[u8]) -> String {
        match take(bytes).0 {
            Ok(source) => source.map_or("itself".to_owned(), |source| source.to_string()),
            Err(error) => error.to_string(),
        }
    }

    /// A binary header with this command, this family and these bytes.
    fn with(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0xd0, 0x01, 0x1c, 0x03];

    #[test]
    fn both_forms_say_who_it_is() {
        assert_eq!(source(b"PROXY TCP4 203.0.113.7 10.0.0.1 53249 7171\r\nGET /"), "203.0.113.7");
        assert_eq!(source(b"PROXY TCP6 2001:db8::7 ::1 53249 7171\r\n"), "2001:db8::7");
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), "itself");
        assert_eq!(source(b"PROXY UNKNOWN ffff::1 whatever\r\n"), "itself");
        assert_eq!(source(&with(0x21, 0x11, &FOUR)), "203.0.113.7");
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 20]].concat();
        assert_eq!(source(&with(0x21, 0x21, &six)), "2001:db8::7");
        let more = [&FOUR[..], &[0x05, 0, 2, 1, 2, 0x04, 0, 0]].concat();
        assert_eq!(source(&with(0x21, 0x11, &more)), "203.0.113.7", "with more than the addresses");
        assert_eq!(source(&with(0x20, 0x11, &FOUR)), "itself", "a health check");
        assert_eq!(source(&with(0x20, 0, &[])), "itself");
        assert_eq!(source(&with(0x21, 0, &[])), "itself");
    }

    #[test]
    fn what_comes_behind_is_left() {
        assert_eq!(take(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n").1, 16);
        assert_eq!(take(&[with(0x21, 0x11, &FOUR), b"GET /".to_vec()].concat()).1, 5);
    }

    #[test]
    fn what_is_none_is_refused() {
        for (bytes, says) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "does not begin with a PROXY header"),
            (b"PROXY TCP4 1.1.1.1", "ends within"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n", "malformed"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r \n", "malformed"),
            (b"PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n", "malformed"),
            (b"PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n", "malformed"),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", "malformed"),
            (b"PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n", "malformed"),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", "malformed"),
            (b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", "malformed"),
            (b"PROXY\tTCP4 1.1.1.1 2.2.2.2 1 2\r\n", "does not begin"),
            (&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(), "more than 107 bytes"),
            (&with(0x31, 0x11, &FOUR), "malformed"),
            (&with(0x22, 0x11, &FOUR), "malformed"),
            (&with(0x21, 0x12, &FOUR), "not those of a TCP connection"),
            (&with(0x21, 0x31, &[0; 216]), "not those of a TCP connection"),
            (&with(0x21, 0x11, &FOUR[..11]), "malformed"),
            (&with(0x21, 0x11, &[&FOUR[..], &[4, 0, 9, 0]].concat()), "malformed"),
            (&with(0x21, 0x11, &[0; 5_000]), "more than 4112 bytes"),
            (&with(0x21, 0x11, &FOUR)[..20], "ends within"),
        ] {
            let said = source(bytes);
            assert!(said.contains(says), "{bytes:?}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_read_on(
            text: bool,
            begin in 0..20_usize,
            rest in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let whole = with(0x21, 0x11, &FOUR);
            let form = if text { b"PROXY TCP4 1.1.1.1 2".as_slice() } else { whole.as_slice() };
            let bytes = [form.get(..begin).unwrap(), rest.as_slice()].concat();
            let (outcome, left) = take(&bytes);
            let read = bytes.len() - left;
            prop_assert!(read <= BINARY_BEGIN_BYTES + BINARY_REST_BYTES_MAX);
            if outcome.is_ok() && bytes.starts_with(TEXT_BEGIN) {
                prop_assert!(read <= TEXT_BYTES_MAX && bytes[..read].ends_with(b"\r\n"));
            }
        }

        #[test]
        fn every_address_comes_through(source_of: IpAddr, port: u16, further in 0..100_u16) {
            let (name, family, octets) = match source_of {
                IpAddr::V4(address) => ("TCP4", 0x11, address.octets().to_vec()),
                IpAddr::V6(address) => ("TCP6", 0x21, address.octets().to_vec()),
            };
            let text = format!("PROXY {name} {source_of} {source_of} {port} {port}\r\nrest");
            prop_assert_eq!(source(text.as_bytes()), source_of.to_string());
            let padding = [&[4][..], &further.to_be_bytes(), &vec![0; further.into()]].concat();
            let ports = [port.to_be_bytes(), port.to_be_bytes()].concat();
            let rest = [octets.clone(), octets, ports, padding].concat();
            prop_assert_eq!(source(&with(0x21, family, &rest)), source_of.to_string());
        }
    }
}
