//! Sessions of HTTP: the dispatcher is asked as by any other connection, so that rules stand in one place.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tidewire_core::fanout::{Framing, SessionOptions};
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame, VERSION};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::super::figures::OpenStream;
use super::Link;
use super::mailbox::{Inflow, Mailbox, Outlet};
use crate::server::Core;
use crate::transport::connection::{self, CLOSE_TIMEOUT, Connection, Peer};
use crate::transport::hello::hello;
use crate::transport::requests::Requests;

/// Name of the software, as HELLO has it.
const CLIENT: &str = "http";

/// A session that requests of HTTP use.
pub(super) struct Session {
    core: Rc<Core>,
    connection: Rc<Connection>,
    mailbox: Rc<Mailbox>,
    last_req: Cell<u64>,
    last_sub: Cell<u32>,
    /// Something that it follows was left behind by whoever has gone: it is not used again.
    is_spoiled: Cell<bool>,
    /// Held by bodies that are being sent from it.
    leash: Rc<()>,
    _ending: AbortOnDropHandle<()>,
}

/// What comes for a subscription or watch, until it is dropped.
pub(super) struct Following {
    session: Rc<Session>,
    pub(super) sub: u32,
    inflow: Rc<Inflow>,
    has_ended: bool,
}

/// The reply to a request, or why there is none.
pub(super) type Answer = Result<ServerFrame, Refusal>;

impl Session {
    /// Opens a session for whoever shows this token.
    ///
    /// # Errors
    /// As HELLO is refused.
    pub(super) async fn open(
        link: &Rc<Link>,
        token: Option<String>,
        peer: Peer,
    ) -> Result<Rc<Self>, Refusal> {
        let core = &link.core;
        let (capabilities, client) = (Vec::new(), Some(CLIENT.to_owned()));
        let said = Ok(ClientFrame::Hello { version: VERSION, capabilities, token, client });
        let welcome = hello(core, &said, false, &peer).await?;
        let id = core.open(SessionOptions { framing: Framing::Bare, datagrams: false });
        let mailbox = Rc::new(Mailbox::new(Arc::clone(&core.shared.http)));
        let outlet = connection::Outlet::Http(Outlet(Rc::clone(&mailbox)));
        let connection = Connection::new(core, id, outlet, (peer, false));
        core.admit(&connection, welcome.admission);
        core.changed();
        let leash = Rc::new(());
        let ending = end(
            Rc::clone(link),
            Rc::clone(&connection),
            Rc::clone(&mailbox),
            Rc::downgrade(&leash),
        );
        Ok(Rc::new(Self {
            core: Rc::clone(core),
            connection,
            mailbox,
            last_req: Cell::new(0),
            last_sub: Cell::new(0),
            is_spoiled: Cell::new(false),
            leash,
            _ending: AbortOnDropHandle::new(tokio::task::spawn_local(ending)),
        }))
    }

    /// Whether it can be asked something more.
    pub(super) fn is_fit(&self) -> bool {
        !self.is_spoiled.get() && self.mailbox.ended().is_none()
    }

    /// Where it comes from.
    pub(super) fn address(&self) -> IpAddr {
        self.connection.peer.address
    }

    /// The number of the next request.
    pub(super) fn req(&self) -> u64 {
        self.last_req.set(self.last_req.get() + 1);
        self.last_req.get()
    }

    /// What keeps the connection from being cut softly while it sends something.
    pub(super) fn leash(&self) -> Rc<()> {
        Rc::clone(&self.leash)
    }

