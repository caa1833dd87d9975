//! A disk that outlives machines: etcd's data, or one made for a persistent volume. Attributes: `id`.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An EBS volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The availability zone.
    pub zone: String,
    /// GiB.
    pub size: i32,
    /// `gp3`, `io2`...
    pub volume_type: String,
    /// Provisioned operations a second, for the types that have them.
    pub iops: Option<i32>,
    /// Provisioned MiB a second, for the types that have it.
    pub throughput: Option<i32>,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The key, where it is not the account's default.
    pub kms_key: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for Volume {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("zone", "a volume cannot move to another zone"),
            ("encrypted", "a volume's encryption is fixed when it is made"),
            ("kms_key", "a volume's key is fixed when it is made"),
        ],
        grows_only: &[("size", "a volume cannot shrink")],
        holds_data: true,
        irreplaceable: Some("it holds data that is nowhere else"),
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("volume", "control-plane")
    };
}
