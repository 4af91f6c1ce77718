//! A server under test: a process of its own, on its own processor, with its files in a directory
//! that goes with it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::pin;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Longest line in which a server says where it listens.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// What is shown of a log when a server does not start.
const LOG_BYTES_SHOWN: usize = 2000;

/// Where servers are found and run.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where the peers are installed.
    pub(crate) bin_dir: PathBuf,
    /// The processors of the server and of the load; `None`: wherever the kernel puts them.
    pub(crate) processors: Option<(usize, usize)>,
}

impl Host {
    /// The program of this name, from the peers' directory or from PATH.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn find(&self, program: &str) -> Result<PathBuf, String> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::iter::once(self.bin_dir.clone());
        // Debian keeps servers where only root's PATH looks.
        let directories =
            directories.chain(std::env::split_paths(&paths)).chain(["/usr/sbin".into()]);
        let mut candidates = directories.map(|directory| directory.join(program));
        candidates.find(|candidate| candidate.is_file()).ok_or_else(|| {
            format!(
                "'{program}' is neither in {} nor in PATH: benches/peers/run installs it, or \
                 choose other peers with --only",
                self.bin_dir.display()
            )
        })
    }

    /// Starts a program on the server's processor.
    fn spawn(&self, command: &mut Command) -> Result<Child, String> {
        // A child inherits where its parent may run.
        if let Some((server, _)) = self.processors {
            pin(server)?;
        }
        let spawned = command.spawn();
        if let Some((_, load)) = self.processors {
            pin(load)?;
        }
        spawned.map_err(|error| format!("cannot be started: {error}"))
    }
}

/// Files of a server that is about to start.
#[derive(Debug)]
pub(crate) struct Preparation {
    directory: TempDir,
}

impl Preparation {
    /// An empty directory.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub(crate) fn new() -> Result<Self, String> {
        let directory = tempfile::Builder::new().prefix("peers-").tempdir();
        Ok(Self {
            directory: directory.map_err(|error| format!("a temporary directory: {error}"))?,
        })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into the directory and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn file(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let path = self.path().join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.path().join("log")).unwrap_or_default();
        let tail = log.get(log.len().saturating_sub(LOG_BYTES_SHOWN)..).unwrap_or_default();
        String::from_utf8_lossy(tail).trim().to_owned()
    }
}

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    files: Preparation,
    /// Kept open, so that whatever else the server prints does not fail.
    _stdout: Option<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts a server that was told its port, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not; with the end of what it said.
    pub(crate) fn start(
        host: &Host,
        mut command: Command,
        files: Preparation,
        address: SocketAddr,
    ) -> Result<Self, String> {
        let log =
            File::create(files.path().join("log")).and_then(|log| Ok((log.try_clone()?, log)));
        let (out, err) = log.map_err(|error| format!("a log file: {error}"))?;
        command.current_dir(files.path()).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = host.spawn(&mut command)?;
        let mut server = Self { child, files, _stdout: None };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect_timeout(&address, POLL).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(format!("ended with {status}: {}", server.files.log_tail()));
            }
            if Instant::now() > deadline {
                let log = server.files.log_tail();
                return Err(format!("does not listen after {START_TIMEOUT:?}: {log}"));
            }
            thread::sleep(POLL);
        }
        Ok(server)
    }

    /// Starts a server that prints where it listens, and returns that line.
    ///
    /// # Errors
    /// When it does not, or ends first; with what it said.
    pub(crate) fn start_announced(
        host: &Host,
        mut command: Command,
        files: Preparation,
    ) -> Result<(Self, String), String> {
        let log = File::create(files.path().join("log"));
        let log = log.map_err(|error| format!("a log file: {error}"))?;
        command.current_dir(files.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = host.spawn(&mut command)?;
        let stdout = child.stdout.take();
        let mut server = Self { child, files, _stdout: None };
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout?);
            let mut line = String::new();
            stdout.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).ok()?;
            tell.send((line, stdout)).ok()
        });
        match told.recv_timeout(START_TIMEOUT) {
            Ok((line, stdout)) if !line.is_empty() => {
                server._stdout = Some(stdout);
                Ok((server, line))
            }
            _ => Err(format!("does not say where it listens: {}", server.files.log_tail())),
        }
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and does not wait for it.
    pub(crate) fn ask_to_end(&self) -> Option<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)?;
        kill_process(pid, Signal::TERM).ok()
    }

    fn end(&mut self) -> Option<()> {
        if let Ok(Some(_)) = self.child.try_wait() {
            return Some(());
        }
        self.ask_to_end()?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                return Some(());
            }
            thread::sleep(POLL);
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.end().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::free_address;

    fn host() -> Host {
        Host { bin_dir: "/nowhere".into(), processors: None }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn announced(script: &str) -> Result<(Server, String), String> {
        Server::start_announced(&host(), shell(script), Preparation::new().unwrap())
    }

    #[test]
    fn a_dropped_server_is_gone_with_its_files() {
        let (server, line) = announced("echo here; exec sleep 60").unwrap();
        assert_eq!(line, "here\n");
        let proc = format!("/proc/{}", server.pid());
        let files = server.files.path().to_owned();
        assert!(Path::new(&proc).exists() && files.exists());
        drop(server);
        assert!(!Path::new(&proc).exists() && !files.exists());
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        assert!(announced("echo no such key >&2; exit 3").unwrap_err().contains("no such key"));
        let address = free_address().unwrap();
        let files = Preparation::new().unwrap();
        let refused = Server::start(&host(), shell("echo bad; exit 3"), files, address);
        let message = refused.unwrap_err();
        assert!(message.contains("bad") && message.contains('3'), "{message}");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let message = host().find("no-such-peer").unwrap_err();
        assert!(message.contains("'no-such-peer'") && message.contains("benches/peers/run"));
        assert!(host().find("sh").is_ok());
    }
}
