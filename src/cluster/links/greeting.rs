//! The beginning of a link: a connection is dialed or taken, and both sides say HELLO.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;

use super::link::Link;
use super::reason::{Reason, told};
use super::{LinkError, Links};
use crate::cluster::gossip::Member;
use crate::cluster::hello::{HEAD_BYTES, Hello, HelloError};
use crate::cluster::{NodeAddress, ca};

/// Dialing one address, or a handshake that was begun by another node, takes so long at most.
const GREETING_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
/// Longest sentence with which a connection is closed.
const SENTENCE_BYTES_MAX: usize = 400;

/// Why a greeting fails.
pub(super) struct Failed {
    pub(super) reason: Option<Reason>,
    pub(super) sentence: String,
    /// Whether this side refuses, and has to say so.
    is_ours: bool,
}

impl Failed {
    pub(super) fn ours(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { reason: Some(reason), sentence: sentence.into(), is_ours: true }
    }

    fn theirs(error: &ConnectionError) -> Self {
        let (reason, sentence) = told(error);
        Self { reason, sentence, is_ours: false }
    }

    /// Something on the connection has failed; its end says why.
    fn on(connection: &Connection, error: &dyn std::fmt::Display) -> Self {
        match connection.close_reason() {
            Some(ended) => Self::theirs(&ended),
            None => Self::ours(Reason::Malformed, format!("no HELLO comes: {error}")),
        }
    }
}

impl From<HelloError> for Failed {
    fn from(error: HelloError) -> Self {
        let reason = match error {
            HelloError::Major { .. } => Reason::Version,
            HelloError::Magic | HelloError::Long(_) | HelloError::Body(_) => Reason::Malformed,
        };
        Self::ours(reason, error.to_string())
    }
}

/// Dials an address until one side has refused, or there is a link.
pub(super) async fn dial(links: &Links, address: &NodeAddress) -> Result<Arc<Link>, LinkError> {
    let unreachable = |reason: String| LinkError::Unreachable { address: address.clone(), reason };
    let resolved = tokio::net::lookup_host(address.as_str()).await;
    let resolved = resolved.map_err(|error| unreachable(error.to_string()))?;
    let mut last = unreachable("its name has no address".to_owned());
    for one in resolved.take(ADDRESSES_MAX) {
        match tokio::time::timeout(GREETING_TIMEOUT, greet(links, one)).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(Failed { reason: Some(Reason::Itself), .. })) => {
                return Err(LinkError::Itself(address.clone()));
            }
            Ok(Err(Failed { reason: Some(Reason::Timeout), sentence, .. })) => {
                last = unreachable(sentence);
            }
            Ok(Err(Failed { reason, sentence, .. })) => {
                last = LinkError::Refused { address: address.clone(), reason, sentence };
            }
            Err(_elapsed) => last = unreachable("it does not answer".to_owned()),
        }
    }
    Err(last)
}

async fn greet(links: &Links, address: SocketAddr) -> Result<Arc<Link>, Failed> {
    let cannot = |error: quinn::ConnectError| Failed {
        reason: None,
        sentence: format!("it cannot be dialed: {error}"),
        is_ours: false,
    };
    let connecting = links.connect(address).map_err(cannot)?;
    let connection = connecting.await.map_err(|error| Failed::theirs(&error))?;
    let greeted = async {
        let failed = |error: &dyn std::fmt::Display| Failed::on(&connection, error);
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| failed(&error))?;
        say(links, &connection, &mut send).await?;
        let (member, _hello) = hear(links, &connection, &mut recv).await?;
        links.take(&connection, member, links.own_node())
    };
    let outcome = greeted.await;
    if let Err(failed) = &outcome {
        close(&connection, failed);
    }
    outcome
}

