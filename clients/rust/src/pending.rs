//! Requests that are on their way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tidewire_protocol::ServerFrame;
use tokio::sync::oneshot;

use crate::error::Error;

/// A request that has been sent; awaiting it gives the reply. Dropping it forgets the reply, not
/// the request.
#[must_use = "the request is sent already; await this for its reply"]
pub struct Pending<T> {
    reply: oneshot::Receiver<Result<ServerFrame, Error>>,
    read: fn(ServerFrame) -> Result<T, Error>,
}

impl<T> Pending<T> {
    pub(crate) fn new(
        reply: oneshot::Receiver<Result<ServerFrame, Error>>,
        read: fn(ServerFrame) -> Result<T, Error>,
    ) -> Self {
        Self { reply, read }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The sender goes away without a word only when the whole connection actor does.
        let reply = ready!(Pin::new(&mut self.reply).poll(cx)).unwrap_or(Err(Error::Closed));
        Poll::Ready(reply.and_then(self.read))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
