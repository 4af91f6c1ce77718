//! What only few may do is put on record.

use super::*;

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

    let expected = [
        "tally.create poll shop done -",
        "tally.create poll shop refused already_exists",
        "tally.close poll ann refused forbidden",
        "denied - ann refused forbidden",
        "hello - - refused unauthenticated",
        "admin.kill - - done -",
        "tally.delete poll shop done -",
    ];
    let client = accounts.daemon.connect_as(Via::Ws, Some(&auditor)).await.unwrap();
    let mut subscription = follow(&client, "$sys.audit", Start::Earliest).await;
    let mut told = Vec::new();
    // Each connection is on some core, and they are not in step: the last one may come before others.
    let of_interest = |entry: &&serde_json::Value| entry["event"] != "connected";
    while told.iter().filter(of_interest).count() < expected.len() {
        let line = record(&mut subscription).await;
        told.push(serde_json::from_str(line.strip_prefix("$sys.audit ").unwrap()).unwrap());
    }
    let brief: Vec<String> = told
        .iter()
        .filter(of_interest)
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            let fields = ["event", "name", "subject", "outcome", "code"];
            fields.map(text).join(" ")
        })
        .collect();
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
