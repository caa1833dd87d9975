//! The JSON of etcd's gateway, as far as it is read. Fields that have their zero value are left out there.

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ClusterId, MemberId};

/// How a member does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Status {
    header: Header,
    /// The release of etcd: `3.6.8`.
    #[serde(default)]
    pub version: String,
    #[serde(default, deserialize_with = "number")]
    leader: u64,
    /// Bytes of its database, with what is free in it.
    #[serde(default, rename = "dbSize", deserialize_with = "number")]
    pub db_size: u64,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
}

impl Status {
    /// The cluster that it is in.
    pub fn cluster(&self) -> ClusterId {
        ClusterId(self.header.cluster_id)
    }

    /// The member itself.
    pub fn member(&self) -> MemberId {
        MemberId(self.header.member_id)
    }

    /// The cluster's leader, where there is one.
    pub fn leader(&self) -> Option<MemberId> {
        Some(MemberId(self.leader)).filter(|leader| leader.0 != 0)
    }

    /// Whether it is the leader itself.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.member())
    }

    /// The last change that it knows.
    pub fn revision(&self) -> u64 {
        self.header.revision
    }
}

/// What every answer begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "number")]
    cluster_id: u64,
    #[serde(default, deserialize_with = "number")]
    member_id: u64,
    #[serde(default, deserialize_with = "number")]
    revision: u64,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Member {
    #[serde(rename = "ID", deserialize_with = "number")]
    id: u64,
    /// Its name; empty until it has started.
    #[serde(default)]
    pub name: String,
    /// Where the others reach it.
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it; nowhere until it has started.
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
}

impl Member {
    /// Its id.
    pub fn id(&self) -> MemberId {
        MemberId(self.id)
    }
}

#[derive(Deserialize)]
pub(super) struct Members {
    #[serde(default)]
    pub(super) members: Vec<Member>,
}

#[derive(Deserialize)]
pub(super) struct Health {
    pub(super) health: String,
}

/// What etcd says instead of an answer.
#[derive(Default, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) message: String,
}

/// One line of a snapshot.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) result: Option<Piece>,
    pub(super) error: Option<Refusal>,
}

#[derive(Deserialize)]
pub(super) struct Piece {
    /// Base64.
    #[serde(default)]
    pub(super) blob: String,
}

/// A number, or one in a string.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    struct Number;

    impl Visitor<'_> for Number {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number, in a string or not")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_any(Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_left_out() {
        let text = r#"{"header":{"cluster_id":"18446744073709551615","member_id":"2"},"version":"3.6.8"}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.cluster(), ClusterId(u64::MAX));
        assert_eq!((status.leader(), status.is_leader(), status.revision()), (None, false, 0));
        let member: Member =
            serde_json::from_str(r#"{"ID":"12","peerURLs":["https://10.0.0.1:2380"]}"#).unwrap();
        assert_eq!((member.id(), member.name.as_str()), (MemberId(12), ""));
        assert!(serde_json::from_str::<Member>(r#"{"ID":"x"}"#).is_err());
    }
}
