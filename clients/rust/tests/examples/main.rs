//! The examples against a real server: `TIDEWIRE_BIN`, or the one that was built beside this test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where its expectation does"
)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What an example may take until it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// `target/PROFILE`, where cargo puts what it builds.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).expect("tests are two folders below").to_owned()
}

/// A server on free ports; stopped by its own pid.
struct Server {
    child: Child,
    url: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let given = std::env::var_os("TIDEWIRE_BIN").map(PathBuf::from);
        let binary = given.unwrap_or_else(|| built().join("tidewire"));
        assert!(
            binary.exists(),
            "{} is not there: build the server (cargo build --bin tidewire), or name one by TIDEWIRE_BIN",
            binary.display()
        );
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(&binary)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--data-dir".as_ref(), data.path().as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = ready["listening"]["address"].as_str().expect("it says where it listens");
        let url = format!("ws://{address}");
        Self { child, url, _data: data }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs an example to its end; returns what it has shown.
fn shown(server: &Server, example: &str) -> String {
    let program = built().join("examples").join(example);
    assert!(
        program.exists(),
        "{} is not there: run `cargo test -p tidewire-client`, which builds the examples",
        program.display()
    );
    let mut child = Command::new(program)
        .arg(&server.url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{example} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let shown = reading.join().unwrap();
    assert!(status.success(), "{example} ended with {status}: {shown}");
    shown
}

#[test]
fn a_live_tally_counts_every_voter_once() {
    let server = Server::start();
    let shown = shown(&server, "live_tally");
    assert_eq!(shown.lines().last(), Some("pizza 10, salad 10, soup 10 after 30 ballots"));
}

#[test]
fn a_scoreboard_ends_with_the_newest_scores() {
    let server = Server::start();
    let shown = shown(&server, "scoreboard");
    let last = r#"{"game-0": "500", "game-1": "500", "game-2": "500", "game-3": "500"}"#;
    assert_eq!(shown.lines().last(), Some(last));
    assert!(!shown.contains("missing"), "{shown}");
}

#[test]
fn a_worker_does_all_jobs_and_some_come_again() {
    let server = Server::start();
    let shown = shown(&server, "worker");
    assert_eq!(shown.lines().last(), Some("0 jobs are left, 5 came again"));
    for number in 0..20 {
        let done =
            shown.lines().filter(|line| line.starts_with(&format!("mail {number} ("))).count();
        assert_eq!(done, 1, "mail {number} in\n{shown}");
    }
}
