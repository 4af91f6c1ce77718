//! What the steps need beyond a Rust toolchain.

use std::path::{Path, PathBuf};

use super::steps::{root, run};

/// Makes sure that a program of a Debian package is there.
pub(crate) fn debian(program: &str, package: &str) -> Result<(), String> {
    if find(program).is_some() {
        return Ok(());
    }
    run(root(), "apt-get", &["update", "-qq"], &[])?;
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    run(root(), "apt-get", &install, &[("DEBIAN_FRONTEND", "noninteractive")])
        .map_err(|reason| format!("{program} is needed ({package} of Debian): {reason}"))
}

/// Where in `PATH` a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists())
}

/// A Python environment of this name with the packages of a requirements file; returns its interpreter.
pub(crate) fn python(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    debian("python3", "python3-venv")?;
    let venv = root().join("target").join(name);
    let python = venv.join("bin/python");
    if !python.exists() {
        run(root(), "python3", &["-m", "venv", &venv.to_string_lossy()], &[])?;
    }
    let file = requirements.to_string_lossy();
    let install = ["-m", "pip", "install", "--quiet", "--requirement", &file];
    run(root(), &python.to_string_lossy(), &install, &[])?;
    Ok(python)
}

/// `PATH` with the tools of cargo that the steps use before all else: others' binaries, of pinned versions.
pub(crate) fn cargo_tools() -> Result<String, String> {
    let python = python("python-tools", &root().join("xtask/tools.txt"))?;
    let path = std::env::var("PATH").map_err(|error| format!("PATH: {error}"))?;
    let folder = python.parent().unwrap_or(&python);
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(format!("{}:{path}", folder.display()))
}

/// The npm packages of a folder, as its lock file says.
pub(crate) fn npm(folder: &Path) -> Result<(), String> {
    debian("node", "nodejs")?;
    debian("npm", "npm")?;
    run(folder, "npm", &["ci", "--no-audit", "--no-fund"], &[])
}
