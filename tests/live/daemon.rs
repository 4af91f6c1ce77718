//! A daemon of the test's own: the real binary on free ports, stopped by its own pid.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_client::{Builder, Client, Trust};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Name of the data directory among what the test keeps.
const DATA: &str = "data";

pub(crate) struct Daemon {
    child: Child,
    address: String,
    pub(crate) admin: String,
    sha256: [u8; 32],
    ca: PathBuf,
    files: Arc<tempfile::TempDir>,
    data_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Ws,
    Wss,
    Quic,
}

pub(crate) const ALL: [Via; 3] = [Via::Ws, Via::Wss, Via::Quic];

impl Daemon {
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), config)
    }

    /// Starts a daemon over what an earlier one has left.
    pub(crate) fn start_in(files: Arc<tempfile::TempDir>, config: &str) -> Self {
        let data_dir = files.path().join(DATA);
        Self::start_over(files, data_dir, config)
    }

    /// The same, with the data directory elsewhere.
    pub(crate) fn start_over(
        files: Arc<tempfile::TempDir>,
        data_dir: PathBuf,
        config: &str,
    ) -> Self {
        Self::launch(files, data_dir, "127.0.0.1:0", config)
    }

    /// Starts a daemon that clients reach at this address, over what an earlier one has left.
    pub(crate) fn start_at(files: Arc<tempfile::TempDir>, listen: &str, config: &str) -> Self {
        let data_dir = files.path().join(DATA);
        Self::launch(files, data_dir, listen, config)
    }

    fn launch(
        files: Arc<tempfile::TempDir>,
        data_dir: PathBuf,
        listen: &str,
        config: &str,
    ) -> Self {
        let file = files.path().join("tidewire.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = tidewire()
            .args(["serve", "--json", "--listen", listen, "--admin-listen", "127.0.0.1:0"])
            .args(["--config".as_ref(), file.as_os_str()])
            .args(["--data-dir".as_ref(), data_dir.as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let field = |name: &str| ready["listening"][name].as_str().unwrap().to_owned();
        let hex = field("certificate_sha256");
        let mut sha256 = [0; 32];
        for (byte, digits) in sha256.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
        }
        let (address, admin) = (field("address"), field("admin"));
        let ca = PathBuf::from(field("certificate_file"));
        Self { child, address, admin, sha256, ca, files, data_dir }
    }

    pub(crate) fn url(&self, via: Via) -> String {
        let scheme = match via {
            Via::Ws => "ws",
            Via::Wss => "wss",
            Via::Quic => "quic",
        };
        format!("{scheme}://{}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Kills it as a power cut of the process would: it gets no chance to do anything.
    pub(crate) fn kill(mut self) -> Arc<tempfile::TempDir> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Arc::clone(&self.files)
    }

    /// A directory for what the test keeps, the daemon's configuration among it.
    pub(crate) fn files(&self) -> &Path {
        self.files.path()
    }

    /// The same, to be kept longer than the daemon.
    pub(crate) fn shared_files(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.files)
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) async fn connect(&self, via: Via) -> Client {
        self.builder(via).connect().await.unwrap()
    }

    /// A client that gives up when the connection is lost.
    pub(crate) async fn connect_once(&self, via: Via) -> Client {
        self.builder(via).reconnect(false).connect().await.unwrap()
    }

    /// A client that shows this, and gives up when the connection is lost.
    pub(crate) async fn connect_as(
        &self,
        via: Via,
        token: Option<&str>,
    ) -> Result<Client, tidewire_client::Error> {
        let builder = self.builder(via).reconnect(false);
        match token {
            Some(token) => builder.token(token).connect().await,
            None => builder.connect().await,
        }
    }

    pub(crate) fn builder(&self, via: Via) -> Builder {
        // What the server refuses for the moment is to be seen.
        let builder = Client::builder(&self.url(via)).unwrap().repeat_for_ms(0);
        if via == Via::Ws { builder } else { builder.trust(self.trust()) }
    }

    /// Trust in its certificate and in no other.
    pub(crate) fn trust(&self) -> Trust {
        Trust::Fingerprint(self.sha256)
    }

    pub(crate) async fn connect_by_ca(&self, via: Via) -> Client {
        let builder = Client::builder(&self.url(via)).unwrap();
        builder.trust(Trust::CaFile(self.ca.clone())).connect().await.unwrap()
    }

    /// Runs a command of the command line against this daemon.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        tidewire().args(args).env("TIDEWIRE_URL", self.url(Via::Ws)).output().unwrap()
    }

    /// Its exit code, if it has ended by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap()?.code()
    }

    /// Whether its admin listener takes connections.
    pub(crate) fn listens(&self) -> bool {
        std::net::TcpStream::connect(&self.admin).is_ok()
    }

    /// What the admin listener answers, with its head.
    pub(crate) fn get(&self, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// How many entries a directory of its process has: `fd`, `task`.
    pub(crate) fn entries_in_proc(&self, directory: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{directory}", self.child.id())).unwrap().count()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Asks it to stop, as systemd does, and waits until it has; returns what is left of it.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.wait()
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The binary under test.
pub(crate) fn tidewire() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    command
        .stdin(Stdio::null())
        .env_remove("TIDEWIRE_URL")
        .env("TIDEWIRE_LOG", "warn,openraft=off");
    command
}
