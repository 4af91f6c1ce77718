//! Accounts: tokens, API keys and roles, as a running daemon takes them.

use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{
    CellKind, Client, ConnectionState, Error, ErrorCode, Name, Pattern, Start, SubscribeOptions,
    Subscription, SubscriptionEvent, WatchOptions,
};
use tokio::time::timeout;

use crate::daemon::{ALL, Daemon, PATIENCE, Via, tidewire};

const ROLES: &str = r#"
[[auth.role]]
name = "viewer"
rules = [
    { names = "secret.>", allow = [] },
    { names = "user.{identity}.>", allow = ["publish", "subscribe", "history"] },
    { names = ">", allow = ["subscribe", "history", "vote", "presence"] },
]

[[auth.role]]
name = "backend"
acts_for_others = true
rules = [{ names = ">", allow = ["publish", "subscribe", "history", "incr", "vote", "admin"] }]
"#;

/// A daemon whose tokens are signed with a secret.
struct Accounts {
    daemon: Daemon,
    files: Arc<tempfile::TempDir>,
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

impl Accounts {
    fn start(more: &str) -> Self {
        let files = Arc::new(tempfile::tempdir().unwrap());
        for name in ["secret", "other"] {
            let secret = format!("the {name} of these tests, longer than 32 bytes");
            std::fs::write(files.path().join(name), secret).unwrap();
        }
        let daemon = Daemon::start_in(Arc::clone(&files), &Self::config(&files, ROLES, more));
        Self { daemon, files }
    }

    fn config(files: &tempfile::TempDir, roles: &str, more: &str) -> String {
        let secret = files.path().join("secret");
        format!(
            "{more}\n{roles}\n[[auth.token_key]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
             [[policy]]\nnames = \"maps.>\"\nmap_keys_max = 10\n"
        )
    }

    fn token(&self, args: &[&str]) -> String {
        self.token_by("secret", args)
    }

    fn token_by(&self, secret: &str, args: &[&str]) -> String {
        let secret = self.files.path().join(secret);
        let sign = ["auth", "token", "--algorithm", "HS256", "--key-file"];
        let signed = tidewire().args(sign).arg(secret).args(args).output().unwrap();
        out(&signed).trim().to_owned()
    }

    fn viewer(&self) -> String {
        self.token(&["--subject", "ann", "--role", "viewer"])
    }

    fn backend(&self) -> String {
        self.token(&["--subject", "shop", "--role", "backend"])
    }

