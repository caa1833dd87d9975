//! The spec in the state store: what `kcl update` without a file works from. Attributes: `location`.

use kcl_engine::{Goes, Resource, Schema, Text};
use serde::{Deserialize, Serialize};

/// The registered spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredSpec {
    /// What the defaults made of the documents of kOps' and kcl's own kinds.
    pub spec: Text,
    /// The other documents as they may be shown: without what lies in Secrets.
    pub objects: Text,
    /// Whether what is registered is to the letter what was given; wanted is always that it is.
    pub up_to_date: bool,
}

impl Resource for RegisteredSpec {
    const SCHEMA: &'static Schema = &Schema {
        // The spec tells what the rest is; without it, an interrupted deletion could not be taken up.
        goes: Goes::Last,
        name_says_all: true,
        ..Schema::new("registered-spec", "state")
    };
}
