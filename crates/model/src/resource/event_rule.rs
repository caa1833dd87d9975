//! An EventBridge rule with its one target. Attributes: `name`, `arn`.

use kcl_engine::{Json, Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An EventBridge rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRule {
    /// Which events it takes.
    pub pattern: Json,
    /// The queue (`arn`) it sends them to; none: an interrupted run left it without.
    pub target: Option<Ref>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for EventRule {
    const SCHEMA: &'static Schema = &Schema {
        contained_in: None,
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("event-rule", "events")
    };
}
