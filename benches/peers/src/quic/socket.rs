//! The UDP socket of a connection: many datagrams per system call, in both directions.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::{Interest, Registry, Token};
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes of one read: the largest datagram, or as much as the kernel joins.
const READ_BYTES: usize = 64 * 1024;
/// Reads in one system call.
const READS: usize = 8;
/// Datagrams sent in one system call.
const SEGMENTS_MAX: usize = 10;

/// One datagram that arrived.
pub(super) struct Datagram {
    pub(super) received: Instant,
    pub(super) from: SocketAddr,
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) data: BytesMut,
}

/// A socket on loopback.
pub(super) struct Socket {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    /// The packet that is sent, or that the socket did not take.
    packet: Vec<u8>,
    unsent: Option<Transmit>,
}

impl Socket {
    /// On a port of the kernel's choice.
    ///
    /// # Errors
    /// When there is none left.
    pub(super) fn bind() -> Result<Self, String> {
        let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let state = bound.and_then(|socket| Ok((UdpSocketState::new((&socket).into())?, socket)));
        let (state, socket) = state.map_err(|error| format!("a UDP socket: {error}"))?;
        let socket = mio::net::UdpSocket::from_std(socket);
        Ok(Self { socket, state, packet: Vec::new(), unsent: None })
    }

    /// Tells `registry` of it.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Waits for a datagram, but not longer than this.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(super) fn wait(&self, longest: Duration) -> Result<(), String> {
        let timeout = Timespec::try_from(longest).map_err(|error| error.to_string())?;
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut socket, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(format!("waiting for a datagram: {error}")),
        }
    }

    /// Hands over all datagrams that are there.
    ///
    /// # Errors
    /// When the socket breaks, for instance because nobody listens at the other end.
    pub(super) fn receive(
        &self,
        buffer: &mut [u8],
        mut each: impl FnMut(Datagram),
    ) -> Result<(), String> {
        loop {
            let mut metas = [RecvMeta::default(); READS];
            let mut pieces = buffer.chunks_mut(READ_BYTES);
            let mut slices: [IoSliceMut<'_>; READS] =
                std::array::from_fn(|_| IoSliceMut::new(pieces.next().unwrap_or_default()));
            let count = match self.state.recv((&self.socket).into(), &mut slices, &mut metas) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("reading: {error}")),
            };
            let received = Instant::now();
            for (meta, slice) in metas.iter().zip(&slices).take(count) {
                let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
                let bytes = slice.get(..meta.len).unwrap_or_default();
                for datagram in bytes.chunks(meta.stride.max(1)) {
                    let data = BytesMut::from(datagram);
                    each(Datagram { received, from: meta.addr, to: meta.dst_ip, ecn, data });
                }
            }
        }
    }

    /// Sends what `next` writes, until it has nothing more or the socket takes nothing more. `next`
    /// is told how many datagrams it may write at once.
    ///
    /// # Errors
    /// When the socket breaks.
    pub(super) fn send(
        &mut self,
        mut next: impl FnMut(usize, &mut Vec<u8>) -> Option<Transmit>,
    ) -> Result<(), String> {
        let segments = self.state.max_gso_segments().min(SEGMENTS_MAX);
        loop {
            let transmit = match self.unsent.take() {
                Some(unsent) => Some(unsent),
                None => {
                    self.packet.clear();
                    next(segments, &mut self.packet)
                }
            };
            let Some(transmit) = transmit else { return Ok(()) };
            let ecn = transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8));
            let packet = quinn_udp::Transmit {
                destination: transmit.destination,
                ecn,
                contents: self.packet.get(..transmit.size).unwrap_or_default(),
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            };
            match self.state.try_send((&self.socket).into(), &packet) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent = Some(transmit);
                    return Ok(());
                }
                Err(error) => return Err(format!("writing: {error}")),
            }
        }
    }

    /// Whether the socket has taken everything.
    pub(super) fn is_sent(&self) -> bool {
        self.unsent.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_arrive_one_by_one_however_many_are_sent_at_once() {
        let (mut sender, receiver) = (Socket::bind().unwrap(), Socket::bind().unwrap());
        let destination = receiver.socket.local_addr().unwrap();
        let mut left = vec![(3 * 100, Some(100)), (70, None)];
        sender
            .send(|_, packet| {
                let (size, segment_size) = left.pop()?;
                packet.resize(size, b'x');
                Some(Transmit { destination, ecn: None, size, segment_size, src_ip: None })
            })
            .unwrap();
        assert!(sender.is_sent());
        let mut lengths = Vec::new();
        let mut buffer = vec![0; READS * READ_BYTES];
        let started = Instant::now();
        while lengths.len() < 4 && started.elapsed() < Duration::from_secs(10) {
            receiver.wait(Duration::from_millis(100)).unwrap();
            receiver.receive(&mut buffer, |datagram| lengths.push(datagram.data.len())).unwrap();
        }
        assert_eq!(lengths, [70, 100, 100, 100]);
    }
}
