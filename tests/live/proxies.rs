//! Clients behind a proxy: whose address counts.

use std::time::{Duration, Instant};

use tidewire_client::{Client, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::daemon::{Daemon, PATIENCE, Via};

/// Most that a client may send before its request's first line ends.
const LINE_BYTES_MAX: usize = 4_096;

/// What a proxy adds to each connection.
#[derive(Clone, Default)]
struct Adds {
    /// Bytes in front.
    front: Vec<u8>,
    /// A line of the request's head.
    line: Option<String>,
}

/// A proxy on loopback, which ends with the test.
struct Proxy {
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn start(to: &Daemon, adds: Adds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let to = to.address().to_owned();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to.clone(), adds.clone()));
            }
        });
        Self { address, task }
    }

    fn builder(&self, scheme: &str) -> tidewire_client::Builder {
        Client::builder(&format!("{scheme}://{}", self.address)).unwrap().reconnect(false)
    }

    async fn connect(&self) -> Result<Client, Error> {
        self.builder("ws").connect().await
    }
}

/// Passes a connection on; its errors are what the client sees.
async fn pass(mut client: TcpStream, to: String, adds: Adds) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    server.write_all(&adds.front).await?;
    if let Some(line) = adds.line {
        let mut first = Vec::new();
        while !first.ends_with(b"\r\n") && first.len() < LINE_BYTES_MAX {
            first.push(client.read_u8().await?);
        }
        server.write_all(&first).await?;
        server.write_all(format!("{line}\r\n").as_bytes()).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn bytes(front: Vec<u8>) -> Adds {
    Adds { front, line: None }
}

/// A PROXY header, in text or binary.
fn front(source: [u8; 4], is_text: bool) -> Adds {
    let [a, b, c, d] = source;
    bytes(match is_text {
        true => format!("PROXY TCP4 {a}.{b}.{c}.{d} 127.0.0.1 40000 7171\r\n").into_bytes(),
        false => {
            let begin = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
            [&begin[..], &source, &[127, 0, 0, 1], &[0x9c, 0x40, 0x1c, 3]].concat()
        }
    })
}

fn line(line: &str) -> Adds {
    Adds { line: Some(line.to_owned()), ..Adds::default() }
}

fn config(more: &str) -> String {
    format!("insecure = true\n[limits]\naddress_connections_max = 2\n[proxy]\n{more}\n")
}

/// The addresses of who is connected.
fn addresses(daemon: &Daemon) -> Vec<String> {
    let listed = crate::daemon::tidewire()
        .args(["admin", "connection", "list", "--json", "--admin", &daemon.admin])
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let connections = listed["connections"].as_array().unwrap().iter();
    let address =
        |connection: &serde_json::Value| connection["address"].as_str().unwrap().to_owned();
    let mut addresses: Vec<String> = connections.map(address).collect();
    addresses.sort();
    addresses
}

/// The share of an address is given back when its connections have ended.
async fn connects_at_last(proxy: &Proxy) -> Client {
    let began = Instant::now();
    loop {
        match proxy.connect().await {
            Ok(client) => return client,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until these are connected and nobody else.
async fn are(daemon: &Daemon, expected: &[&str]) {
    let began = Instant::now();
    while addresses(daemon) != expected {
        assert!(began.elapsed() < PATIENCE, "{:?}", addresses(daemon));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two addresses behind proxies, each with two connections and no third.
async fn each_has_a_share(more: &str, first: Adds, second: Adds) {
    let daemon = Daemon::start(&config(more));
    let first = Proxy::start(&daemon, first).await;
    let second = Proxy::start(&daemon, second).await;
    let mut clients = Vec::new();
    for proxy in [&first, &second] {
        for _ in 0..2 {
            clients.push(proxy.connect().await.unwrap());
        }
        assert!(proxy.connect().await.is_err());
    }
    are(&daemon, &["203.0.113.7", "203.0.113.7", "203.0.113.8", "203.0.113.8"]).await;
    clients.remove(0).close().await;
    connects_at_last(&first).await.ping().await.unwrap();
    for client in &clients {
        client.ping().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_behind_one_proxy_count_apart() {
    let by_proxy = "trusted = [\"127.0.0.0/8\"]\nproxy_protocol = true";
    for is_text in [true, false] {
        let (first, second) = (front([203, 0, 113, 7], is_text), front([203, 0, 113, 8], is_text));
        each_has_a_share(by_proxy, first, second).await;
    }
    let by_header = "trusted = [\"127.0.0.1\"]\nforwarded = \"x-forwarded-for\"";
    let first = line("X-Forwarded-For: 127.0.0.1, 203.0.113.7");
    each_has_a_share(by_header, first, line("x-forwarded-for: 203.0.113.8")).await;
    let by_header = "trusted = [\"127.0.0.1\"]\nforwarded = \"forwarded\"";
    let first = line("Forwarded: for=192.0.2.1, for=203.0.113.7;proto=https, for=\"127.0.0.1:80\"");
    each_has_a_share(by_header, first, line("Forwarded: for=203.0.113.8")).await;
    // A balancer says which proxy it is, and that one says who the client is.
    let both = format!("{by_header}\nproxy_protocol = true");
    let behind = |client: &str| Adds {
        line: Some(format!("Forwarded: for={client}")),
        ..front([127, 0, 0, 1], true)
    };
    each_has_a_share(&both, behind("203.0.113.7"), behind("203.0.113.8")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_who_is_not_trusted_is_not_believed() {
    let elsewhere = "trusted = [\"192.0.2.0/24\"]";
    let daemon = Daemon::start(&config(&format!("{elsewhere}\nforwarded = \"x-forwarded-for\"")));
    for said in ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: nonsense"] {
        let client = Proxy::start(&daemon, line(said)).await.connect().await.unwrap();
        are(&daemon, &["127.0.0.1"]).await;
        client.close().await;
        are(&daemon, &[]).await;
    }
    let daemon = Daemon::start(&config(&format!("{elsewhere}\nproxy_protocol = true")));
    let liar = Proxy::start(&daemon, front([203, 0, 113, 7], true)).await;
    assert!(liar.connect().await.is_err(), "it is no request");
    daemon.connect_once(Via::Ws).await.ping().await.unwrap();
    assert!(daemon.get("/metrics").contains("tidewire_proxy_refused_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_it_rightly_or_not_at_all() {
    let trusted = "trusted = [\"127.0.0.1\"]";
    let daemon = Daemon::start(&config(&format!("{trusted}\nproxy_protocol = true")));
    // Without a header, with half of one, and with one that is none.
    assert!(daemon.connect_as(Via::Ws, None).await.is_err());
    assert!(daemon.connect_as(Via::Wss, None).await.is_err());
    for front in [&b"PROXY TCP4 1.2.3\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd"] {
        let proxy = Proxy::start(&daemon, bytes(front.to_vec())).await;
        assert!(proxy.connect().await.is_err());
    }
    let metrics = daemon.get("/metrics");
    assert!(metrics.contains("tidewire_proxy_refused_total 4"), "{metrics}");
    // A health check is the proxy's own; QUIC is not behind it.
    let own = bytes(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec());
    let own = Proxy::start(&daemon, own).await.connect().await.unwrap();
    let quic = daemon.connect_once(Via::Quic).await;
    are(&daemon, &["127.0.0.1", "127.0.0.1"]).await;
    own.close().await;
    quic.close().await;

    let daemon = Daemon::start(&config(&format!("{trusted}\nforwarded = \"x-forwarded-for\"")));
    let proxy = Proxy::start(&daemon, line("X-Forwarded-For: nonsense")).await;
    let mut stream = TcpStream::connect(&proxy.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    assert!(
        reply.ends_with("X-Forwarded-For: each entry is an IP address, or 'unknown'\n"),
        "{reply}"
    );
    daemon.connect_once(Via::Ws).await.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_header_does_not_keep_a_place() {
    let few = "handshake_timeout_ms = 1000\ninsecure = true\n[limits]\nconnections_max = 2\n\
               [proxy]\ntrusted = [\"127.0.0.1\"]\nproxy_protocol = true\n";
    let daemon = Daemon::start(few);
    let proxy = Proxy::start(&daemon, front([203, 0, 113, 7], false)).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        stream.write_all(b"PROXY ").await.unwrap();
        silent.push(stream);
    }
    connects_at_last(&proxy).await.ping().await.unwrap();
    for mut stream in silent {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}
