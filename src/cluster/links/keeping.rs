//! Links come and go: they are dialed, taken, looked after and given up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt as _;
use quinn::ConnectionError;
use tokio::sync::Semaphore;

use super::greeting::{self, Failed};
use super::link::{self, Link};
use super::reason::{self, Reason};
use super::table::Dialed;
use super::{LinkError, Links};
use crate::cluster::NodeId;
use crate::cluster::gossip::Member;

/// Handshakes under way; more are refused.
const HANDSHAKES_MAX: usize = 64;
/// How often it is looked which nodes are heard.
const LOOK: Duration = Duration::from_millis(250);
/// Refusals of others are logged so often at most.
const WARN_PAUSE_MS: u64 = 1_000;

impl Links {
    /// Dials another node, or joins those who do.
    pub(super) fn dial_node(&self, to: Member) -> Dialed {
        let mut table = self.table();
        if let Some(dialed) = table.dials.get(&to.node) {
            return dialed.clone();
        }
        let links = self.clone();
        let node = to.node;
        let task = self.0.runtime.spawn(async move {
            let outcome = greeting::dial(&links, &to.address).await;
            let mut table = links.table();
            table.dials.remove(&node);
            // It may have dialed, too; and another node may have its address now.
            match (table.link(node), outcome) {
                (Some(link), _) => Ok(link),
                (None, Err(error)) => {
                    table.failed(node, links.now_ms());
                    tracing::debug!(%node, %error, "no link");
                    Err(error)
                }
                (None, Ok(other)) => {
                    table.failed(node, links.now_ms());
                    let sentence = format!("node {} is there, not {node}", other.member.node);
                    Err(LinkError::Refused { address: to.address, reason: None, sentence })
                }
            }
        });
        let dialed = async move { task.await.unwrap_or(Err(LinkError::Leaving)) };
        let dialed = dialed.boxed().shared();
        table.dials.insert(node, dialed.clone());
        dialed
    }

    /// Takes a connection as the link with a node, if it is the better one.
    pub(super) fn take(
        &self,
        connection: &quinn::Connection,
        member: Member,
        dialed_by: NodeId,
    ) -> Result<Arc<Link>, Failed> {
        if self.0.is_leaving.load(Relaxed) {
            return Err(Failed::ours(Reason::Leaving, "the node leaves the cluster"));
        }
        let now_ms = self.now_ms();
        let link = Arc::new(Link::new(connection.clone(), member, dialed_by, now_ms));
        let waiting = self.table().take(&link, now_ms)?;
        tracing::info!(
            node = %link.member.node,
            address = %link.member.address,
            incarnation = link.member.incarnation,
            %dialed_by,
            "linked with a node"
        );
        drop(self.0.runtime.spawn(link::serve(self.clone(), Arc::clone(&link))));
        for packet in waiting {
            drop(self.send_datagram(link.member.node, packet));
        }
        Ok(link)
    }

    /// A connection has ended; another one may have taken its place before.
    pub(super) fn ended(&self, link: &Arc<Link>, error: &ConnectionError) {
        let stats = link.connection.stats();
        self.0.figures.ended_bytes_in.fetch_add(stats.udp_rx.bytes, Relaxed);
        self.0.figures.ended_bytes_out.fetch_add(stats.udp_tx.bytes, Relaxed);
        if self.table().remove(link) {
            let (_, reason) = reason::told(error);
            tracing::info!(node = %link.member.node, reason, "a link has ended");
        }
    }

    /// Counts a connection that did not become a link, and says why.
    pub(super) fn refused(&self, from: SocketAddr, failed: &Failed) {
        let Failed { reason, sentence, .. } = failed;
        if let Some(reason) = reason {
            self.0.figures.refused(*reason);
        }
        if reason.is_some_and(Reason::is_ordinary) {
            tracing::debug!(%from, sentence, "a link is refused");
            return;
        }
        let now_ms = self.now_ms();
        let warned_at_ms = self.0.warned_at_ms.load(Relaxed);
        if now_ms.saturating_sub(warned_at_ms) >= WARN_PAUSE_MS {
            self.0.warned_at_ms.store(now_ms, Relaxed);
            tracing::warn!(%from, "a link is refused: {sentence}");
        }
    }

    pub(super) async fn accept(self) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        while let Some(incoming) = self.0.endpoint.accept().await {
            let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
                self.0.figures.refused(Reason::Busy);
                incoming.refuse();
                continue;
            };
            // Anybody can send a packet in the name of another address.
            if handshakes.available_permits() < HANDSHAKES_MAX / 2
                && !incoming.remote_address_validated()
                && incoming.may_retry()
            {
                drop(incoming.retry());
                continue;
            }
            let links = self.clone();
            drop(tokio::spawn(async move {
                greeting::accept(links, incoming).await;
                drop(permit);
            }));
        }
    }

    pub(super) async fn look(self) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.0.is_leaving.load(Relaxed) {
            looks.tick().await;
            let now_ms = self.now_ms();
            for link in self.table().links() {
                link.look(now_ms);
            }
        }
    }
}
