//! A snapshot that is to be restored: what is asked for, what is to come of it, and how far each machine is.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::backup::rfc3339;

/// Where it is said what each machine of the control plane does about a request.
const RESTORES: &str = "control-plane/restores";

/// The longest id of a request.
const LONGEST_ID: usize = 63;

/// A request to restore a backup; the object `control-plane/restore.json` in the cluster's folder. The next
/// request takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRequest {
    /// What this request is known by: one that was served is never served again. Lowercase letters, digits
    /// and hyphens.
    pub id: String,
    /// The name of the backup.
    pub backup: String,
    /// When it was asked for, in RFC 3339.
    pub requested_at: String,
    /// Who asked: an identity of AWS, to be read by people.
    pub requested_by: String,
}

impl RestoreRequest {
    /// Where it is, relative to the cluster's folder.
    pub const PATH: &str = "control-plane/restore.json";

    /// A request that is made now for a backup of this name. Its id tells when that was.
    pub fn new(now: OffsetDateTime, backup: &str, requested_by: &str) -> Self {
        let requested_at = rfc3339(now);
        let compact: String = requested_at.chars().filter(char::is_ascii_alphanumeric).collect();
        let id = format!("{}-{:06}", compact.to_ascii_lowercase(), now.microsecond());
        let (backup, requested_by) = (backup.to_owned(), requested_by.to_owned());
        Self { id, backup, requested_at, requested_by }
    }

    /// Whether its id can be one: it becomes part of paths and of etcd's names.
    pub fn has_usable_id(&self) -> bool {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !self.id.is_empty() && self.id.len() <= LONGEST_ID && self.id.chars().all(fits)
    }
}

/// The etcd that comes of a restore; the object `control-plane/restores/<id>.json`. The first machine writes
/// it, all of them follow it: only members that agree on it are one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// The backup's name.
    pub backup: String,
    /// What tells this cluster from the one before it.
    pub token: String,
    /// Who is in it, in the order of their names.
    pub members: Vec<RestoreMember>,
}

/// A member of the etcd that comes of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreMember {
    /// The member: `a`.
    pub member: String,
    /// Its name in etcd: its machine's.
    pub name: String,
    /// Where the others reach it.
    pub peer_url: String,
}

impl RestorePlan {
    /// Where the plan of a request is.
    pub fn path(id: &str) -> String {
        format!("{RESTORES}/{id}.json")
    }
}

/// How far a machine is with a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestoreState {
    /// It is at it; with an error it tries that again.
    Running,
    /// It has given up, and runs with the data that it had before, as far as it can.
    Failed,
    /// It runs with the restored data.
    Done,
}

/// What one member says of a restore; the object `control-plane/restores/<id>/<member>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreProgress {
    /// The request.
    pub id: String,
    /// The member: `a`.
    pub member: String,
    /// Its machine.
    pub instance: String,
    /// How far it is.
    pub state: RestoreState,
    /// The step that it is at, stopped at, or did last.
    pub step: String,
    /// What stopped it, or what is tried again, with its hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The id of the etcd cluster that it is in now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// When it was written, in RFC 3339.
    pub at: String,
}

impl RestoreProgress {
    /// Where the progress of all members is: keys begin with this.
    pub fn folder(id: &str) -> String {
        format!("{RESTORES}/{id}/")
    }

    /// Where a member's is.
    pub fn path(id: &str, member: &str) -> String {
        format!("{RESTORES}/{id}/{member}.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_in_its_folder() {
        let request = |id: &str| RestoreRequest {
            id: id.to_owned(),
            backup: String::new(),
            requested_at: String::new(),
            requested_by: String::new(),
        };
        let new = RestoreRequest::new(time::macros::datetime!(2026-11-27 03:15:00.000042 UTC), "some", "ops");
        assert_eq!(new.id, "20261127t031500z-000042");
        assert!(new.has_usable_id());
        let long = "a".repeat(64);
        for wrong in ["", "a/b", "..", "A", "a b", "é", &long] {
            assert!(!request(wrong).has_usable_id(), "{wrong}");
        }
    }
}
