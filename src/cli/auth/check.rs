//! What a credential says, and what it allows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tidewire_client::Name;
use tidewire_core::access::Operation;

use super::super::connection::parse_name;
use super::super::output::Output;
use super::super::timestamp::show_rfc3339;
use super::super::{CliError, Globals};
use crate::auth::{Auth, ClientCertificate, Credential, Proven};
use crate::config::{Config, TlsConfig};
use crate::transport::ClientCa;

/// Exit code of what is refused.
const REFUSED: u8 = 1;

#[derive(Args, Clone, Debug)]
pub(super) struct CheckArgs {
    /// The server's configuration
    #[arg(long, value_name = "FILE", env = "TIDEWIRE_CONFIG")]
    config: PathBuf,
    /// The token or API key; without one and without a certificate, what a connection is that shows nothing
    #[arg(long, value_name = "TOKEN", env = "TIDEWIRE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A client's certificate, a PEM file; a token stands over it
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    of: CheckArgs,
    /// publish, subscribe, history, incr, vote, presence, group or admin
    #[arg(long, value_name = "OPERATION", value_parser = parse_operation)]
    op: Operation,
    /// The name of a topic or cell
    #[arg(long, value_parser = parse_name)]
    name: Name,
}

fn parse_operation(raw: &str) -> Result<Operation, String> {
    Operation::parse(raw)
        .ok_or_else(|| format!("there are: {}", Operation::ALL.map(Operation::as_str).join(", ")))
}

impl CheckArgs {
    /// The configuration.
    fn config(&self) -> Result<Config, CliError> {
        Config::read(&self.config).map_err(|error| CliError::usage(error.to_string()))
    }

    /// The accounts of the configuration, and whom the credential is of.
    fn read(&self) -> Result<(Auth, Proven), CliError> {
        let config = self.config()?;
        let auth = Auth::load(&config.auth);
        let auth = auth.map_err(|error| CliError::usage(format!("configuration: {error}")))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let refused = |message: String| CliError { exit_code: REFUSED, message };
        let certificate = self.certificate.as_deref().map(|path| certificate(path, &config.tls));
        let certificate = certificate.transpose()?.map(Arc::new);
        let shown = Credential::of(self.token.as_deref(), certificate.as_ref());
        let proven = auth.authenticate(&shown, now_ms);
        let proven = proven.map_err(|refusal| refused(refusal.message))?.ok_or_else(|| {
            refused("the configuration has no accounts: everybody may do everything".to_owned())
        })?;
        Ok((auth, proven))
    }
}

/// Reads a client's certificate, and verifies it as the server would.
fn certificate(path: &Path, tls: &TlsConfig) -> Result<ClientCertificate, CliError> {
    let usage = |error: String| CliError::usage(format!("{}: {error}", path.display()));
    let Some(client_ca) = &tls.client_ca else {
        return Err(CliError::usage(
            "the configuration has no tls.client_ca: no certificate is asked for",
        ));
    };
    let client_ca =
        ClientCa::read(client_ca).map_err(|error| CliError::usage(error.to_string()))?;
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| usage(error.to_string()))?;
    let certificate =
        ClientCertificate::read(&chain, 0).map_err(|error| usage(error.to_string()))?;
    client_ca.verify(&chain).map_err(|error| CliError {
        exit_code: REFUSED,
        message: format!("{}: the handshake would fail: {error}", path.display()),
    })?;
    Ok(certificate)
}

/// Says whom a credential is of.
pub(super) fn check(args: &CheckArgs, globals: &Globals) -> Result<(), CliError> {
    let (auth, proven) = args.read()?;
    let access = auth.access(&proven);
    let access =
        access.map_err(|refusal| CliError { exit_code: REFUSED, message: refusal.message })?;
    let Proven { identity, roles, grants, expires_at_ms, tenant, .. } = &proven;
    let prefix = tenant.as_ref().map(|tenant| tenant.prefix().as_str());
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({
            "subject": *identity.subject, "issuer": *identity.issuer, "roles": roles,
            "permissions": grants, "expires_at_ms": expires_at_ms, "tenant": prefix,
            "acts_for_others": access.permissions.lists.iter()
                .filter(|list| list.acts_for_others).map(|list| &list.source).collect::<Vec<_>>(),
        }))?;
        return output.flush();
    }
    output.line(&format!("subject  {}", identity.subject.escape_default()))?;
    output.line(&format!("issuer   {}", identity.issuer.escape_default()))?;
    output.line(&format!(
        "roles    {}",
        if roles.is_empty() { "none".into() } else { roles.join(", ") }
    ))?;
    if let Some(tenant) = tenant {
        output.line(&format!("tenant   {tenant:?}: only names of '{}'", tenant.names()))?;
    }
    if let Some(at_ms) = expires_at_ms {
        output.line(&format!("until    {}", show_rfc3339(*at_ms)))?;
    }
    for list in &access.permissions.lists {
        if list.acts_for_others {
            output
                .line(&format!("{} may vote and be present in the name of others", list.source))?;
        }
        for rule in &list.rules {
            let (number, source) = (rule.number, &list.source);
            output
                .line(&format!("rule {number} of {source}: {} on '{}'", rule.allow, rule.names))?;
        }
    }
    output.flush()
}

/// Says whether a credential allows something, as a server with this configuration would.
pub(super) fn explain(args: &ExplainArgs, globals: &Globals) -> Result<(), CliError> {
    let ExplainArgs { of, op, name } = args;
    let (auth, proven) = of.read()?;
    let access = auth.access(&proven);
    let access =
        access.map_err(|refusal| CliError { exit_code: REFUSED, message: refusal.message })?;
    let verdict = access.permissions.explain(*op, name);
    let is_asked = of.config()?.webhook.is_asked_about(*op);
    let mut output = Output::new();
    if globals.json {
        output.json(&json!({
            "allowed": verdict.is_allowed, "subject": *access.identity.subject,
            "operation": op.as_str(), "name": name.as_str(), "by": verdict.to_string(),
            "webhook": is_asked,
        }))?;
    } else if verdict.is_allowed {
        output.line(&format!("allowed: {verdict}"))?;
        if is_asked {
            output.line("the webhook's application is asked, too")?;
        }
    }
    output.flush()?;
    if verdict.is_allowed {
        return Ok(());
    }
    let message = verdict.refusal(&access.identity.subject, *op, name);
    Err(CliError { exit_code: REFUSED, message })
}
