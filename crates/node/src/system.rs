//! This machine: its files, below a root folder, and the programs that change it.
//!
//! Which folder and which programs is configuration: all that bootstrap does can be done to a folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kcl_node_config::{File, paths};

/// What kcl-node keeps on the machine.
pub(crate) const FOLDER: &str = "/var/lib/kcl-node";

/// How much of what a failed program said is repeated, from its end, in characters.
const TAIL: usize = 2_000;

/// Why the machine is not as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// A file.
    #[error("failed to {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody else changes the machine already.
    #[error(
        "another kcl-node is at work on this machine\nhint: wait for it; `systemctl status cloud-final` may show it"
    )]
    AtWork,
    /// A program is not there, or cannot be run.
    #[error("failed to run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program did not succeed.
    #[error("`{command}` failed ({status}): {said}")]
    Failed {
        /// What was run.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// A program did not end.
    #[error("`{command}` did not end in {} s", after.as_secs())]
    Hangs {
        /// What was run.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },
}

/// The programs that change the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    /// Loads kernel modules.
    pub modprobe: PathBuf,
    /// Sets kernel parameters.
    pub sysctl: PathBuf,
    /// Turns swap off.
    pub swapoff: PathBuf,
    /// Talks with systemd.
    pub systemctl: PathBuf,
    /// Writes to the disks what is not there yet.
    pub sync: PathBuf,
    /// Unmounts a folder.
    pub umount: PathBuf,
    /// Mounts a filesystem.
    pub mount: PathBuf,
    /// Tells what is on a device.
    pub blkid: PathBuf,
    /// Makes a filesystem of ext4.
    pub mkfs: PathBuf,
    /// Checks one.
    pub fsck: PathBuf,
    /// Makes a machine part of a cluster.
    pub kubeadm: PathBuf,
    /// Asks the API server.
    pub kubectl: PathBuf,
}

/// How a program ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; nothing if it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub printed: String,
    /// The end of all that it said, errors last.
    pub said: String,
    status: String,
}

/// Held while the machine is changed.
#[derive(Debug)]
pub struct Lock(fs::File);

impl Drop for Lock {
    /// Closing would do, but for a program that is just being started and has the file open a moment longer.
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

impl Default for Commands {
    /// The image's as they are found in `PATH`; Kubernetes' where bootstrap puts them.
    fn default() -> Self {
        let named = PathBuf::from;
        let installed = |name: &str| Path::new(paths::BIN).join(name);
        Self {
            modprobe: named("modprobe"),
            sysctl: named("sysctl"),
            swapoff: named("swapoff"),
            systemctl: named("systemctl"),
            sync: named("sync"),
            umount: named("umount"),
            mount: named("mount"),
            blkid: named("blkid"),
            mkfs: named("mkfs.ext4"),
            fsck: named("fsck.ext4"),
            kubeadm: installed("kubeadm"),
            kubectl: installed("kubectl"),
        }
    }
}

/// This machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// What files' paths are below: `/` on a machine.
    pub root: PathBuf,
    /// What is run.
    pub commands: Commands,
    /// How long each of those may take.
    pub timeout: Duration,
    /// The list of what is mounted.
    pub mounts: PathBuf,
    /// Where the kernel tells of devices.
    pub sys: PathBuf,
    /// Where the devices are.
    pub dev: PathBuf,
}

