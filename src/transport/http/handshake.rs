//! The opening handshake of a WebSocket (RFC 6455, section 4.2).

use aws_lc_rs::digest;
use base64::Engine as _;
use http::header::{self, HeaderMap, HeaderValue};
use tidewire_protocol::WEBSOCKET_PROTOCOL;

/// Appended to the client's key (RFC 6455, section 4.2.2).
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The headers of the answer that makes a WebSocket of the connection.
///
/// # Errors
/// When the request is not the handshake that is wanted: the rule that it breaks.
pub(crate) fn switch(request: &HeaderMap) -> Result<HeaderMap, &'static str> {
    let accept = HeaderValue::from_str(&accept_key(key(request)?.as_bytes()));
    let accept = accept.map_err(|_not_ascii| "Sec-WebSocket-Key cannot be answered\n")?;
    Ok(HeaderMap::from_iter([
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_PROTOCOL)),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ]))
}

/// The client's key, if the request is the handshake that is wanted.
fn key(headers: &HeaderMap) -> Result<HeaderValue, &'static str> {
    let lists = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(wanted)))
    };
    if !lists(header::UPGRADE, "websocket") || !lists(header::CONNECTION, "upgrade") {
        return Err("this is the WebSocket endpoint: send Upgrade: websocket\n");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err("Sec-WebSocket-Version must be 13\n");
    }
    if !lists(header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_PROTOCOL) {
        return Err("offer the subprotocol tidewire.v1\n");
    }
    super::rules::websocket_key(headers)
}

pub(in crate::transport) fn accept_key(key: &[u8]) -> String {
    let mut sha1 = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key);
    sha1.update(WEBSOCKET_GUID);
    base64::engine::general_purpose::STANDARD.encode(sha1.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
