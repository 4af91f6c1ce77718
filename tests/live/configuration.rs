//! Where a configuration comes from, what is said of it, and what a reload makes of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::daemon::{PATIENCE, tidewire};

/// A server whose log is read.
struct Logged(Child);

impl Drop for Logged {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const HERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_schema_is_printed_as_it_is_shipped() {
    let printed = tidewire().args(["config", "schema"]).output().unwrap();
    assert!(out(&printed) == include_str!("../../config/tidewire.schema.json"));
}

#[test]
fn what_is_shown_says_who_has_set_it() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("t.toml");
    std::fs::write(&file, "node = \"n\"\n[limits]\nmembers_max = 7\nvoters_max = 9\n").unwrap();
    let show = |more: &[&str]| {
        let mut command = tidewire();
        command
            .args(["config", "show", "--listen", "127.0.0.1:1", "--config"])
            .arg(&file)
            .args(more);
        let shown = command.env("TIDEWIRE_LIMITS_VOTERS_MAX", "10").output().unwrap();
        assert!(shown.status.success(), "{}", err(&shown));
        out(&shown)
    };
    let text = show(&[]);
    let path = file.display();
    for line in [
        "listen = \"127.0.0.1:1\"  # --listen".to_owned(),
        "heartbeat_ms = 25000".to_owned(),
        format!("node = \"n\"  # {path}:1"),
        format!("members_max = 7  # {path}:3"),
        "voters_max = 10  # TIDEWIRE_LIMITS_VOTERS_MAX".to_owned(),
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&show(&["--json"])).unwrap();
    assert_eq!(json["config"]["limits"]["voters_max"], 10);
    assert_eq!(json["sources"]["limits.members_max"]["line"], 3);
    assert_eq!(json["sources"]["listen"]["flag"], "--listen");
}

#[test]
fn a_server_refuses_bad_variables() {
    let refused = |name: &str, value: &str| {
        let output = tidewire().arg("serve").args(HERE).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        err(&output)
    };
    assert_eq!(
        refused("TIDEWIRE_LIMITS_CONNECTION_MAX", "1"),
        "error: TIDEWIRE_LIMITS_CONNECTION_MAX: no such variable: did you mean \
         TIDEWIRE_LIMITS_CONNECTIONS_MAX?\n"
    );
    assert_eq!(
        refused("TIDEWIRE_LIMITS_CONNECTIONS_MAX", "0"),
        "error: TIDEWIRE_LIMITS_CONNECTIONS_MAX=0: limits.connections_max: must be 1 to 10000000, not 0\n"
    );
}

#[test]
fn a_reload_says_what_has_become_of_each_key() {
    let files = tempfile::tempdir().unwrap();
    let (file, log) = (files.path().join("t.toml"), files.path().join("log"));
    let role = |rules: &str| format!("[[auth.role]]\nname = \"r\"\nrules = [{rules}]\n");
    let text = |node: &str, rules: &str| format!("node = \"{node}\"\n{}", role(rules));
    std::fs::write(&file, text("a", "")).unwrap();
    let mut server = tidewire();
    server.args(["serve", "--json"]).args(HERE).arg("--config").arg(&file);
    server.env("NO_COLOR", "1").env("TIDEWIRE_LOG", "info");
    let mut server =
        Logged(server.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("listening"), "{}", said(&log));
    let pid = server.0.id().to_string();
    let reload = |text: String, expected: &[&str]| {
        std::fs::write(&file, text).unwrap();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        wait_for(&log, expected);
    };
    let rule = "{ names = \"a\", allow = [\"publish\"] }";
    let applied = ["needs a restart key=\"node\"", "applied key=\"auth.role[0].rules\""];
    reload(text("b", rule), &applied);
    let why = "t.toml:4:10: auth.role[0].rules[0]: ";
    let beside = "auth.role[0].rules[0] is refused, and all or nothing is taken key=\"node\"";
    reload(text("c", "{ names = \"a..b\", allow = [] }"), &[why, beside]);
    let unknown = "t.toml:1:1: unknown key `nodee`: did you mean `node`?";
    reload("nodee = \"a\"\n".to_owned(), &[unknown, "key=\"configuration\""]);
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap()
}

fn wait_for(log: &Path, expected: &[&str]) {
    let began = Instant::now();
    while !expected.iter().all(|text| said(log).contains(text)) {
        assert!(began.elapsed() < PATIENCE, "{expected:?} is not in\n{}", said(log));
        std::thread::sleep(Duration::from_millis(5));
    }
}
