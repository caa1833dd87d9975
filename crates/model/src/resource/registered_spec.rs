//! The spec in the state store: what `kcl update` without a file works from. Attributes: `location`.

use kcl_engine::{Resource, Schema, Text};
use serde::{Deserialize, Serialize};

/// The registered spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredSpec {
    /// The documents as they were given.
    pub documents: Text,
}

impl Resource for RegisteredSpec {
    const SCHEMA: &'static Schema = &Schema {
        // The spec tells what the rest is; without it, an interrupted deletion could not be taken up.
        goes_last: true,
        ..Schema::new("registered-spec", "state")
    };
}
