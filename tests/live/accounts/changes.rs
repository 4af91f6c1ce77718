//! Rules, tokens and accounts that change while connections are open.

use super::*;

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
