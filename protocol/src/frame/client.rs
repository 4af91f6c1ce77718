//! Frames that a client sends.

mod decode;
mod encode;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{AckLevel, CellKind, Start};
use crate::group::{ConsumeOptions, GroupOptions, SettleOptions};
use crate::name::{Name, Pattern};
use crate::options::{
    CounterOptions, GetOptions, PublishOptions, SubscribeOptions, TopicOptions, WatchOptions,
};
use crate::tally::{Choice, TallyRules};

/// A frame that a client sends. Names are checked; what needs the server's state is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "every field is described in PROTOCOL.md under the frame's name")]
pub enum ClientFrame {
    Hello { version: u64, capabilities: Vec<String>, token: Option<String>, client: Option<String> },
    Ping { nonce: u64 },
    Pong { nonce: u64 },
    Publish { req: u64, topic: Name, ack: AckLevel, body: Bytes, options: PublishOptions },
    Subscribe { req: u64, sub: u32, pattern: Pattern, start: Start, options: SubscribeOptions },
    Unsubscribe { req: u64, sub: u32 },
    Credit { sub: u32, bytes: u64 },
    Incr { req: u64, counter: Name, op: CounterOp, operand: i64, options: CounterOptions },
    Vote { req: u64, tally: Name, voter: String, choices: Vec<Choice>, revision: Option<u64> },
    Get { req: u64, kind: CellKind, name: Name, key: Option<String>, options: GetOptions },
    Watch { req: u64, sub: u32, kind: CellKind, name: Name, options: WatchOptions },
    Presence { req: u64, op: PresenceOp, name: Name, member: String, data: Option<Bytes> },
    Tally { req: u64, op: TallyOp, tally: Name, rules: Option<TallyRules> },
    Producer { req: u64 },
    Auth { req: u64, token: String },
    Group { req: u64, op: GroupOp, topic: Name, group: Name, options: GroupOptions },
    Consume { req: u64, sub: u32, topic: Name, group: Name, options: ConsumeOptions },
    Invalidate { req: u64, tally: Name, voters: Vec<String>, hashes: Option<Vec<String>> },
    Topic { req: u64, op: TopicOp, topic: Name, options: TopicOptions },
    Settle { req: u64, sub: u32, op: SettleOp, offsets: Vec<(u64, u64)>, options: SettleOptions },
}

impl ClientFrame {
    /// The topic or cell that the frame is about.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::Publish { topic: name, .. }
            | Self::Incr { counter: name, .. }
            | Self::Vote { tally: name, .. }
            | Self::Tally { tally: name, .. }
            | Self::Invalidate { tally: name, .. }
            | Self::Get { name, .. }
            | Self::Watch { name, .. }
            | Self::Presence { name, .. }
            | Self::Topic { topic: name, .. }
            | Self::Group { topic: name, .. }
            | Self::Consume { topic: name, .. } => Some(name),
            Self::Hello { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Credit { .. }
            | Self::Settle { .. }
            | Self::Producer { .. }
            | Self::Auth { .. } => None,
        }
    }

    /// The request id of a frame that has one; 0 asks for no answer.
    #[must_use]
    pub const fn req(&self) -> Option<u64> {
        match self {
            Self::Publish { req, .. }
            | Self::Subscribe { req, .. }
            | Self::Unsubscribe { req, .. }
            | Self::Incr { req, .. }
            | Self::Vote { req, .. }
            | Self::Get { req, .. }
            | Self::Watch { req, .. }
            | Self::Presence { req, .. }
            | Self::Tally { req, .. }
            | Self::Producer { req }
            | Self::Auth { req, .. }
            | Self::Group { req, .. }
            | Self::Consume { req, .. }
            | Self::Settle { req, .. }
            | Self::Topic { req, .. }
            | Self::Invalidate { req, .. } => Some(*req),
            Self::Hello { .. } | Self::Ping { .. } | Self::Pong { .. } | Self::Credit { .. } => {
                None
            }
        }
    }
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $number:literal),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[repr(u8)]
        pub enum $name { $($(#[$item])* $variant = $number),+ }

        impl $name {
            fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

numbered! {
    /// What INCR does.
    CounterOp {
        /// Adds the operand.
        Add = 0,
        /// Sets the value to the operand.
        Set = 1,
        /// Deletes the counter.
        Reset = 2
    }
}

numbered! {
    /// What PRESENCE does.
    PresenceOp {
        /// The member is there.
        Join = 0,
        /// The member leaves.
        Leave = 1
    }
}

numbered! {
    /// What TALLY does.
    TallyOp {
        /// Declares the tally.
        Create = 0,
        /// Accepts ballots (again).
        Open = 1,
        /// Accepts no more ballots.
        Close = 2,
        /// Forgets the tally and its ballots.
        Delete = 3
    }
}

numbered! {
    /// What TOPIC does.
    TopicOp {
        /// Removes the topic with everything in it.
        Delete = 0,
        /// Removes its oldest records.
        Truncate = 1
    }
}

numbered! {
    /// What GROUP does.
    GroupOp {
        /// Makes the group.
        Create = 0,
        /// Forgets the group and how far it has come.
        Delete = 1,
        /// Begins anew at another place.
        Reset = 2,
        /// Says how far it has come.
        Status = 3
    }
}

numbered! {
    /// What SETTLE does.
    SettleOp {
        /// The records are done.
        Ack = 0,
        /// They are to be delivered again, after a pause.
        Nack = 1,
        /// They need more time.
        Extend = 2,
        /// They are dead letters.
        Reject = 3
    }
}
