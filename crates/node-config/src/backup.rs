//! Snapshots of etcd in the state store, as machines write them and `kcl` lists them.
//!
//! Each has a folder of its own. The database is written first and [`Backup`] last: what has no such document
//! is no backup.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Where the backups of the cluster's etcd are, relative to the cluster's folder.
pub const BACKUPS: &str = "backups/etcd/main";

/// How many characters of a name are its time: `2026-11-27T03:15:00Z`.
const TIME: usize = 20;

/// The longest name that is taken for one.
const LONGEST: usize = 100;

/// A backup's name: when it was taken and by which machine, so that names in their order are backups in theirs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupName {
    at: OffsetDateTime,
    instance: String,
}

impl BackupName {
    /// The name of a backup that is taken by a machine now; parts of a second are left out.
    pub fn new(now: OffsetDateTime, instance: &str) -> Self {
        let at = now.to_offset(time::UtcOffset::UTC);
        Self { at: at.replace_nanosecond(0).unwrap_or(at), instance: instance.to_owned() }
    }

    /// A name as it is written; nothing for what no kcl-node writes.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let (time, instance) = text.split_at_checked(TIME).filter(|_| text.len() <= LONGEST)?;
        let instance =
            instance.strip_prefix('-').filter(|rest| !rest.is_empty() && rest.chars().all(fits))?;
        let name = Self::new(OffsetDateTime::parse(time, &Rfc3339).ok()?, instance);
        (name.to_string() == text).then_some(name)
    }

    /// When it was taken, in UTC.
    pub fn at(&self) -> OffsetDateTime {
        self.at
    }

    /// The machine that took it.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Where its database is, relative to the cluster's folder.
    pub fn database(&self) -> String {
        format!("{BACKUPS}/{self}/etcd.db")
    }

    /// Where its document is.
    pub fn document(&self) -> String {
        format!("{BACKUPS}/{self}/backup.json")
    }
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", rfc3339(self.at), self.instance)
    }
}

/// A time as all documents have it.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// Why a backup was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupReason {
    /// It was time for one.
    Periodic,
    /// The machine was about to go.
    Termination,
    /// Another one was about to be restored.
    BeforeRestore,
}

/// A backup; the object `backup.json` beside its database.
///
/// Fields that a later kcl-node adds are overlooked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its name.
    pub name: String,
    /// The etcd member that it was taken from: `a`.
    pub member: String,
    /// The machine of that member.
    pub instance: String,
    /// When it was taken, in RFC 3339.
    pub taken_at: String,
    /// Bytes of the database with the checksum at its end.
    pub size: u64,
    /// Their hash, 64 hexadecimal digits.
    pub sha256: String,
    /// etcd's revision when the snapshot was begun: all changes up to it are in it.
    pub etcd_revision: u64,
    /// The Kubernetes whose objects these are: `1.36.3`.
    pub kubernetes_version: String,
    /// The etcd that wrote them.
    pub etcd_version: String,
    /// Why it was taken.
    pub reason: BackupReason,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_sort_as_their_times(first in 0..4_000_000_000_i64, second in 0..4_000_000_000_i64) {
            let name = |at| BackupName::new(OffsetDateTime::from_unix_timestamp(at).unwrap(), "i-0abc");
            let (one, other) = (name(first), name(second));
            prop_assert_eq!(one.to_string().cmp(&other.to_string()), first.cmp(&second));
            prop_assert_eq!(one.cmp(&other), first.cmp(&second));
            prop_assert_eq!(BackupName::parse(&one.to_string()), Some(one));
        }

        #[test]
        fn nothing_else_is_a_name(text in "\\PC{0,40}") {
            prop_assert!(BackupName::parse(&text).is_none());
        }
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        let good = "2026-11-27T03:15:00Z-i-0123456789abcdef0";
        let name = BackupName::parse(good).unwrap();
        assert_eq!((name.to_string().as_str(), name.instance()), (good, "i-0123456789abcdef0"));
        assert_eq!(name.document(), format!("backups/etcd/main/{good}/backup.json"));
        for wrong in [
            "",
            "2026-11-27T03:15:00Z",
            "2026-11-27T03:15:00Z-",
            "2026-11-27T03:15:00Z-i/../..",
            "2026-11-27T03:15:00Z-é",
            "2026-11-27t03:15:00z-i-0",
            "2026-13-27T03:15:00Z-i-0",
            "2026-11-27T03:15:00éi-0",
        ] {
            assert_eq!(BackupName::parse(wrong), None, "{wrong}");
        }
    }
}
