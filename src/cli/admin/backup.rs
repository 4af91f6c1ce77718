//! `tidewire admin backup`: what a running server keeps on disk, or its whole cluster, as one file.

use std::fmt::Display;
use std::io::{self, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};

use super::http::download;
use super::restore::{damaged, progress};
use super::{CliError, Globals};
use crate::backup::{Begun, ENDING_BYTES, End, Ending, Reader, Summary, begun, ending};
use crate::cli::output::{Output, note};

/// Exit code of a backup that has no end.
const NOT_WHOLE: u8 = 1;

#[derive(Args, Clone, Debug)]
pub(super) struct BackupArgs {
    /// The file; `-` is standard output
    file: PathBuf,

    /// Go on with a backup that was cut off: the shards that are whole in FILE.part stay as they are
    #[arg(long)]
    resume: bool,
}

/// Writes a backup of a running server, or of its whole cluster.
///
/// # Errors
/// When there is no server, it refuses, or what has come is not whole.
pub(super) async fn backup(
    admin: SocketAddr,
    args: BackupArgs,
    globals: &Globals,
) -> Result<(), CliError> {
    let BackupArgs { file, resume } = args;
    if file.as_os_str() == "-" {
        if resume {
            return Err(CliError::usage("--resume needs a file, not standard output".to_owned()));
        }
        let bar = progress("saved");
        let mut out = Last { to: tokio::io::stdout(), last: Vec::new() };
        download(admin, "/v1/backup", &mut out, |bytes| bar.set_position(bytes)).await?;
        bar.finish_and_clear();
        return has_ended(&out.last);
    }
    let summary = save(admin, &file, resume).await?;
    let Summary { shards, bytes } = summary;
    let mut output = Output::new();
    let file = file.display();
    match globals.json {
        true => {
            output.json(&json!({ "file": file.to_string(), "shards": shards, "bytes": bytes }))?
        }
        false => output.line(&format!("{file}: {shards} shards, {bytes} bytes, whole"))?,
    }
    output.flush()
}

/// Fetches the backup into a file beside its place, so that an earlier one stays until this one is
/// whole, and reads it back.
async fn save(admin: SocketAddr, file: &Path, resume: bool) -> Result<Summary, CliError> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let found = if resume { look(&part).await? } else { None };
    let bar = progress("saved");
    let fetched = match fetch(admin, &part, found, &bar).await {
        Ok(()) => has_ended(&last_of(&part).await?),
        Err(error) => Err(error),
    };
    bar.finish_and_clear();
    if let Err(CliError { exit_code, message }) = fetched {
        let message = match look(&part).await {
            Ok(Some(begun)) => format!(
                "{message}; {} shards are in {}: --resume goes on with them",
                begun.before.shards,
                part.display()
            ),
            Ok(None) | Err(_) => {
                drop(fs::remove_file(&part).await);
                message
            }
        };
        return Err(CliError { exit_code, message });
    }
    let read = part.clone();
    let whole = blocking(move || Reader::open(&read)?.verify()).await?.map_err(damaged);
    match whole {
        Ok(summary) => {
            fs::rename(&part, file).await.map_err(cannot(file))?;
            Ok(summary)
        }
        Err(error) => {
            drop(fs::remove_file(&part).await);
            Err(error)
        }
    }
}

/// What is there to go on with.
async fn look(part: &Path) -> Result<Option<Begun>, CliError> {
    if !fs::try_exists(part).await.map_err(cannot(part))? {
        return Ok(None);
    }
    let part = part.to_owned();
    blocking(move || begun(&part)).await?.map_err(damaged)
}

/// Fetches what is missing.
async fn fetch(
    admin: SocketAddr,
    part: &Path,
    found: Option<Begun>,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let (mut file, path, at) = match found {
        Some(Begun { header, before: End { shards, bytes }, at }) => {
            note(&format!("going on behind {shards} of {} shards", header.shards));
            let file = OpenOptions::new().append(true).open(part).await.map_err(cannot(part))?;
            file.set_len(at).await.map_err(cannot(part))?;
            let (directory_ms, master_key) = (header.directory_ms, &header.master_key);
            let path = format!(
                "/v1/backup?shards={shards}&bytes={bytes}&directory_ms={directory_ms}\
                 &master_key={master_key}"
            );
            (file, path, at)
        }
        None => (File::create(part).await.map_err(cannot(part))?, "/v1/backup".to_owned(), 0),
    };
    let done = download(admin, &path, &mut file, |bytes| bar.set_position(at + bytes)).await;
    file.flush().await.map_err(cannot(part))?;
    file.sync_all().await.map_err(cannot(part))?;
    done
}

/// The last bytes of a file.
async fn last_of(part: &Path) -> Result<Vec<u8>, CliError> {
    let unreadable = |error| CliError::usage(format!("cannot read '{}': {error}", part.display()));
    let mut file = File::open(part).await.map_err(unreadable)?;
    let bytes = file.metadata().await.map_err(unreadable)?.len();
    let at = bytes.saturating_sub(ENDING_BYTES as u64);
    file.seek(SeekFrom::Start(at)).await.map_err(unreadable)?;
    let mut last = Vec::new();
    file.read_to_end(&mut last).await.map_err(unreadable)?;
    Ok(last)
}

/// Whether a backup is there up to its end; otherwise why not.
fn has_ended(last: &[u8]) -> Result<(), CliError> {
    let message = match ending(last) {
        Ending::Whole => return Ok(()),
        Ending::Failed(reason) => reason,
        Ending::Cut => {
            "the backup has ended in the middle: the server's log may say why".to_owned()
        }
    };
    Err(CliError { exit_code: NOT_WHOLE, message })
}

/// Passes everything on, and remembers the last of it.
struct Last<W> {
    to: W,
    last: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Last<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.to).poll_write(context, bytes))?;
        self.last.extend_from_slice(bytes.get(..written).unwrap_or_default());
        let superfluous = self.last.len().saturating_sub(ENDING_BYTES);
        drop(self.last.drain(..superfluous));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(context)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CliError::usage(error.to_string()))
}

fn cannot<E: Display>(path: &Path) -> impl Fn(E) -> CliError {
    move |error| CliError::usage(format!("cannot write '{}': {error}", path.display()))
}
