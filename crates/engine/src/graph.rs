//! The wanted graph and the live resources.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::ResourceId;
use crate::schema::Resource;

/// What the cloud calls a resource: `id`, `arn`, `dns_name`... whatever its kind gives out.
pub type Attrs = BTreeMap<String, String>;

/// One wanted resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedNode {
    /// Its fields, as its type serialises them.
    pub fields: Value,
    /// What must be there first although no field refers to it.
    pub after: BTreeSet<ResourceId>,
}

/// Everything that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub(crate) nodes: BTreeMap<ResourceId, WantedNode>,
    pub(crate) shared: BTreeMap<ResourceId, Attrs>,
}

impl Wanted {
    /// Adds a resource that is ours. A second one of the same name takes the first one's place.
    pub fn add<R: Resource>(
        &mut self,
        name: impl Into<String>,
        resource: &R,
    ) -> Result<ResourceId, serde_json::Error> {
        let id = ResourceId::new(R::SCHEMA.kind, name);
        let node = WantedNode { fields: serde_json::to_value(resource)?, after: BTreeSet::new() };
        self.nodes.insert(id.clone(), node);
        Ok(id)
    }

    /// Adds a resource that somebody else owns: it can be referred to and is never touched.
    pub fn add_shared(&mut self, id: ResourceId, attrs: Attrs) {
        self.shared.insert(id, attrs);
    }

    /// `id` comes after `first`, although no field of it refers to `first`.
    pub fn order(&mut self, id: &ResourceId, first: ResourceId) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.after.insert(first);
        }
    }

    /// Everything else comes after `first`.
    pub fn order_all_after(&mut self, first: &ResourceId) {
        let exempt = self.predecessors(first);
        for (id, node) in &mut self.nodes {
            if id != first && !exempt.contains(id) {
                node.after.insert(first.clone());
            }
        }
    }

    fn predecessors(&self, id: &ResourceId) -> BTreeSet<ResourceId> {
        let mut found = BTreeSet::new();
        let mut open = vec![id.clone()];
        while let Some(next) = open.pop() {
            for before in self.dependencies(&next) {
                if found.insert(before.clone()) {
                    open.push(before);
                }
            }
        }
        found
    }

    /// What `id` refers to or comes after.
    pub(crate) fn dependencies(&self, id: &ResourceId) -> BTreeSet<ResourceId> {
        self.nodes.get(id).map_or_else(BTreeSet::new, |node| {
            crate::value::references(&node.fields).into_iter().chain(node.after.iter().cloned()).collect()
        })
    }

    /// The resources that are ours, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (&ResourceId, &WantedNode)> {
        self.nodes.iter()
    }

    /// The resources that are somebody else's.
    pub fn shared(&self) -> impl Iterator<Item = (&ResourceId, &Attrs)> {
        self.shared.iter()
    }

    /// The fields of `id`, read back as its type.
    pub fn get<R: Resource>(&self, name: &str) -> Option<R> {
        let node = self.nodes.get(&ResourceId::new(R::SCHEMA.kind, name))?;
        serde_json::from_value(node.fields.clone()).ok()
    }
}

/// Whose a live resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Made by us for this cluster.
    Cluster,
    /// Made in the cluster's name by something that runs in it. Left alone, until the cluster is deleted.
    Controller,
}

/// One resource that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveNode {
    /// What we call it.
    pub id: ResourceId,
    /// Its fields, as its type serialises them.
    pub fields: Value,
    /// What the cloud calls it.
    pub attrs: Attrs,
    /// Whose it is.
    pub owner: Owner,
}

impl LiveNode {
    /// The live resource `name`, made by us.
    pub fn new<R: Resource>(
        name: impl Into<String>,
        resource: &R,
        attrs: Attrs,
        owner: Owner,
    ) -> Result<Self, serde_json::Error> {
        let id = ResourceId::new(R::SCHEMA.kind, name);
        Ok(Self { id, fields: serde_json::to_value(resource)?, attrs, owner })
    }
}
