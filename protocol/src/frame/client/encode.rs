//! Writing the frames that a client sends.

use super::ClientFrame;
use crate::frame::{Start, head, number};
use crate::options::GetOptions;
use crate::wire;

impl ClientFrame {
    /// Appends the frame's encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version, capabilities, token, client } => {
                head(out, number::HELLO, 4);
                wire::put_uint(out, *version);
                wire::put_value(out, capabilities);
                wire::put_opt(out, token.as_deref(), wire::put_str);
                wire::put_opt(out, client.as_deref(), wire::put_str);
            }
            Self::Ping { nonce } => {
                head(out, number::PING, 1);
                wire::put_uint(out, *nonce);
            }
            Self::Pong { nonce } => {
                head(out, number::PONG, 1);
                wire::put_uint(out, *nonce);
            }
            Self::Credit { sub, bytes } => {
                head(out, number::CREDIT, 2);
                wire::put_uint(out, u64::from(*sub));
                wire::put_uint(out, *bytes);
            }
            Self::Publish { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Incr { .. }
            | Self::Vote { .. }
            | Self::Get { .. }
            | Self::Watch { .. }
            | Self::Presence { .. } => self.encode_request(out),
            Self::Tally { .. }
            | Self::Producer { .. }
            | Self::Auth { .. }
            | Self::Invalidate { .. }
            | Self::Topic { .. }
            | Self::Group { .. }
            | Self::Consume { .. }
            | Self::Settle { .. } => {
                self.encode_other_request(out);
            }
        }
    }

    /// Encodes the types that begin with a request id.
    fn encode_request(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Credit { .. }
            | Self::Tally { .. }
            | Self::Producer { .. }
            | Self::Auth { .. }
            | Self::Invalidate { .. }
            | Self::Topic { .. }
            | Self::Group { .. }
            | Self::Consume { .. }
            | Self::Settle { .. } => {}
            Self::Publish { req, topic, ack, body, options } => {
                request_head(out, number::PUBLISH, 5, *req);
                wire::put_str(out, topic.as_str());
                wire::put_uint(out, *ack as u64);
                wire::put_bin(out, body);
                put_options(out, options);
            }
            Self::Subscribe { req, sub, pattern, start, options } => {
                request_head(out, number::SUBSCRIBE, 5, *req);
                wire::put_uint(out, u64::from(*sub));
                wire::put_str(out, pattern.as_str());
                put_start(out, start);
                put_options(out, options);
            }
            Self::Unsubscribe { req, sub } => {
                request_head(out, number::UNSUBSCRIBE, 2, *req);
                wire::put_uint(out, u64::from(*sub));
            }
            Self::Incr { req, counter, op, operand, options } => {
                request_head(out, number::INCR, 5, *req);
                wire::put_str(out, counter.as_str());
                wire::put_uint(out, *op as u64);
                wire::put_int(out, *operand);
                put_options(out, options);
            }
            Self::Vote { req, tally, voter, choices, revision } => {
                request_head(out, number::VOTE, 5, *req);
                wire::put_str(out, tally.as_str());
                wire::put_str(out, voter);
                wire::put_value(out, choices);
                wire::put_opt(out, *revision, wire::put_uint);
            }
            Self::Get { req, kind, name, key, options } => {
                let asks = *options != GetOptions::default();
                request_head(out, number::GET, 4 + usize::from(asks), *req);
                wire::put_uint(out, *kind as u64);
                wire::put_str(out, name.as_str());
                wire::put_opt(out, key.as_deref(), wire::put_str);
                if asks {
                    put_options(out, options);
                }
            }
            Self::Watch { req, sub, kind, name, options } => {
                request_head(out, number::WATCH, 5, *req);
                wire::put_uint(out, u64::from(*sub));
                wire::put_uint(out, *kind as u64);
                wire::put_str(out, name.as_str());
                put_options(out, options);
            }
            Self::Presence { req, op, name, member, data } => {
                request_head(out, number::PRESENCE, 5, *req);
                wire::put_uint(out, *op as u64);
                wire::put_str(out, name.as_str());
                wire::put_str(out, member);
                wire::put_opt(out, data.as_deref(), wire::put_bin);
            }
        }
    }
}

impl ClientFrame {
    /// Encodes the types that concern the connection, tallies, topics as a whole and consumer groups.
    fn encode_other_request(&self, out: &mut Vec<u8>) {
        match self {
            Self::Producer { req } => request_head(out, number::PRODUCER, 1, *req),
            Self::Auth { req, token } => {
                request_head(out, number::AUTH, 2, *req);
                wire::put_str(out, token);
            }
            Self::Tally { req, op, tally, rules } => {
                request_head(out, number::TALLY, 4, *req);
                wire::put_uint(out, *op as u64);
                wire::put_str(out, tally.as_str());
                wire::put_opt(out, rules.as_ref(), wire::put_value);
            }
            Self::Invalidate { req, tally, voters, hashes } => {
                request_head(out, number::INVALIDATE, 4, *req);
                wire::put_str(out, tally.as_str());
                wire::put_value(out, voters);
                wire::put_opt(out, hashes.as_ref(), wire::put_value);
            }
            Self::Topic { req, op, topic, options } => {
                request_head(out, number::TOPIC, 4, *req);
                wire::put_uint(out, *op as u64);
                wire::put_str(out, topic.as_str());
                put_options(out, options);
            }
            Self::Group { req, op, topic, group, options } => {
                request_head(out, number::GROUP, 5, *req);
                wire::put_uint(out, *op as u64);
                wire::put_str(out, topic.as_str());
                wire::put_str(out, group.as_str());
                put_options(out, options);
            }
            Self::Consume { req, sub, topic, group, options } => {
                request_head(out, number::CONSUME, 5, *req);
                wire::put_uint(out, u64::from(*sub));
                wire::put_str(out, topic.as_str());
                wire::put_str(out, group.as_str());
                put_options(out, options);
            }
            Self::Settle { req, sub, op, offsets, options } => {
                request_head(out, number::SETTLE, 5, *req);
                wire::put_uint(out, u64::from(*sub));
                wire::put_uint(out, *op as u64);
                wire::put_value(out, offsets);
                put_options(out, options);
            }
            Self::Hello { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::Credit { .. }
            | Self::Publish { .. }
            | Self::Subscribe { .. }
            | Self::Unsubscribe { .. }
            | Self::Incr { .. }
            | Self::Vote { .. }
            | Self::Get { .. }
            | Self::Watch { .. }
            | Self::Presence { .. } => {}
        }
    }
}

fn put_start(out: &mut Vec<u8>, start: &Start) {
    let mut put = |numbers: &[u64]| {
        wire::put_array(out, numbers.len());
        for number in numbers {
            wire::put_uint(out, *number);
        }
    };
    match start {
        Start::Latest => put(&[0]),
        Start::Earliest => put(&[1]),
        Start::Offset { epoch, offset } => put(&[2, *epoch, *offset]),
        Start::Time(time_ms) => put(&[3, *time_ms]),
        Start::Last(count) => put(&[4, *count]),
        Start::Positions(positions) => {
            wire::put_array(out, 2);
            wire::put_uint(out, 5);
            wire::put_value(out, positions);
        }
    }
}

/// Options that say nothing travel as nil.
fn put_options<T: serde::Serialize + Default + PartialEq>(out: &mut Vec<u8>, options: &T) {
    if *options == T::default() { wire::put_nil(out) } else { wire::put_value(out, options) }
}

fn request_head(out: &mut Vec<u8>, kind: u64, fields: usize, req: u64) {
    head(out, kind, fields);
    wire::put_uint(out, req);
}