impl System {
    /// A system below a root folder, with the usual programs.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            commands: Commands::default(),
            // containerd's start is the longest of what is run here.
            timeout: Duration::from_mins(2),
            mounts: PathBuf::from("/proc/self/mounts"),
            sys: PathBuf::from("/sys"),
            dev: PathBuf::from("/dev"),
        }
    }

    /// An absolute path, below the root.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// Keeps every other kcl-node from changing the machine, until the lock is dropped or the process ends.
    pub fn lock(&self) -> Result<Lock, SystemError> {
        let path = self.path(FOLDER).join("lock");
        let failed = |source| SystemError::File { what: "lock", path: path.clone(), source };
        fs::create_dir_all(self.path(FOLDER)).map_err(failed)?;
        let file = fs::File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(fs::TryLockError::WouldBlock) => Err(SystemError::AtWork),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Writes a file in one piece, unless it is there as it should be; says whether it wrote.
    pub fn write(&self, file: &File) -> Result<bool, SystemError> {
        let path = self.path(&file.path);
        if is_there(&path, file) {
            return Ok(false);
        }
        replace(&path, file.mode, |to| to.write_all(file.content.as_bytes()))
            .map_err(|source| SystemError::File { what: "write", path, source })?;
        Ok(true)
    }

    /// Puts a program or other bytes in their place in one piece, unless they are there.
    pub fn install(&self, absolute: &str, mode: u32, bytes: &[u8]) -> Result<(), SystemError> {
        let path = self.path(absolute);
        if is_there_with(&path, mode, bytes) {
            return Ok(());
        }
        replace(&path, mode, |to| to.write_all(bytes)).map_err(|source| SystemError::File {
            what: "write",
            path,
            source,
        })
    }

    /// Writes files, those that are not there as they should be.
    pub fn write_all(&self, files: &[File]) -> Result<(), SystemError> {
        for file in files {
            self.write(file)?;
        }
        Ok(())
    }

    /// Removes a file; nothing to do where it is not there.
    pub fn remove(&self, absolute: &str) -> Result<(), SystemError> {
        let path = self.path(absolute);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SystemError::File { what: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether a file is there as it should be.
    pub fn has(&self, file: &File) -> bool {
        is_there(&self.path(&file.path), file)
    }

    /// Runs a program to its end; gives what it printed.
    pub async fn run(&self, program: &Path, arguments: &[&str]) -> Result<String, SystemError> {
        let ended = self.end(program, arguments).await?;
        if ended.code == Some(0) {
            return Ok(ended.printed);
        }
        Err(ended.failed(program, arguments))
    }

    /// Runs a program to its end, whatever that is.
    pub async fn end(&self, program: &Path, arguments: &[&str]) -> Result<Ended, SystemError> {
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| SystemError::Run { program: program.to_owned(), source })?;
        let output = match tokio::time::timeout(self.timeout, child.wait_with_output()).await {
            Err(_) => {
                return Err(SystemError::Hangs { command: shown(program, arguments), after: self.timeout });
            }
            Ok(output) => {
                output.map_err(|source| SystemError::Run { program: program.to_owned(), source })?
            }
        };
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
        let all = all.trim();
        let skip = all.chars().count().saturating_sub(TAIL);
        let (code, status) = (output.status.code(), output.status.to_string());
        Ok(Ended { code, said: all.chars().skip(skip).collect(), printed, status })
    }
}

impl Ended {
    /// That it did not end as it should have.
    pub(crate) fn failed(self, program: &Path, arguments: &[&str]) -> SystemError {
        SystemError::Failed { command: shown(program, arguments), status: self.status, said: self.said }
    }
}

/// A command as it would be typed.
fn shown(program: &Path, arguments: &[&str]) -> String {
    [&[program.to_string_lossy().as_ref()], arguments].concat().join(" ")
}

fn is_there(path: &Path, file: &File) -> bool {
    is_there_with(path, file.mode, file.content.as_bytes())
}

fn is_there_with(path: &Path, mode: u32, bytes: &[u8]) -> bool {
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
    let right = found.is_some_and(|found| found.permissions().mode() & 0o7777 == mode);
    right && fs::read(path).is_ok_and(|content| content == bytes)
}

/// Puts a file in its place in one piece: until it is whole and on the disk, what was there stays.
///
/// It is filled under a name of its own beside its place, always the same: what a killed run left there is
/// overwritten by the next.
pub(crate) fn replace<T>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut fs::File) -> io::Result<T>,
) -> io::Result<T> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)?;
    let name = format!(".{}.kcl-node", path.file_name().unwrap_or_default().to_string_lossy());
    match fs::remove_file(parent.join(&name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = tempfile::Builder::new()
        .prefix(&name)
        .rand_bytes(0)
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(parent)?;
    let filled = fill(new.as_file_mut())?;
    // The umask may have taken bits away.
    new.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(filled)
}
