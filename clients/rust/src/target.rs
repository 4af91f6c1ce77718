//! The server's URL, taken apart.

use http::Uri;
use tidewire_protocol::WEBSOCKET_PATH;

use crate::error::Error;
use crate::state::Transport;

/// The port when the URL names none.
const PORT: u16 = 7171;

/// Where the server is and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) transport: Transport,
    /// Without brackets, as the resolver and TLS want it.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query of the WebSocket request.
    pub(crate) path: String,
}

impl Target {
    /// Parses `ws://`, `wss://` and `quic://` URLs.
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let refuse = |rule: &str| Err(Error::Config(format!("invalid server URL '{url}': {rule}")));
        let Ok(uri) = url.parse::<Uri>() else {
            return refuse("use ws://HOST:PORT, wss://HOST:PORT or quic://HOST:PORT");
        };
        let transport = match uri.scheme_str() {
            Some("ws") => Transport::WebSocket,
            Some("wss") => Transport::WebSocketTls,
            Some("quic") => Transport::Quic,
            _ => return refuse("it must begin with ws://, wss:// or quic://"),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return refuse("credentials do not belong into the URL; use a token");
        }
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return refuse("it names no host");
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if transport == Transport::Quic && path != "/" {
            return refuse("a quic:// URL has no path");
        }
        Ok(Self {
            transport,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(PORT),
            path: if path == "/" { WEBSOCKET_PATH.to_owned() } else { path.to_owned() },
        })
    }

    /// The URL as it stands in messages.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.transport.scheme(), self.authority())
    }

    /// `HOST:PORT`, with brackets around an IPv6 address.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_and_path_have_defaults() {
        let target = Target::parse("ws://localhost").unwrap();
        assert_eq!((target.port, target.path.as_str()), (7171, "/v1/ws"));
        let target = Target::parse("wss://example.org:443/gate?x=1").unwrap();
        assert_eq!((target.port, target.path.as_str()), (443, "/gate?x=1"));
        assert_eq!(target.transport, Transport::WebSocketTls);
    }

    #[test]
    fn brackets_of_ipv6_stand_in_the_url_only() {
        let target = Target::parse("quic://[::1]:9").unwrap();
        assert_eq!(target.host, "::1");
        assert_eq!(target.url(), "quic://[::1]:9");
    }

    #[test]
    fn a_bad_url_is_refused_with_the_rule_it_breaks() {
        for (url, rule) in [
            ("http://a", "must begin with"),
            ("127.0.0.1:7171", "must begin with"),
            ("ws://", "use ws://"),
            ("ws://user:secret@host", "token"),
            ("quic://host/path", "no path"),
        ] {
            let message = Target::parse(url).unwrap_err().to_string();
            assert!(message.contains(rule), "{url}: {message}");
        }
    }
}
