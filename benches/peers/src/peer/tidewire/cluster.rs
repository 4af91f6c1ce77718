//! Three nodes of Tidewire that are one cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Announced, Running, announced, config, serve};
use crate::connection::{Target, Transport};
use crate::peer::cluster::{Cluster, wait};
use crate::peer::http;
use crate::ports::free_addresses;
use crate::server::{Host, Preparation, Server};
use crate::session::NODES;

/// Groups of a cluster, over which names are spread.
const GROUPS: usize = 16;
/// The policy of what has to be on the disks of a majority.
const ON_DISKS: &str = "[[policy]]\nnames = \"peers.log.>\"\ndurability = \"disk\"\n";

pub(in crate::peer) fn start_cluster(host: &Host, sockets: usize) -> Result<Cluster, String> {
    let files = Preparation::new()?;
    certify(host, files.path())?;
    let links = free_addresses(NODES)?;
    let mut nodes = Vec::new();
    let mut admins = Vec::new();
    for (link, number) in links.iter().zip(1..) {
        let own = Preparation::new()?;
        let text = config(sockets, &node(number, *link, &links, files.path()));
        let command = serve(host, &own, &text)?;
        let (server, line) = Server::start_announced(host, command, own)?;
        let Announced { address, admin, .. } = announced(&line)?;
        nodes.push(Running { server, target: Target { address, transport: Transport::Tcp } });
        admins.push(admin);
    }
    for (number, admin) in admins.iter().enumerate() {
        let what = if number == 0 { "init" } else { "join" };
        http::ask(*admin, "POST", &format!("/v1/cluster/{what}"))?;
    }
    wait(|| admins.iter().try_for_each(|admin| ready(&http::ask(*admin, "GET", "/v1/cluster")?)))?;
    Ok(Cluster::new(nodes, files))
}

/// Makes the certificates of all nodes in `directory`/ca.
fn certify(host: &Host, directory: &Path) -> Result<(), String> {
    let program = host.find("tidewire")?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["admin", "cluster", "ca"]).args(arguments).current_dir(directory);
        let output = command.output().map_err(|error| format!("certificates: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("certificates: {}", String::from_utf8_lossy(&output.stderr).trim()))
    };
    run(&["init", "ca"])?;
    (1..=NODES).try_for_each(|number| run(&["issue", "--ca", "ca", "--node", &number.to_string()]))
}

/// What the configuration of a node says of the cluster.
fn node(number: usize, link: SocketAddr, links: &[SocketAddr], directory: &Path) -> String {
    let ca = directory.join("ca").display().to_string();
    let seeds: Vec<String> = links.iter().map(|link| format!("\"{link}\"")).collect();
    let seeds = seeds.join(", ");
    format!(
        "{ON_DISKS}[cluster]\nlisten = \"{link}\"\nseeds = [{seeds}]\nca = \"{ca}/cluster-ca.pem\"\n\
         certificate = \"{ca}/node-{number}.pem\"\nkey = \"{ca}/node-{number}.key\"\n\
         [storage]\nmaster_key_file = \"{ca}/cluster-master.key\"\n"
    )
}

/// Whether each group has its copies and the leader that it is to have, so that leadership rests.
fn ready(seen: &Value) -> Result<(), String> {
    let groups = seen.get("groups").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if groups.len() < GROUPS {
        return Err(format!("{} of {GROUPS} groups are known", groups.len()));
    }
    let rests = |group: &&Value| {
        let leader = group.get("leader").and_then(Value::as_u64);
        let copies = group.get("voters").and_then(Value::as_array).map_or(0, Vec::len);
        let wanted = group.get("wanted_leader").and_then(Value::as_u64);
        copies >= NODES && leader.is_some() && leader == wanted
    };
    match groups.iter().find(|group| !rests(group)) {
        Some(group) => Err(format!("a group is not yet as it is to be: {group}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_rests_when_every_group_has_its_copies_and_its_leader() {
        let group = |voters: &[u64], leader: Option<u64>| json!({ "voters": voters, "leader": leader, "wanted_leader": 2 });
        let seen = |last: Value| {
            let mut groups = vec![group(&[1, 2, 3], Some(2)); GROUPS - 1];
            groups.push(last);
            ready(&json!({ "groups": groups }))
        };
        assert_eq!(seen(group(&[1, 2, 3], Some(2))), Ok(()));
        for last in [group(&[1], Some(2)), group(&[1, 2, 3], Some(1)), group(&[1, 2, 3], None)] {
            assert!(seen(last.clone()).is_err(), "{last}");
        }
        assert!(ready(&json!({ "groups": [] })).is_err());
    }
}
