//! The static pods of the control plane: stopped by taking their manifests away from the kubelet, and started
//! by putting them back.
//!
//! Each that stops them has a place of its own for them, so that none starts what another has stopped.

use std::fs;
use std::io;
use std::path::PathBuf;

use kcl_node_config::paths;

use crate::system::{System, SystemError};

/// etcd.
pub(crate) const ETCD: &str = "etcd.yaml";

/// The API server.
pub(crate) const API_SERVER: &str = "kube-apiserver.yaml";

/// All of them, in the order in which they need each other.
pub(crate) const ALL: [&str; 4] = [ETCD, API_SERVER, "kube-controller-manager.yaml", "kube-scheduler.yaml"];

/// Where manifests are meanwhile: beside, so that they can be moved in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// While etcd gets other data.
    Restoring,
    /// When the machine leaves, until it comes back.
    Leaving,
    /// While a pod starts anew with other certificates.
    Renewing,
}

impl Place {
    fn folder(self) -> &'static str {
        match self {
            Self::Restoring => "/etc/kubernetes/kcl-parked-manifests",
            Self::Leaving => "/etc/kubernetes/kcl-left-manifests",
            Self::Renewing => "/etc/kubernetes/kcl-renewing-manifests",
        }
    }

    fn path(self, system: &System, name: &str) -> PathBuf {
        system.path(&format!("{}/{name}", self.folder()))
    }

    /// Whether a manifest is there, and not where the kubelet looks.
    pub(crate) fn has(self, system: &System, name: &str) -> bool {
        self.path(system, name).exists() && !running(system, name).exists()
    }

    /// Takes a manifest away, if it is there.
    pub(crate) fn take_away(self, system: &System, name: &str) -> Result<(), SystemError> {
        let folder = system.path(self.folder());
        fs::create_dir_all(&folder).map_err(|source| SystemError::File {
            what: "create",
            path: folder.clone(),
            source,
        })?;
        move_file(running(system, name), self.path(system, name))
    }

    /// Puts all of them back. One that came meanwhile is newer and stays.
    pub(crate) fn put_back(self, system: &System) -> Result<(), SystemError> {
        for name in ALL {
            let (at, parked) = (running(system, name), self.path(system, name));
            if at.exists() {
                drop(fs::remove_file(parked));
            } else {
                move_file(parked, at)?;
            }
        }
        // It is empty.
        drop(fs::remove_dir(system.path(self.folder())));
        Ok(())
    }
}

fn running(system: &System, name: &str) -> PathBuf {
    system.path(&format!("{}/{name}", paths::MANIFESTS))
}

fn move_file(from: PathBuf, to: PathBuf) -> Result<(), SystemError> {
    match fs::rename(&from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SystemError::File { what: "move", path: from, source }),
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
        let (path, parked) = (|name: &str| running(&system, name), Place::Restoring);
        parked.put_back(&system).unwrap();
        parked.take_away(&system, ETCD).unwrap();
        fs::create_dir_all(system.path(paths::MANIFESTS)).unwrap();
        fs::write(path(ETCD), "old").unwrap();
        fs::write(path(API_SERVER), "api").unwrap();
        for name in [ETCD, API_SERVER, ETCD] {
            parked.take_away(&system, name).unwrap();
            assert!(!path(name).exists() && parked.has(&system, name));
        }
        Place::Leaving.put_back(&system).unwrap();
        assert!(!path(ETCD).exists(), "it was somebody else who stopped it");
        fs::write(path(ETCD), "new").unwrap();
        assert!(!parked.has(&system, ETCD));
        parked.put_back(&system).unwrap();
        parked.put_back(&system).unwrap();
        assert_eq!(fs::read_to_string(path(ETCD)).unwrap(), "new");
        assert_eq!(fs::read_to_string(path(API_SERVER)).unwrap(), "api");
        assert!(!system.path(parked.folder()).exists());
    }
}
