//! The static pods of etcd and the API server: stopped by taking their manifests away from the kubelet, and started
//! by putting them back.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::RestoreError;
use crate::system::System;

/// Where the kubelet looks.
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Where they are meanwhile: beside, so that they can be moved in one piece.
const PARKED: &str = "/etc/kubernetes/kcl-parked-manifests";

/// etcd.
pub(super) const ETCD: &str = "etcd.yaml";

/// The API server.
pub(super) const API_SERVER: &str = "kube-apiserver.yaml";

/// Takes a manifest away, if it is there.
pub(super) fn take_away(system: &System, name: &str) -> Result<(), RestoreError> {
    let (from, to) = places(system, name);
    let parked = system.path(PARKED);
    fs::create_dir_all(&parked).map_err(|source| RestoreError::File {
        what: "create",
        path: parked.clone(),
        source,
    })?;
    move_file(from, to)
}

/// Puts all of them back. One that came meanwhile is newer and stays.
pub(super) fn put_back(system: &System) -> Result<(), RestoreError> {
    for name in [ETCD, API_SERVER] {
        let (at, parked) = places(system, name);
        if at.exists() {
            drop(fs::remove_file(parked));
        } else {
            move_file(parked, at)?;
        }
    }
    // It is empty.
    drop(fs::remove_dir(system.path(PARKED)));
    Ok(())
}

fn places(system: &System, name: &str) -> (PathBuf, PathBuf) {
    (system.path(&format!("{MANIFESTS}/{name}")), system.path(&format!("{PARKED}/{name}")))
}

fn move_file(from: PathBuf, to: PathBuf) -> Result<(), RestoreError> {
    match fs::rename(&from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RestoreError::File { what: "move", path: from, source }),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_back_once_and_a_newer_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let system = System::new(root.path());
        let path = |name: &str| system.path(&format!("{MANIFESTS}/{name}"));
        put_back(&system).unwrap();
        take_away(&system, ETCD).unwrap();
        fs::create_dir_all(system.path(MANIFESTS)).unwrap();
        fs::write(path(ETCD), "old").unwrap();
        fs::write(path(API_SERVER), "api").unwrap();
        for name in [ETCD, API_SERVER, ETCD] {
            take_away(&system, name).unwrap();
            assert!(!path(name).exists());
        }
        fs::write(path(ETCD), "new").unwrap();
        put_back(&system).unwrap();
        put_back(&system).unwrap();
        assert_eq!(fs::read_to_string(path(ETCD)).unwrap(), "new");
        assert_eq!(fs::read_to_string(path(API_SERVER)).unwrap(), "api");
        assert!(!system.path(PARKED).exists());
    }
}
