//! The queue that tells the termination handler what happens to machines. Attributes: `name`, `arn`, `url`.

use kcl_engine::{Json, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An SQS queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// How long a message is kept, in seconds.
    pub message_retention: i32,
    /// Who may send to it.
    pub policy: Json,
    /// Tags.
    pub tags: Tags,
}

impl Resource for Queue {
    const SCHEMA: &'static Schema =
        &Schema { open_maps: &["tags"], is_foreign_key: is_foreign_tag, ..Schema::new("queue", "events") };
}
