//! What proxies say of their clients, and whose word is taken.
//!
//! A client's address is found from the server's side on: who has connected, then what that one says,
//! if it is trusted, and so on to the first that is not. Nobody else's word counts.

mod forwarded;
mod header;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;
use tokio::net::TcpStream;

use crate::config::{Forwarded, ProxyConfig};
use forwarded::{Malformed, Node};
use header::HeaderError;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies in front of a server.
#[derive(Debug)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    proxy_protocol: bool,
    forwarded: Forwarded,
    /// Connections and requests of proxies whose headers could not be read.
    refused: AtomicU64,
}

impl Proxies {
    pub(crate) fn of(config: &ProxyConfig) -> Self {
        let ProxyConfig { trusted, proxy_protocol, forwarded } = config;
        Self {
            trusted: trusted.clone(),
            proxy_protocol: *proxy_protocol,
            forwarded: *forwarded,
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether the word of who is at this address is taken.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.contains(&address))
    }

    /// Whether a connection from this address may be somebody else's, of whom it has yet to speak.
    pub(super) fn speaks_for_others(&self, address: IpAddr) -> bool {
        self.begins_with_header(address) || self.sends_header(address)
    }

    /// Whether HTTP requests from this address may name somebody else.
    pub(super) fn sends_header(&self, address: IpAddr) -> bool {
        self.forwarded != Forwarded::None && self.trusts(address)
    }

    fn begins_with_header(&self, address: IpAddr) -> bool {
        self.proxy_protocol && self.trusts(address)
    }

    /// Who is at the other end of a connection from this address, by its PROXY header if there has to be
    /// one. Of who is not trusted no byte is read.
    pub(super) async fn client_of(
        &self,
        peer: IpAddr,
        stream: &mut TcpStream,
    ) -> Result<IpAddr, HeaderError> {
        if !self.begins_with_header(peer) {
            return Ok(peer);
        }
        let source = header::read(stream).await;
        let source = source.inspect_err(|error| self.refuse(peer, &error.to_string()))?;
        Ok(source.map_or(peer, |source| source.to_canonical()))
    }

    /// Whom a request is from that came on a connection from this address. Nothing: from who has
    /// connected.
    ///
    /// # Errors
    /// The header that is believed cannot be read.
    pub(super) fn client_by(
        &self,
        address: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Option<IpAddr>, Malformed> {
        if !self.sends_header(address) {
            return Ok(None);
        }
        let read = match self.forwarded {
            Forwarded::None => Ok(Vec::new()),
            Forwarded::Forwarded => forwarded::forwarded(headers.get_all(FORWARDED)),
            Forwarded::XForwardedFor => {
                forwarded::x_forwarded_for(headers.get_all(X_FORWARDED_FOR))
            }
        };
        let nodes = read.inspect_err(|malformed| self.refuse(address, &malformed.to_string()))?;
        Ok((!nodes.is_empty()).then(|| self.walk(address, &nodes)))
    }

    /// From who is known to the first that is not trusted.
    fn walk(&self, from: IpAddr, nodes: &[Node]) -> IpAddr {
        let mut address = from;
        for node in nodes.iter().rev() {
            match node {
                Node::Address(before) if self.trusts(address) => address = before.to_canonical(),
                Node::Address(_) | Node::Hidden => break,
            }
        }
        address
    }

    fn refuse(&self, peer: IpAddr, reason: &str) {
        // A proxy that is set up wrongly does it with each connection: said once, counted always.
        match self.refused.fetch_add(1, Relaxed) {
            0 => tracing::warn!(%peer, reason, "a trusted proxy does not say whom it stands for"),
            _ => tracing::debug!(%peer, reason, "a trusted proxy does not say whom it stands for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(text: &str) -> Proxies {
        let networks = "trusted = [\"10.0.0.0/8\", \"2001:db8::/32\"]";
        Proxies::of(&toml::from_str(&format!("{networks}\n{text}")).unwrap())
    }

    fn client(proxies: &Proxies, from: &str, lines: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        match proxies.client_by(from.parse().unwrap(), &headers) {
            Ok(named) => named.map_or("itself".to_owned(), |address| address.to_string()),
            Err(malformed) => malformed.to_string(),
        }
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn the_walk_ends_at_the_first_who_is_not_trusted() {
        let proxies = proxies("forwarded = \"x-forwarded-for\"");
        let of = |from, lines: &[_]| client(&proxies, from, lines);
        assert_eq!(of("10.1.1.1", &[(XFF, "203.0.113.7")]), "203.0.113.7");
        assert_eq!(of("10.1.1.1", &[]), "itself");
        // What a client made up stands to the left of what its proxy has seen.
        assert_eq!(of("10.1.1.1", &[(XFF, "127.0.0.1, 203.0.113.7")]), "203.0.113.7");
        assert_eq!(of("10.1.1.1", &[(XFF, "1.1.1.1"), (XFF, "2.2.2.2, 10.2.2.2")]), "2.2.2.2");
        assert_eq!(of("10.1.1.1", &[(XFF, "10.3.3.3, 10.2.2.2")]), "10.3.3.3", "all are proxies");
        assert_eq!(of("::ffff:10.1.1.1", &[(XFF, "::ffff:203.0.113.7")]), "203.0.113.7");
        assert_eq!(of("2001:db8::1", &[(XFF, "2001:db9::2")]), "2001:db9::2");
        assert_eq!(of("10.1.1.1", &[(XFF, "1.1.1.1, unknown")]), "10.1.1.1");
        assert_eq!(of("203.0.113.9", &[(XFF, "127.0.0.1")]), "itself", "nobody's word");
        assert_eq!(of("203.0.113.9", &[(XFF, "nonsense")]), "itself");
        assert_eq!(of("10.1.1.1", &[("forwarded", "for=1.1.1.1")]), "itself", "not the one");
        assert!(of("10.1.1.1", &[(XFF, "nonsense")]).contains("X-Forwarded-For"));
        assert_eq!(proxies.refused(), 1);
    }

    #[test]
    fn one_header_is_believed_or_none() {
        let both = [(XFF, "1.1.1.1"), ("forwarded", "for=2.2.2.2, for=\"[2001:db8::7]:80\"")];
        assert_eq!(client(&proxies("forwarded = \"forwarded\""), "10.1.1.1", &both), "2.2.2.2");
        assert_eq!(client(&proxies("proxy_protocol = true"), "10.1.1.1", &both), "itself");
    }
}
