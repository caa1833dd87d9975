//! What anybody can read of the cluster's service-account issuer: an object in a public bucket. Named for its place
//! below the issuer's URL: `openid/v1/jwks`. Attributes: none.

use kcl_engine::{Ref, Resource, Schema, Text};
use serde::{Deserialize, Serialize};

/// A document by which AWS (and anybody else) verifies the cluster's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryDocument {
    /// The bucket it lies in.
    pub bucket: String,
    /// Its key in the bucket.
    pub key: String,
    /// Its media type.
    pub content_type: String,
    /// What it says, where that follows from the spec: the OpenID configuration.
    pub content: Option<Text>,
    /// What it is made of, where that is the public keys of the service accounts: their fingerprint.
    pub keys: Option<Ref>,
    /// Anybody can read it.
    pub public: bool,
}

impl Resource for DiscoveryDocument {
    const SCHEMA: &'static Schema = &Schema { ..Schema::new("discovery-document", "identity") };
}