/// Takes a connection that another node has dialed.
pub(super) async fn accept(links: Links, incoming: quinn::Incoming) {
    let from = incoming.remote_address();
    let greeted = async {
        let connection = incoming.await.map_err(|error| Failed::theirs(&error))?;
        let outcome = answer(&links, &connection).await;
        if let Err(failed) = &outcome {
            close(&connection, failed);
        }
        outcome
    };
    let failed = match tokio::time::timeout(GREETING_TIMEOUT, greeted).await {
        Ok(Ok(())) => return,
        Ok(Err(failed)) => failed,
        Err(_elapsed) => Failed::ours(Reason::Timeout, "its handshake takes too long"),
    };
    links.refused(from, &failed);
}

async fn answer(links: &Links, connection: &Connection) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::on(connection, error);
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|error| failed(&error))?;
    let (member, hello) = hear(links, connection, &mut recv).await?;
    // Before it is answered: who has the answer may rely on it.
    links.take(connection, member, hello.node)?;
    say(links, connection, &mut send).await
}

async fn say(links: &Links, connection: &Connection, send: &mut SendStream) -> Result<(), Failed> {
    let bytes = links.hello().encode(links.version())?;
    send.write_all(&bytes).await.map_err(|error| Failed::on(connection, &error))?;
    // That it was finished before is no fault.
    drop(send.finish());
    Ok(())
}

async fn hear(
    links: &Links,
    connection: &Connection,
    recv: &mut RecvStream,
) -> Result<(Member, Hello), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::on(connection, error);
    let mut head = [0; HEAD_BYTES];
    recv.read_exact(&mut head).await.map_err(|error| failed(&error))?;
    let (ours, _minor) = links.version();
    let mut body = vec![0; Hello::read_head(head, ours)?];
    recv.read_exact(&mut body).await.map_err(|error| failed(&error))?;
    let hello = Hello::read_body(&body)?;
    let member = hello.member()?;
    check(links, connection, &member)?;
    Ok((member, hello))
}

/// Whether the certificate is of who says HELLO, and that is nobody who is here already.
fn check(links: &Links, connection: &Connection, member: &Member) -> Result<(), Failed> {
    let identity = connection.peer_identity();
    let chain = identity.and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let first = chain.as_ref().and_then(|chain| chain.first());
    let named = first.map_or(Err("there is none".to_owned()), ca::node_of);
    let refuse = |sentence: String| Err(Failed::ours(Reason::Certificate, sentence));
    let (cluster, node) = match named {
        Ok(named) => named,
        Err(reason) => return refuse(format!("the certificate is of no node: {reason}")),
    };
    if cluster != links.cluster() {
        return refuse(format!("the certificate is of cluster {cluster}, which is another one"));
    }
    if node != member.node {
        return refuse(format!(
            "the certificate is of node {node}, HELLO says node {}",
            member.node
        ));
    }
    let own = links.own();
    if *member == own {
        return Err(Failed::ours(Reason::Itself, "this is the node itself"));
    }
    if member.node == own.node {
        let sentence = format!(
            "two nodes with one id: both are node {node}, this one at {} and the other at {}; stop one of \
             them, and give it a certificate of its own",
            own.address, member.address
        );
        return Err(Failed::ours(Reason::OwnId, sentence));
    }
    Ok(())
}

fn close(connection: &Connection, failed: &Failed) {
    if let (true, Some(reason)) = (failed.is_ours, failed.reason) {
        let bytes = failed.sentence.as_bytes();
        let sentence = bytes.get(..bytes.len().min(SENTENCE_BYTES_MAX)).unwrap_or_default();
        connection.close(reason.code(), sentence);
    }
}

/// Who refuses whom, for the log: the sentence of the one that refuses is heard by both.
pub(super) fn two_nodes(member: &Member, other: &Member) -> String {
    format!(
        "two nodes with one id: node {} is there already, at {} (incarnation {}), and another one comes from \
         {} (incarnation {}); stop one of them, and give it a certificate of its own",
        member.node, member.address, member.incarnation, other.address, other.incarnation
    )
}
