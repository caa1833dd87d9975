//! A bucket, where it is made by us: the state store's, or the one that publishes the issuer's documents. One that
//! somebody else made is used as it is. Attributes: `name`.

use kcl_engine::{Resource, Schema, Set};
use serde::{Deserialize, Serialize};

/// An S3 bucket: versioned, encrypted, and private but for single objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The region it lies in.
    pub region: String,
    /// Whether what is overwritten or deleted is kept.
    pub versioned: bool,
    /// Whether what lies in it is encrypted.
    pub encrypted: bool,
    /// The KMS key that encrypts what says nothing else about it; `None`: S3's own, or what the bucket has.
    pub kms_key: Option<String>,
    /// What of public access is blocked, as S3 calls it.
    pub public_access_block: Set<String>,
    /// The objects that anybody may read, by key, or by prefix if it ends in `/`.
    pub public_objects: Set<String>,
}

/// Access control lists make nothing public, ever.
const BLOCK_ACLS: [&str; 2] = ["BlockPublicAcls", "IgnorePublicAcls"];
/// Neither does a bucket policy.
const BLOCK_POLICIES: [&str; 2] = ["BlockPublicPolicy", "RestrictPublicBuckets"];

impl Bucket {
    /// One in `region`; only `public_objects` can be read by anybody.
    pub fn new(region: &str, kms_key: Option<String>, public_objects: Set<String>) -> Self {
        // What policies may make public is blocked as a whole or not at all.
        let policies = public_objects.is_empty().then_some(BLOCK_POLICIES).into_iter().flatten();
        Self {
            region: region.to_owned(),
            versioned: true,
            encrypted: true,
            kms_key,
            public_access_block: BLOCK_ACLS.into_iter().chain(policies).map(str::to_owned).collect(),
            public_objects,
        }
    }
}

impl Resource for Bucket {
    const SCHEMA: &'static Schema = &Schema { ..Schema::new("bucket", "state") };
}
