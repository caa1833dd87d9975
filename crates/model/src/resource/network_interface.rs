//! A network interface that something in the cluster left behind. Never wanted, only removed with the cluster. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// The subnet (`id`).
    pub subnet: Ref,
    /// Its security groups (`id`).
    pub security_groups: Set<Ref>,
    /// Its description.
    pub description: String,
}

impl Resource for NetworkInterface {
    const SCHEMA: &'static Schema = &Schema { ..Schema::new("network-interface", "security") };
}
