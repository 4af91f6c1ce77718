//! `tidewire serve`: the server in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::output::Output;
use super::reload::Reload;
use super::{CliError, Globals};
use crate::config::{Config, ConfigError, Loaded, Setting};
use crate::server::Server;

/// Exit code when the server cannot go on.
const FAILED: u8 = 1;
/// What is logged unless TIDEWIRE_LOG says otherwise. The engine of the replicated logs says much of what
/// is normal while a node is away.
const LOGGED: &str = "info,openraft=off";

/// Options of `tidewire serve`. Flags stand over the environment, the environment over the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML); variables of the environment stand over it, `TIDEWIRE_<SECTION>_<KEY>`
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of what the server keeps: names on disk, its made certificate, recordings
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of WebSocket and HTTP (TCP) and QUIC (UDP) [default: 127.0.0.1:7171]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address of health, metrics and administration [default: 127.0.0.1:7173]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Without accounts and without TLS, also where others than this machine can connect
    #[arg(long)]
    insecure: bool,
}

impl ServeArgs {
    /// The configuration that a server would have now, with who has set what.
    pub(super) fn load(&self) -> Result<Loaded, ConfigError> {
        let loaded = Loaded::read(self.config.as_deref(), std::env::vars_os(), self.flags()?)?;
        loaded.check()?;
        Ok(loaded)
    }

    fn flags(&self) -> Result<Vec<Setting>, ConfigError> {
        let mut flags = Vec::new();
        if let Some(data_dir) = &self.data_dir {
            let text = data_dir.to_str().ok_or_else(|| ConfigError::Set {
                by: "--data-dir".to_owned(),
                key: Some("data_dir".to_owned()),
                rule: "is not UTF-8".to_owned(),
            })?;
            flags.push(Setting::flag("--data-dir", "data_dir", text.into()));
        }
        let addresses = [
            ("--listen", "listen", self.listen),
            ("--admin-listen", "admin_listen", self.admin_listen),
        ];
        flags.extend(addresses.into_iter().filter_map(|(flag, key, address)| {
            address.map(|address| Setting::flag(flag, key, address.to_string().into()))
        }));
        if self.insecure {
            flags.push(Setting::flag("--insecure", "insecure", true.into()));
        }
        Ok(flags)
    }
}

pub(super) async fn run(args: ServeArgs, globals: &Globals) -> Result<(), CliError> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEWIRE_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new(LOGGED));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let loaded = args.load().map_err(|error| CliError::usage(error.to_string()))?;
    let config = loaded.config.clone();
    warn_of(&config);
    let failed = |message: String| CliError { exit_code: 2, message };
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| failed(e.to_string()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| failed(e.to_string()))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| failed(e.to_string()))?;
    let server = Server::start(config).await.map_err(|error| {
        failed(match error.of_configuration() {
            Ok(error) => loaded.placed(error).to_string(),
            Err(error) => error.to_string(),
        })
    })?;
    announce(&server, globals)?;
    let mut reload = Reload::new(&loaded.config);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload.run(args.load(), &server),
            failure = server.failed() => return Err(CliError {
                exit_code: FAILED,
                message: format!(
                    "the journal has failed ({failure}): a node of a cluster that cannot write stops, and the \
                     others go on; look at its disk, and start it again"
                ),
            }),
        }
    }
    tracing::info!("stopping: clients are told to go");
    server.stop().await;
    Ok(())
}

fn warn_of(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    if config.insecure {
        tracing::warn!(
            listen = %config.listen,
            admin = %config.admin_listen,
            "insecure: plain connections are taken from other machines, and without accounts anyone \
             who reaches this server may do everything"
        );
    }
}

fn announce(server: &Server, globals: &Globals) -> Result<(), CliError> {
    let (address, admin) = (server.address(), server.admin_address());
    let sha256: String = server.certificate_sha256().iter().map(|b| format!("{b:02x}")).collect();
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({ "listening": {
            "address": address.to_string(),
            "admin": admin.to_string(),
            "cluster": server.cluster_address().map(|address| address.to_string()),
            "certificate_sha256": sha256,
            "certificate_file": server.certificate_file(),
        }}))?;
    } else {
        output.line(&format!("listening on ws://{address} wss://{address} quic://{address}"))?;
        output.line(&format!("console    http://{admin}/"))?;
        output.line(&format!("admin      http://{admin}/healthz  /readyz  /metrics"))?;
        output.line(&format!("certificate SHA-256 {sha256}"))?;
        if let Some(cluster) = server.cluster_address() {
            output.line(&format!("cluster    {cluster} (UDP)"))?;
        }
        match (address.ip().is_loopback(), server.has_accounts()) {
            (true, false) => output.line(
                "only this machine can connect, and without accounts; `listen` and [auth] change it",
            )?,
            (true, true) => output.line("only this machine can connect; `listen` changes it")?,
            (false, false) => output.line("INSECURE: anyone who reaches it may do everything")?,
            (false, true) => {}
        }
    }
    output.flush()
}
