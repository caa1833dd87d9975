//! etcd's data, made anew from a snapshot: beside the old, and then in its place.
//!
//! What was made says in itself what it was made from, so that it comes into its place together with the answer to
//! the question whether it was: the volume may go to another machine in between.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kcl_node_config::{RestorePlan, paths};
use serde::{Deserialize, Serialize};

use super::{Etcdutl, RestoreError};
use crate::etcd::peer_url;
use crate::system::System;

/// What is added to the revision of a snapshot, and everything before is called compacted: whoever watches etcd,
/// and has seen what is not in the snapshot, then reads all again instead of waiting for revisions that come a second
/// time. More than the changes of the years between a snapshot and its restore ("Restoring with revision bump" in
/// etcd's disaster recovery).
const BUMP: &str = "1000000000";

/// The note within the data of what it was made from. Nothing of etcd's own has its name, nor looks at others here.
const NOTE: &str = "member/kcl-restored.json";

/// What the old data is called.
const BEFORE: &str = "data.before-restore-";

#[derive(Serialize, Deserialize)]
struct Note {
    id: String,
    backup: String,
}

/// Who a member is in the etcd that comes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    name: String,
    peer_url: String,
    cluster: String,
    token: String,
}

impl Membership {
    /// The only one.
    pub(super) fn alone(instance: &str, address: IpAddr, token: &str) -> Self {
        let peer_url = peer_url(address);
        let cluster = format!("{instance}={peer_url}");
        Self { name: instance.to_owned(), peer_url, cluster, token: token.to_owned() }
    }

    /// One of a plan's; nothing if it is not in it.
    pub(super) fn of(plan: &RestorePlan, member: &str) -> Option<Self> {
        let own = plan.members.iter().find(|found| found.member == member)?;
        let all = plan.members.iter().map(|member| format!("{}={}", member.name, member.peer_url));
        Some(Self {
            name: own.name.clone(),
            peer_url: own.peer_url.clone(),
            cluster: all.collect::<Vec<_>>().join(","),
            token: plan.token.clone(),
        })
    }

    /// Where the others reach it.
    pub(super) fn peer_url(&self) -> &str {
        &self.peer_url
    }
}

/// The files on etcd's volume.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    folder: PathBuf,
    data: PathBuf,
}

impl Volume {
    pub(super) fn of(system: &System) -> Self {
        Self { folder: system.path(paths::ETCD_VOLUME), data: system.path(paths::ETCD_DATA) }
    }

