//! Who is let in, sees what, and votes.

use super::*;

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
