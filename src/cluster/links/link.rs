//! One connection with another node, and what comes over it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};

use super::choice::Side;
use super::figures::count;
use super::{Incoming, Links};
use crate::cluster::NodeId;
use crate::cluster::gossip::Member;

/// A stream has so long to say which service it is for.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(5);
/// Codes of streams that are refused. They are part of the protocol.
const UNKNOWN_SERVICE: u32 = 1;
const BUSY_SERVICE: u32 = 2;
/// Longest time without a word after which a node counts as unreachable: one keep-alive and a half.
const HEARD_MS: u64 = 1_500;

/// A connection that both sides have agreed on.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) connection: Connection,
    pub(super) member: Member,
    pub(super) dialed_by: NodeId,
    heard_at_ms: AtomicU64,
    /// Datagrams of UDP when it was looked last.
    received: AtomicU64,
}

impl Link {
    pub(super) fn new(
        connection: Connection,
        member: Member,
        dialed_by: NodeId,
        now_ms: u64,
    ) -> Self {
        let (heard_at_ms, received) = (AtomicU64::new(now_ms), AtomicU64::new(0));
        Self { connection, member, dialed_by, heard_at_ms, received }
    }

    pub(super) fn side(&self) -> Side<'_> {
        Side { member: &self.member, dialed_by: self.dialed_by }
    }

    /// Looks whether anything has come since it was looked last. QUIC does not tell when.
    pub(super) fn look(&self, now_ms: u64) {
        let received = self.connection.stats().udp_rx.datagrams;
        if self.received.swap(received, Relaxed) != received {
            self.heard_at_ms.fetch_max(now_ms, Relaxed);
        }
    }

    /// Whether something has come of late.
    pub(super) fn is_heard(&self, now_ms: u64) -> bool {
        let since_ms = now_ms.saturating_sub(self.heard_at_ms.load(Relaxed));
        self.connection.close_reason().is_none() && since_ms <= HEARD_MS
    }
}

/// Takes what comes over a link until it ends.
pub(super) async fn serve(links: Links, link: Arc<Link>) {
    let (ended, _) = tokio::join!(streams(&links, &link), datagrams(&links, &link));
    links.ended(&link, &ended);
}

async fn datagrams(links: &Links, link: &Link) {
    while let Ok(bytes) = link.connection.read_datagram().await {
        let figures = links.figures();
        count(&figures.datagrams_in, 1);
        count(&figures.datagram_bytes_in, bytes.len());
        link.heard_at_ms.fetch_max(links.now_ms(), Relaxed);
        // Gossip that is not read in time is outdated.
        if links.gossip().try_send(bytes).is_err() {
            count(&figures.datagrams_dropped, 1);
        }
    }
}

async fn streams(links: &Links, link: &Link) -> ConnectionError {
    loop {
        match link.connection.accept_bi().await {
            Ok((send, recv)) => {
                drop(tokio::spawn(route(links.clone(), link.member.node, send, recv)));
            }
            Err(ended) => return ended,
        }
    }
}

/// Hands a stream to its service, which its first byte names.
async fn route(links: Links, node: NodeId, mut send: SendStream, mut recv: RecvStream) {
    let mut service = [0];
    let read = tokio::time::timeout(SERVICE_TIMEOUT, recv.read_exact(&mut service)).await;
    let refused = match (read, service) {
        (Ok(Ok(())), [service]) => match links.service(service) {
            Some(queue) => {
                let incoming = Incoming { node, send, recv };
                match queue.try_send(incoming) {
                    Ok(()) => {
                        count(&links.figures().streams_taken, 1);
                        return;
                    }
                    Err(error) => {
                        Incoming { send, recv, .. } = error.into_inner();
                        BUSY_SERVICE
                    }
                }
            }
            None => UNKNOWN_SERVICE,
        },
        (Ok(Err(_)) | Err(_), _) => UNKNOWN_SERVICE,
    };
    count(&links.figures().streams_refused, 1);
    // It may have ended by itself.
    drop(send.reset(refused.into()));
    drop(recv.stop(refused.into()));
}
