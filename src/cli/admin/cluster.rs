//! `tidewire admin cluster`: its certificates, its nodes, and what it decides.

mod orders;
mod recover;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::http::ask;
use super::{CliError, Globals};
use crate::cli::output::{Output, note};
use crate::cli::timestamp::show_rfc3339;
use crate::cluster::NodeId;
use crate::cluster::ca::{self, CA_KEY_FILE, MASTER_KEY_FILE, MadeFiles};

/// What to do with a cluster.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make the certificate authority of a cluster, and certificates of its nodes
    #[command(subcommand)]
    Ca(CaCommand),
    /// List the nodes as the server sees them, what was decided about them, and what groups wait for
    Status,
    /// Make the server the first node of its cluster
    Init,
    /// Have the server taken into its cluster, and wait until it is
    Join,
    /// The last resort: make a data directory for a server of its own of what is left, when a majority is gone for good
    UnsafeRecover(recover::UnsafeRecoverArgs),
    #[command(flatten)]
    Order(orders::OrderCommand),
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Make a new cluster's authority: its certificate and its key
    Init {
        /// Where its files are made
        directory: PathBuf,
    },
    /// Make the certificate of a node, and its key
    Issue(IssueArgs),
}

#[derive(Args, Clone, Debug)]
pub(super) struct IssueArgs {
    /// The directory of the authority
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The node's id: greater than 0, and no other node's, now or ever
    #[arg(long, value_name = "ID", value_parser = parse_node)]
    node: NodeId,
    /// Where the files are made [default: the directory of the authority]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn parse_node(raw: &str) -> Result<NodeId, String> {
    let number = raw.parse().map_err(|_no_number| "is a whole number".to_owned())?;
    NodeId::new(number).ok_or_else(|| "is greater than 0".to_owned())
}

pub(super) async fn run(
    admin: SocketAddr,
    command: ClusterCommand,
    globals: &Globals,
) -> Result<(), CliError> {
    match command {
        ClusterCommand::Ca(CaCommand::Init { directory }) => {
            let made = ca::init(&directory).map_err(|error| CliError::usage(error.to_string()))?;
            tell(&made, None, globals)?;
            let directory = directory.display();
            note(&format!(
                "next: tidewire admin cluster ca issue --ca {directory} --node 1, for each node another id; \
                 keep {CA_KEY_FILE} where no server is: who has it can make nodes; {MASTER_KEY_FILE} goes to \
                 every node (storage.master_key_file)"
            ));
            Ok(())
        }
        ClusterCommand::Ca(CaCommand::Issue(IssueArgs { ca, node, out })) => {
            let out = out.unwrap_or_else(|| ca.clone());
            let made =
                ca::issue(&ca, node, &out).map_err(|error| CliError::usage(error.to_string()))?;
            tell(&made, Some(node), globals)?;
            note(&format!(
                "next, in the configuration of node {node}:\n[cluster]\nadvertise = \"HOST:7172\"\nseeds = \
                 [\"OTHER-HOST:7172\"]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n[storage]\nmaster_key_file = {:?}",
                ca.join(ca::CA_FILE),
                made.certificate,
                made.key,
                ca.join(MASTER_KEY_FILE)
            ));
            Ok(())
        }
        ClusterCommand::Status => status::status(admin, globals).await,
        ClusterCommand::Init => {
            let answer = ask(admin, Method::POST, "/v1/cluster/init", None).await?;
            let next = "next: `tidewire admin cluster join` on the second and the third node; names on disk \
                        survive the loss of a node from the third on";
            orders::tell(&answer, "founded: this node is the first of its cluster", next, globals)
        }
        ClusterCommand::Join => {
            let answer = ask(admin, Method::POST, "/v1/cluster/join", None).await?;
            let next = "`tidewire admin cluster status` shows its copies come; with two nodes there are none \
                        on the second, since two would be worse than one";
            orders::tell(&answer, "joined: this node belongs to the cluster", next, globals)
        }
        ClusterCommand::UnsafeRecover(args) => recover::unsafe_recover(args, globals),
        ClusterCommand::Order(command) => orders::run(admin, command, globals).await,
    }
}

fn tell(made: &MadeFiles, node: Option<NodeId>, globals: &Globals) -> Result<(), CliError> {
    let MadeFiles { cluster, certificate, key, until_ms } = made;
    let mut output = Output::new();
    if globals.json {
        let mut object = json!({
            "cluster": cluster.to_string(),
            "certificate": certificate,
            "key": key,
            "until_ms": until_ms,
        });
        if let (Some(node), Some(fields)) = (node, object.as_object_mut()) {
            fields.insert("node".to_owned(), json!(node));
        }
        output.json(&object)?;
        return output.flush();
    }
    let of = node.map_or("authority".to_owned(), |node| format!("node {node}"));
    output.line(&format!("{of} of cluster {cluster}, until {}", show_rfc3339(*until_ms)))?;
    output.line(&format!("certificate {}", certificate.display()))?;
    output.line(&format!("key         {} (for its user only)", key.display()))?;
    output.flush()
}
