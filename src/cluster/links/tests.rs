//! Links over real sockets of loopback, each node in the same process.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use super::*;
use crate::cluster::hello::{FEATURE_LEVEL, VERSION};
use crate::config::ClusterConfig;

const PATIENCE: Duration = Duration::from_secs(20);
const SERVICE: u8 = 7;

pub(crate) fn id(node: u64) -> NodeId {
    NodeId::new(node).unwrap()
}

/// A cluster's authority in a directory that goes with it.
pub(crate) struct Authority(tempfile::TempDir);

/// A node's links, and the gossip that comes over them.
pub(crate) struct Node {
    pub(crate) links: Links,
    gossip: mpsc::Receiver<Bytes>,
    pub(crate) member: Member,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        ca::init(directory.path()).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn credentials(&self, node: u64) -> Credentials {
        let files = ["pem", "key"].map(|kind| self.path().join(format!("node-{node}.{kind}")));
        if !files[0].exists() {
            ca::issue(self.path(), id(node), self.path()).unwrap();
        }
        let [certificate, key] = files;
        let config = ClusterConfig {
            ca: Some(self.path().join(ca::CA_FILE)),
            certificate: Some(certificate),
            key: Some(key),
            ..ClusterConfig::default()
        };
        Credentials::read(&config).unwrap()
    }

    pub(crate) fn node(&self, node: u64, incarnation: u64) -> Node {
        self.node_of(node, incarnation, VERSION)
    }

    fn node_of(&self, node: u64, incarnation: u64, version: (u16, u16)) -> Node {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = NodeAddress::parse(&socket.local_addr().unwrap().to_string()).unwrap();
        self.node_at(node, incarnation, version, socket, address)
    }

    fn node_at(
        &self,
        node: u64,
        incarnation: u64,
        version: (u16, u16),
        socket: UdpSocket,
        address: NodeAddress,
    ) -> Node {
        let (queue, gossip) = mpsc::channel(16);
        let hello = Hello {
            node: id(node),
            incarnation,
            address: address.to_string(),
            client_url: None,
            version: "0.1.0".to_owned(),
            feature_level: FEATURE_LEVEL,
            name: format!("node-{node}"),
        };
        let member = Member { node: id(node), incarnation, address: address.clone() };
        let credentials = self.credentials(node);
        let (time, queue) = (Time::start(), queue);
        let making = Making { credentials, socket, hello, address, version, time, gossip: queue };
        Node { links: Links::start(making).unwrap(), gossip, member }
    }
}

impl Node {
    async fn dial(&self, to: &Self) -> Result<Member, LinkError> {
        self.links.dial_seed(&to.member.address).await
    }

