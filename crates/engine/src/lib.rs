//! Resource graph, diff, plan and schedule.
//!
//! Takes what is wanted ([`Wanted`]) and what there is ([`LiveNode`]s), both as plain data of the same
//! shape, and gives a [`Plan`]: what to create, update and delete, in which order, and why. Everything here
//! is pure and synchronous; it never talks to a cloud and knows no cloud's resource kinds, only the
//! [`Schema`] each kind brings along.

mod diff;
mod graph;
mod id;
mod plan;
mod schedule;
mod schema;
mod value;

pub use diff::{FieldChange, diff};
pub use graph::{Attrs, LiveNode, Owner, Wanted, WantedNode};
pub use id::{Kind, ResourceId};
pub use plan::{Action, Because, Options, Plan, PlanError, Refusal, Step, Unwanted, plan};
pub use schedule::{Schedule, StepState};
pub use schema::{Catalogue, Goes, Resource, Schema};
pub use value::{Json, Ref, Set, Text, UnresolvedRef, references, resolve};
