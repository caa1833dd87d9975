//! Keys of the cluster in the state store. Private keys never stand here: what a plan shows of a keyset is what
//! everybody may know. Attributes: `keys` (what tokens are verified with, for the service-account keyset), `certificates` (what is
//! believed, for authorities).

use kcl_engine::{Goes, Resource, Schema};
use serde::{Deserialize, Serialize};

/// A keyset: keys for one purpose, one of which is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    /// What its keys are for: `Authority` or `SigningKey`.
    pub purpose: String,
    /// What machines and previews read of it is what its index says.
    pub published: bool,
}

impl Resource for Keyset {
    const SCHEMA: &'static Schema = &Schema {
        // Without its keys a cluster is lost, and they are nowhere else.
        holds_data: true,
        goes: Goes::Late,
        name_says_all: true,
        ..Schema::new("keyset", "state")
    };
}
