//! Going to another node because the server asks for it: first there is a connection to the other one, then
//! the old one is given up.

use std::time::Duration;

use tidewire_protocol::{ErrorCode, Refusal};

use crate::connector::{Connector, Established, millis};
use crate::link::Link;
use crate::target::Target;

/// Longest pause before another node is dialed, so that not all clients of a server come at once.
const PAUSE_MS_MAX: u64 = 1_000;
/// Longest time in which what was asked is answered over the old connection; new requests wait meanwhile, and
/// what was asked while there was no leader is answered in it.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(7);

/// What the server says who wants the client to go.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    refusal: Refusal,
    grace: Duration,
    /// Where to, the best first.
    nodes: Vec<String>,
}

/// How the client goes.
pub(crate) enum Left {
    /// Another node is there.
    For(Box<Established>),
    /// There is no other one, and the server ends the connection after so long.
    Nowhere(Duration),
}

impl Leaving {
    pub(crate) fn new(refusal: Refusal, grace_ms: u64, nodes: Vec<String>) -> Self {
        Self { refusal, grace: Duration::from_millis(grace_ms), nodes }
    }

    /// Whether the server goes on with this connection if no other one is to be had.
    fn may_stay(&self) -> bool {
        self.refusal.code == ErrorCode::Moved
    }

    fn trace(&self) {
        let (code, reason) = (self.refusal.code.name(), &self.refusal.message);
        let (grace_ms, nodes) = (millis(self.grace), self.nodes.len());
        tracing::info!(code, reason, grace_ms, nodes, "the server asks to go (GOAWAY)");
    }

    fn pause(&self) -> Duration {
        let at_most = Duration::from_millis(PAUSE_MS_MAX).min(self.grace / 4);
        at_most.mul_f64(fastrand::f64())
    }
}

/// Goes when the server asks for it. Without a connector no other connection is wanted.
pub(crate) async fn leave(link: &Link, connector: Option<&mut Connector>, from: &Target) -> Left {
    let mut connector = connector;
    loop {
        let leaving = link.asked_to_go().await;
        leaving.trace();
        if let Some(connector) = connector.as_deref_mut() {
            let going = find_another(link, connector, &leaving, from);
            // Half of the time is for what is under way.
            if let Ok(Some(found)) = tokio::time::timeout(leaving.grace / 2, going).await {
                link.change_over();
                return Left::For(Box::new(found));
            }
        }
        if !leaving.may_stay() {
            link.go_away(leaving.refusal);
            return Left::Nowhere(leaving.grace);
        }
        // The server serves on, and says it again.
        tracing::info!("stays, since no other node is reached");
    }
}

async fn find_another(
    link: &Link,
    connector: &mut Connector,
    leaving: &Leaving,
    from: &Target,
) -> Option<Established> {
    connector.targets.learn(&leaving.nodes);
    let mut targets = connector.targets.beginning_with(&leaving.nodes, from);
    if leaving.may_stay() {
        // Behind one address there may be several nodes.
        targets.push(from.clone());
    } else if targets.is_empty() {
        return None;
    }
    tokio::time::sleep(leaving.pause()).await;
    let here = link.info().actor;
    for target in targets {
        match connector.connect(&target).await {
            Ok(found) if found.is_another(here, from) => return Some(found),
            Ok(_same) => tracing::debug!(url = target.url(), "this is where it is already"),
            // Said where it was tried.
            Err(_unreached) => {}
        }
    }
    None
}
