//! The processes that hold connections, as the bench sees them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tidewire_client::{Name, Trust};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::status::Status;
use crate::bench::target::Target;
use crate::child::{end, own_program};

/// How long a process may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_POLL: Duration = Duration::from_millis(10);

/// A process, and its connections. Dropping it ends both.
pub(super) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    status: watch::Receiver<Status>,
    /// How many connections it is to hold.
    pub(super) share: u32,
}

impl Process {
    /// Starts a process that is to hold so many connections.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(target: &Target, topic: &Name, share: u32) -> Result<Self, String> {
        let mut command = Command::new(own_program()?);
        command.args(["bench", "hold", "--url", target.url(), "--topic", topic.as_str()]);
        command.args(["--connections", &share.to_string()]);
        match target.trust() {
            Trust::System => {}
            Trust::CaFile(file) => drop(command.arg("--ca").arg(file)),
            Trust::Fingerprint(sha256) => {
                let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
                command.args(["--fingerprint", &hex]);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let failed = |what: &str| format!("a process of the bench {what}");
        let mut child =
            command.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (sender, status) = watch::channel(Status::default());
        let process = Self { child, stdin, status, share };
        let stdout = stdout.ok_or_else(|| failed("has no standard output"))?;
        std::thread::Builder::new()
            .name("bench-status".to_owned())
            .spawn(move || follow(stdout, &sender))
            .map_err(|error| failed(&format!("cannot be listened to: {error}")))?;
        Ok(process)
    }

    /// Lets it connect.
    ///
    /// # Errors
    /// When it has ended already.
    pub(super) fn go(&mut self) -> Result<(), String> {
        let written = self.stdin.as_mut().map(|stdin| stdin.write_all(b"go\n"));
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(format!("a process of the bench has ended: {error}")),
            None => Err("a process of the bench has no standard input".to_owned()),
        }
    }

    /// Whether it says no more.
    pub(super) fn has_ended(&self) -> bool {
        self.status.has_changed().is_err()
    }

    /// How its connections stand.
    pub(super) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Waits until they stand like this.
    ///
    /// # Errors
    /// When it ends before, or it is too late.
    pub(super) async fn reaches(
        &mut self,
        deadline: Instant,
        wanted: impl FnMut(&Status) -> bool,
    ) -> Result<(), String> {
        match timeout_at(deadline, self.status.wait_for(wanted)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_ended)) => Err("a process of the bench has ended".to_owned()),
            Err(_elapsed) => Err("it took too long".to_owned()),
        }
    }

    /// Ends it and its connections, and returns how they stood at the end.
    ///
    /// # Errors
    /// When it fails or does not end.
    pub(super) async fn stop(mut self) -> Result<Status, String> {
        drop(self.stdin.take());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => {
                    // Its last line is read when its output is; then the channel closes.
                    let all_read = self.status.wait_for(|_| false);
                    drop(timeout_at(deadline, all_read).await);
                    return Ok(self.status());
                }
                Ok(Some(status)) => {
                    return Err(format!("a process of the bench ended with {status}"));
                }
                Ok(None) => sleep(STOP_POLL).await,
                Err(error) => return Err(format!("waiting for a process of the bench: {error}")),
            }
        }
        Err(format!("a process of the bench did not end within {STOP_TIMEOUT:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Takes over what a process says, until it says no more.
fn follow(stdout: ChildStdout, sender: &watch::Sender<Status>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Ok(status) = serde_json::from_str(&line) {
            sender.send_replace(status);
        }
    }
}
