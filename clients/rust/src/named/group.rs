//! A consumer group.

use tidewire_protocol::frame::Start;
use tidewire_protocol::group::{ConsumeOptions, GroupInfo, GroupOptions};
use tidewire_protocol::{ErrorCode, Name, Refusal};

use crate::client::Client;
use crate::consumer::Consumer;
use crate::error::Error;

/// A consumer group: it shares the records of a topic among its consumers. Made by
/// [`Topic::group`](crate::Topic::group).
#[derive(Clone, Debug)]
pub struct Group {
    client: Client,
    topic: Name,
    name: Name,
}

impl Group {
    pub(crate) fn new(client: Client, topic: Name, name: Name) -> Self {
        Self { client, topic, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// As [`Client::create_group`].
    ///
    /// # Errors
    /// As [`Client::create_group`].
    ///
    /// # Cancellation
    /// As [`Client::create_group`].
    pub async fn create(&self, options: GroupOptions) -> Result<GroupInfo, Error> {
        self.client.create_group(&self.topic, &self.name, options).await
    }

    /// How far it has come.
    ///
    /// # Errors
    /// As [`Client::group_status`].
    ///
    /// # Cancellation
    /// Safe: it is a read.
    pub async fn status(&self) -> Result<GroupInfo, Error> {
        self.client.group_status(&self.topic, &self.name).await
    }

    /// Lets it begin anew; what its consumers have is forgotten.
    ///
    /// # Errors
    /// `invalid_argument` for positions, and as [`Client::reset_group`].
    ///
    /// # Cancellation
    /// As [`Client::reset_group`].
    pub async fn reset(&self, start: Start) -> Result<GroupInfo, Error> {
        self.client.reset_group(&self.topic, &self.name, start_array(&start)?).await
    }

    /// Forgets it and how far it has come.
    ///
    /// # Errors
    /// As [`Client::delete_group`].
    ///
    /// # Cancellation
    /// As [`Client::delete_group`].
    pub async fn delete(&self) -> Result<GroupInfo, Error> {
        self.client.delete_group(&self.topic, &self.name).await
    }

    /// As [`Client::consume`].
    ///
    /// # Errors
    /// As [`Client::consume`].
    ///
    /// # Cancellation
    /// As [`Client::consume`].
    pub async fn consume(&self, options: ConsumeOptions) -> Result<Consumer, Error> {
        self.client.consume(&self.topic, &self.name, options).await
    }
}

/// A start as it stands among a group's options.
fn start_array(start: &Start) -> Result<Vec<u64>, Error> {
    Ok(match start {
        Start::Latest => vec![0],
        Start::Earliest => vec![1],
        Start::Offset { epoch, offset } => vec![2, *epoch, *offset],
        Start::Time(time_ms) => vec![3, *time_ms],
        Start::Last(count) => vec![4, *count],
        Start::Positions(_) => {
            let rule = "a group does not begin at positions: use another start";
            return Err(Refusal::new(ErrorCode::InvalidArgument, rule.to_owned()).into());
        }
    })
}
