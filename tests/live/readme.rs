//! What the README tells a newcomer to type works.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, PATIENCE, Via, tidewire};

/// The `tidewire` commands of the README's shell blocks, without comments.
fn commands() -> Vec<Vec<String>> {
    include_str!("../../README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("tidewire "))
        .map(|line| line.split('#').next().unwrap())
        .map(|line| {
            line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
        })
        .collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let daemon = Daemon::start("");
    let mut following: Vec<(Vec<String>, Child)> = Vec::new();
    let mut ran = 0;
    for mut words in commands() {
        let family: Vec<&str> = words.iter().map(String::as_str).take(2).collect();
        let follows = match family.as_slice() {
            ["serve", ..] => continue,
            ["sub", _] | ["tally", "watch"] => {
                words.extend(["--count".to_owned(), "1".to_owned()]);
                true
            }
            ["presence", "join"] => true,
            ["bench", _] => {
                words.extend(["--seconds", "1", "--url", &daemon.url(Via::Ws)].map(str::to_owned));
                false
            }
            _ => false,
        };
        let mut command = tidewire();
        command.args(&words).env("TIDEWIRE_URL", daemon.url(Via::Ws));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if follows {
            following.push((words, command.spawn().unwrap()));
        } else {
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "tidewire {}: {said}", words.join(" "));
        }
        ran += 1;
    }
    assert!(ran >= 8, "the README has lost its commands");
    for (words, child) in following {
        end(&daemon, &words, child);
    }
}

/// A command that follows something ends by itself; presence lasts until it is told to go.
fn end(daemon: &Daemon, words: &[String], mut child: Child) {
    let started = Instant::now();
    if words.first().is_some_and(|family| family == "presence") {
        let present = || {
            let list = daemon.run(&["presence", "list", "room"]);
            String::from_utf8_lossy(&list.stdout).contains("ann")
        };
        while !present() {
            assert!(started.elapsed() < PATIENCE, "ann never joined");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    }
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "tidewire {}: {status}", words.join(" "));
            return;
        }
        assert!(started.elapsed() < PATIENCE, "tidewire {} does not end", words.join(" "));
        std::thread::sleep(Duration::from_millis(5));
    }
}
