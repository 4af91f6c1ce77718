//! What guests can do, and what they cannot.

use std::cell::RefCell;

use super::*;
use crate::server::Server;
use tidewire_protocol::tally::Choice;
use tokio::time::timeout;

/// A server on loopback with the demo's accounts.
async fn served() -> (Lan, Server, Endpoint, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let lan = Lan::prepare(Ipv4Addr::LOCALHOST.into(), directory.path()).unwrap();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config { listen: loopback, admin_listen: loopback, ..Config::default() };
    lan.configure(&mut config, 0);
    let server = Server::start(config).await.unwrap();
    let endpoint = Endpoint::local(server.address(), server.certificate_sha256());
    let own = endpoint.clone().with_token(lan.own_key());
    lan.open_poll(&own).await.unwrap();
    (lan, server, endpoint, directory)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_guest_votes_in_the_poll_and_can_do_nothing_else() {
    let (lan, server, endpoint, _directory) = served().await;
    let guest = endpoint.with_token(&lan.guest_token(now_s()).unwrap());
    let guest = guest.websocket("guest").await.unwrap();
    let poll = Name::parse(POLL).unwrap();
    for (voter, option) in [("a", "Apple"), ("b", "Pear"), ("a", "Pear")] {
        guest.vote(&poll, voter, vec![Choice::Name(option.into())], None).await.unwrap();
    }
    let (_, standings) = guest.standings(&poll).await.unwrap();
    assert_eq!((standings.ballots, standings.counts.as_slice()), (2, &[0, 0, 0, 0, 2][..]));
    let election = Name::parse("demo.election").unwrap();
    let refused = [
        guest.close_tally(&poll).await.map(drop),
        guest.vote(&election, "a", vec![Choice::Skipped], None).await.map(drop),
        guest.standings(&election).await.map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().code(), "forbidden");
    }
    server.stop().await;
}

#[tokio::test]
async fn guests_cannot_make_voters_without_end() {
    let (lan, server, endpoint, _directory) = served().await;
    let guest = endpoint.with_token(&lan.guest_token(now_s()).unwrap());
    let guest = guest.websocket("guest").await.unwrap();
    let poll = Name::parse(POLL).unwrap();
    let pear = || vec![Choice::Name("Pear".into())];
    for voter in 0..GUESTS_MAX {
        guest.vote(&poll, &voter.to_string(), pear(), None).await.unwrap();
    }
    let refused = guest.vote(&poll, "one more", pear(), None).await;
    assert_eq!(refused.unwrap_err().code(), "limit_exceeded");
    let apple = vec![Choice::Name("Apple".into())];
    guest.vote(&poll, "0", apple, None).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn there_is_always_an_invitation_that_lasts() {
    const { assert!(INVITED_ANEW.as_secs() < INVITATION_S) }
    let directory = tempfile::tempdir().unwrap();
    let lan = Lan::prepare(Ipv4Addr::LOCALHOST.into(), directory.path()).unwrap();
    let said = RefCell::new(Vec::new());
    let inviting = lan
        .keep_inviting(7, Duration::from_millis(1), |line| said.borrow_mut().push(line.to_owned()));
    let url = |line: &&String| line.starts_with("https://127.0.0.1:7/vote.html#token=");
    let twice = async {
        while said.borrow().iter().filter(url).count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let waited = timeout(Duration::from_secs(30), async {
        tokio::select! {
            error = inviting => Err(error),
            () = twice => Ok(()),
        }
    });
    waited.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_invitation_ends_and_nobody_votes_without_one() {
    let (lan, server, endpoint, _directory) = served().await;
    let old = lan.guest_token(now_s() - 2 * INVITATION_S).unwrap();
    let late = endpoint.clone().with_token(&old).websocket("late").await;
    assert_eq!(late.err().unwrap().code(), "unauthenticated");
    let anybody = endpoint.websocket("anybody").await.unwrap();
    let poll = Name::parse(POLL).unwrap();
    let vote = anybody.vote(&poll, "a", vec![Choice::Name("Pear".into())], None).await;
    assert_eq!(vote.unwrap_err().code(), "forbidden");
    server.stop().await;
}
