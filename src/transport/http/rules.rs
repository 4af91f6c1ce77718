//! Rules of HTTP that the library leaves to a server. A request that breaks one is answered, and its connection
//! closed: what follows it could be taken for something else than a proxy in front has taken it for.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Version};
use hyper::body::Body;
use tidewire_protocol::WEBSOCKET_PATH;

use super::api::is_api;

/// Characters of a client's key: 16 bytes in Base64 (RFC 6455, section 4.1).
const KEY_CHARS: usize = 24;

/// The rule that a request breaks.
pub(super) fn broken_rule<B: Body>(request: &Request<B>) -> Option<&'static str> {
    // RFC 9112, section 3.2.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Some("a request names its Host, once\n");
    }
    // RFC 9112, section 6.3: what is behind it could be another request to somebody else.
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        return Some("a body has one length: Content-Length or Transfer-Encoding\n");
    }
    if !request.body().is_end_stream() && !is_api(request.uri().path()) {
        return Some("no request has a body here\n");
    }
    // RFC 6455, section 4.2.1.
    let is_get = *request.method() == Method::GET && request.version() == Version::HTTP_11;
    if request.uri().path() == WEBSOCKET_PATH && !is_get {
        return Some("a WebSocket begins with GET and HTTP/1.1\n");
    }
    None
}

/// The client's key of a WebSocket.
///
/// # Errors
/// When there is none, or what there is is none.
pub(super) fn websocket_key(headers: &HeaderMap) -> Result<HeaderValue, &'static str> {
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if key.len() == KEY_CHARS => Ok(key.clone()),
        (Some(_), _) => Err("Sec-WebSocket-Key is 16 bytes in Base64, once\n"),
        (None, _) => Err("Sec-WebSocket-Key is missing\n"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    fn rule(
        version: Version,
        path: &str,
        hosts: usize,
        body: &'static str,
    ) -> Option<&'static str> {
        let mut request = Request::builder().uri(path).version(version);
        for _ in 0..hosts {
            request = request.header(header::HOST, "127.0.0.1");
        }
        broken_rule(&request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
    }

    #[test]
    fn a_request_is_what_it_seems() {
        assert_eq!(rule(Version::HTTP_11, "/", 1, ""), None);
        assert_eq!(rule(Version::HTTP_10, "/", 0, ""), None);
        for (version, hosts) in
            [(Version::HTTP_11, 0), (Version::HTTP_11, 2), (Version::HTTP_10, 2)]
        {
            assert!(rule(version, "/", hosts, "").is_some_and(|rule| rule.contains("Host")));
        }
        assert!(rule(Version::HTTP_11, "/", 1, "x").is_some_and(|rule| rule.contains("body")));
        assert_eq!(rule(Version::HTTP_11, WEBSOCKET_PATH, 1, ""), None);
        assert!(rule(Version::HTTP_10, WEBSOCKET_PATH, 1, "").is_some());
    }

    #[test]
    fn a_body_has_one_length() {
        let request = Request::builder().uri("/v1/topics/a").header(header::HOST, "127.0.0.1");
        let request = request.header(header::CONTENT_LENGTH, "1");
        let request = request.header(header::TRANSFER_ENCODING, "chunked");
        let request = request.body(Full::new(Bytes::from_static(b"x"))).unwrap();
        assert!(broken_rule(&request).is_some_and(|rule| rule.contains("one length")));
        assert_eq!(rule(Version::HTTP_11, "/v1/topics/a", 1, "x"), None);
    }

    #[test]
    fn a_key_is_given_once_and_whole() {
        let keys = |keys: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static(key));
            }
            websocket_key(&headers).is_ok()
        };
        assert!(keys(&["dGhlIHNhbXBsZSBub25jZQ=="]));
        assert!(!keys(&[]));
        assert!(!keys(&["x"]));
        assert!(!keys(&["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]));
    }
}
