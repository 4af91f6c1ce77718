//! HELLO and WELCOME: version and capabilities.

use tidewire_core::shard::SessionId;
use tidewire_protocol::frame::BadFrame;
use tidewire_protocol::options::ServerInfo;
use tidewire_protocol::{ClientFrame, ErrorCode, Refusal, ServerFrame, VERSION};

use super::connection::Peer;
use crate::audit::Entry;
use crate::auth::Credential;
use crate::cluster::Cluster;
use crate::server::{Account, Admission, Core, RefusalInfo, Who, session_name, wall_ms};

/// Cells may travel in datagrams.
const DATAGRAMS: &str = "datagrams";
/// The client goes to another node of the cluster when it is asked to, and stays if it reaches none.
const MOVE: &str = "move";
/// Longest name of a client's software in bytes.
const CLIENT_BYTES_MAX: usize = 128;

/// What has been agreed.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) datagrams: bool,
    pub(super) moves: bool,
    pub(super) admission: Admission,
}

/// Checks a connection's first frame, and shows operators whom it does not let in.
pub(super) async fn hello(
    core: &Core,
    frame: &Result<ClientFrame, BadFrame>,
    offers_datagrams: bool,
    peer: &Peer,
) -> Result<Welcome, Refusal> {
    greet(core, frame, offers_datagrams, peer).await.inspect_err(|refusal| {
        let who = Who { address: Some(peer.address), ..Who::default() };
        core.shared.refusals.add([RefusalInfo::new(wall_ms(), refusal, who)], 0);
    })
}

async fn greet(
    core: &Core,
    frame: &Result<ClientFrame, BadFrame>,
    offers_datagrams: bool,
    peer: &Peer,
) -> Result<Welcome, Refusal> {
    match frame {
        Err(BadFrame { refusal, .. }) => Err(refusal.clone()),
        Ok(ClientFrame::Hello { version, capabilities, token, client }) => {
            if *version != VERSION {
                let message = format!("protocol version {version}: this server speaks {VERSION}");
                return Err(Refusal::new(ErrorCode::VersionUnsupported, message));
            }
            let client = client.as_deref().unwrap_or_default();
            if client.len() > CLIENT_BYTES_MAX {
                let message = format!("client: at most {CLIENT_BYTES_MAX} bytes");
                return Err(Refusal::new(ErrorCode::InvalidArgument, message));
            }
            tracing::debug!(core = core.number, client, "a client says hello");
            let shown = Credential::of(token.as_deref(), peer.certificate.as_ref());
            let refused = |refusal: &Refusal| {
                let (code, message) = (refusal.code.name(), refusal.message.clone());
                let entry = || Entry::done(wall_ms(), "hello").refused(code, message);
                let who = Who { address: Some(peer.address), ..Who::default() };
                core.shared.audit.record(|| entry().by(who));
            };
            let admission = core.shared.admission(shown).inspect_err(refused)?;
            // Operators are let in: they make room.
            let is_operator = admission.account.as_ref().is_some_and(Account::may_administer);
            if core.shared.load.is_full() && !is_operator {
                return Err(crate::load::full(&core.shared.load));
            }
            let account = admission.account.as_ref();
            core.decide_to_connect(account, peer.address).await.inspect_err(refused)?;
            let knows = |name| capabilities.iter().any(|known| known == name);
            let datagrams = offers_datagrams && knows(DATAGRAMS);
            let moves = core.shared.cluster.is_some() && knows(MOVE);
            Ok(Welcome { datagrams, moves, admission })
        }
        Ok(_) => Err(Refusal::new(
            ErrorCode::HelloRequired,
            "the first frame of a connection must be HELLO",
        )),
    }
}

impl Welcome {
    fn capabilities(&self) -> Vec<String> {
        let agreed = [(self.datagrams, DATAGRAMS), (self.moves, MOVE)];
        agreed.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned()).collect()
    }

    /// The frame that says so.
    pub(super) fn frame(&self, core: &Core, id: SessionId) -> ServerFrame {
        let config = &core.shared.config;
        ServerFrame::Welcome {
            version: VERSION,
            capabilities: self.capabilities(),
            session: session_name(id),
            info: ServerInfo {
                server: concat!("tidewire/", env!("CARGO_PKG_VERSION")).to_owned(),
                node: config.node.clone(),
                shards: core.shared.shards.len() as u64,
                max_frame_bytes: config.limits.max_frame_bytes as u64,
                heartbeat_ms: config.heartbeat_ms,
                in_flight_max: config.limits.in_flight_max as u64,
                subscriptions_max: config.limits.subscriptions_max as u64,
                time_ms: core.now_ms(),
                identity: self.admission.account.as_ref().map(Account::info),
                actor: Some(core.shared.commons.actor.into()),
                nodes: core.shared.cluster.as_ref().map_or_else(Vec::new, Cluster::client_urls),
            },
        }
    }
}
