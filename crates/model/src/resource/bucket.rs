//! The state store's bucket, where it is made by us. One that is there already is used as it is. Attributes: `name`.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

/// An S3 bucket: private, versioned, encrypted, public access blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The region it lies in.
    pub region: String,
}

impl Resource for Bucket {
    const SCHEMA: &'static Schema = &Schema { ..Schema::new("bucket", "state") };
}
