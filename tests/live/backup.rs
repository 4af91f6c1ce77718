//! Backups of a running daemon, what is made from them, and audits of its polls.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use crate::daemon::{Daemon, tidewire};

const CONFIG: &str = "[[policy]]\nnames = \">\"\ndurability = \"disk\"\n";
const PARTED: &str = "[[policy]]\nnames = \"big\"\npartitions = 4\n\n[[policy]]\nnames = \">\"\ndurability = \"disk\"\n";

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn filled() -> Daemon {
    let daemon = Daemon::start(CONFIG);
    for payload in ["one", "two", "three"] {
        assert!(daemon.run(&["pub", "orders", payload]).status.success());
    }
    assert!(daemon.run(&["counter", "incr", "hits", "7"]).status.success());
    let create = ["tally", "create", "poll", "--kind", "ranked", "--option", "A", "--option", "B"];
    assert!(daemon.run(&create).status.success());
    for (voter, choice) in [("ann", "A"), ("bob", "B"), ("cid", "B")] {
        let vote = ["tally", "vote", "poll", "--voter", voter, choice];
        assert!(daemon.run(&vote).status.success());
    }
    daemon
}

fn run(args: &[&str]) -> Output {
    tidewire().args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_backup_becomes_a_directory_that_a_daemon_goes_on_with() {
    let mut daemon = filled();
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("backup"), folder.path().join("restored"));
    let admin = ["--admin", daemon.admin.as_str()];
    let backup = run(&[&["admin", "backup", text(&file)][..], &admin].concat());
    assert!(backup.status.success() && out(&backup).contains("whole"), "{}", err(&backup));
    // What comes later is not in it.
    assert!(daemon.run(&["pub", "orders", "four"]).status.success());
    assert!(out(&run(&["admin", "verify", text(&file)])).contains("whole"));

    let refused = run(&["admin", "restore", text(&file), "--data-dir", text(&data)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("--master-key-file"), "{}", err(&refused));
    let mut key = daemon.data_dir().as_os_str().to_owned();
    key.push(".master-key");
    let mut beside = data.as_os_str().to_owned();
    beside.push(".master-key");
    std::fs::copy(&key, &beside).unwrap();
    let restored = run(&["admin", "restore", text(&file), "--data-dir", text(&data)]);
    assert!(restored.status.success(), "{}", err(&restored));

    let files = Arc::new(tempfile::tempdir().unwrap());
    let mut again = Daemon::start_over(files, data.clone(), CONFIG);
    let read = ["sub", "orders", "--from", "earliest", "--count", "3", "--json"];
    let lines: Vec<serde_json::Value> =
        out(&again.run(&read)).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let payloads: Vec<&str> = lines.iter().map(|line| line["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, ["one", "two", "three"]);
    let next = again.run(&["pub", "orders", "other", "--json"]);
    let next: serde_json::Value = serde_json::from_str(&out(&next)).unwrap();
    assert_eq!(next["offset"], 3);
    let before = daemon.run(&["sub", "orders", "--from", "last:1", "--count", "1", "--json"]);
    let before: serde_json::Value = serde_json::from_str(&out(&before)).unwrap();
    assert_ne!(next["epoch"], before["epoch"], "offset 3 is another record now");
    assert!(out(&again.run(&["counter", "get", "hits"])).contains('7'));
    let vote = again.run(&["tally", "vote", "poll", "--voter", "ann", "A"]);
    assert!(out(&vote).contains("the same ballot"), "ann is known: {}", err(&vote));
    assert!(again.terminate().success());
    let verified = run(&["admin", "verify", text(&data)]);
    assert!(out(&verified).contains("whole"), "{}{}", out(&verified), err(&verified));
    assert!(daemon.terminate().success());
}

#[test]
fn a_backup_that_was_cut_off_is_gone_on_with() {
    let mut daemon = filled();
    let folder = tempfile::tempdir().unwrap();
    let (file, part) = (folder.path().join("backup"), folder.path().join("backup.part"));
    let backup = |daemon: &Daemon, args: &[&str]| {
        run(&[&["admin", "backup", text(&file), "--admin", &daemon.admin][..], args].concat())
    };
    assert!(backup(&daemon, &[]).status.success());
    let whole = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let cut = || std::fs::write(&part, &whole[..whole.len() * 2 / 3]).unwrap();

    cut();
    let resumed = backup(&daemon, &["--resume"]);
    assert!(resumed.status.success() && out(&resumed).contains("whole"), "{}", err(&resumed));
    assert!(err(&resumed).contains("going on behind"), "{}", err(&resumed));
    assert!(out(&run(&["admin", "verify", text(&file)])).contains("whole"));
    assert!(!part.exists());
    std::fs::remove_file(&file).unwrap();

    // Another server does not go on with it, and it stays; nobody is there for it; it is begun anew.
    cut();
    let mut other = filled();
    let refused = backup(&other, &["--resume"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("another data directory"), "{}", err(&refused));
    assert!(other.terminate().success());
    let lost = backup(&other, &["--resume"]);
    assert_eq!(lost.status.code(), Some(3));
    assert!(err(&lost).contains("--resume goes on with them"), "{}", err(&lost));
    assert!(part.exists() && !file.exists());
    let anew = backup(&daemon, &[]);
    assert!(anew.status.success() && !err(&anew).contains("going on"), "{}", err(&anew));
    assert!(daemon.terminate().success());
}

#[test]
fn without_the_master_key_polls_are_read_and_closed_for_good() {
    let mut daemon = filled();
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("backup"), folder.path().join("restored"));
    let admin = ["--admin", daemon.admin.as_str()];
    assert!(run(&[&["admin", "backup", text(&file)][..], &admin].concat()).status.success());
    assert!(daemon.terminate().success());
    let restore =
        ["admin", "restore", text(&file), "--data-dir", text(&data), "--without-master-key"];
    assert!(run(&restore).status.success());
    let files = Arc::new(tempfile::tempdir().unwrap());
    let mut again = Daemon::start_over(files, data, CONFIG);
    let poll = out(&again.run(&["tally", "get", "poll", "--json"]));
    assert!(poll.contains("closed") && poll.contains("\"ballots\":3"), "{poll}");
    for args in [&["tally", "vote", "poll", "--voter", "ann", "B"][..], &["tally", "open", "poll"]]
    {
        let refused = again.run(args);
        assert_eq!(refused.status.code(), Some(1));
        assert!(err(&refused).contains("closed for good"), "{}", err(&refused));
    }
    assert!(again.terminate().success());
}

#[test]
fn a_tally_is_counted_again_from_its_ballots() {
    for (config, poll) in [(CONFIG, "poll"), (PARTED, "big")] {
        let mut daemon = Daemon::start(config);
        let create =
            ["tally", "create", poll, "--kind", "ranked", "--option", "A", "--option", "B"];
        assert!(daemon.run(&create).status.success());
        for (number, choices) in
            [&["A"][..], &["B", "A"], &["-", "B"], &["B", "B"]].iter().enumerate()
        {
            let voter = format!("voter {number}");
            let vote = [&["tally", "vote", poll, "--voter", &voter][..], choices].concat();
            assert!(daemon.run(&vote).status.success());
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ballots");
        let rebuild = ["tally", "rebuild", poll, "--verify", "--admin", daemon.admin.as_str()];
        let counted = run(&rebuild);
        assert!(out(&counted).contains("4 ballots counted again: equal"), "{}", err(&counted));
        let saved = run(&[&rebuild[..], &["--save", text(&file)]].concat());
        assert!(saved.status.success(), "{}", err(&saved));
        let ballots = std::fs::read_to_string(&file).unwrap();
        assert!(!ballots.contains("voter 1"), "no voter is named");
        let from_file = ["tally", "rebuild", poll, "--verify", "--json", "--ballots", text(&file)];
        let counted = run(&from_file);
        let value: serde_json::Value = serde_json::from_str(&out(&counted)).unwrap();
        assert_eq!((&value["equal"], &value["ballots"]), (&true.into(), &4.into()));
        // Somebody takes a ballot away.
        let fewer: Vec<&str> = ballots.lines().collect();
        let gone = fewer.iter().position(|line| line.contains("\"choices\"")).unwrap();
        let fewer: Vec<&str> =
            fewer.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| *line).collect();
        std::fs::write(&file, fewer.join("\n")).unwrap();
        let refused = run(&from_file);
        assert_eq!(refused.status.code(), Some(1));
        assert!(err(&refused).contains("do not make the counts"), "{}", err(&refused));
        let nobody = run(&["tally", "rebuild", "none", "--admin", daemon.admin.as_str()]);
        assert!(err(&nobody).contains("there is no tally"), "{}", err(&nobody));
        assert!(daemon.terminate().success());
    }
}

#[test]
fn a_directory_that_is_in_use_or_none_is_not_verified() {
    let mut daemon = filled();
    let used = run(&["admin", "verify", text(daemon.data_dir())]);
    assert_eq!(used.status.code(), Some(2));
    assert!(err(&used).contains("another server"), "{}", err(&used));
    let nothing = tempfile::tempdir().unwrap();
    let none = run(&["admin", "verify", text(nothing.path())]);
    assert_eq!(none.status.code(), Some(2));
    assert!(err(&none).contains("storage.json"), "{}", err(&none));
    assert!(daemon.terminate().success());
    let memory = Daemon::start("");
    let refused = run(&["admin", "backup", "-", "--admin", memory.admin.as_str()]);
    assert!(err(&refused).contains("no name is kept on disk"), "{}", err(&refused));
}
