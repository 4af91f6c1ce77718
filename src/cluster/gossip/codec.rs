//! Gossip's packets in bytes: a format number, the head, and so many members. All numbers are big-endian.

use bytes::{Buf, BufMut};
use foca::{Header, Message, State};

use super::member::Member;
use crate::cluster::{NodeAddress, NodeId};

/// Raised when a packet of before can no longer be read.
const FORMAT: u8 = 1;

/// Writes and reads packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("the packet is full")]
    Full,
    #[error("the packet ends early")]
    Short,
    #[error("its format is {0}, this server knows {FORMAT}")]
    Format(u8),
    #[error("no such kind of message: {0}")]
    Kind(u8),
    #[error("no such state: {0}")]
    State(u8),
    #[error("node 0")]
    Node,
    #[error("an address that is none")]
    Address,
}

impl foca::Codec<Member> for Codec {
    type Error = CodecError;

    fn encode_header(
        &mut self,
        header: &Header<Member>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        let buf = &mut buf;
        let Header { src, src_incarnation, dst, message } = header;
        let (kind, number, other) = parts(message);
        let bytes = 1 + size(src) + 2 + size(dst) + 2 + other.map_or(0, size);
        if buf.remaining_mut() < bytes {
            return Err(CodecError::Full);
        }
        buf.put_u8(FORMAT);
        put(src, buf);
        buf.put_u16(*src_incarnation);
        put(dst, buf);
        buf.put_u8(kind);
        buf.put_u8(number);
        if let Some(other) = other {
            put(other, buf);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Member>, CodecError> {
        let buf = &mut buf;
        match take_u8(buf)? {
            FORMAT => {}
            other => return Err(CodecError::Format(other)),
        }
        let src = take(buf)?;
        let src_incarnation = take_u16(buf)?;
        let dst = take(buf)?;
        let (kind, probe_number) = (take_u8(buf)?, take_u8(buf)?);
        let message = match kind {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: take(buf)?, probe_number },
            3 => Message::IndirectPing { origin: take(buf)?, probe_number },
            4 => Message::IndirectAck { target: take(buf)?, probe_number },
            5 => Message::ForwardedAck { origin: take(buf)?, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            10 => Message::TurnUndead,
            other => return Err(CodecError::Kind(other)),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<Member>,
        mut buf: impl BufMut,
    ) -> Result<(), CodecError> {
        let buf = &mut buf;
        if buf.remaining_mut() < size(member.id()) + 3 {
            return Err(CodecError::Full);
        }
        put(member.id(), buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<foca::Member<Member>, CodecError> {
        let buf = &mut buf;
        let (id, incarnation) = (take(buf)?, take_u16(buf)?);
        let state = match take_u8(buf)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            other => return Err(CodecError::State(other)),
        };
        Ok(foca::Member::new(id, incarnation, state))
    }
}

/// The number of a kind, the number of the probe, and who else it is about.
fn parts(message: &Message<Member>) -> (u8, u8, Option<&Member>) {
    match message {
        Message::Ping(number) => (0, *number, None),
        Message::Ack(number) => (1, *number, None),
        Message::PingReq { target, probe_number } => (2, *probe_number, Some(target)),
        Message::IndirectPing { origin, probe_number } => (3, *probe_number, Some(origin)),
        Message::IndirectAck { target, probe_number } => (4, *probe_number, Some(target)),
        Message::ForwardedAck { origin, probe_number } => (5, *probe_number, Some(origin)),
        Message::Announce => (6, 0, None),
        Message::Feed => (7, 0, None),
        Message::Gossip => (8, 0, None),
        Message::Broadcast => (9, 0, None),
        Message::TurnUndead => (10, 0, None),
    }
}

fn size(member: &Member) -> usize {
    17 + member.address.as_str().len()
}

fn put(member: &Member, buf: &mut impl BufMut) {
    let address = member.address.as_str();
    buf.put_u64(member.node.get());
    buf.put_u64(member.incarnation);
    // An address is shorter than that by its type.
    buf.put_u8(u8::try_from(address.len()).unwrap_or(u8::MAX));
    buf.put_slice(address.as_bytes());
}

fn take(buf: &mut impl Buf) -> Result<Member, CodecError> {
    if buf.remaining() < 17 {
        return Err(CodecError::Short);
    }
    let node = NodeId::new(buf.get_u64()).ok_or(CodecError::Node)?;
    let incarnation = buf.get_u64();
    let length = usize::from(buf.get_u8());
    if buf.remaining() < length {
        return Err(CodecError::Short);
    }
    let address = buf.copy_to_bytes(length);
    let address = std::str::from_utf8(&address).map_err(|_not_text| CodecError::Address)?;
    let address = NodeAddress::parse(address).map_err(|_rule| CodecError::Address)?;
    Ok(Member { node, incarnation, address })
}

fn take_u8(buf: &mut impl Buf) -> Result<u8, CodecError> {
    buf.try_get_u8().map_err(|_short| CodecError::Short)
}

fn take_u16(buf: &mut impl Buf) -> Result<u16, CodecError> {
    buf.try_get_u16().map_err(|_short| CodecError::Short)
}

#[cfg(test)]
mod tests {
    use foca::Codec as _;
    use proptest::prelude::*;

    use super::*;

    fn member() -> impl Strategy<Value = Member> {
        (1..=u64::MAX, any::<u64>(), "[a-z0-9.-]{1,100}", 1..=u16::MAX).prop_map(
            |(node, incarnation, host, port)| Member {
                node: NodeId::new(node).unwrap(),
                incarnation,
                address: NodeAddress::parse(&format!("{host}:{port}")).unwrap(),
            },
        )
    }

    fn message() -> impl Strategy<Value = Message<Member>> {
        (0..11_u8, any::<u8>(), member()).prop_map(|(kind, probe_number, other)| match kind {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: other, probe_number },
            3 => Message::IndirectPing { origin: other, probe_number },
            4 => Message::IndirectAck { target: other, probe_number },
            5 => Message::ForwardedAck { origin: other, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            _ => Message::TurnUndead,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            src in member(), dst in member(), incarnation: u16, message in message(),
        ) {
            let header = Header { src: src.clone(), src_incarnation: incarnation, dst, message };
            let mut bytes = Vec::new();
            Codec.encode_header(&header, &mut bytes).unwrap();
            let after_header = bytes.len();
            let one = foca::Member::new(src, incarnation, State::Suspect);
            Codec.encode_member(&one, &mut bytes).unwrap();
            let mut rest = bytes.as_slice();
            prop_assert_eq!(Codec.decode_header(&mut rest).unwrap(), header.clone());
            prop_assert_eq!(Codec.decode_member(&mut rest).unwrap(), one.clone());
            prop_assert!(rest.is_empty());
            for end in 0..after_header {
                prop_assert!(Codec.decode_header(&bytes[..end]).is_err());
            }
            // What does not fit leaves nothing behind.
            let mut full = Vec::new().limit(after_header - 1);
            prop_assert_eq!(Codec.encode_header(&header, &mut full), Err(CodecError::Full));
            prop_assert!(full.into_inner().is_empty());
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>) {
            drop(Codec.decode_header(bytes.as_slice()));
            drop(Codec.decode_member(bytes.as_slice()));
        }
    }
}
