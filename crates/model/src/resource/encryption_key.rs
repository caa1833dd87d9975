//! The key that Secrets are encrypted with in etcd. It lies in the state store, and never stands here. Attributes:
//! none.

use kcl_engine::{Goes, Resource, Schema};
use serde::{Deserialize, Serialize};

/// An encryption key: made once, and never overwritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionKey {
    /// What is encrypted with it.
    pub purpose: String,
}

impl Resource for EncryptionKey {
    const SCHEMA: &'static Schema = &Schema {
        // Without it nobody reads the cluster's Secrets again, not even from a backup.
        holds_data: true,
        goes: Goes::Late,
        name_says_all: true,
        ..Schema::new("encryption-key", "state")
    };
}
