//! A TCP connection of HTTP: its sessions, and how much it has asked.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderMap, Version, header};
use tidewire_protocol::{ErrorCode, Refusal};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::session::Session;
use crate::server::{Core, Place};
use crate::transport::caller::Caller;

/// Requests of a connection, after which it is closed: another one may do better elsewhere.
const REQUESTS_MAX: u64 = 1_000_000;
/// Requests under way at once over HTTP/2.
pub(in crate::transport::http) const STREAMS_MAX: u32 = 100;

/// A connection of HTTP.
pub(in crate::transport::http) struct Link {
    pub(in crate::transport::http) core: Rc<Core>,
    pub(in crate::transport::http) caller: Rc<Caller>,
    /// Rung when the connection has to be cut.
    pub(super) cut: Notify,
    /// The session of the requests so far, and of whom it is.
    last: RefCell<Option<(Shown, Rc<Session>)>>,
    requests: Cell<u64>,
    under_way: Cell<usize>,
    quiet_since: Cell<Instant>,
}

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
struct Shown {
    token: Option<String>,
    named: Option<IpAddr>,
}

/// A request under way.
pub(in crate::transport::http) struct UnderWay(Rc<Link>);

impl Link {
    pub(in crate::transport::http) fn new(core: Rc<Core>, caller: Rc<Caller>) -> Rc<Self> {
        Rc::new(Self {
            core,
            caller,
            cut: Notify::new(),
            last: RefCell::new(None),
            requests: Cell::new(0),
            under_way: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
        })
    }

    /// A request begins.
    pub(in crate::transport::http) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.set(self.under_way.get() + 1);
        self.requests.set(self.requests.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// Whether it has asked as much as one connection may.
    pub(in crate::transport::http) fn is_used_up(&self) -> bool {
        self.requests.get() >= REQUESTS_MAX
    }

    /// Waits until nothing has been under way for too long. Who has not asked anything yet has as long as for a
    /// handshake.
    pub(in crate::transport::http) async fn quiet(&self, handshake: Duration, idle: Duration) {
        loop {
            let may = if self.requests.get() == 0 { handshake } else { idle };
            let (end, now) = (self.quiet_since.get() + may, Instant::now());
            if self.under_way.get() == 0 && now >= end {
                return;
            }
            tokio::time::sleep_until(end.max(now + may / 4).min(now + may)).await;
        }
    }

    /// Waits until the connection has to be cut, whatever is under way.
    pub(in crate::transport::http) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// The session for whoever asks: the last one, if it is theirs.
    pub(super) async fn session(
        self: &Rc<Self>,
        named: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Rc<Session>, Refusal> {
        let shown = Shown { token: token(headers)?, named };
        if let Some((whose, session)) = &*self.last.borrow()
            && *whose == shown
            && session.is_fit()
        {
            return Ok(Rc::clone(session));
        }
        // It gives its place back before the next one takes one.
        self.last.take();
        let session = self.open(&shown).await?;
        self.last.replace(Some((shown, Rc::clone(&session))));
        Ok(session)
    }

    /// A session of its own for whoever follows something: it ends with that.
    pub(super) async fn stream_session(
        self: &Rc<Self>,
        named: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Rc<Session>, Refusal> {
        self.open(&Shown { token: token(headers)?, named }).await
    }

    async fn open(self: &Rc<Self>, shown: &Shown) -> Result<Rc<Session>, Refusal> {
        let mut peer = self.caller.peer(shown.named);
        peer.transport = if self.caller.is_plain { "http" } else { "https" };
        Session::open(self, shown.token.clone(), peer).await
    }

    /// The place of a stream of events among the connections. The only one of a connection has that of the
    /// connection, if that is somebody's.
    pub(super) fn place_for_events(
        &self,
        version: Version,
        session: &Session,
    ) -> Result<Option<Place>, Refusal> {
        if version != Version::HTTP_2 && self.caller.place.has_share() {
            return Ok(None);
        }
        let place = self.core.shared.places.take(session.address());
        place.map(Some).ok_or_else(|| {
            let message = "too many connections, in all (limits.connections_max) or from this address \
                           (limits.address_connections_max)";
            Refusal::new(ErrorCode::RateLimited, message).retry_after_ms(1000)
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get().saturating_sub(1));
        self.0.quiet_since.set(Instant::now());
    }
}

/// The token of `Authorization: Bearer` (RFC 6750).
fn token(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next(), all.next());
    let Some(first) = first else { return Ok(None) };
    let text = first.to_str().ok().filter(|_| second.is_none());
    let token = text.and_then(|text| text.split_once(' ')).and_then(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    });
    token.filter(|token| !token.is_empty()).map(Some).ok_or_else(|| {
        let message = "Authorization: send Bearer and a token or an API key, once";
        Refusal::new(ErrorCode::Unauthenticated, message)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_a_bearers() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            token(&headers)
        };
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["bearer abc"]).unwrap().as_deref(), Some("abc"));
        for wrong in [&["Basic abc"][..], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(wrong).unwrap_err().code, ErrorCode::Unauthenticated, "{wrong:?}");
        }
    }
}
