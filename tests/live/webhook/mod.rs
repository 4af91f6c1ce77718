//! The webhook: an application decides on what the rules allow.

pub(crate) mod application;
mod failures;

use std::path::Path;
use std::time::{Duration, Instant};

use tidewire_client::{
    CellKind, Choice, Client, Error, ErrorCode, Name, Pattern, Refusal, Start, SubscribeOptions,
    TallyKind, TallyRules, WatchOptions,
};

use crate::accounts::Accounts;
use crate::daemon::{ALL, Daemon, PATIENCE, Via, tidewire};
use application::{Application, Mood};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Makes a server with these files ask this application.
pub(crate) fn section(application: &Application, files: &Path) -> String {
    let secret = files.join("webhook-secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let url = &application.url;
    format!("[webhook]\nurl = {url:?}\nsecret_file = {secret:?}\n")
}

/// A daemon that asks this application.
fn asking(application: &Application, more: &str) -> Accounts {
    let files = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let section = section(application, files.path());
    let auth = "[auth]\nanonymous_roles = ['viewer']\n";
    // On one core, connections could hold up each other.
    let webhook = format!("cores = 1\n{auth}{section}{more}\n");
    Accounts::start_in(files, &webhook)
}

fn refused<T>(outcome: Result<T, Error>) -> Refusal {
    match outcome {
        Err(error) => error.refusal().unwrap_or_else(|| panic!("{error}")).clone(),
        Ok(_) => panic!("it is not refused"),
    }
}

async fn follow(client: &Client, pattern: &str) -> Result<(), Error> {
    let (pattern, options) = (Pattern::parse(pattern).unwrap(), SubscribeOptions::default());
    client.subscribe(&pattern, Start::Latest, options).await.map(drop)
}

/// A line of the daemon's metrics.
fn metric(daemon: &Daemon, line: &str) -> u64 {
    let metrics = daemon.get("/metrics");
    let value = metrics.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{line}: {metrics}")).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_decides_on_what_the_rules_allow_and_is_not_asked_about_the_rest() {
    let application = Application::start().await;
    let accounts = asking(&application, "");
    let (shop, ann) = (accounts.backend(), accounts.viewer());
    for via in ALL {
        let backend = accounts.daemon.connect_as(via, Some(&shop)).await.unwrap();
        let (open, closed) = (format!("{via:?}.open").to_lowercase(), "forbidden.a");
        backend.publish(&open, "x").await.unwrap();
        backend.incr(&name(&open), 1).await.unwrap();
        follow(&backend, "*.open").await.unwrap();
        let said = [
            refused(backend.publish(closed, "x").await),
            refused(backend.incr(&name(closed), 1).await),
            refused(follow(&backend, "forbidden.>").await),
            refused(backend.get_counter(&name(closed)).await),
        ];
        for refusal in &said {
            assert_eq!(refusal.code, ErrorCode::Forbidden);
        }
        assert_eq!(
            said[0].message,
            "'shop' may not publish 'forbidden.a': the webhook's application refuses it: not today"
        );
        let viewer = accounts.daemon.connect_as(via, Some(&ann)).await.unwrap();
        let by_rule = refused(viewer.publish(&open, "x").await);
        assert!(by_rule.message.contains("role 'viewer'"), "{by_rule:?}");
        let mut asked = application.asked();
        // The back end and Ann connect once; the second time it is remembered.
        asked.retain(|question| !question.starts_with("connect "));
        let expected = [
            format!("publish {open} shop"),
            format!("incr {open} shop"),
            "subscribe *.open shop".to_owned(),
            "publish forbidden.a shop".to_owned(),
            "incr forbidden.a shop".to_owned(),
            "subscribe forbidden.> shop".to_owned(),
            "subscribe forbidden.a shop".to_owned(),
        ];
        let of_all = ["*.open", "forbidden"];
        let is_new = |question: &&String| {
            via == Via::Ws || !of_all.iter().any(|part| question.contains(part))
        };
        // What was asked over the first transport is remembered.
        for question in expected.iter().filter(is_new) {
            assert!(asked.contains(question), "{question}: {asked:?}");
        }
        assert!(asked.iter().all(|question| !question.ends_with(" ann")), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_connect_does_not() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['connect']");
    let mallory = accounts.token(&["--subject", "mallory", "--role", "viewer"]);
    for via in ALL {
        let refusal = refused(accounts.daemon.connect_as(via, Some(&mallory)).await);
        assert_eq!(refusal.code, ErrorCode::Forbidden);
        assert!(refusal.message.starts_with("'mallory' may not connect: "), "{refusal:?}");
        // Nobody in particular may; a token that makes it somebody is decided on, too.
        let client = accounts.daemon.connect_as(via, None).await.unwrap();
        let refusal = refused(client.authenticate(&mallory).await);
        assert!(refusal.message.starts_with("'mallory' may not connect: "), "{refusal:?}");
        client.authenticate(&accounts.viewer()).await.unwrap();
        follow(&client, "forbidden.a").await.unwrap();
    }
    let asked = application.asked();
    let subjects = ["mallory", "-", "ann"].map(|subject| format!("connect - {subject}"));
    for subject in &subjects {
        assert!(asked.contains(subject), "{asked:?}");
    }
    assert!(asked.iter().all(|question| subjects.contains(question)), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_watches_and_groups_are_decided_on() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['vote', 'subscribe', 'publish']");
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let rules = TallyRules::new(TallyKind::Single, ["yes", "no"].map(str::to_owned).to_vec());
    for poll in ["poll", "forbidden.poll"] {
        backend.create_tally(&name(poll), rules.clone()).await.unwrap();
    }
    let vote = async |poll: &str, voter: &str| {
        backend.vote(&name(poll), voter, vec![Choice::Index(0)], None).await
    };
    vote("poll", "").await.unwrap();
    vote("poll", "ann").await.unwrap();
    assert_eq!(refused(vote("forbidden.poll", "ann").await).code, ErrorCode::Forbidden);
    let (poll, options) = (name("forbidden.poll"), WatchOptions::default());
    let watched = backend.watch(CellKind::Tally, &poll, options).await;
    assert_eq!(refused(watched).code, ErrorCode::Forbidden);
    let asked = application.asked();
    assert_eq!(
        asked.iter().filter(|question| *question == "vote poll shop").count(),
        2,
        "{asked:?}"
    );
    assert!(asked.contains(&"subscribe forbidden.poll shop".to_owned()), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_it_is_said_that_somebody_else_decides_too() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['subscribe']\n");
    let (config, token) = (accounts.daemon.files().join("tidewire.toml"), accounts.backend());
    let explain = |op: &str| {
        let of = ["auth", "explain", "--name", "a", "--token", &token, "--op", op, "--config"];
        let said = tidewire().args(of).arg(&config).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    let also = "the webhook's application is asked, too";
    assert!(explain("history").contains(also), "{}", explain("history"));
    assert!(explain("publish").starts_with("allowed: ") && !explain("publish").contains(also));
    assert_eq!(application.asked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_remembered_for_its_time() {
    let application = Application::start().await;
    let more = "on = ['publish']\nremember_ms = 600000\n";
    let accounts = asking(&application, more);
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    for _ in 0..100 {
        backend.publish("a", "x").await.unwrap();
        refused(backend.publish("forbidden", "x").await);
    }
    assert_eq!(application.asked(), ["publish a shop", "publish forbidden shop"]);
    assert_eq!(metric(&accounts.daemon, "tidewire_webhook_remembered_total"), 198);
    let accounts = asking(&application, "on = ['publish']\nremember_ms = 0\n");
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    for _ in 0..5 {
        backend.publish("a", "x").await.unwrap();
    }
    assert_eq!(application.asked().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_answer_holds_up_nobody_else() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['publish']\ntimeout_ms = 9000\n");
    let shop = accounts.backend();
    for via in [Via::Ws, Via::Quic] {
        let waits = accounts.daemon.connect_as(via, Some(&shop)).await.unwrap();
        let other = accounts.daemon.connect_as(via, Some(&shop)).await.unwrap();
        let topic = format!("slow.{via:?}");
        let slow = tokio::spawn(async move { waits.publish(&topic, "x").await });
        let deadline = Instant::now() + PATIENCE;
        while metric(&accounts.daemon, "tidewire_webhook_in_flight") == 0 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for number in 0..20 {
            other.publish(&format!("a.{number}"), "x").await.unwrap();
        }
        assert!(!slow.is_finished(), "{via:?}");
        application.set(Mood::Answers);
        slow.await.unwrap().unwrap();
        application.asked();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_token_late_holds_up_nobody_else_either() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['connect']\ntimeout_ms = 4900\nremember_ms = 0\n");
    let token = accounts.token(&["--subject", "slowpoke", "--role", "viewer"]);
    for via in [Via::Ws, Via::Quic] {
        // Those who show nothing are served as one.
        let waits = accounts.daemon.connect_as(via, None).await.unwrap();
        let other = accounts.daemon.connect_as(via, None).await.unwrap();
        let token = token.clone();
        let slow = tokio::spawn(async move { waits.authenticate(&token).await });
        while metric(&accounts.daemon, "tidewire_webhook_in_flight") == 0 {
            assert!(!slow.is_finished(), "{via:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        other.ping().await.unwrap();
        follow(&other, "a").await.unwrap();
        assert!(!slow.is_finished(), "{via:?}");
        application.set(Mood::Answers);
        assert_eq!(slow.await.unwrap().unwrap().subject, "slowpoke");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_anyhow_is_not_asked_about_however_long_it_is() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['publish', 'vote']\n");
    let ann = accounts.daemon.connect_as(Via::Ws, Some(&accounts.viewer())).await.unwrap();
    let shop = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let vote = async |client: &Client, voter: &str| {
        refused(client.vote(&name("poll"), voter, vec![Choice::Index(0)], None).await).code
    };
    assert_eq!(vote(&ann, "bob").await, ErrorCode::Forbidden);
    assert_eq!(vote(&shop, &"x".repeat(100_000)).await, ErrorCode::InvalidArgument);
    assert_eq!(refused(shop.publish("$sys.a", "x").await).code, ErrorCode::Forbidden);
    assert_eq!(application.asked(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_goes_and_is_refused_by_a_reload() {
    let application = Application::start().await;
    let accounts = asking(&application, "on = ['publish']\n");
    let backend = accounts.daemon.connect_as(Via::Ws, Some(&accounts.backend())).await.unwrap();
    let closed = "forbidden.a";
    assert_eq!(refused(backend.publish(closed, "x").await).code, ErrorCode::Forbidden);
    let file = accounts.daemon.files().join("tidewire.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let reload = async |config: &str, is_over: &dyn Fn(&Daemon) -> bool| {
        std::fs::write(&file, config).unwrap();
        accounts.daemon.signal("-HUP");
        let deadline = Instant::now() + PATIENCE;
        while !is_over(&accounts.daemon) {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let count = |field: &'static str, wanted: u64| {
        move |daemon: &Daemon| {
            let status = daemon.get("/v1/status");
            let (_, body) = status.split_once("\r\n\r\n").unwrap();
            serde_json::from_str::<serde_json::Value>(body).unwrap()[field] == wanted
        }
    };
    // A secret that is none: what was there stays.
    let broken = config.replace("webhook-secret", "secret");
    reload(&broken, &count("reloads_rejected", 1)).await;
    assert_eq!(refused(backend.publish(closed, "x").await).code, ErrorCode::Forbidden);
    // Asked about something else only.
    reload(&config.replace("'publish'", "'vote'"), &count("reloads", 1)).await;
    backend.publish(closed, "x").await.unwrap();
    reload(&config, &count("reloads", 2)).await;
    assert_eq!(refused(backend.publish(closed, "x").await).code, ErrorCode::Forbidden);
}