    fn refused(&self, reason: Reason) -> u64 {
        self.links.figures().refusals().find(|(one, _)| *one == reason).unwrap().1
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn sentence<T>(outcome: Result<T, LinkError>) -> String {
    outcome.err().unwrap().to_string()
}

#[tokio::test]
async fn a_stream_reaches_its_service_and_the_answer_comes_back() {
    let ca = Authority::new();
    let (a, b) = (ca.node(1, 1), ca.node(2, 1));
    let mut streams = b.links.serve(SERVICE);
    assert!(matches!(a.links.open(id(2), SERVICE).await, Err(LinkError::Unknown(_))));
    // It is dialed when it is known.
    a.links.learn(&b.member, true);
    let (mut send, mut recv) = a.links.open(id(2), SERVICE).await.unwrap();
    send.write_all(b"question").await.unwrap();
    send.finish().unwrap();
    let Incoming { node, mut send, recv: mut asked } = streams.recv().await.unwrap();
    assert_eq!(node, id(1));
    assert_eq!(asked.read_to_end(100).await.unwrap(), b"question");
    send.write_all(b"answer").await.unwrap();
    send.finish().unwrap();
    assert_eq!(recv.read_to_end(100).await.unwrap(), b"answer");
    assert!(a.links.is_reachable(id(2)) && b.links.is_reachable(id(1)));
    assert!(a.links.round_trip(id(2)).unwrap() < Duration::from_secs(1));
    assert!(!a.links.is_reachable(id(3)) && a.links.round_trip(id(3)).is_none());
}

#[tokio::test]
async fn a_stream_that_nobody_takes_is_reset_with_its_code() {
    let ca = Authority::new();
    let (a, b) = (ca.node(1, 1), ca.node(2, 1));
    a.links.learn(&b.member, true);
    let code = async |service| {
        let (_send, mut recv) = a.links.open(id(2), service).await.unwrap();
        let ended = recv.read_to_end(1).await.unwrap_err();
        let quinn::ReadToEndError::Read(quinn::ReadError::Reset(code)) = ended else {
            panic!("{ended}");
        };
        u64::from(code)
    };
    assert_eq!(code(SERVICE).await, 1, "nobody serves it");
    let _streams = b.links.serve(SERVICE);
    let mut waiting = Vec::new();
    for taken in 0..SERVICE_QUEUE {
        waiting.push(a.links.open(id(2), SERVICE).await.unwrap());
        let taken = taken as u64;
        until("taken", || b.links.figures().streams_taken.load(Relaxed) > taken).await;
    }
    assert_eq!(code(SERVICE).await, 2, "there is no room");
}

#[tokio::test]
async fn datagrams_are_gossip_and_wait_for_the_link() {
    let ca = Authority::new();
    let (a, mut b) = (ca.node(1, 1), ca.node(2, 1));
    let nobody = a.links.send_datagram(id(2), Bytes::from_static(b"x"));
    assert!(matches!(nobody, Err(LinkError::NoLink(_))));
    a.links.gossip_to(&b.member, Bytes::from_static(b"hello"));
    assert_eq!(b.gossip.recv().await.unwrap().as_ref(), b"hello");
    let long = a.links.send_datagram(id(2), Bytes::from(vec![0; 60_000]));
    assert!(matches!(long, Err(LinkError::TooLong(60_000))));
    // What gossip sends fits always.
    a.links.send_datagram(id(2), Bytes::from(vec![0; 1_100])).unwrap();
    assert_eq!(b.gossip.recv().await.unwrap().len(), 1_100);
}

#[tokio::test]
async fn of_two_that_dial_at_once_one_connection_stays() {
    let ca = Authority::new();
    for _ in 0..20 {
        let (a, b) = (ca.node(1, 1), ca.node(2, 1));
        let (to_b, to_a) = tokio::join!(a.dial(&b), b.dial(&a));
        to_b.unwrap();
        to_a.unwrap();
        until("the same on both sides", || {
            let (one, other) = (a.links.link(id(2)), b.links.link(id(1)));
            one.zip(other).is_some_and(|(one, other)| one.dialed_by == other.dialed_by)
        })
        .await;
        // Whatever was dialed first, it works.
        let mut streams = b.links.serve(SERVICE);
        a.links.open(id(2), SERVICE).await.unwrap();
        streams.recv().await.unwrap();
        assert_eq!((a.links.traffic().0, b.links.traffic().0), (1, 1));
    }
}

#[tokio::test]
async fn another_major_version_is_refused_and_both_sides_hear_why() {
    let ca = Authority::new();
    let (old, new) = (ca.node(1, 1), ca.node_of(2, 1, (2, 0)));
    for (from, to) in [(&old, &new), (&new, &old)] {
        let said = sentence(from.dial(to).await);
        assert!(said.contains("version 1") && said.contains("version 2"), "{said}");
        until("counted", || to.refused(Reason::Version) > 0).await;
        assert_eq!(to.links.traffic().0, 0);
    }
    // A minor one is none of anybody's business.
    let minor = ca.node_of(3, 1, (1, 9));
    assert_eq!(old.dial(&minor).await.unwrap().node, id(3));
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_by_tls() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (a, foreign) = (ca.node(1, 1), other.node(2, 1));
    let said = sentence(foreign.dial(&a).await);
    assert!(said.contains("of one cluster?"), "{said}");
    until("counted", || a.refused(Reason::Tls) > 0).await;
    assert_eq!((a.links.traffic().0, foreign.links.traffic().0), (0, 0));
}

#[tokio::test]
async fn two_nodes_with_one_id_are_told_from_a_restart() {
    let ca = Authority::new();
    let (a, b) = (ca.node(1, 1), ca.node(2, 5));
    b.dial(&a).await.unwrap();
    let second = ca.node(2, 6);
    let said = sentence(second.dial(&a).await);
    assert!(said.contains("two nodes with one id: node 2"), "{said}");
    assert_eq!(a.refused(Reason::TwoNodes), 1);
    assert_eq!(a.links.link(id(2)).unwrap().member, b.member);
    // The first meets the second.
    let said = sentence(second.dial(&b).await);
    assert!(said.contains("both are node 2"), "{said}");
    // The same address: it has started again.
    let address = b.member.address.clone();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let again = ca.node_at(2, 6, VERSION, socket, address);
    again.dial(&a).await.unwrap();
    assert_eq!(a.links.link(id(2)).unwrap().member.incarnation, 6);
    // An earlier life of a node that gossip knows better.
    a.links.learn(&Member { node: id(3), incarnation: 9, ..b.member.clone() }, true);
    let said = sentence(ca.node(3, 8).dial(&a).await);
    assert!(said.contains("joins under a new id"), "{said}");
    assert_eq!(a.refused(Reason::Stale), 1);
    // Gossip knows where a node is that there is no link with.
    let moved = ca.node(3, 9);
    let said = sentence(moved.dial(&a).await);
    assert!(said.contains("two nodes with one id: node 3"), "{said}");
    a.links.learn(&Member { node: id(3), incarnation: 9, ..b.member.clone() }, false);
    moved.dial(&a).await.unwrap();
}

#[tokio::test]
async fn a_node_knows_itself() {
    let ca = Authority::new();
    let a = ca.node(1, 1);
    assert!(matches!(a.dial(&a).await, Err(LinkError::Itself(_))));
    assert_eq!(a.links.traffic().0, 0);
}

#[tokio::test]
async fn a_hello_that_is_none_ends_the_connection() {
    let ca = Authority::new();
    let a = ca.node(1, 1);
    let stranger = ca.node(2, 1);
    let to: SocketAddr = a.member.address.as_str().parse().unwrap();
    let connection = stranger.links.connect(to).unwrap().await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (reason, sentence) = reason::told(&connection.closed().await);
    assert_eq!(reason, Some(Reason::Malformed));
    assert!(sentence.contains("does not begin as"), "{sentence}");
    // One that speaks for another node.
    let connection = stranger.links.connect(to).unwrap().await.unwrap();
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    let hello = Hello { node: id(3), ..stranger.links.hello() };
    send.write_all(&hello.encode(VERSION).unwrap()).await.unwrap();
    let (reason, _) = reason::told(&connection.closed().await);
    assert_eq!(reason, Some(Reason::Certificate));
}

#[tokio::test]
async fn who_leaves_is_heard_to_go() {
    let ca = Authority::new();
    let (a, b) = (ca.node(1, 1), ca.node(2, 1));
    b.dial(&a).await.unwrap();
    b.links.leave().await;
    until("gone", || a.links.link(id(2)).is_none()).await;
    let said = sentence(a.dial(&b).await);
    assert!(said.contains("answer") || said.contains("refused"), "{said}");
}
