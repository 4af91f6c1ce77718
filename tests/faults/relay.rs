//! The network between the nodes: each reaches another one only through here, where packets are delayed,
//! lost, doubled, put out of order, held back and cut, as a seed has it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::chance::chance;

/// Packets that are on their way in one direction between two nodes; others are lost.
const PACKETS_MAX: usize = 4_096;
const PACKET_BYTES_MAX: usize = 65_536;

/// What happens to packets from one node to another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    pub(crate) is_cut: bool,
    pub(crate) delay_ms: u64,
    /// Up to so much more, each packet by itself: so they overtake each other.
    pub(crate) jitter_ms: u64,
    pub(crate) lost_percent: u64,
    pub(crate) doubled_percent: u64,
    pub(crate) bytes_per_s: Option<u64>,
}

type Ways = Arc<Mutex<BTreeMap<(usize, usize), Way>>>;

/// The network. Its tasks end with the runtime.
pub(crate) struct Relay {
    ways: Ways,
    /// Where each node is reached by the others.
    ports: Vec<u16>,
}

impl Relay {
    /// A network of nodes that have these ports.
    pub(crate) async fn start(nodes: &[u16], seed: u64) -> Self {
        let (ways, mut ports) = (Ways::default(), Vec::new());
        for to in 0..nodes.len() {
            let front = Arc::new(bind().await);
            ports.push(front.local_addr().unwrap().port());
            // A node tells those who have called it apart by where they call from.
            let mut backs = Vec::new();
            for _ in nodes {
                backs.push(Arc::new(bind().await));
            }
            tokio::spawn(serve((front, backs), nodes.to_vec(), to, Arc::clone(&ways), seed));
        }
        Self { ways, ports }
    }

    /// Where the others reach a node.
    pub(crate) fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// From now on packets from one to the other fare like this.
    pub(crate) fn set(&self, from: usize, to: usize, way: Way) {
        self.ways.lock().unwrap().insert((from, to), way);
    }

    /// Cuts both directions between two sides.
    pub(crate) fn cut(&self, some: &[usize], others: &[usize]) {
        let cut = Way { is_cut: true, ..Way::default() };
        for one in some {
            for other in others {
                self.set(*one, *other, cut);
                self.set(*other, *one, cut);
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.ways.lock().unwrap().clear();
    }
}

async fn bind() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// What others send to one node, and what it answers.
async fn serve(
    (front, backs): (Arc<UdpSocket>, Vec<Arc<UdpSocket>>),
    nodes: Vec<u16>,
    to: usize,
    ways: Ways,
    seed: u64,
) {
    let mut roads = Vec::new();
    for (from, back) in backs.into_iter().enumerate() {
        let number = (from * nodes.len() + to) as u64;
        let there = Road { way: (from, to), socket: Arc::clone(&back), port: nodes[to] };
        let here = Road { way: (to, from), socket: Arc::clone(&front), port: nodes[from] };
        roads.push(there.begin(&ways, seed ^ (number << 32)));
        let answers = here.begin(&ways, seed ^ (number << 32) ^ 1);
        tokio::spawn(async move {
            let mut packet = vec![0; PACKET_BYTES_MAX];
            loop {
                // A node that is dead says so of its port; it may live again.
                let Ok(length) = back.recv(&mut packet).await else { continue };
                drop(answers.try_send(packet[..length].to_vec()));
            }
        });
    }
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        let Ok((length, source)) = front.recv_from(&mut packet).await else { continue };
        if let Some(from) = nodes.iter().position(|port| *port == source.port()) {
            drop(roads[from].try_send(packet[..length].to_vec()));
        }
    }
}

/// One direction between two nodes, of what one of them has begun.
struct Road {
    way: (usize, usize),
    socket: Arc<UdpSocket>,
    port: u16,
}

impl Road {
    fn begin(self, ways: &Ways, seed: u64) -> mpsc::Sender<Vec<u8>> {
        let (packets, queue) = mpsc::channel(PACKETS_MAX);
        tokio::spawn(self.carry(queue, Arc::clone(ways), seed));
        packets
    }

    async fn carry(self, mut queue: mpsc::Receiver<Vec<u8>>, ways: Ways, mut seed: u64) {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let (mut under_way, mut number) = (BTreeMap::<(Instant, u64), Vec<u8>>::new(), 0_u64);
        let mut free_at = Instant::now();
        loop {
            let next = under_way.keys().next().map(|(due, _)| *due);
            let due = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {
                    let Some((_, packet)) = under_way.pop_first() else { continue };
                    // Nobody may be there; that is how datagrams are.
                    drop(self.socket.send_to(&packet, to).await);
                }
                packet = queue.recv() => {
                    let Some(packet) = packet else { return };
                    let way = ways.lock().unwrap().get(&self.way).copied().unwrap_or_default();
                    for due in way.dues(packet.len(), &mut free_at, &mut seed) {
                        if under_way.len() < PACKETS_MAX {
                            number += 1;
                            under_way.insert((due, number), packet.clone());
                        }
                    }
                }
            }
        }
    }
}

impl Way {
    /// When a packet arrives: never, once, or twice.
    fn dues(self, bytes: usize, free_at: &mut Instant, seed: &mut u64) -> Vec<Instant> {
        let mut happens = |percent| chance(seed) % 100 < percent;
        if self.is_cut || happens(self.lost_percent) {
            return Vec::new();
        }
        let times = 1 + usize::from(happens(self.doubled_percent));
        *free_at = (*free_at).max(Instant::now());
        if let Some(bytes_per_s) = self.bytes_per_s {
            *free_at += Duration::from_micros(bytes as u64 * 1_000_000 / bytes_per_s);
        }
        let mut due = || {
            let jitter_ms = if self.jitter_ms == 0 { 0 } else { chance(seed) % self.jitter_ms };
            *free_at + Duration::from_millis(self.delay_ms + jitter_ms)
        };
        (0..times).map(|_| due()).collect()
    }
}
