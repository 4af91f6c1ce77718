//! Making lean connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use rustls::pki_types::ServerName;
use tidewire_client::protocol::{VERSION, WEBSOCKET_PATH, WEBSOCKET_PROTOCOL};
use tidewire_client::{ClientFrame, Error, ServerFrame, Trust};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_websockets::ClientBuilder;

use super::link::{Hear, Link, Wire};

/// The port when the URL names none.
const PORT: u16 = 7171;
/// Handshakes of many connections share the processors with everything else.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a server is that speaks WebSocket, and how it is reached.
#[derive(Clone)]
pub(crate) struct Endpoint {
    url: String,
    host: String,
    port: u16,
    /// What the WebSocket's request asks for.
    request: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// What its connections show.
    token: Option<Arc<str>>,
    /// The other nodes of a cluster, and whose turn it is.
    others: Arc<[Endpoint]>,
    turn: Arc<AtomicUsize>,
}

impl Endpoint {
    /// The endpoint of a `ws://` or `wss://` URL; `None` for another one.
    ///
    /// # Errors
    /// When what is to be trusted cannot be read.
    pub(crate) fn of(url: &str, trust: &Trust) -> Result<Option<Self>, Error> {
        let invalid =
            |reason: String| Error::Config(format!("invalid server URL '{url}': {reason}"));
        let uri: Uri =
            url.parse().map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
        let bracketed = uri.host().unwrap_or_default();
        let host = bracketed.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = match uri.scheme_str() {
            Some("ws") => None,
            Some("wss") => {
                let mut config = trust.tls_config()?;
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| invalid(error.to_string()))?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            _ => return Ok(None),
        };
        let port = uri.port_u16().unwrap_or(PORT);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path == "/" { WEBSOCKET_PATH } else { path };
        Ok(Some(Self {
            url: url.to_owned(),
            request: format!("ws://{bracketed}:{port}{path}"),
            host,
            port,
            tls,
            token: None,
            others: Arc::default(),
            turn: Arc::default(),
        }))
    }

    /// Connections go to this one and to the others in turn.
    pub(crate) fn among(self, others: Vec<Self>) -> Self {
        Self { others: others.into(), ..self }
    }

    /// The same for connections that show this token.
    pub(crate) fn showing(self, token: Option<Arc<str>>) -> Self {
        Self { token, ..self }
    }

    /// A connection that has been welcomed.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn connect(&self, client_name: &str) -> Result<Link, String> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        let to = turn.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(self);
        let token = self.token.as_deref();
        let dialed = tokio::time::timeout(CONNECT_TIMEOUT, to.dial(client_name, token)).await;
        dialed
            .unwrap_or_else(|_elapsed| Err(format!("no answer after {CONNECT_TIMEOUT:?}")))
            .map_err(|reason| format!("cannot connect to {}: {reason}", to.url))
    }

    async fn dial(&self, client_name: &str, token: Option<&str>) -> Result<Link, String> {
        let refused = |error: std::io::Error| error.to_string();
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("{error}; is a Tidewire server listening there?"))?;
        tcp.set_nodelay(true).map_err(refused)?;
        let wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(tcp),
            Some((connector, name)) => {
                let encrypted = connector.connect(name.clone(), tcp).await;
                Box::new(encrypted.map_err(|error| untrusted(&error.to_string()))?)
            }
        };
        let failed = |error: tokio_websockets::Error| error.to_string();
        let (socket, response) = ClientBuilder::new()
            .uri(&self.request)
            .map_err(|error| error.to_string())?
            .add_header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_PROTOCOL))
            .map_err(failed)?
            .connect_on(wire)
            .await
            .map_err(failed)?;
        let spoken = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
        if spoken.is_none_or(|spoken| spoken != WEBSOCKET_PROTOCOL) {
            return Err(format!("the server there does not speak {WEBSOCKET_PROTOCOL}"));
        }
        // Before HELLO the server says nothing, so the library has read nothing ahead.
        greet(Link::new(socket.into_inner()), client_name, token).await
    }
}

/// What is wrong with TLS, for people; the verifier's own words come wrapped in those of a library.
fn untrusted(words: &str) -> String {
    let fault = words.strip_prefix("invalid peer certificate: ");
    let own = fault.and_then(|own| own.strip_prefix("Other(OtherError(")?.strip_suffix("))"));
    match (own, fault) {
        (Some(own), _) => format!("the certificate is not trusted: {own}"),
        (None, Some(fault)) => format!(
            "the certificate is not trusted: {fault}; name its CA file with --ca, or pin it with \
             --fingerprint"
        ),
        (None, None) => format!("{words}; does the server speak TLS on this port?"),
    }
}

async fn greet(mut link: Link, client_name: &str, token: Option<&str>) -> Result<Link, String> {
    link.queue(&ClientFrame::Hello {
        version: VERSION,
        capabilities: Vec::new(),
        token: token.map(str::to_owned),
        client: Some(client_name.to_owned()),
    });
    let mut greeting = Greeting(None);
    link.listen(&mut greeting, |greeting| greeting.0.is_some()).await?;
    match greeting.0 {
        Some(Err(refusal)) => Err(refusal),
        Some(Ok(())) | None => Ok(link),
    }
}

/// Waits for WELCOME.
struct Greeting(Option<Result<(), String>>);

impl Hear for Greeting {
    fn frame(&mut self, frame: ServerFrame) {
        if let ServerFrame::Welcome { .. } = frame {
            self.0 = Some(Ok(()));
        } else if let ServerFrame::Error { message, .. } = frame {
            self.0 = Some(Err(message));
        }
    }
}
