//! Consumer groups: making them, asking how far they are, and beginning anew.

use tidewire_protocol::frame::GroupOp;
use tidewire_protocol::group::{GroupInfo, GroupOptions};
use tidewire_protocol::{ClientFrame, Name};

use crate::client::Client;
use crate::error::Error;
use crate::reply;

impl Client {
    /// Makes a group of a topic: its records are shared among the group's consumers, each record
    /// until one has acknowledged it. A group that exists with the same rules stays as it is.
    ///
    /// # Errors
    /// `already_exists` when it exists with other rules, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn create_group(
        &self,
        topic: &Name,
        group: &Name,
        options: GroupOptions,
    ) -> Result<GroupInfo, Error> {
        self.group_op(GroupOp::Create, topic, group, options).await
    }

    /// How far a group has come.
    ///
    /// # Errors
    /// `not_found` when there is no such group, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn group_status(&self, topic: &Name, group: &Name) -> Result<GroupInfo, Error> {
        self.group_op(GroupOp::Status, topic, group, GroupOptions::default()).await
    }

    /// Lets a group begin anew: `start` is one of the starts of a subscription, as
    /// [`GroupOptions::start`] says. What its consumers have is forgotten.
    ///
    /// # Errors
    /// `out_of_range` when the topic does not hold the offset, `not_found` when there is no such
    /// group, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn reset_group(
        &self,
        topic: &Name,
        group: &Name,
        start: Vec<u64>,
    ) -> Result<GroupInfo, Error> {
        let options = GroupOptions { start: Some(start), ..GroupOptions::default() };
        self.group_op(GroupOp::Reset, topic, group, options).await
    }

    /// Forgets a group and how far it has come.
    ///
    /// # Errors
    /// `not_found` when there is no such group, or when the connection is lost.
    ///
    /// # Cancellation
    /// Safe: what was not sent is never sent; what was sent may be carried out.
    pub async fn delete_group(&self, topic: &Name, group: &Name) -> Result<GroupInfo, Error> {
        self.group_op(GroupOp::Delete, topic, group, GroupOptions::default()).await
    }

    async fn group_op(
        &self,
        op: GroupOp,
        topic: &Name,
        group: &Name,
        options: GroupOptions,
    ) -> Result<GroupInfo, Error> {
        let (topic, group) = (topic.clone(), group.clone());
        let build = |req| ClientFrame::Group { req, op, topic, group, options };
        self.start(build, reply::group).await?.await
    }
}
