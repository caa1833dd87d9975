//! The SSH key of the machines. Attributes: `name`, `id`.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A key pair made from a public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// The public key as `type base64`, without its comment.
    pub public_key: String,
    /// Tags.
    pub tags: Tags,
}

impl Resource for KeyPair {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("public_key", "a key pair's key is fixed when it is made")],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("key-pair", "machines")
    };
}
