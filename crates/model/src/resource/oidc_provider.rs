//! The cluster's service-account issuer, as IAM knows it. Named for the issuer without `https://`. Attributes: `arn`.

use kcl_engine::{Resource, Schema, Set};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An IAM OpenID Connect provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OidcProvider {
    /// The issuer's URL.
    pub url: String,
    /// The audiences it may issue tokens for.
    pub audiences: Set<String>,
    /// SHA-1 thumbprints of the certificates at the end of the issuer's chain.
    pub thumbprints: Set<String>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for OidcProvider {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("url", "a provider's URL is its name")],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("oidc-provider", "identity")
    };
}
