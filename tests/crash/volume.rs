//! A small disk of the test's own: a file with ext4 in it, mounted as a loop.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Cuts the power: ext4 forgets what its own log has not written (EXT4_IOC_SHUTDOWN with
/// EXT4_GOING_FLAGS_NOLOGFLUSH), and takes nothing any more.
const CUT: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";

/// A mounted volume. Dropping it unmounts it.
pub(crate) struct Volume {
    image: PathBuf,
    mounted: PathBuf,
}

impl Volume {
    /// Makes and mounts a volume of so many MiB in a directory.
    ///
    /// # Errors
    /// When this machine does not let the test do so.
    pub(crate) fn make(directory: &Path, mib: u64) -> Result<Self, String> {
        let (image, mounted) = (directory.join("image"), directory.join("volume"));
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mib * 1024 * 1024).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&mounted).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image.as_ref()])?;
        let volume = Self { image, mounted };
        volume.mount()?;
        Ok(volume)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mounted
    }

    /// Cuts the power. What follows fails, until the volume is mounted again.
    pub(crate) fn cut(&self) {
        run("python3", &["-c".as_ref(), CUT.as_ref(), self.mounted.as_ref()]).unwrap();
    }

    /// Lets nothing be written, as a disk that does not answer, until what is returned is dropped.
    pub(crate) fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", &["-f".as_ref(), self.mounted.as_ref()]).unwrap();
        Frozen(&self.mounted)
    }

    /// Mounts it again, as after a power cut.
    pub(crate) fn mount_again(&self) {
        run("umount", &[self.mounted.as_ref()]).unwrap();
        self.mount().unwrap();
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image.as_ref(), self.mounted.as_ref()])
    }
}

/// A volume on which every write waits.
pub(crate) struct Frozen<'a>(&'a Path);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["-u".as_ref(), self.0]).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(run("umount", &["-l".as_ref(), self.mounted.as_ref()]));
    }
}

fn run(program: &str, args: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// A volume, if this machine lets the test have one; in CI it must.
pub(crate) fn volume_or_say(directory: &Path, mib: u64) -> Option<Volume> {
    match Volume::make(directory, mib) {
        Ok(volume) => Some(volume),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("NOT TESTED: a volume cannot be mounted here (root is needed): {error}");
            None
        }
        Err(error) => panic!("a volume cannot be mounted here: {error}"),
    }
}
