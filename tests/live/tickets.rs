//! Tickets: people without an account vote in one poll, and an address has so many of them.

use std::io::{Read as _, Write as _};

use tidewire_client::{Choice, Client, Error, ErrorCode, Name, TallyKind, TallyRules};

use crate::accounts::Accounts;
use crate::daemon::Via;

const TICKETS: &str = "[[auth.ticket]]\npolls = \"poll.>\"\naddress_tickets_max = 2\n";

/// A daemon with tickets for polls, and a back end.
struct Polls {
    accounts: Accounts,
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

impl Polls {
    fn start() -> Self {
        Self { accounts: Accounts::start(TICKETS) }
    }

    /// A poll in which tickets are the voters.
    async fn open(&self, poll: &str) -> Client {
        let client =
            self.accounts.daemon.connect_as(Via::Ws, Some(&self.accounts.backend())).await.unwrap();
        let options = ["yes", "no"].map(str::to_owned).to_vec();
        let rules = TallyRules {
            identity: Some("ticket".to_owned()),
            ..TallyRules::new(TallyKind::Single, options)
        };
        client.create_tally(&name(poll), rules).await.unwrap();
        client
    }

    /// Status and body of what is answered.
    fn ask(&self, request: &str, headers: &str) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(self.accounts.daemon.address()).unwrap();
        let host = self.accounts.daemon.address();
        write!(stream, "{request} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn ticket(&self, poll: &str) -> String {
        let (status, body) = self.ask(&format!("POST /v1/ticket?poll={poll}"), "");
        assert_eq!(status, 200, "{body}");
        let ticket: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(ticket["expires_ms"].as_u64().is_some());
        ticket["token"].as_str().unwrap().to_owned()
    }

    async fn vote(&self, ticket: &str, poll: &str, option: u64) -> Result<(), Error> {
        let client = self.accounts.daemon.connect_as(Via::Ws, Some(ticket)).await?;
        client.vote(&name(poll), "", vec![Choice::Index(option)], None).await.map(drop)
    }
}

fn refused(outcome: Result<(), Error>) -> ErrorCode {
    outcome.unwrap_err().refusal().unwrap().code
}

#[tokio::test]
async fn a_ticket_is_one_voter_in_one_poll() {
    let polls = Polls::start();
    let backend = polls.open("poll.a").await;
    polls.open("poll.b").await;
    let (first, second) = (polls.ticket("poll.a"), polls.ticket("poll.a"));
    polls.vote(&first, "poll.a", 0).await.unwrap();
    polls.vote(&first, "poll.a", 1).await.unwrap();
    polls.vote(&second, "poll.a", 1).await.unwrap();
    let (_, standings) = backend.standings(&name("poll.a")).await.unwrap();
    assert_eq!((standings.ballots, standings.counts), (2, vec![0, 2]), "each counts once");
    assert_eq!(refused(polls.vote(&first, "poll.b", 0).await), ErrorCode::Forbidden);

    // The address has its two; another poll's are its own.
    let (status, said) = polls.ask("POST /v1/ticket?poll=poll.a", "");
    assert!(status == 429 && said.contains("2 tickets for 'poll.a'"), "{status} {said}");
    polls.ticket("poll.b");
}

#[tokio::test]
async fn tickets_outlive_the_server_and_nobody_else_makes_them() {
    let polls = Polls::start();
    let ticket = polls.ticket("poll.a");
    let files = polls.accounts.daemon.kill();
    let polls = Polls { accounts: Accounts::start_in(files, TICKETS) };
    polls.open("poll.a").await;
    polls.vote(&ticket, "poll.a", 0).await.unwrap();
    let (head, _) = ticket.rsplit_once('.').unwrap();
    let forged = format!("{head}.{}", "A".repeat(43));
    assert_eq!(refused(polls.vote(&forged, "poll.a", 0).await), ErrorCode::Unauthenticated);
    let nobody = polls.accounts.daemon.connect_as(Via::Ws, None).await.map(drop);
    assert_eq!(refused(nobody), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn who_asks_for_something_else_is_told() {
    let polls = Polls::start();
    for (request, headers, status, told) in [
        ("GET /v1/ticket?poll=poll.a", "", 405, "POST"),
        ("POST /v1/ticket", "", 400, "for which poll"),
        ("POST /v1/ticket?poll=a..b", "", 400, "a..b"),
        ("POST /v1/ticket?poll=%zz", "", 400, "encoded"),
        ("POST /v1/ticket?poll=news.a", "", 404, "[[auth.ticket]]"),
        ("POST /v1/ticket?poll=poll.a", "Origin: https://evil.example\r\n", 403, "origin"),
    ] {
        let (answered, said) = polls.ask(request, headers);
        assert!(answered == status && said.contains(told), "{request}: {answered} {said}");
    }
}
