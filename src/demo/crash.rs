//! The crash test: the demo's server is a process of its own, which is killed when half of the
//! ballots are counted, and started again over what it left on the disk.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tidewire_client::{Client, Name};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connections::Endpoint;
use super::screen::say;
use crate::child::ChildServer;

/// How often the count is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long it may take until half of the ballots are counted.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A server that can be killed.
pub(super) struct Victim {
    server: ChildServer,
    config: String,
}

impl Victim {
    /// Starts it over this data directory.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn start(listen: SocketAddr, data_dir: &Path) -> Result<Self, String> {
        let mut policy = toml::Table::new();
        policy.insert("names".to_owned(), super::NAMES.into());
        policy.insert("durability".to_owned(), "disk".into());
        let mut config = toml::Table::new();
        let data_dir = data_dir.to_str().ok_or("the data directory's name is no UTF-8")?;
        config.insert("data_dir".to_owned(), data_dir.into());
        // So that clients over QUIC soon notice that the server is gone.
        config.insert("heartbeat_ms".to_owned(), 500.into());
        config.insert("policy".to_owned(), toml::Value::Array(vec![policy.into()]));
        let config = config.to_string();
        let server = ChildServer::start_on(config.clone(), listen).await?;
        Ok(Self { server, config })
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::local(self.server.address(), self.server.certificate_sha256())
    }

    /// Kills it once so many ballots are counted, and starts it again at the same address.
    ///
    /// # Errors
    /// When it cannot be asked or does not start again.
    pub(super) async fn crash(self, tally: &str, ballots: u64) -> Result<Self, String> {
        let explain = |error: tidewire_client::Error| format!("looking at the count: {error}");
        let client = self.endpoint().websocket("tidewire-demo-crash").await.map_err(explain)?;
        let tally = Name::parse(tally).map_err(|refusal| refusal.message)?;
        let counted = wait_for(&client, &tally, ballots).await?;
        let Self { server, config } = self;
        let address = server.address();
        // Dropping it kills it: it gets no chance to write anything.
        drop(server);
        say(&format!("The server was killed when {counted} ballots were counted."));
        let server = ChildServer::start_on(config.clone(), address).await?;
        say("It is there again, and the rest is cast.");
        Ok(Self { server, config })
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// When it ends with a failure.
    pub(super) async fn stop(self) -> Result<(), String> {
        self.server.stop().await
    }
}

pub(super) async fn wait_for(client: &Client, tally: &Name, ballots: u64) -> Result<u64, String> {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        ticks.tick().await;
        // Before the demo has declared the tally there is none.
        if let Ok((_, standings)) = client.standings(tally).await
            && standings.ballots >= ballots
        {
            return Ok(standings.ballots);
        }
    }
    Err(format!("{ballots} ballots were not counted within {PATIENCE:?}"))
}
