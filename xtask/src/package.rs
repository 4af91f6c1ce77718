//! What is published of the Rust client is enough: packed, unpacked beside an empty project, and the program of its
//! README run against a server.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::steps::{binary, cargo, root, run};

/// Crates that belong together, those that others need first.
const CRATES: [&str; 2] = ["tidewire-protocol", "tidewire-client"];
/// Where the README's program connects.
const README_URL: &str = "ws://127.0.0.1:7171";
/// What it prints when the ballot is counted.
const COUNTED: &str = "counts: [1, 0]";
/// Anything that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Packs the crates, and runs the README's program with nothing but them.
pub(crate) fn check() -> Result<(), String> {
    let packages: Vec<&str> = CRATES.iter().flat_map(|name| ["--package", name]).collect();
    // They are built below, by a project of its own.
    let pack = [&["package", "--quiet", "--no-verify", "--allow-dirty"], packages.as_slice()];
    cargo(&pack.concat())?;
    let folder = target().join("package/alone");
    clear(&folder)?;
    let packed = target().join("package");
    for name in CRATES {
        let archive = packed.join(format!("{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        run(&folder, "tar", &["-xzf", &archive.to_string_lossy()], &[])?;
    }
    write_project(&folder)?;
    let built = target().join("package/build");
    let env = [("CARGO_TARGET_DIR", built.to_string_lossy())];
    let env = env.each_ref().map(|(name, value)| (*name, value.as_ref()));
    run(&folder, "cargo", &["build", "--quiet"], &env)?;
    try_program(&built.join("debug/alone"))
}

/// A server that is stopped with this, or a program that uses it.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<(Self, BufReader<ChildStdout>), String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("{name} does not start: {error}"))?;
        let output = child.stdout.take().ok_or("its output is not read")?;
        Ok((Self(child), BufReader::new(output)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the program beside a server of its own until it shows the ballot.
fn try_program(program: &Path) -> Result<(), String> {
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut serve = Command::new(binary());
    let (_server, mut said) = Running::start(serve.args(["serve", "--json"]).args(listen))?;
    let mut line = String::new();
    said.read_line(&mut line).map_err(|error| format!("the server says nothing: {error}"))?;
    let address = line.split("\"address\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.ok_or_else(|| format!("the server does not say where it is: {line}"))?;
    let mut command = Command::new(program);
    let (mut running, shown) = Running::start(command.arg(format!("ws://{address}")))?;
    let reading = std::thread::spawn(move || {
        shown.lines().map_while(Result::ok).any(|line| line.contains(COUNTED))
    });
    let began = Instant::now();
    while !reading.is_finished() && began.elapsed() < PATIENCE {
        if matches!(running.0.try_wait(), Ok(Some(_))) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(running);
    match reading.join() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(format!("the README's program has not shown {COUNTED}")),
    }
}

/// A project that has the README's program as its own, and the packed crates as its dependencies.
fn write_project(folder: &Path) -> Result<(), String> {
    let version = env!("CARGO_PKG_VERSION");
    let unpacked = |name: &str| format!("{{ path = \"{name}-{version}\" }}");
    let (protocol, client) = (unpacked("tidewire-protocol"), unpacked("tidewire-client"));
    let manifest = format!(
        "[package]\nname = \"alone\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\ntidewire-client = {client}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n\
         [patch.crates-io]\ntidewire-protocol = {protocol}\n\n[workspace]\n"
    );
    write(&folder.join("Cargo.toml"), &manifest)?;
    let readme = folder.join(format!("tidewire-client-{version}/README.md"));
    let readme = fs::read_to_string(&readme).map_err(|e| format!("{}: {e}", readme.display()))?;
    let program = readme.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next());
    let program = program.ok_or("the README of the Rust client has no program")?;
    let argument = "&std::env::args().nth(1).unwrap_or_default()";
    let program = program.replace(&format!("\"{README_URL}\""), argument);
    clear(&folder.join("src"))?;
    write(&folder.join("src/main.rs"), &program)?;
    // The versions that everything else is tested with.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).map_err(|e| e.to_string())?;
    Ok(())
}

fn clear(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn target() -> PathBuf {
    let root = root().canonicalize().unwrap_or_else(|_error| root().to_owned());
    root.join("target")
}
