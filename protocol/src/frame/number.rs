//! Frame types as numbered in PROTOCOL.md. They never change.

pub(crate) const HELLO: u64 = 1;
pub(crate) const WELCOME: u64 = 2;
pub(crate) const PING: u64 = 3;
pub(crate) const PONG: u64 = 4;
pub(crate) const ERROR: u64 = 5;
pub(crate) const GOAWAY: u64 = 6;
pub(crate) const OK: u64 = 7;
pub(crate) const PUBLISH: u64 = 10;
pub(crate) const PUBACK: u64 = 11;
pub(crate) const SUBSCRIBE: u64 = 12;
pub(crate) const SUBSCRIBED: u64 = 13;
pub(crate) const DELIVER: u64 = 14;
pub(crate) const UNSUBSCRIBE: u64 = 15;
pub(crate) const GAP: u64 = 16;
pub(crate) const PROGRESS: u64 = 17;
pub(crate) const CREDIT: u64 = 18;
pub(crate) const INCR: u64 = 20;
pub(crate) const COUNTED: u64 = 21;
pub(crate) const VOTE: u64 = 22;
pub(crate) const VOTED: u64 = 23;
pub(crate) const GET: u64 = 24;
pub(crate) const VALUE: u64 = 25;
pub(crate) const WATCH: u64 = 26;
pub(crate) const WATCHING: u64 = 27;
pub(crate) const UPDATE: u64 = 28;
pub(crate) const PRESENCE: u64 = 29;
pub(crate) const TALLY: u64 = 30;
pub(crate) const PRODUCER: u64 = 31;
pub(crate) const GROUP: u64 = 32;
pub(crate) const CONSUME: u64 = 33;
pub(crate) const LEASED: u64 = 34;
pub(crate) const SETTLE: u64 = 35;
pub(crate) const TOPIC: u64 = 36;
pub(crate) const INVALIDATE: u64 = 37;
pub(crate) const AUTH: u64 = 38;

/// The name of a type in messages to people.
pub(crate) fn name(kind: u64) -> &'static str {
    match kind {
        HELLO => "HELLO",
        WELCOME => "WELCOME",
        PING => "PING",
        PONG => "PONG",
        ERROR => "ERROR",
        GOAWAY => "GOAWAY",
        OK => "OK",
        PUBLISH => "PUBLISH",
        PUBACK => "PUBACK",
        SUBSCRIBE => "SUBSCRIBE",
        SUBSCRIBED => "SUBSCRIBED",
        DELIVER => "DELIVER",
        UNSUBSCRIBE => "UNSUBSCRIBE",
        GAP => "GAP",
        PROGRESS => "PROGRESS",
        CREDIT => "CREDIT",
        INCR => "INCR",
        COUNTED => "COUNTED",
        VOTE => "VOTE",
        VOTED => "VOTED",
        GET => "GET",
        VALUE => "VALUE",
        WATCH => "WATCH",
        WATCHING => "WATCHING",
        UPDATE => "UPDATE",
        PRESENCE => "PRESENCE",
        TALLY => "TALLY",
        PRODUCER => "PRODUCER",
        GROUP => "GROUP",
        CONSUME => "CONSUME",
        LEASED => "LEASED",
        SETTLE => "SETTLE",
        TOPIC => "TOPIC",
        INVALIDATE => "INVALIDATE",
        AUTH => "AUTH",
        _ => "frame",
    }
}
