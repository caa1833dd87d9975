//! Stops etcd on this machine, and lets it start again: its static pod's manifest is put away, and brought back.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::system::{FOLDER, System, replace};

/// Where the kubelet looks for it.
const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// Only the owner may read it, as kubeadm has it.
const MODE: u32 = 0o600;

/// Moving the manifest failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to move {} to {}", from.display(), to.display())]
pub struct MoveError {
    from: PathBuf,
    to: PathBuf,
    source: io::Error,
}

/// Where it is when it is put away.
fn away(system: &System) -> PathBuf {
    system.path(FOLDER).join("put-away").join("etcd.yaml")
}

/// Whether the manifest is put away.
pub fn is_away(system: &System) -> bool {
    away(system).exists()
}

/// Puts the manifest away; nothing to do where it is not there.
pub fn put_away(system: &System) -> Result<(), MoveError> {
    shift(&system.path(MANIFEST), &away(system))
}

/// Brings the manifest back. One that is there already, as after kubeadm wrote it anew, stays.
pub fn bring_back(system: &System) -> Result<(), MoveError> {
    let (from, to) = (away(system), system.path(MANIFEST));
    if !to.exists() {
        return shift(&from, &to);
    }
    match fs::remove_file(&from) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(MoveError { from, to, source }),
        _ => Ok(()),
    }
}

/// Both places may be on different disks. It is whole in one of them at any moment.
fn shift(from: &Path, to: &Path) -> Result<(), MoveError> {
    let failed = |source| MoveError { from: from.to_owned(), to: to.to_owned(), source };
    let content = match fs::read(from) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    replace(to, MODE, |file| file.write_all(&content)).map_err(failed)?;
    fs::remove_file(from).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let system = System::new(root.path());
        put_away(&system).unwrap();
        assert!(!is_away(&system), "where there is none");
        let manifest = system.path(MANIFEST);
        fs::create_dir_all(manifest.parent().unwrap()).unwrap();
        fs::write(&manifest, "etcd").unwrap();
        for _ in 0..2 {
            put_away(&system).unwrap();
            assert!(is_away(&system) && !manifest.exists());
        }
        bring_back(&system).unwrap();
        assert_eq!((fs::read_to_string(&manifest).unwrap().as_str(), is_away(&system)), ("etcd", false));

        // Killed between writing and removing, in either direction.
        put_away(&system).unwrap();
        fs::write(&manifest, "newer").unwrap();
        bring_back(&system).unwrap();
        assert_eq!((fs::read_to_string(&manifest).unwrap().as_str(), is_away(&system)), ("newer", false));
        bring_back(&system).unwrap();
    }
}
