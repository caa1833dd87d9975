//! A role with its policies. Attributes: `name`, `arn`.

use kcl_engine::{Json, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::{Tags, is_foreign_tag};

/// An IAM role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IamRole {
    /// Who may assume it.
    pub trust_policy: Json,
    /// Policies written into it, by name.
    pub inline_policies: BTreeMap<String, Json>,
    /// ARNs of the managed policies attached to it.
    pub attached_policies: Set<String>,
    /// The policy (ARN) that bounds its permissions.
    pub permissions_boundary: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for IamRole {
    const SCHEMA: &'static Schema = &Schema {
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("iam-role", "identity")
    };
}
