//! Who has opened a TCP connection: what a proxy says of it, TLS, and the certificate that was shown.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use super::connection::Peer;
use super::stream::Stream;
use super::{Place, websocket};
use crate::auth::{BadCertificate, ClientCertificate};
use crate::server::Core;

/// First byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// The other end of a TCP connection.
pub(super) struct Caller {
    pub(super) place: Place,
    /// Whose it is, as far as that is known before a request is read.
    pub(super) address: IpAddr,
    pub(super) is_plain: bool,
    /// It comes over a network that others may listen on.
    pub(super) needs_tls: bool,
    certificate: Option<Arc<ClientCertificate>>,
}

impl Caller {
    /// As the other end of a WebSocket, which may be of somebody whom a proxy has named.
    pub(super) fn peer(&self, named: Option<IpAddr>) -> Peer {
        let transport = if self.is_plain { "ws" } else { "wss" };
        let certificate = self.certificate.clone();
        Peer { address: named.unwrap_or(self.address), transport, certificate }
    }
}

/// Reads what a proxy says of the connection, tells TLS from plain by the first byte, and shakes hands.
/// Nothing: it has ended, or has to.
pub(super) async fn open(
    core: &Core,
    stream: std::net::TcpStream,
    mut place: Place,
) -> Option<(Stream, Caller)> {
    let mut stream = TcpStream::from_std(stream).ok()?;
    let (proxies, peer) = (&core.shared.proxies, place.peer());
    let address = proxies.client_of(peer, &mut stream).await.ok()?;
    // Who still has to be named by a request gets a share then.
    if !place.has_share() && !proxies.sends_header(address) {
        place.give(core.shared.places.share(address)?);
    }
    let stream = shake_hands(core, stream).await?;
    let (is_plain, certificate) = match &stream {
        (Stream::Plain(_), _) => (true, None),
        (Stream::Tls(tls), roots) => {
            (false, certificate(tls.get_ref().1.peer_certificates(), *roots).ok()?)
        }
    };
    // A proxy that speaks HTTP has shown its own certificate, not that of its client, whom it may fail to
    // name.
    let certificate = certificate.filter(|_| !proxies.sends_header(address));
    let is_safe = core.shared.config.insecure || proxies.trusts(peer);
    let needs_tls = is_plain && needs_tls(peer, is_safe);
    Some((stream.0, Caller { place, address, is_plain, needs_tls, certificate }))
}

/// Whether a connection from here has to be encrypted, if the operator does not say that the way is safe.
fn needs_tls(peer: IpAddr, is_safe: bool) -> bool {
    !is_safe && !peer.to_canonical().is_loopback()
}

/// The stream, and the client CAs that it was opened with.
async fn shake_hands(core: &Core, stream: TcpStream) -> Option<(Stream, u64)> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    let settings = core.shared.tls.settings();
    if first != [TLS_HANDSHAKE] {
        return Some((Stream::Plain(stream), settings.roots));
    }
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&settings.tcp));
    match acceptor.accept(stream).await {
        Ok(stream) => Some((Stream::Tls(Box::new(stream)), settings.roots)),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// The certificate of a client that has shown one, which TLS has verified by these client CAs.
///
/// # Errors
/// It cannot be read: the connection has to end.
pub(super) fn certificate(
    chain: Option<&[CertificateDer<'static>]>,
    roots: u64,
) -> Result<Option<Arc<ClientCertificate>>, BadCertificate> {
    let Some(chain) = chain.filter(|chain| !chain.is_empty()) else { return Ok(None) };
    let read = ClientCertificate::read(chain, roots);
    read.map(|certificate| Some(Arc::new(certificate))).inspect_err(|error| {
        tracing::debug!(%error, "a client's certificate cannot be read");
    })
}

/// Serves a WebSocket of the console's page, whose handshake the admin listener has answered.
pub(super) async fn serve_console(
    core: Rc<Core>,
    stream: std::net::TcpStream,
    first: Bytes,
    place: Place,
) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let peer = Peer { address: place.peer(), transport: "console", certificate: None };
    websocket::serve(core, Stream::Plain(stream), first, peer).await;
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_way_that_others_may_listen_on_needs_tls() {
        let needs = |peer: &str, is_safe| needs_tls(peer.parse().unwrap(), is_safe);
        assert!(needs("10.0.0.1", false) && needs("::ffff:10.0.0.1", false));
        assert!(
            !needs("127.0.0.1", false) && !needs("::1", false) && !needs("::ffff:127.0.0.1", false)
        );
        assert!(!needs("10.0.0.1", true), "a trusted proxy");
    }
}
