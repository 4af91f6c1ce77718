//! The commands of docs/http.md work as they stand there.

use std::process::Command;

use crate::daemon::Daemon;

/// The `curl` commands of its shell blocks.
fn commands() -> impl Iterator<Item = &'static str> {
    include_str!("../../../docs/http.md").lines().filter(|line| line.starts_with("curl "))
}

#[test]
fn the_commands_of_the_manual_work() {
    let daemon = Daemon::start("");
    let mut ran = 0;
    for command in commands() {
        // What follows something would never end.
        let follows = command.contains("curl -N");
        let options = if follows { "--fail -sS --max-time 1" } else { "--fail -sS --max-time 20" };
        let command = command.replacen("curl", &format!("curl {options}"), 1);
        let output = Command::new("sh")
            .args(["-c", &command])
            .env("TIDEWIRE", format!("http://{}", daemon.address()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if follows {
            assert!(text.contains("data: {") && text.contains("hello"), "{command}: {output:?}");
        } else {
            assert!(output.status.success(), "{command}: {output:?}");
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
        ran += 1;
    }
    assert!(ran >= 8, "the manual has lost its commands");
}
