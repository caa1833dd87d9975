//! What control-plane machines write into the store, so that the next one knows what it comes back to.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// How far the cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MarkState {
    /// A machine is at it; it alone may run `kubeadm init`.
    Initializing,
    /// There is a cluster: no machine begins another one, ever.
    Initialized,
}

/// The mark that says whether there is a cluster: the object `control-plane/initialized.json`.
///
/// It is only ever written conditionally: it is claimed where there is none, before `kubeadm init`, and changed
/// by who claimed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// How far the cluster is.
    pub state: MarkState,
    /// The etcd member that claimed it, which comes back under this name.
    pub member: String,
    /// The volume that its data was first on.
    pub volume: String,
    /// The instance that wrote it.
    pub instance: String,
    /// When it was written, in RFC 3339.
    pub at: String,
}

impl Mark {
    /// Where it is, relative to the cluster's folder.
    pub const PATH: &'static str = "control-plane/initialized.json";

    /// Reads the mark. One that cannot be read is no reason to begin a cluster.
    pub fn read(bytes: &[u8]) -> Result<Self, ConfigError> {
        read(Self::PATH, bytes)
    }

    /// Its text.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        write(Self::PATH, self)
    }
}

/// The newest entry of a raft log. The one with the higher term is newer, and of one term that with the higher
/// index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastEntry {
    /// Its term; 0 where there is no data.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// Which machine is an etcd member now: the object `control-plane/members/<member>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRecord {
    /// The member: `a`.
    pub member: String,
    /// The machine, whose instance id is etcd's own name of the member, and the node's.
    pub instance: String,
    /// Its address, at which etcd listens on 2379.
    pub address: std::net::IpAddr,
    /// Its address on the Internet, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_address: Option<std::net::IpAddr>,
    /// When it was written, in RFC 3339.
    pub at: String,
    /// There while the machine waits for a majority of the members, with how new its data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_with: Option<LastEntry>,
}

impl MemberRecord {
    /// Where that of a member is, relative to the cluster's folder.
    pub fn path(member: &str) -> String {
        format!("control-plane/members/{member}.json")
    }

    /// Reads that of a member.
    pub fn read(member: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        read(&Self::path(member), bytes)
    }

    /// Its text.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        write(&Self::path(&self.member), self)
    }
}

/// How far the recovery of etcd from the loss of its majority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecoveryState {
    /// A member is at it; it alone may go on without the others.
    Recovering,
    /// It is done. Another loss may be recovered from.
    Recovered,
}

/// Which member goes on alone when etcd has lost its majority: the object `control-plane/recovery.json`.
///
/// Like the mark, it is written conditionally only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// How far it is.
    pub state: RecoveryState,
    /// The etcd member.
    pub member: String,
    /// The instance that wrote it.
    pub instance: String,
    /// When it was written, in RFC 3339.
    pub at: String,
}

impl Recovery {
    /// Where it is, relative to the cluster's folder.
    pub const PATH: &'static str = "control-plane/recovery.json";

    /// Reads it. One that cannot be read is no reason to go on alone.
    pub fn read(bytes: &[u8]) -> Result<Self, ConfigError> {
        read(Self::PATH, bytes)
    }

    /// Its text.
    pub fn to_json(&self) -> Result<String, ConfigError> {
        write(Self::PATH, self)
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &str, bytes: &[u8]) -> Result<T, ConfigError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ConfigError::Object { path: path.to_owned(), why: error.to_string() })
}

fn write<T: Serialize>(path: &str, value: &T) -> Result<String, ConfigError> {
    serde_json::to_string(value)
        .map_err(|error| ConfigError::Object { path: path.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mark = Mark {
            state: MarkState::Initializing,
            member: "a".to_owned(),
            volume: "vol-0123456789abcdef0".to_owned(),
            instance: "i-0123456789abcdef0".to_owned(),
            at: "2030-01-01T00:00:00Z".to_owned(),
        };
        let text = mark.to_json().unwrap();
        assert_eq!(
            text,
            r#"{"state":"initializing","member":"a","volume":"vol-0123456789abcdef0","instance":"i-0123456789abcdef0","at":"2030-01-01T00:00:00Z"}"#
        );
        assert_eq!(Mark::read(text.as_bytes()).unwrap(), mark);
        assert!(Mark::read(b"{}").is_err() && Mark::read(b"").is_err());

        let record = MemberRecord {
            member: "a".to_owned(),
            instance: "i-0123456789abcdef0".to_owned(),
            address: [172, 20, 32, 7].into(),
            public_address: None,
            at: "2030-01-01T00:00:00Z".to_owned(),
            waits_with: None,
        };
        let text = record.to_json().unwrap();
        assert_eq!(
            text,
            r#"{"member":"a","instance":"i-0123456789abcdef0","address":"172.20.32.7","at":"2030-01-01T00:00:00Z"}"#
        );
        assert_eq!(MemberRecord::read("a", text.as_bytes()).unwrap(), record);
    }

    #[test]
    fn a_newer_term_is_newer_than_any_index() {
        assert!(LastEntry { term: 3, index: 1 } > LastEntry { term: 2, index: 900 });
        assert!(LastEntry { term: 3, index: 2 } > LastEntry { term: 3, index: 1 });
    }
}
