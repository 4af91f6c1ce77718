//! What has a name, as something to call: `client.topic("news")?.publish("hi")`. Making one asks nobody; it is
//! cheap to clone, and does what the methods of [`Client`](crate::Client) do that take a name.

mod counter;
mod group;
mod map;
mod presence;
mod tally;
mod topic;

pub use counter::Counter;
pub use group::Group;
pub use map::Map;
pub use presence::Presence;
pub use tally::Tally;
pub use topic::Topic;
