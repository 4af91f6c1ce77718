//! Links: one connection with each other node, by QUIC with certificates on both sides.
//!
//! Gossip rides in the datagrams. Each other service opens bidirectional streams, of which the first byte
//! says which service it is ([`Links::open`], [`Links::serve`]); the rest is the service's own. A stream of a
//! service that nobody serves is reset with code 1, one for which there is no room with code 2.
//!
//! There is at most one connection for each pair of nodes. When both have dialed at once the one that the lower
//! id has dialed stays. A node that has started again takes the place of what it was before; two that have
//! one id and are there at the same time are told apart by their addresses, and the later one is refused.

mod choice;
mod error;
mod figures;
mod greeting;
mod keeping;
mod link;
mod reason;
mod table;
#[cfg(test)]
pub(in crate::cluster) mod tests;
mod transport;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;

use super::credentials::Credentials;
use super::gossip::Member;
use super::hello::Hello;
use super::time::Time;
use super::{ClusterId, NodeAddress, NodeId, ca};
pub(crate) use error::LinkError;
pub(crate) use figures::LinkFigures;
use figures::count;
use link::Link;
pub(crate) use reason::Reason;
use table::Table;

/// Streams of a service that wait to be taken; more are reset.
const SERVICE_QUEUE: usize = 64;

/// A stream that another node has opened.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) node: NodeId,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// The links of this node.
#[derive(Clone)]
pub(crate) struct Links(Arc<Inner>);

struct Inner {
    cluster: ClusterId,
    server_name: String,
    endpoint: quinn::Endpoint,
    client: quinn::ClientConfig,
    runtime: tokio::runtime::Handle,
    time: Time,
    hello: Hello,
    address: NodeAddress,
    incarnation: AtomicU64,
    version: (u16, u16),
    table: Mutex<Table>,
    gossip: mpsc::Sender<Bytes>,
    figures: LinkFigures,
    warned_at_ms: AtomicU64,
    is_leaving: AtomicBool,
}

/// What links are made from.
pub(super) struct Making {
    pub(super) credentials: Credentials,
    pub(super) socket: UdpSocket,
    pub(super) hello: Hello,
    pub(super) address: NodeAddress,
    pub(super) version: (u16, u16),
    pub(super) time: Time,
    pub(super) gossip: mpsc::Sender<Bytes>,
}