    /// Runs a command with this token.
    fn run(&self, token: &str, args: &[&str]) -> Output {
        let url = self.daemon.url(Via::Ws);
        let (key, value) = ("TIDEWIRE_TOKEN", token);
        tidewire().args(args).env("TIDEWIRE_URL", url).env(key, value).output().unwrap()
    }
}

fn is_over(state: &ConnectionState) -> bool {
    matches!(state, ConnectionState::Disconnected { .. } | ConnectionState::Failed { .. })
}

/// A number of the daemon's status.
fn status(daemon: &Daemon, field: &str) -> u64 {
    let reply = daemon.get("/v1/status");
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let status: serde_json::Value = serde_json::from_str(body).unwrap();
    status[field].as_u64().unwrap()
}

fn code(error: &Error) -> Option<ErrorCode> {
    error.refusal().map(|refusal| refusal.code)
}

async fn follow(client: &Client, pattern: &str, start: Start) -> Subscription {
    let pattern = Pattern::parse(pattern).unwrap();
    client.subscribe(&pattern, start, SubscribeOptions::default()).await.unwrap()
}

/// The topic and payload of the next record.
async fn record(subscription: &mut Subscription) -> String {
    loop {
        let event = timeout(PATIENCE, subscription.next()).await.unwrap().unwrap();
        let SubscriptionEvent::Delivery(delivery) = event else { continue };
        let (_, record) = delivery.records().next().unwrap();
        let payload = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
        return format!("{} {payload}", delivery.topic);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_somebody_is_let_in_whatever_the_transport() {
    let accounts = Accounts::start("");
    let stranger = accounts.token_by("other", &["--subject", "ann", "--role", "backend"]);
    let expired = accounts.token(&["--subject", "ann", "--role", "viewer", "--ttl-s", "0"]);
    // Five seconds are forgiven.
    let just_expired = &expired;
    for via in ALL {
        for shown in [None, Some("nonsense"), Some(stranger.as_str()), Some("tidewire_key_AAAA")] {
            let refused = accounts.daemon.connect_as(via, shown).await.err().unwrap();
            assert_eq!(code(&refused), Some(ErrorCode::Unauthenticated), "{via:?} {shown:?}");
        }
        let client = accounts.daemon.connect_as(via, Some(&accounts.viewer())).await.unwrap();
        let identity = client.server_info().identity.unwrap();
        assert_eq!((identity.subject.as_str(), identity.issuer.as_str()), ("ann", "local"));
        assert!(identity.expires_at_ms.is_some());
        let refused = client.publish("news", "x").await.unwrap_err();
        assert_eq!(code(&refused), Some(ErrorCode::Forbidden));
        assert!(refused.to_string().contains("rule 3 of role 'viewer'"), "{refused}");
        client.publish("user.ann.inbox", "x").await.unwrap();
        assert!(client.publish("user.bob.inbox", "x").await.is_err());
        assert!(accounts.daemon.connect_as(via, Some(just_expired)).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_no_way_around_a_rule() {
    let accounts = Accounts::start("");
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    for topic in ["secret.a", "news.a", "secret.b", "news.b"] {
        backend.publish(topic, "before").await.unwrap();
    }
    for via in ALL {
        let client = accounts.daemon.connect_as(via, Some(&accounts.viewer())).await.unwrap();
        for pattern in [">", "*.*", "secret.>", "secret.*"] {
            let mut subscription = follow(&client, pattern, Start::Earliest).await;
            backend.publish("secret.a", "now").await.unwrap();
            backend.publish("news.a", "end").await.unwrap();
            let mut topics = Vec::new();
            if pattern.starts_with("secret") {
                let nothing = timeout(Duration::from_millis(300), record(&mut subscription)).await;
                assert!(nothing.is_err(), "{nothing:?}");
                continue;
            }
            while topics.last().is_none_or(|last: &String| !last.ends_with("a end")) {
                topics.push(record(&mut subscription).await);
            }
            assert!(topics.iter().all(|topic| topic.starts_with("news.")), "{topics:?}");
        }
        let refused = client
            .subscribe(
                &Pattern::parse("secret.a").unwrap(),
                Start::Latest,
                SubscribeOptions::default(),
            )
            .await;
        assert_eq!(code(&refused.err().unwrap()), Some(ErrorCode::Forbidden));
        let secret = Name::parse("secret.a").unwrap();
        let refused = client.watch(CellKind::Counter, &secret, WatchOptions::default()).await;
        assert_eq!(code(&refused.err().unwrap()), Some(ErrorCode::Forbidden));
    }
}

#[test]
fn one_person_votes_once_however_they_come() {
    let accounts = Accounts::start("");
    let (backend, viewer) = (accounts.backend(), accounts.viewer());
    let create = ["tally", "create", "poll", "--kind", "single", "--option", "A", "--option", "B"];
    let refused = accounts.run(&viewer, &create);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("'ann' may not admin 'poll'"), "{}", err(&refused));
    out(&accounts.run(&backend, &create));
    let vote = |token: &str, voter: &str, option: &str| {
        accounts.run(token, &["tally", "vote", "poll", "--voter", voter, option])
    };
    out(&vote(&viewer, "ann", "A"));
    let refused = vote(&viewer, "bob", "A");
    assert!(err(&refused).contains("'ann' may not vote 'poll' as 'bob'"), "{}", err(&refused));
    assert!(out(&vote(&backend, "ann", "A")).contains("the same ballot"));
    out(&vote(&backend, "bob", "B"));
    let counts = out(&accounts.run(&viewer, &["tally", "get", "poll", "--json"]));
    let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(counts["ballots"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_in_time_or_the_connection_ends() {
    let accounts = Accounts::start("[auth]\nleeway_ms = 0\n");
    let brief = ["--subject", "ann", "--role", "viewer", "--ttl-s", "3"];
    for via in [Via::Ws, Via::Quic] {
        let lasting = accounts.daemon.connect_as(via, Some(&accounts.token(&brief))).await.unwrap();
        let ending = accounts.daemon.connect_as(via, Some(&accounts.token(&brief))).await.unwrap();
        let first = lasting.server_info().identity.unwrap().expires_at_ms.unwrap();
        let other = accounts.token(&["--subject", "bob", "--role", "viewer"]);
        let refused = lasting.authenticate(&other).await.unwrap_err();
        assert_eq!(code(&refused), Some(ErrorCode::Forbidden), "{refused}");
        let refused = lasting.authenticate("nonsense").await.unwrap_err();
        assert_eq!(code(&refused), Some(ErrorCode::Unauthenticated), "{refused}");
        let renewed = lasting.authenticate(&accounts.viewer()).await.unwrap();
        assert!(renewed.expires_at_ms.unwrap() > first);
        let mut states = ending.states();
        let over = timeout(PATIENCE, states.wait_for(is_over)).await;
        let over = format!("{:?}", over.unwrap().unwrap());
        assert!(over.contains("expired"), "{over}");
        lasting.ping().await.unwrap();
        lasting.publish("user.ann.inbox", "still here").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rules_take_effect_on_open_connections() {
    let accounts = Accounts::start("");
    let token = accounts.viewer();
    let client = accounts.daemon.connect_as(Via::Ws, Some(&token)).await.unwrap();
    let mut news = follow(&client, "news.a", Start::Latest).await;
    let mut all = follow(&client, ">", Start::Latest).await;
    let file = accounts.files.path().join("tidewire.toml");
    let reload = |config: &str, counter: &str| {
        std::fs::write(&file, config).unwrap();
        let before = status(&accounts.daemon, counter);
        accounts.daemon.signal("-HUP");
        let began = Instant::now();
        while status(&accounts.daemon, counter) == before {
            assert!(began.elapsed() < PATIENCE, "{counter} stays at {before}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let with = |roles: &str| Accounts::config(&accounts.files, roles, "");
    // What cannot be used changes nothing; nor does a file that is being written.
    let bad = "[[auth.role]]\nname = \"viewer\"\nrules = [{ names = \"a..b\", allow = [] }]\n";
    for config in [with(bad), with("nonsense = 1"), String::new()] {
        reload(&config, "reloads_rejected");
    }
    let narrower = ROLES
        .replace(r#"names = ">", allow = ["subscribe""#, r#"names = "b.>", allow = ["subscribe""#);
    reload(&with(&narrower), "reloads");
    let ended = loop {
        match timeout(PATIENCE, news.next()).await.unwrap() {
            Some(SubscriptionEvent::Ended(refusal)) => break refusal,
            Some(_) => {}
            None => panic!("it ends without a word"),
        }
    };
    assert_eq!(ended.code, ErrorCode::Forbidden);
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    backend.publish("news.a", "not for it").await.unwrap();
    backend.publish("b.c", "for it").await.unwrap();
    assert_eq!(record(&mut all).await, "b.c for it");

    // Without its role the connection is nobody's.
    let without = narrower.replace("name = \"viewer\"", "name = \"reader\"");
    reload(&with(&without), "reloads");
    let mut states = client.states();
    let over = timeout(PATIENCE, states.wait_for(is_over)).await;
    let over = format!("{:?}", over.unwrap().unwrap());
    assert!(over.contains("no role 'viewer'"), "{over}");
    backend.ping().await.unwrap();
}

#[test]
fn api_keys_are_made_checked_and_explained_offline() {
    let made = tidewire().args(["auth", "key", "shop", "--role", "backend"]).output().unwrap();
    let key = out(&made).trim().to_owned();
    let config = err(&made);
    let snippet = config.split_once("[[auth.api_key]]").unwrap().1;
    let accounts =
        Accounts::start(&format!("{ROLES}\n[[auth.api_key]]{snippet}").replace(ROLES, ""));
    assert!(accounts.run(&key, &["pub", "news", "x"]).status.success());
    assert!(!accounts.run("", &["pub", "news", "x"]).status.success());
    let file = accounts.files.path().join("tidewire.toml");
    let file = file.to_str().unwrap();
    let auth = |args: &[&str]| {
        let offline = [&["auth"], args, &["--config", file]].concat();
        tidewire().args(offline).output().unwrap()
    };
    let checked = out(&auth(&["check", "--token", &key]));
    assert!(
        checked.contains("subject  shop")
            && checked.contains("role 'backend' may vote and be present in the name of others"),
        "{checked}"
    );
    let viewer = accounts.viewer();
    let explain =
        |op: &str, name: &str| auth(&["explain", "--token", &viewer, "--op", op, "--name", name]);
    let allowed = out(&explain("publish", "user.ann.inbox"));
    assert_eq!(
        allowed.trim(),
        "allowed: rule 2 of role 'viewer' allows publish, subscribe, history on 'user.ann.>'"
    );
    let denied = explain("publish", "secret.a");
    assert_eq!(denied.status.code(), Some(1));
    let live = accounts.run(&viewer, &["pub", "secret.a", "x"]);
    let sentence =
        "'ann' may not publish 'secret.a': rule 1 of role 'viewer' allows nothing on 'secret.>'";
    assert!(err(&denied).contains(sentence), "{}", err(&denied));
    assert!(err(&live).contains(sentence), "the same as live: {}", err(&live));
    let hashed = tidewire()
        .args(["auth", "hash"])
        .stdin(std::process::Stdio::from(std::fs::File::open(file).unwrap()))
        .output()
        .unwrap();
    assert!(err(&hashed).contains("holds no API key"), "{}", err(&hashed));
}

#[test]
fn nothing_is_open_to_others_by_mistake() {
    let refused = |listen: &str, admin: &str, config: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let path = file.path().to_str().unwrap();
        let args = ["serve", "--config", path, "--listen", listen, "--admin-listen", admin];
        let output = tidewire().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        err(&output)
    };
    let (here, everywhere) = ("127.0.0.1:0", "0.0.0.0:0");
    let said = refused(everywhere, here, "");
    assert!(said.contains("needs accounts ([auth]), or insecure"), "{said}");
    let said = refused(here, everywhere, "");
    assert!(said.contains("admin_listen") && said.contains("keep it on loopback"), "{said}");
    let missing = "[[auth.token_key]]\nalgorithm = \"EdDSA\"\nfile = \"/nowhere\"\n";
    let said = refused(everywhere, here, missing);
    assert!(said.contains("auth.token_key[0].file: cannot read /nowhere"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_is_refused_and_others_are_not() {
    let accounts = Accounts::start("[limits]\nsubject_requests_per_s = 40\n");
    let flooder = accounts.daemon.connect_as(Via::Ws, Some(&accounts.viewer())).await.unwrap();
    let beside = accounts.daemon.connect_as(Via::Quic, Some(&accounts.viewer())).await.unwrap();
    let other = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let (mut taken, mut limited) = (0, None);
    for _ in 0..400 {
        match flooder.publish("user.ann.inbox", "x").await {
            Ok(_) => taken += 1,
            Err(error) => limited = Some(error),
        }
    }
    let limited = limited.unwrap();
    let refusal = limited.refusal().unwrap();
    assert_eq!(refusal.code, ErrorCode::RateLimited);
    let wait_ms = refusal.retry_after_ms.unwrap();
    assert!((1..=1_000).contains(&wait_ms), "{wait_ms}");
    assert!(taken >= 40, "{taken}: as many as in a second come at once");
    // The same person by another way, while the first goes on; then somebody else.
    let both = tokio::join!(
        async {
            for _ in 0..40 {
                drop(flooder.publish("user.ann.inbox", "x").await);
            }
        },
        async {
            let mut refused = 0;
            for _ in 0..40 {
                refused += usize::from(beside.publish("user.ann.inbox", "x").await.is_err());
            }
            refused
        }
    );
    assert!(both.1 > 0, "it is one subject");
    other.publish("news", "x").await.unwrap();
    let metrics = accounts.daemon.get("/metrics");
    let line = metrics.lines().find(|line| line.starts_with("tidewire_rate_limited_total "));
    let count: u64 = line.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert!(count > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_its_share_of_the_connections() {
    let daemon = Daemon::start("[limits]\naddress_connections_max = 3\n");
    let mut clients = Vec::new();
    for via in [Via::Ws, Via::Quic, Via::Wss] {
        clients.push(daemon.connect_as(via, None).await.unwrap());
    }
    for via in ALL {
        assert!(daemon.connect_as(via, None).await.is_err(), "{via:?}");
    }
    clients.pop().unwrap().close().await;
    let began = Instant::now();
    while let Err(error) = daemon.connect_as(Via::Ws, None).await {
        assert!(began.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_ends_connections_and_revokes_tokens() {
    let exact = "[auth]\nleeway_ms = 0\n";
    let accounts = Accounts::start(exact);
    let admin = |args: &[&str]| {
        let all = [&["admin"], args, &["--admin", &accounts.daemon.admin]].concat();
        tidewire().args(all).output().unwrap()
    };
    let viewer = accounts.viewer();
    let mut clients = Vec::new();
    for via in ALL {
        clients.push(accounts.daemon.connect_as(via, Some(&viewer)).await.unwrap());
    }
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let listed = out(&admin(&["connection", "list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let listed = listed["connections"].as_array().unwrap();
    let mut transports: Vec<&str> = listed
        .iter()
        .filter(|connection| connection["subject"] == "ann")
        .map(|connection| connection["transport"].as_str().unwrap())
        .collect();
    transports.sort_unstable();
    assert_eq!((listed.len(), transports), (4, vec!["quic", "ws", "wss"]));
    assert!(out(&admin(&["connection", "list"])).contains(" ws 127.0.0.1 shop of local since 20"));

    let over = async |client: &Client, says: &str| {
        let mut states = client.states();
        let state = timeout(PATIENCE, states.wait_for(is_over)).await;
        let state = format!("{:?}", state.unwrap().unwrap());
        assert!(state.contains(says), "{state}");
    };
    let session =
        listed.iter().find(|found| found["transport"] == "ws" && found["subject"] == "ann");
    let session = session.unwrap()["session"].as_str().unwrap();
    assert!(out(&admin(&["connection", "kill", "--session", session])).contains("1 connections"));
    over(&clients[0], "administrator").await;
    assert!(out(&admin(&["connection", "kill", "--subject", "ann"])).contains("2 connections"));
    for client in &clients[1..] {
        over(client, "administrator").await;
    }
    // They may come back, until their tokens are revoked.
    let again = accounts.daemon.connect_as(Via::Quic, Some(&viewer)).await.unwrap();
    let nobody = admin(&["revoke", "--subject", "ann", "--issuer", "https://id.example"]);
    assert!(err(&nobody).contains("no key for tokens speaks for this issuer"), "{}", err(&nobody));
    out(&admin(&["revoke", "--subject", "ann"]));
    over(&again, "revoked").await;
    let refused = accounts.daemon.connect_as(Via::Ws, Some(&viewer)).await.err().unwrap();
    assert!(refused.to_string().contains("have been revoked"), "{refused}");
    backend.ping().await.unwrap();
    assert_eq!(admin(&["revoke"]).status.code(), Some(2));
    assert_eq!(admin(&["connection", "kill"]).status.code(), Some(2));

    // Through a restart as well; a token that was issued later counts.
    let Accounts { daemon, files } = accounts;
    let config = Accounts::config(&files, ROLES, exact);
    let accounts = Accounts { daemon: Daemon::start_in(daemon.kill(), &config), files };
    let refused = accounts.daemon.connect_as(Via::Ws, Some(&viewer)).await.err().unwrap();
    assert!(refused.to_string().contains("have been revoked"), "{refused}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    accounts.daemon.connect_as(Via::Ws, Some(&accounts.viewer())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_may_come_while_the_server_runs() {
    let accounts = Accounts::start("");
    let (token, config) = (accounts.viewer(), Accounts::config(&accounts.files, ROLES, ""));
    let daemon = Daemon::start("");
    let somebody = daemon.connect_as(Via::Ws, Some(&token)).await.unwrap();
    let nobody = daemon.connect_as(Via::Quic, None).await.unwrap();
    assert_eq!(somebody.server_info().identity, None);
    let mut secret = follow(&somebody, "secret.a", Start::Latest).await;
    somebody.publish("news", "as everybody may").await.unwrap();
    std::fs::write(daemon.files().join("tidewire.toml"), config).unwrap();
    daemon.signal("-HUP");
    let ended = loop {
        match timeout(PATIENCE, secret.next()).await.unwrap() {
            Some(SubscriptionEvent::Ended(refusal)) => break refusal,
            Some(_) => {}
            None => panic!("it ends without a word"),
        }
    };
    assert_eq!(ended.code, ErrorCode::Forbidden);
    somebody.publish("user.ann.inbox", "with the token that it had shown").await.unwrap();
    assert!(somebody.publish("news", "x").await.is_err());
    let mut states = nobody.states();
    let over = timeout(PATIENCE, states.wait_for(is_over)).await;
    let over = format!("{:?}", over.unwrap().unwrap());
    assert!(over.contains("a token is needed"), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_few_may_do_is_put_on_record() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("audit.jsonl");
    let accounts = Accounts::start(&format!("[audit]\nfile = {file:?}\ntopic = true\n"));
    let auditor = accounts.token(&["--subject", "eve", "--allow", "subscribe,history:$sys.audit"]);
    let (backend, viewer) = (accounts.backend(), accounts.viewer());
    let create = ["tally", "create", "poll", "--kind", "single", "--option", "A"];
    out(&accounts.run(&backend, &create));
    let other = ["tally", "create", "poll", "--kind", "single", "--option", "B"];
    assert!(!accounts.run(&backend, &other).status.success());
    assert!(!accounts.run(&viewer, &["tally", "close", "poll"]).status.success());
    assert!(!accounts.run(&viewer, &["pub", "news", "x"]).status.success());
    assert!(!accounts.run("nonsense", &["pub", "news", "x"]).status.success());
    let kill = ["admin", "connection", "kill", "--subject", "nobody", "--admin"];
    out(&tidewire().args(kill).arg(&accounts.daemon.admin).output().unwrap());
    out(&accounts.run(&backend, &["tally", "delete", "poll"]));

    let client = accounts.daemon.connect_as(Via::Ws, Some(&auditor)).await.unwrap();
    let mut subscription = follow(&client, "$sys.audit", Start::Earliest).await;
    let mut told = Vec::new();
    while told.last().is_none_or(|last: &serde_json::Value| last["event"] != "tally.delete") {
        let line = record(&mut subscription).await;
        told.push(serde_json::from_str(line.strip_prefix("$sys.audit ").unwrap()).unwrap());
    }
    let brief: Vec<String> = told
        .iter()
        .filter(|entry| entry["event"] != "connected")
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            let fields = ["event", "name", "subject", "outcome", "code"];
            fields.map(text).join(" ")
        })
        .collect();
    let expected = [
        "tally.create poll shop done -",
        "tally.create poll shop refused already_exists",
        "tally.close poll ann refused forbidden",
        "denied - ann refused forbidden",
        "hello - - refused unauthenticated",
        "admin.kill - - done -",
        "tally.delete poll shop done -",
    ];
    // Each connection is on some core, and they are not in step.
    let (mut brief, mut expected) = (brief, expected.map(str::to_owned).to_vec());
    brief.sort();
    expected.sort();
    assert_eq!(brief, expected);
    assert!(told.iter().all(|entry| entry["time_ms"].as_u64().unwrap() > 1_700_000_000_000));
    let written = std::fs::read_to_string(&file).unwrap();
    for entry in &told {
        let is_it = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap() == *entry;
        assert!(written.lines().any(is_it), "{entry} is not in the file");
    }
    // Nobody reads or writes it by a wildcard, or as a back end.
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&backend)).await.unwrap();
    let pattern = Pattern::parse("$sys.audit").unwrap();
    let refused = backend.subscribe(&pattern, Start::Latest, SubscribeOptions::default()).await;
    assert_eq!(code(&refused.err().unwrap()), Some(ErrorCode::Forbidden));
    assert!(client.publish("$sys.audit", "x").await.is_err());
    // A file that is moved away is begun anew, and what has happened is written before the end.
    std::fs::rename(&file, files.path().join("audit.old")).unwrap();
    let Accounts { mut daemon, .. } = accounts;
    let late = daemon.connect_as(Via::Quic, Some(&auditor)).await.unwrap();
    assert!(late.publish("news", "x").await.is_err());
    assert!(daemon.terminate().success());
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.lines().last().unwrap().contains("'eve' may not publish 'news'"), "{written}");
}
