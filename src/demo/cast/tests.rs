use std::net::SocketAddr;
use std::sync::Mutex;

use tidewire_client::{TallyKind, TallyRules};
use tokio::io::{AsyncReadExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::config::Config;
use crate::demo::freshness::lock;
use crate::server::Server;

const BALLOTS: u64 = 3000;
const LIMIT: Duration = Duration::from_secs(30);

/// Answers that the relay passes on before it loses some: a few hundred.
const ANSWER_BYTES: u64 = 4096;

/// Passes connections on to the server. On the first one it loses what the server answers after a
/// while, and cuts it.
async fn relay(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(pass(client, server, number == 0));
        }
    });
    address
}

async fn pass(client: TcpStream, server: TcpStream, lossy: bool) {
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let requests = async { drop(copy(&mut from_client, &mut to_server).await) };
    let answers = async {
        let passed_max = if lossy { ANSWER_BYTES } else { u64::MAX };
        let mut passed = from_server.take(passed_max);
        drop(copy(&mut passed, &mut to_client).await);
        let lost = passed.into_inner().read(&mut [0; 1024]).await.unwrap();
        assert!(lost > 0 || !lossy);
    };
    tokio::select! {
        () = answers => {}
        () = requests => {}
    }
}

struct Numbered(Mutex<std::ops::Range<u64>>);

impl BallotBox for Numbered {
    fn take(&self) -> Option<Ballot> {
        let number = lock(&self.0).next()?;
        let choices = vec![Choice::Index(number % 2)];
        Some(Ballot { due: None, voter: format!("voter-{number}"), choices })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn votes_whose_answers_are_lost_are_cast_again_and_count_once() {
    let listen = ([127, 0, 0, 1], 0).into();
    let config = Config { listen, admin_listen: listen, ..Config::default() };
    let server = Server::start(config).await.unwrap();
    let control =
        Client::builder(&format!("ws://{}", server.address())).unwrap().connect().await.unwrap();
    let tally = Name::parse("cut").unwrap();
    let options = vec!["a".to_owned(), "b".to_owned()];
    control.create_tally(&tally, TallyRules::new(TallyKind::Single, options)).await.unwrap();

    let relay = relay(server.address()).await;
    let client = Client::builder(&format!("ws://{relay}")).unwrap().reconnect_delay_ms(10, 50);
    let client = client.connect().await.unwrap();
    let log = Arc::default();
    let sender = Sender { client, tally: tally.clone(), window: 64, log, clock: Clock::start() };
    let tallied = Arc::new(Tallied::default());
    let ballots = Arc::new(Numbered(Mutex::new(0..BALLOTS)));
    let casting = cast_all(vec![sender], ballots, Arc::clone(&tallied));
    timeout(LIMIT, casting).await.unwrap().unwrap();

    assert_eq!(tallied.sent(), BALLOTS);
    assert!(tallied.duplicates() > 0, "{tallied:?}");
    assert_eq!(tallied.accepted() + tallied.duplicates(), BALLOTS);
    assert_eq!(control.standings(&tally).await.unwrap().1.ballots, BALLOTS);
    server.stop().await;
}
