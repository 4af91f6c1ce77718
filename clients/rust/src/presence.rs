//! Presence: who is there.

use bytes::Bytes;
use tidewire_protocol::frame::PresenceOp;
use tidewire_protocol::{ClientFrame, Name};

use crate::client::Client;
use crate::error::Error;
use crate::reply;
use crate::traffic::Member;

impl Client {
    /// Declares a member present in a set, until it leaves or this connection ends for good: after
    /// a cut the member is declared again.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn presence_join(
        &self,
        set: &Name,
        member: &str,
        data: Option<Bytes>,
    ) -> Result<(), Error> {
        let joined = Member { name: set.clone(), member: member.to_owned(), data: data.clone() };
        // Remembered first: a cut between the reply and here must not lose the member.
        self.link().remember_member(joined);
        let answer = self.presence(PresenceOp::Join, set, member, data).await;
        if answer.as_ref().is_err_and(|error| error.refusal().is_some()) {
            self.link().forget_member(set, member);
        }
        answer
    }

    /// The member leaves the set.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn presence_leave(&self, set: &Name, member: &str) -> Result<(), Error> {
        self.link().forget_member(set, member);
        self.presence(PresenceOp::Leave, set, member, None).await
    }

    async fn presence(
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
