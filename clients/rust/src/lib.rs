//! Async client for Tidewire.
//!
//! One [`Client`] is one connection, over WebSocket (`ws://`, `wss://`) or QUIC (`quic://`). It is
//! cheap to clone; every request may be sent while earlier ones are still unanswered. A connection
//! that is cut is made again after a random delay, and subscriptions, watches and presence go on
//! where they were.
//!
//! ```no_run
//! # async fn run() -> Result<(), tidewire_client::Error> {
//! use tidewire_client::{Client, Start, SubscriptionEvent};
//!
//! let client = Client::connect("ws://127.0.0.1:7171").await?;
//! let news = client.topic("news")?;
//! let mut events = news.subscribe(Start::Latest).await?;
//! news.publish("hello").await?;
//! while let Some(event) = events.next().await {
//!     if let SubscriptionEvent::Delivery(delivery) = event {
//!         for (offset, record) in delivery.records() {
//!             println!("{offset}: {:?}", record.payload);
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Names
//!
//! [`Client::topic`], [`Client::counter`], [`Client::tally`], [`Client::map`] and [`Client::presence`] give something to call
//! for a name that is used often; the methods of [`Client`] that take a [`Name`] do the same. Subscriptions and
//! consumers are [`Stream`](futures_core::Stream)s, and a [`Watch`] becomes one by [`Watch::into_updates`].
//!
//! # Many requests at once
//!
//! A method named after the operation (`vote`, `publish`) waits for the reply. Its `start_` form
//! waits only for room on the connection and returns a [`Pending`] that is awaited later; both
//! may be dropped at any time. How many requests may be unanswered is the server's `in_flight_max`.
//!
//! # What a cut does to requests
//!
//! A request that is in flight when the connection is cut fails with [`Error::ConnectionLost`],
//! unless doing it twice is the same as doing it once: reads, ballots, increments with an
//! idempotence id, acknowledgements of consumers, and publishes, which carry numbers by which the
//! server knows them, are sent again on the next connection. So they are when the server refuses
//! them with `unavailable`, for [`Builder::repeat_for_ms`]: another node is about to take the place
//! of one that is gone.
//!
//! # Cancellation
//!
//! Dropping a future never harms the connection. What was not sent by then is never sent and gives its place back;
//! what was sent may be carried out, and its answer is ignored. No record, event or newest version is lost by
//! dropping a `next()`. Each method says what holds for it.
//!
//! # Logs
//!
//! The crate tells `tracing` of connections, refused tokens, GOAWAY and gaps, within the spans `tidewire_client` and
//! `connection`; never of tokens or payloads.
//!
//! # Several nodes
//!
//! The nodes of a cluster serve the same names. [`Builder::also`] names more than one, and each node
//! tells its clients of others; when a connection is lost, the next one is made to another node.

#![deny(missing_docs)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod actor;
mod arrivals;
mod backoff;
mod builder;
mod cells;
mod client;
mod connector;
mod consumer;
mod cursor;
mod dispatch;
mod error;
mod group;
mod history;
mod inbox;
mod increments;
mod leaving;
mod lifecycle;
mod link;
mod named;
mod numbering;
mod outbox;
mod pending;
mod presence;
mod renewing;
mod repeating;
mod reply;
mod routes;
mod shelf;
mod state;
mod subscription;
mod tally;
mod target;
mod targets;
mod token;
mod topics;
mod traffic;
mod transport;
mod updates;
mod waiting;
mod watch;
mod watch_slot;

pub use builder::{Builder, Trust};
pub use client::Client;
pub use consumer::{Consumer, Job};
pub use error::Error;
pub use history::{HistoryPage, HistoryRecord, Page};
pub use increments::Increments;
pub use named::{Counter, Group, Map, Presence, Tally, Topic};
pub use pending::Pending;
pub use reply::{Counted, Entry, Published, Value, VoteStatus, Voted};
pub use state::{ConnectionState, Transport};
pub use subscription::{
    Delivery, Gap, GapReason, Progress, StartStatus, SubscribedInfo, Subscription,
    SubscriptionEvent,
};
pub use updates::{Update, UpdateValue, Updates};
pub use watch::{Watch, WatchEvent, WatchValue};

pub use tidewire_protocol as protocol;
pub use tidewire_protocol::frame::{AckLevel, AsOf, CellKind, CounterOp, Position, Start};
pub use tidewire_protocol::group::{ConsumeOptions, GroupInfo, GroupOptions};
pub use tidewire_protocol::options::{
    Condition, CounterOptions, GetOptions, IdentityInfo, Numbering, PublishOptions, ServerInfo,
    SubscribeOptions, TopicInfo, TopicOptions, WatchOptions,
};
pub use tidewire_protocol::record::{BodyBuilder, Record};
pub use tidewire_protocol::tally::{
    Choice, Overvote, Round, Rounds, Standings, TallyInfo, TallyKind, TallyReply, TallyRules,
    TallyState,
};
pub use tidewire_protocol::{ClientFrame, ErrorCode, Name, Pattern, Refusal, ServerFrame};