impl Links {
    /// Makes them, on the runtime that it is called in, which serves them from then on.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn start(making: Making) -> std::io::Result<Self> {
        let Making { credentials, socket, hello, address, version, time, gossip } = making;
        let (endpoint, client) = transport::endpoint(&credentials, socket)?;
        let links = Self(Arc::new(Inner {
            cluster: credentials.cluster,
            server_name: ca::server_name(credentials.cluster),
            endpoint,
            client,
            runtime: tokio::runtime::Handle::current(),
            time,
            incarnation: AtomicU64::new(hello.incarnation),
            hello,
            address,
            version,
            table: Mutex::default(),
            gossip,
            figures: LinkFigures::default(),
            warned_at_ms: AtomicU64::new(0),
            is_leaving: AtomicBool::new(false),
        }));
        drop(tokio::spawn(links.clone().accept()));
        drop(tokio::spawn(links.clone().look()));
        Ok(links)
    }

    /// Opens a stream to a service of another node. Dials if there is no link.
    ///
    /// # Errors
    /// When there is no link to be had.
    pub(crate) async fn open(
        &self,
        node: NodeId,
        service: u8,
    ) -> Result<(SendStream, RecvStream), LinkError> {
        let link = match self.link(node) {
            Some(link) => link,
            None => {
                let known = self.table().known(node);
                self.dial_node(known.ok_or(LinkError::Unknown(node))?).await?
            }
        };
        let lost = |error: &dyn std::fmt::Display| LinkError::Lost {
            node,
            reason: match link.connection.close_reason() {
                Some(ended) => reason::told(&ended).1,
                None => error.to_string(),
            },
        };
        let (mut send, recv) = link.connection.open_bi().await.map_err(|error| lost(&error))?;
        send.write_all(&[service]).await.map_err(|error| lost(&error))?;
        count(&self.0.figures.streams_opened, 1);
        Ok((send, recv))
    }

    /// Takes the streams of a service from now on. Who has taken them before gets no more.
    pub(crate) fn serve(&self, service: u8) -> mpsc::Receiver<Incoming> {
        let (queue, streams) = mpsc::channel(SERVICE_QUEUE);
        self.table().services.insert(service, queue);
        streams
    }

    /// Sends a datagram, which may get lost.
    ///
    /// # Errors
    /// When there is no link, or it is too long.
    pub(crate) fn send_datagram(&self, node: NodeId, bytes: Bytes) -> Result<(), LinkError> {
        let link = self.link(node).ok_or(LinkError::NoLink(node))?;
        let length = bytes.len();
        match link.connection.send_datagram(bytes) {
            Ok(()) => {
                count(&self.0.figures.datagrams_out, 1);
                count(&self.0.figures.datagram_bytes_out, length);
                Ok(())
            }
            Err(quinn::SendDatagramError::TooLarge) => Err(LinkError::TooLong(length)),
            Err(error) => Err(LinkError::Lost { node, reason: error.to_string() }),
        }
    }

    /// How long a packet takes to another node and back, while there is a link.
    pub(crate) fn round_trip(&self, node: NodeId) -> Option<Duration> {
        self.link(node).map(|link| link.connection.rtt())
    }

    /// Whether another node was heard within the last one and a half seconds.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.link(node).is_some_and(|link| link.is_heard(self.now_ms()))
    }

    pub(crate) fn figures(&self) -> &LinkFigures {
        &self.0.figures
    }

    /// Links that there are, and bytes of UDP in and out, of those before, too.
    pub(crate) fn traffic(&self) -> (usize, u64, u64) {
        let figures = &self.0.figures;
        let ended = (figures.ended_bytes_in.load(Relaxed), figures.ended_bytes_out.load(Relaxed));
        let links = self.table().links();
        let (bytes_in, bytes_out) = links.iter().fold(ended, |(bytes_in, bytes_out), link| {
            let stats = link.connection.stats();
            (bytes_in + stats.udp_rx.bytes, bytes_out + stats.udp_tx.bytes)
        });
        (links.len(), bytes_in, bytes_out)
    }

    /// Sends gossip, and dials first if need be. What cannot be sent soon is dropped.
    pub(super) fn gossip_to(&self, to: &Member, packet: Bytes) {
        if self.0.is_leaving.load(Relaxed) && self.link(to.node).is_none() {
            return;
        }
        let outcome = self.send_datagram(to.node, packet.clone());
        if matches!(outcome, Err(LinkError::NoLink(_))) {
            let is_kept = self.table().keep(to.node, packet, self.now_ms());
            if is_kept {
                drop(self.dial_node(to.clone()));
                return;
            }
        }
        if outcome.is_err() {
            count(&self.0.figures.datagrams_dropped, 1);
        }
    }

    /// Dials an address of which it is not known who is there.
    pub(super) async fn dial_seed(&self, address: &NodeAddress) -> Result<Member, LinkError> {
        match greeting::dial(self, address).await {
            Ok(link) => Ok(link.member.clone()),
            Err(LinkError::Refused { reason: Some(Reason::Duplicate), sentence, address }) => {
                // There is another link with it, which is better.
                let there = self.table().links().into_iter();
                let mut there = there.filter(|link| link.member.address == address);
                let link = there.next().map(|link| link.member.clone());
                let reason = Some(Reason::Duplicate);
                link.ok_or(LinkError::Refused { reason, sentence, address })
            }
            Err(error) => Err(error),
        }
    }

    /// Where gossip has seen another node, and whether it is there.
    pub(super) fn learn(&self, member: &Member, is_there: bool) {
        self.table().learn(member, is_there);
    }

    pub(super) fn forget(&self, node: NodeId) {
        self.table().forget(node);
    }

    /// This node goes on with another incarnation.
    pub(super) fn renew(&self, incarnation: u64) {
        self.0.incarnation.store(incarnation, Relaxed);
    }

    /// Closes all links, and waits until the others have been told.
    pub(super) async fn leave(&self) {
        self.0.is_leaving.store(true, Relaxed);
        self.0.endpoint.close(Reason::Leaving.code(), b"the node leaves the cluster");
        let told = self.0.endpoint.wait_idle();
        // Who does not hear it notices later.
        drop(tokio::time::timeout(Duration::from_millis(500), told).await);
    }

    fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.table().link(node)
    }

    fn connect(&self, address: SocketAddr) -> Result<quinn::Connecting, quinn::ConnectError> {
        let Inner { endpoint, client, server_name, .. } = &*self.0;
        endpoint.connect_with(client.clone(), address, server_name)
    }

    fn service(&self, service: u8) -> Option<mpsc::Sender<Incoming>> {
        self.table().services.get(&service).cloned()
    }

    fn hello(&self) -> Hello {
        let incarnation = self.0.incarnation.load(Relaxed);
        Hello { incarnation, ..self.0.hello.clone() }
    }

    fn own(&self) -> Member {
        let incarnation = self.0.incarnation.load(Relaxed);
        Member { node: self.own_node(), incarnation, address: self.0.address.clone() }
    }

    fn own_node(&self) -> NodeId {
        self.0.hello.node
    }

    fn cluster(&self) -> ClusterId {
        self.0.cluster
    }

    fn version(&self) -> (u16, u16) {
        self.0.version
    }

    fn gossip(&self) -> &mpsc::Sender<Bytes> {
        &self.0.gossip
    }

    fn now_ms(&self) -> u64 {
        self.0.time.now_ms()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
