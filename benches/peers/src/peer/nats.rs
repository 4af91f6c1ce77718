//! Starting NATS: room for subscribers that are behind, JetStream for counters and logs; alone, or three as
//! a cluster.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::cluster::{Cluster, wait};
use super::{Running, http};
use crate::connection::{Target, Transport};
use crate::ports::{free_address, free_addresses};
use crate::server::{Host, Preparation, Server};
use crate::session::NODES;

/// What makes JetStream sync before it answers.
const SYNC: &str = ", sync_interval: always";

pub(super) fn start(host: &Host, durable: bool) -> Result<Running, String> {
    let sync = if durable { SYNC } else { "" };
    start_one(host, free_address()?, sync, "")
}

/// `beside` is what else the configuration says.
fn start_one(
    host: &Host,
    address: SocketAddr,
    sync: &str,
    beside: &str,
) -> Result<Running, String> {
    let files = Preparation::new()?;
    let port = address.port();
    let store = files.path().join("jetstream").display().to_string();
    let config = files.file(
        "nats.conf",
        &format!(
            "host: 127.0.0.1\nport: {port}\nmax_pending: 1GB\nwrite_deadline: \"60s\"\n\
             max_connections: 65536\njetstream {{ store_dir: \"{store}\", max_mem: 1GB{sync} }}\n{beside}"
        ),
    )?;
    let mut command = Command::new(host.find("nats-server")?);
    command.arg("-c").arg(config);
    let server = Server::start(host, command, files, address)?;
    Ok(Running { server, target: Target { address, transport: Transport::Tcp } })
}

/// Each node has an address for clients, one for the other nodes, and one where it says how it is.
pub(super) fn start_cluster(host: &Host) -> Result<Cluster, String> {
    let addresses = free_addresses(3 * NODES)?;
    let (clients, others) = addresses.split_at(NODES);
    let (routes, monitors) = others.split_at(NODES);
    let all: Vec<String> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
    let all = all.join(", ");
    let mut nodes = Vec::new();
    for (number, ((client, route), monitor)) in clients.iter().zip(routes).zip(monitors).enumerate()
    {
        let beside = format!(
            "server_name: node-{number}\nhttp: \"{monitor}\"\n\
             cluster {{ name: peers, listen: \"{route}\", routes: [{all}] }}\n"
        );
        nodes.push(start_one(host, *client, SYNC, &beside)?);
    }
    wait(|| {
        let seen = monitors.iter().map(|monitor| http::ask(*monitor, "GET", "/jsz"));
        ready(&seen.collect::<Result<Vec<_>, _>>()?)
    })?;
    Ok(Cluster::new(nodes, Preparation::new()?))
}

/// Whether all nodes know who leads, and the leader has all others as they should be.
fn ready(seen: &[Value]) -> Result<(), String> {
    let meta = |node: &Value| node.get("meta_cluster").cloned().unwrap_or_default();
    let leader = |node: &Value| meta(node).get("leader").and_then(Value::as_str).map(str::to_owned);
    let first = seen.first().and_then(leader).filter(|name| !name.is_empty());
    if first.is_none() || seen.iter().any(|node| leader(node) != first) {
        return Err("the nodes have no common leader".to_owned());
    }
    let current = |node: &Value| {
        let replicas = meta(node).get("replicas").and_then(Value::as_array).cloned();
        let is_current = |replica: &&Value| replica.get("current") == Some(&Value::Bool(true));
        replicas.into_iter().flatten().filter(|replica| is_current(&replica)).count()
    };
    if seen.iter().all(|node| current(node) + 1 < seen.len()) {
        return Err("the leader lacks nodes".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(leader: &str, current: [bool; 2]) -> Value {
        let replicas = current.map(|current| json!({ "current": current }));
        json!({ "meta_cluster": { "leader": leader, "replicas": replicas } })
    }

    #[test]
    fn a_cluster_has_one_leader_with_all_others() {
        let follower = || node("b", [true, false]);
        assert_eq!(ready(&[follower(), node("b", [true, true]), follower()]), Ok(()));
        let lacks = ready(&[follower(), follower(), follower()]);
        assert!(lacks.unwrap_err().contains("lacks"));
        for other in [json!({}), node("", [true, true]), node("c", [true, true])] {
            assert!(ready(&[other, node("b", [true, true])]).is_err());
        }
    }
}
