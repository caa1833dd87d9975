//! What the engine must know of a resource kind to plan for it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::diff::FieldChange;

/// The type of a kind's fields. Wanted and live resources are the same type.
pub trait Resource: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The rules of this kind.
    const SCHEMA: &'static Schema;
}

/// When a deletion has its turn: after everything of an earlier turn, whatever refers to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goes {
    /// As soon as nothing needs it.
    AnyTime,
    /// When everything else is gone.
    Late,
    /// When even that is: an interrupted deletion is taken up by it.
    Last,
}

/// The rules of one resource kind.
#[derive(Debug)]
pub struct Schema {
    /// The kind's name, for example `subnet`.
    pub kind: &'static str,
    /// Under which heading a plan shows it, for example `network`.
    pub concern: &'static str,
    /// Fields that cannot be changed in place, each with the reason: a change means a replacement.
    pub immutable: &'static [(&'static str, &'static str)],
    /// Fields with a number that can grow in place and never shrink, each with the reason.
    pub grows_only: &'static [(&'static str, &'static str)],
    /// Fields that are changed in place, but whose referent cannot be deleted while they point at it: when
    /// the referent is replaced, so is this resource.
    pub replaced_with: &'static [&'static str],
    /// The field with the resource that takes this one along when it is deleted.
    pub contained_in: Option<&'static str>,
    /// Map fields in which others may put keys of their own; `is_foreign_key` tells which those are.
    pub open_maps: &'static [&'static str],
    /// Whether a key of an open map is somebody else's.
    pub is_foreign_key: fn(&str) -> bool,
    /// List fields that others stand on, as subnets do on a network's blocks: an update that takes an element away
    /// comes after the deletions of what refers to this resource.
    pub stood_on: &'static [&'static str],
    /// It holds data that is nowhere else: only the end of the cluster deletes it, never pruning.
    pub holds_data: bool,
    /// Why it cannot be replaced while the cluster runs; a plan that would have to refuses to.
    pub irreplaceable: Option<&'static str>,
    /// The name of one says all of it: a plan shows no fields of a new one.
    pub name_says_all: bool,
    /// When its deletion has its turn.
    pub goes: Goes,
    /// A replacement is created before the old one is deleted. Only for kinds without unique names.
    pub create_first: bool,
}

impl Schema {
    /// A kind without any special rule; use with struct update syntax.
    pub const fn new(kind: &'static str, concern: &'static str) -> Self {
        Self {
            kind,
            concern,
            immutable: &[],
            grows_only: &[],
            replaced_with: &[],
            contained_in: None,
            open_maps: &[],
            is_foreign_key: never,
            stood_on: &[],
            holds_data: false,
            irreplaceable: None,
            name_says_all: false,
            goes: Goes::AnyTime,
            create_first: false,
        }
    }

    /// Why `field` cannot be changed in place, if it cannot.
    pub fn why_immutable(&self, field: &str) -> Option<&'static str> {
        self.immutable.iter().find(|(name, _)| *name == field).map(|(_, why)| *why)
    }

    /// Why this change cannot be made in place, if it cannot.
    pub(crate) fn why_impossible(&self, change: &FieldChange) -> Option<&'static str> {
        let shrunk = self.grows_only.iter().filter(|(field, _)| *field == change.field && shrinks(change));
        self.why_immutable(&change.field).or_else(|| shrunk.map(|(_, why)| *why).next())
    }
}

fn shrinks(change: &FieldChange) -> bool {
    change.old.as_f64().zip(change.new.as_f64()).is_some_and(|(old, new)| new < old)
}

const fn never(_: &str) -> bool {
    false
}

/// Every kind there is.
#[derive(Debug, Default)]
pub struct Catalogue {
    schemas: BTreeMap<&'static str, (usize, &'static Schema)>,
}

impl Catalogue {
    /// The catalogue of `schemas`; their order is the order in which a plan shows them.
    pub fn new(schemas: impl IntoIterator<Item = &'static Schema>) -> Self {
        let schemas = schemas.into_iter().enumerate();
        Self { schemas: schemas.map(|(rank, schema)| (schema.kind, (rank, schema))).collect() }
    }

    /// The rules of `kind`.
    pub fn get(&self, kind: &str) -> Option<&'static Schema> {
        self.schemas.get(kind).map(|(_, schema)| *schema)
    }

    /// The place of `kind` in the order of display.
    pub fn rank(&self, kind: &str) -> usize {
        self.schemas.get(kind).map_or(usize::MAX, |(rank, _)| *rank)
    }
}