    /// Where the snapshot is put: where a container of etcdutl finds it too.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.folder.join("restore.db")
    }

    fn new_data(&self) -> PathBuf {
        self.folder.join("data.restoring")
    }

    fn before(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{BEFORE}{id}"))
    }

    /// Whether the data is what this restore made.
    pub(super) fn is_restored(&self, id: &str) -> bool {
        let note = fs::read(self.data.join(NOTE)).ok();
        let note = note.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        note.is_some_and(|note| note.id == id)
    }

    /// Makes data of the snapshot, beside the old.
    pub(super) async fn make(
        &self,
        system: &System,
        etcdutl: &Etcdutl,
        membership: &Membership,
        (id, backup): (&str, &str),
    ) -> Result<(), RestoreError> {
        let (snapshot, new) = (self.snapshot(), self.new_data());
        // What a killed run left: etcdutl wants none.
        remove(&new)?;
        let arguments: [&OsStr; 14] = [
            "snapshot".as_ref(),
            "restore".as_ref(),
            snapshot.as_ref(),
            "--data-dir".as_ref(),
            new.as_ref(),
            "--name".as_ref(),
            membership.name.as_ref(),
            "--initial-cluster".as_ref(),
            membership.cluster.as_ref(),
            "--initial-cluster-token".as_ref(),
            membership.token.as_ref(),
            "--initial-advertise-peer-urls".as_ref(),
            membership.peer_url.as_ref(),
            "--mark-compacted".as_ref(),
        ];
        let bump: [&OsStr; 2] = ["--bump-revision".as_ref(), BUMP.as_ref()];
        etcdutl
            .run(system, &self.folder, &[&arguments[..], &bump].concat())
            .await
            .map_err(|source| RestoreError::Etcdutl { backup: backup.to_owned(), source })?;
        let path = new.join(NOTE);
        let note = serde_json::json!(Note { id: id.to_owned(), backup: backup.to_owned() }).to_string();
        write(&path, note.as_bytes()).map_err(|source| RestoreError::File { what: "write", path, source })
    }

    /// Puts the new data into the place of the old, which is kept.
    pub(super) fn swap(&self, id: &str) -> Result<(), RestoreError> {
        let before = self.before(id);
        if before.exists() {
            // A run that was killed has moved the old away; what is in its place now, a new etcd without data made.
            remove(&self.data)?;
        } else if self.data.exists() {
            rename(&self.data, &before)?;
        }
        rename(&self.new_data(), &self.data)?;
        sync(&self.folder).map_err(|source| RestoreError::File {
            what: "write",
            path: self.folder.clone(),
            source,
        })
    }

    /// Takes away what a restore that did not come about has left.
    pub(super) fn give_up(&self) -> Result<(), RestoreError> {
        drop(fs::remove_file(self.snapshot()));
        remove(&self.new_data())
    }

    /// Takes away what is of no use after a restore: the old data of those before it.
    pub(super) fn clean(&self, id: &str) -> Result<(), RestoreError> {
        self.give_up()?;
        let kept = self.before(id);
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| *path != kept) {
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(BEFORE)) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), RestoreError> {
    fs::rename(from, to).map_err(|source| RestoreError::File { what: "move", path: from.to_owned(), source })
}

fn remove(folder: &Path) -> Result<(), RestoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RestoreError::File { what: "remove", path: folder.to_owned(), source }),
        Ok(()) => Ok(()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync)
}

/// What a folder has is on the disk.
fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(volume: &Volume) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&volume.folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let what = fs::read_to_string(path.join("is")).unwrap_or_default();
            found.push(format!("{name}: {what}"));
        }
        found.sort();
        found
    }

    fn fill(folder: &Path, what: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("is"), what).unwrap();
    }

    /// Killed before, between and after the two moves.
    #[test]
    fn the_old_data_is_kept_whenever_it_is_killed() {
        for killed in ["before", "between", "between, and etcd made new data", "with no data at all"] {
            let root = tempfile::tempdir().unwrap();
            let volume = Volume::of(&System::new(root.path()));
            fill(&volume.before("0"), "of an earlier restore");
            fill(&volume.new_data(), "restored");
            match killed {
                "before" => fill(&volume.data, "old"),
                "between" => fill(&volume.before("1"), "old"),
                "with no data at all" => {}
                _ => {
                    fill(&volume.before("1"), "old");
                    fill(&volume.data, "made by etcd");
                }
            }
            volume.swap("1").unwrap();
            let wanted = match killed {
                "with no data at all" => &["data: restored"][..],
                _ => &["data.before-restore-1: old", "data: restored"],
            };
            volume.clean("1").unwrap();
            assert_eq!(content(&volume), wanted, "{killed}");
        }
    }

    #[test]
    fn a_plan_names_all_and_each_finds_itself() {
        let member = |member: &str, address: &str| kcl_node_config::RestoreMember {
            member: member.to_owned(),
            name: format!("i-{member}"),
            peer_url: peer_url(address.parse().unwrap()),
        };
        let members = vec![member("a", "10.0.0.1"), member("b", "fd00::1")];
        let plan = RestorePlan { backup: "some".to_owned(), token: "t".to_owned(), members };
        let own = Membership::of(&plan, "b").unwrap();
        assert_eq!(own.cluster, "i-a=https://10.0.0.1:2380,i-b=https://[fd00::1]:2380");
        assert_eq!((own.name.as_str(), own.peer_url()), ("i-b", "https://[fd00::1]:2380"));
        assert_eq!(Membership::of(&plan, "c"), None);
    }
}
