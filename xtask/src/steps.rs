//! The steps of `cargo xtask test`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{fuzz, guard, install, package};

type Step = fn() -> Result<(), String>;

/// All steps, cheapest first.
pub(crate) const STEPS: &[(&str, Step)] = &[
    ("format", format),
    ("lint", lint),
    ("deny", deny),
    ("unit", unit),
    ("document", document),
    ("build", build),
    ("guard", guard::check),
    ("demo", demo),
    ("lan", lan),
    ("crash", crash),
    ("cluster", cluster),
    ("stranger", stranger),
    ("checkers", checkers),
    ("page", page),
    ("typescript", typescript),
    ("python", python_client),
    ("conformance", conformance),
    ("package", package::check),
    ("fuzz", fuzz::check),
];

fn format() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])
}

fn lint() -> Result<(), String> {
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
}

/// Licences and sources of what is built in, and what must not be. `deny.toml` has the rules.
fn deny() -> Result<(), String> {
    let path = install::cargo_tools()?;
    let args = ["deny", "--log-level", "error", "check", "bans", "licenses", "sources"];
    run(root(), "cargo", &args, &[("PATH", &path)])
}

/// Unit, property, simulation and integration tests, and the examples in the documentation.
fn unit() -> Result<(), String> {
    cargo(&["test", "--workspace", "--quiet"])
}

fn document() -> Result<(), String> {
    let args = ["doc", "--workspace", "--no-deps", "--quiet"];
    run(root(), "cargo", &args, &[("RUSTDOCFLAGS", "-D warnings")])
}

/// The server for the steps behind it: with the checks of a debug build, as `unit` has left it.
fn build() -> Result<(), String> {
    cargo(&["build", "--quiet", "--bin", "tidewire"])
}

/// The README's first command: the whole election, exactly.
fn demo() -> Result<(), String> {
    let (accepted, duplicates) = ("\"accepted\":80101", "\"duplicates\":0");
    play(&[], &[accepted, duplicates])
}

/// The same with TLS and accounts, as on a network.
fn lan() -> Result<(), String> {
    play(&["--lan=127.0.0.1"], &["\"accepted\":80101", "\"duplicates\":0"])
}

/// The same with the votes on disk and a server that is killed in the middle.
fn crash() -> Result<(), String> {
    play(&["--crash-test"], &[])
}

/// The same over three nodes, of which the one that leads the tally is killed in the middle.
fn cluster() -> Result<(), String> {
    play(&["--cluster", "3"], &["\"faults\":[]"])
}

fn play(options: &[&str], also: &[&str]) -> Result<(), String> {
    let output = Command::new(binary())
        .args(["demo", "--headless", "--json", "--rate", "max"])
        .args(options)
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("the demo does not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("the demo ended with {}", output.status));
    }
    let result = String::from_utf8_lossy(&output.stdout);
    let expected = [
        "\"ballots\":80101",
        "\"BETSY HODGES\":28935",
        "\"MARK ANDREW\":19584",
        "\"blank\":834",
        "\"overvotes\":93",
        "\"BETSY HODGES\":28962",
        "\"BETSY HODGES\":38870,\"MARK ANDREW\":24972",
        "\"exhausted\":16259",
        "\"winner\":\"BETSY HODGES\"",
        "\"watchers_agree\":true",
    ];
    match expected.iter().chain(also).find(|figure| !result.contains(**figure)) {
        Some(missing) => Err(format!("the result lacks {missing}: {result}")),
        None => Ok(()),
    }
}

/// The client that was written from the protocol document alone.
fn stranger() -> Result<(), String> {
    let folder = root().join("tests/stranger");
    let python = install::python("python", &folder.join("requirements.txt"))?;
    let args = ["-m", "pytest", "-q", "--no-header"];
    let binary = binary().to_string_lossy().into_owned();
    run(&folder, &python.to_string_lossy(), &args, &[("TIDEWIRE_BIN", &binary)])
}

/// What others' checkers find. They want other versions of the stranger's packages.
fn checkers() -> Result<(), String> {
    let folder = root().join("tests/checkers");
    let python = install::python("python-checkers", &folder.join("requirements.txt"))?;
    autobahn(&python)?;
    let args = ["-m", "pytest", "-q", "--no-header"];
    let binary = binary().to_string_lossy().into_owned();
    run(&folder, &python.to_string_lossy(), &args, &[("TIDEWIRE_BIN", &binary)])
}

/// Autobahn's cases of WebSocket, against a test that only this step runs.
fn autobahn(python: &Path) -> Result<(), String> {
    let driver = python.with_file_name("kosoku");
    let driver = driver.canonicalize().map_err(|error| format!("{}: {error}", driver.display()))?;
    let args = ["test", "--quiet", "--package", "tidewire", "--lib", "--", "--ignored", "autobahn"];
    run(root(), "cargo", &args, &[("TIDEWIRE_KOSOKU", &driver.to_string_lossy())])
}

/// The page and the examples in a real browser.
fn page() -> Result<(), String> {
    let folder = root().join("tests/page");
    install::debian("chromium", "chromium")?;
    install::npm(&folder)?;
    build_typescript()?;
    let binary = binary().to_string_lossy().into_owned();
    run(&folder, "node", &["--test"], &[("TIDEWIRE_BIN", &binary)])
}

/// The TypeScript client: types, units, a server, the package.
fn typescript() -> Result<(), String> {
    let folder = root().join("clients/typescript");
    install::npm(&folder)?;
    let binary = binary().to_string_lossy().into_owned();
    run(&folder, "npm", &["test"], &[("TIDEWIRE_BIN", &binary)])
}

/// Makes what pages and the runner of the conformance suite load of the TypeScript client.
fn build_typescript() -> Result<(), String> {
    let folder = root().join("clients/typescript");
    install::npm(&folder)?;
    run(&folder, "npm", &["run", "build"], &[])
}

/// The Python client: types, units, a server, the wheel.
fn python_client() -> Result<(), String> {
    let folder = root().join("clients/python");
    let python = python_of_client()?;
    run(&folder, &python, &["-m", "mypy"], &[])?;
    let binary = binary().to_string_lossy().into_owned();
    run(&folder, &python, &["-m", "pytest", "-q", "--no-header"], &[("TIDEWIRE_BIN", &binary)])
}

fn python_of_client() -> Result<String, String> {
    let requirements = root().join("clients/python/requirements-dev.txt");
    let python = install::python("python-client", &requirements)?;
    let folder = python.parent().unwrap_or(&python);
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.join("python").to_string_lossy().into_owned())
}

/// All clients against one scripted server.
fn conformance() -> Result<(), String> {
    cargo(&["build", "--quiet", "--package", "tidewire-client", "--example", "conformance"])?;
    build_typescript()?;
    let python = python_of_client()?;
    let folder = root().join("clients/conformance");
    run(&folder, &python, &["-m", "pytest", "-q"], &[("TIDEWIRE_PYTHON", &python)])
}

pub(crate) fn cargo(args: &[&str]) -> Result<(), String> {
    run(root(), "cargo", args, &[])
}

/// Runs a command in a folder and waits for it.
pub(crate) fn run(
    folder: &Path,
    program: &str,
    args: &[&str],
    env: &[(&str, &str)],
) -> Result<(), String> {
    let status = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} ended with {status}")) }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The server, as the step `build` has left it.
pub(crate) fn binary() -> PathBuf {
    // The browser and the Python tests run in folders of their own.
    root().canonicalize().unwrap_or_else(|_error| root().to_owned()).join("target/debug/tidewire")
}
