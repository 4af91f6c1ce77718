//! Presence: who is there.

use bytes::Bytes;
use tidewire_protocol::frame::PresenceOp;
use tidewire_protocol::{ClientFrame, Name};

use crate::client::Client;
use crate::error::Error;
use crate::reply;

impl Client {
    /// Declares a member present in a set, until it leaves or this client is closed: after a cut the member is
    /// declared again.
    ///
    /// # Errors
    /// When the server refuses, or `limit_exceeded` for more than 65,536 members of one client.
    ///
    /// # Cancellation
    /// Safe: a join that was not sent is none. One that was sent counts, and is said again after a cut, until the
    /// member leaves.
    pub async fn presence_join(
        &self,
        set: &Name,
        member: &str,
        data: Option<Bytes>,
    ) -> Result<(), Error> {
        // It is remembered when it is sent, and forgotten when it is refused, whoever waits for that.
        self.presence_op(PresenceOp::Join, set, member, data).await
    }

    /// The member leaves the set.
    ///
    /// # Errors
    /// When the server refuses.
    ///
    /// # Cancellation
    /// Once begun, the member is not declared again; when the leave was not sent, it is gone with the connection.
    pub async fn presence_leave(&self, set: &Name, member: &str) -> Result<(), Error> {
        self.link().forget_member(set, member);
        self.presence_op(PresenceOp::Leave, set, member, None).await
    }

    async fn presence_op(
        &self,
        op: PresenceOp,
        set: &Name,
        member: &str,
        data: Option<Bytes>,
    ) -> Result<(), Error> {
        let (name, member) = (set.clone(), member.to_owned());
        self.start(|req| ClientFrame::Presence { req, op, name, member, data }, reply::ok)
            .await?
            .await
    }
}
