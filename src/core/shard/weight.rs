//! How much memory a command takes.

use alloc::string::String;

use super::groups::GroupAsk;
use super::message::{Command, Request};
use super::run::RunPublish;
use super::tenants::TenantShare;

impl Command {
    /// About the bytes that a command takes in the queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        let request = match self {
            Self::Request(_, request) => request,
            Self::Publishes(run) => {
                let bodies = run.publishes.iter().map(|publish| publish.body.len());
                let each = size_of::<RunPublish>();
                return size_of::<Self>() + run.publishes.len() * each + bodies.sum::<usize>();
            }
            Self::DeadLetter(letter) => return size_of::<Self>() + letter.body.len(),
            Self::Recalled(recalled) => {
                let bytes = recalled.bodies.iter().map(|(_, body)| size_of_val(body) + body.len());
                return size_of::<Self>() + bytes.sum::<usize>();
            }
            Self::Follow(..)
            | Self::Stored { .. }
            | Self::Recall(..)
            | Self::Unfollow(..)
            | Self::SessionEnded(_)
            | Self::TenantFull { .. }
            | Self::PeerEnded(_)
            | Self::Buried(_) => {
                return size_of::<Self>();
            }
            Self::Tenants(table) => {
                return size_of::<Self>() + table.iter().count() * size_of::<TenantShare>();
            }
        };
        size_of::<Self>()
            + match request {
                Request::Publish { body, .. } => body.len(),
                Request::Presence { member, data, .. } => member.len() + data.len(),
                Request::Vote { choices, .. } => choices.len() * 64,
                Request::Tally { rules, .. } => rules
                    .as_ref()
                    .map_or(0, |rules| rules.options.iter().map(|option| option.len() + 64).sum()),
                Request::Counter { options, .. } => {
                    let numbering = options.numbering.as_deref().map_or(0, |numbering| {
                        size_of_val(numbering) + size_of_val(numbering.tried.as_slice())
                    });
                    options.id.as_ref().map_or(0, String::len) + numbering
                }
                Request::Get { key, options, .. } => {
                    let key = key.as_ref().map_or(0, String::len);
                    key + size_of_val(options.at_least.as_slice())
                }
                Request::Topic { .. } => 0,
                Request::Invalidate { voters, .. } => size_of_val(voters.as_slice()),
                Request::Group(request) => match &request.ask {
                    GroupAsk::Settle { ranges, .. } => ranges.len() * size_of::<(u64, u64)>(),
                    GroupAsk::Create { .. }
                    | GroupAsk::Delete
                    | GroupAsk::Reset { .. }
                    | GroupAsk::Status
                    | GroupAsk::Consume { .. }
                    | GroupAsk::Leave { .. } => 0,
                },
            }
    }
}
