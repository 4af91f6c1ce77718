//! A server for one bench or demo: a child process of the same program, so that its CPU time is its own.

pub(crate) mod cluster;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

/// How long the server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// How long it may take to drain and end.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const STOP_POLL: Duration = Duration::from_millis(20);
/// Longest line in which the server says where it listens.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What the server logs on standard error; for a bench only what is wrong, unless asked for.
const LOG_VARIABLE: &str = "TIDEWIRE_LOG";
const LOGGED: &str = "warn";

/// A running server. Dropping it ends it at once; [`ChildServer::stop`] lets it drain.
#[derive(Debug)]
pub(crate) struct ChildServer {
    child: Child,
    /// Kept open, so that whatever else the server prints does not fail.
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    admin: SocketAddr,
    certificate_sha256: [u8; 32],
}

/// The line that `serve --json` prints first.
#[derive(Debug, Deserialize)]
struct FirstLine {
    listening: Listening,
}

#[derive(Debug, Deserialize)]
struct Listening {
    address: SocketAddr,
    admin: SocketAddr,
    certificate_sha256: String,
}

impl ChildServer {
    /// Starts the server with this configuration on free ports of loopback and waits until it
    /// listens.
    ///
    /// # Errors
    /// When it does not start; what it said stands on standard error.
    pub(crate) async fn start(config: String) -> Result<Self, String> {
        Self::start_on(config, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// The same at this address.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn start_on(config: String, listen: SocketAddr) -> Result<Self, String> {
        Self::start_logging(config, listen, LOGGED).await
    }

    /// The same, where it logs this unless the user has asked for something else.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) async fn start_logging(
        config: String,
        listen: SocketAddr,
        logged: &str,
    ) -> Result<Self, String> {
        let program = own_program()?;
        let mut command = Command::new(&program);
        command
            .args(["serve", "--json", "--admin-listen", "127.0.0.1:0", "--listen"])
            .arg(listen.to_string())
            // A pipe leaves no file behind, whatever becomes of either side.
            .args(["--config", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // What it is to be stands in its configuration.
        for variable in crate::config::variables() {
            command.env_remove(variable);
        }
        if std::env::var_os(LOG_VARIABLE).is_none() {
            command.env(LOG_VARIABLE, logged);
        }
        Self::spawn(command, config)
            .await
            .map_err(|error| format!("the server {}: {error}", program.display()))
    }

    async fn spawn(mut command: Command, config: String) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let stdout = child.stdout.take().ok_or("has no standard output")?;
        let stdin = child.stdin.take();
        let mut starting = Starting(Some(child));
        let reading = spawn_blocking(move || {
            if let Some(mut stdin) = stdin {
                // A server that does not read it to the end says why by itself.
                drop(stdin.write_all(config.as_bytes()));
            }
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            let read = stdout.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
            read.map(|_| (line, stdout))
        });
        let (line, stdout) = match timeout(START_TIMEOUT, reading).await {
            Ok(Ok(Ok(read))) => read,
            Ok(Ok(Err(error))) => return Err(format!("its standard output: {error}")),
            Ok(Err(fault)) => return Err(fault.to_string()),
            Err(_) => return Err(format!("does not listen after {START_TIMEOUT:?}")),
        };
        if line.is_empty() {
            return Err("ended before it listened".to_owned());
        }
        let Listening { address, admin, certificate_sha256 } =
            serde_json::from_str::<FirstLine>(&line)
                .map_err(|error| format!("its first line is '{}': {error}", line.trim_end()))?
                .listening;
        let certificate_sha256 = fingerprint(&certificate_sha256)?;
        let child = starting.0.take().ok_or("has ended")?;
        Ok(Self { child, _stdout: stdout, address, admin, certificate_sha256 })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens, for both transports.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin listener is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What its certificate is known by.
    pub(crate) fn certificate_sha256(&self) -> [u8; 32] {
        self.certificate_sha256
    }

    /// Ends it at once, as a crash does: it gets no chance to write or to say anything. Its address and
    /// certificate are still known.
    pub(crate) fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Asks the server to end, and waits until it has.
    ///
    /// # Errors
    /// When it ends with a failure, or has to be killed.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let asked = pid.map_or(Err(Errno::SRCH), |pid| kill_process(pid, Signal::TERM));
        asked.map_err(|error| format!("the server could not be asked to end: {error}"))?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("the server ended with {status}")),
                Ok(None) => sleep(STOP_POLL).await,
                Err(error) => return Err(format!("waiting for the server's end: {error}")),
            }
        }
        Err(format!("the server did not end within {STOP_TIMEOUT:?} and was killed"))
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends the child if it never becomes a server.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

/// Kills a child that still runs, and takes its exit status so that no zombie stays.
pub(crate) fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        drop(child.kill());
        drop(child.wait());
    }
}

/// The file of this program, to start it once more.
///
/// # Errors
/// When the system does not tell.
pub(crate) fn own_program() -> Result<std::path::PathBuf, String> {
    std::env::current_exe()
        .map_err(|error| format!("this program's own file is not known: {error}"))
}

/// Reads a SHA-256 in hexadecimal; colons between the bytes are allowed.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn fingerprint(raw: &str) -> Result<[u8; 32], String> {
    let digits: Vec<u32> = raw
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("'{raw}' is no SHA-256: use hexadecimal digits"))?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok())
        .collect();
    match <[u8; 32]>::try_from(bytes) {
        Ok(bytes) if digits.len() == 64 => Ok(bytes),
        _ => Err(format!("a SHA-256 has 64 hexadecimal digits, this one {}", digits.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stdin(Stdio::null());
        command
    }

    const LINE: &str = r#"{"listening":{"address":"127.0.0.1:7","admin":"127.0.0.1:8","certificate_sha256":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F"}}"#;

    #[tokio::test]
    async fn a_server_is_asked_to_end_and_waited_for() {
        // Waiting in the background lets the shell take the signal at once.
        let script = format!("sleep 60 & trap 'kill $!; exit 0' TERM; echo '{LINE}'; wait");
        let server = ChildServer::spawn(shell(&script), String::new()).await.unwrap();
        assert_eq!(server.address().port(), 7);
        assert_eq!(server.certificate_sha256()[31], 0x1f);
        server.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_failure_at_the_end_is_told() {
        let script = format!("sleep 60 & trap 'kill $!; exit 9' TERM; echo '{LINE}'; wait");
        let server = ChildServer::spawn(shell(&script), String::new()).await.unwrap();
        assert!(server.stop().await.unwrap_err().contains("9"));
    }

    #[tokio::test]
    async fn a_dropped_server_is_gone() {
        let script = format!("trap '' TERM; echo '{LINE}'; exec sleep 60");
        let server = ChildServer::spawn(shell(&script), String::new()).await.unwrap();
        let proc = format!("/proc/{}", server.pid());
        assert!(std::path::Path::new(&proc).exists());
        drop(server);
        assert!(!std::path::Path::new(&proc).exists());
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_says_how() {
        let refused = |script| async move {
            ChildServer::spawn(shell(script), String::new()).await.unwrap_err()
        };
        assert_eq!(refused("exit 1").await, "ended before it listened");
        assert!(refused("echo hello").await.contains("its first line is 'hello'"));
    }

    #[test]
    fn a_fingerprint_has_64_digits() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(fingerprint(&plain), Ok([0xab; 32]));
        assert_eq!(fingerprint(&colons), Ok([0xab; 32]));
        for bad in ["", "ab", &"ab".repeat(33), &plain[1..], &plain.replace('a', "x")] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
    }
}