    /// Counts a stream of events as long as what is returned is there.
    pub(super) fn count_stream(&self) -> OpenStream {
        OpenStream::begin(&self.core.shared.http)
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// What was refused, or why the session has ended.
    pub(super) async fn ask(&self, frame: ClientFrame) -> Answer {
        let mut answers = self.ask_all(vec![frame]).await;
        answers.pop().unwrap_or_else(|| Err(self.gone()))
    }

    /// Asks several things, in order, and waits for all answers.
    pub(super) async fn ask_all(&self, frames: Vec<ClientFrame>) -> Vec<Answer> {
        let asked = tokio::select! {
            asked = self.hand_over(frames) => asked,
            refusal = self.mailbox.over() => return vec![Err(refusal)],
        };
        let mut answers = Vec::with_capacity(asked.len());
        for reply in asked {
            answers.push(match reply {
                Ok(reply) => reply.await.map_err(|_gone| self.gone()).and_then(refusal_of),
                Err(refusal) => Err(refusal),
            });
        }
        answers
    }

    async fn hand_over(
        &self,
        frames: Vec<ClientFrame>,
    ) -> Vec<Result<oneshot::Receiver<ServerFrame>, Refusal>> {
        let core = &self.core;
        let now_ms = core.now_ms();
        core.dispatcher.borrow_mut().heard(self.connection.id(), now_ms);
        let (mut requests, mut turn) = (Requests::default(), self.connection.turn());
        turn.begin(&core.turns, now_ms).await;
        let mut asked = Vec::with_capacity(frames.len());
        for frame in frames {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let max = core.shared.config.limits.max_frame_bytes;
            if bytes.len() > max {
                let message = format!(
                    "the request makes a frame of {} bytes, and {max} is the most: split it",
                    bytes.len()
                );
                asked.push(Err(Refusal::new(ErrorCode::FrameTooLarge, message)));
                continue;
            }
            asked.push(Ok(self.mailbox.expect(frame.req().unwrap_or(0))));
            let bytes = Bytes::from(bytes);
            requests.take(core, &self.connection, &mut turn, 0, &bytes).await;
        }
        requests.pass_on(core, &mut turn).await;
        turn.end().await;
        asked
    }

    /// Prepares to follow something under a number of its own.
    pub(super) fn follow(self: &Rc<Self>) -> Following {
        self.last_sub.set(self.last_sub.get() + 1);
        let sub = self.last_sub.get();
        let inflow = self.mailbox.follow(sub);
        Following { session: Rc::clone(self), sub, inflow, has_ended: false }
    }

    /// Why the session has ended.
    pub(super) fn gone(&self) -> Refusal {
        let unsaid = || Refusal::new(ErrorCode::Unavailable, "the session has ended: ask again");
        self.mailbox.ended().unwrap_or_else(unsaid)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.close(self.connection.id());
    }
}

impl Following {
    pub(super) fn session(&self) -> &Rc<Session> {
        &self.session
    }

    /// The next frame; nothing more when the session has ended.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<ServerFrame>> {
        let Session { core, connection, mailbox, .. } = &*self.session;
        mailbox.poll_next(core, connection.id(), &self.inflow, cx)
    }

    /// Ends it.
    pub(super) async fn end(mut self) {
        let unsubscribe = ClientFrame::Unsubscribe { req: self.session.req(), sub: self.sub };
        // A refusal says that it had ended.
        drop(self.session.ask(unsubscribe).await);
        self.has_ended = true;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.session.mailbox.forget(self.sub);
        if !self.has_ended {
            self.session.is_spoiled.set(true);
        }
    }
}

fn refusal_of(frame: ServerFrame) -> Answer {
    let ServerFrame::Error { code, message, retry_after_ms, actual, .. } = frame else {
        return Ok(frame);
    };
    let code = ErrorCode::from_number(code).unwrap_or(ErrorCode::Internal);
    Err(Refusal { code, message, retry_after_ms, actual })
}

/// Ends a session when the server says so. What is being sent from it then has a moment to come to its end;
/// whoever does not take it loses the connection, since nothing else would get it off.
async fn end(link: Rc<Link>, connection: Rc<Connection>, mailbox: Rc<Mailbox>, leash: Weak<()>) {
    let refusal = connection.ended().await;
    mailbox.end(refusal);
    link.core.close(connection.id());
    tokio::time::sleep(CLOSE_TIMEOUT).await;
    if leash.strong_count() > 1 {
        link.cut.notify_one();
    }
}
