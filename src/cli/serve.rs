//! `tidewire serve`: the server in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::output::Output;
use super::reload::Reload;
use super::{CliError, Globals};
use crate::config::Config;
use crate::server::Server;

/// Options of `tidewire serve`. Flags stand over the environment, the environment over the file.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of what the server keeps: names on disk, its made certificate, recordings
    #[arg(long, value_name = "DIR", env = "TIDEWIRE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Address of WebSocket and HTTP (TCP) and QUIC (UDP) [default: 127.0.0.1:7171]
    #[arg(long, value_name = "ADDRESS", env = "TIDEWIRE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Address of health, metrics and administration [default: 127.0.0.1:7173]
    #[arg(long, value_name = "ADDRESS", env = "TIDEWIRE_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// Without accounts and without TLS, also where others than this machine can connect
    #[arg(long, env = "TIDEWIRE_INSECURE")]
    insecure: bool,
}

impl ServeArgs {
    fn config(&self) -> Result<Config, CliError> {
        let mut config = match &self.config {
            Some(path) => Config::read(path).map_err(|e| CliError::usage(e.to_string()))?,
            None => Config::default(),
        };
        config.data_dir = self.data_dir.clone().or(config.data_dir);
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin_listen = self.admin_listen.unwrap_or(config.admin_listen);
        config.insecure |= self.insecure;
        Ok(config)
    }
}

pub(super) async fn run(args: ServeArgs, globals: &Globals) -> Result<(), CliError> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEWIRE_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = args.config()?;
    warn_of(&config);
    let failed = |message: String| CliError { exit_code: 2, message };
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| failed(e.to_string()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| failed(e.to_string()))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| failed(e.to_string()))?;
    let server = Server::start(config).await.map_err(|error| failed(error.to_string()))?;
    announce(&server, globals)?;
    let mut reload = Reload::new(args.config.as_deref());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload.run(args.config(), &server),
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
            "certificate_sha256": sha256,
            "certificate_file": server.certificate_file(),
        }}))?;
    } else {
        output.line(&format!("listening on ws://{address} wss://{address} quic://{address}"))?;
        output.line(&format!("admin      http://{admin}/healthz  /readyz  /metrics"))?;
        output.line(&format!("certificate SHA-256 {sha256}"))?;
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
