//! Kubernetes: what is wanted in a cluster, compared with what is there, applied, and waited for.
//!
//! Sole user of the `kube` crate. The way through it:
//!
//! 1. [`Connection::open`] and [`Connection::version`] (or [`Connection::wait_ready`]),
//! 2. [`plan()`]: what would change, asked of the server with dry runs, as data without secrets,
//! 3. [`apply()`]: does what the plan says, in phases, and keeps the list of what it applied,
//! 4. [`wait()`]: until what was applied works, or why it does not,
//! 5. [`nodes`], [`unready_workloads`] and [`system_pods`]: how the cluster is.
//!
//! It prints nothing, reads no environment, and keeps nothing on disk; [`Event`]s tell what happens.

mod apply;
mod applyset;
mod connect;
mod diagnose;
mod diff;
mod discovery;
mod error;
mod event;
mod health;
mod object;
mod ownership;
mod plan;
mod probe;
mod prune;
mod remote;
mod replace;
mod request;
mod retry;
mod wait;

pub use apply::{Applied, Hook, Outcome, apply};
pub use connect::{Access, ClusterAccess, Connection, Guard, Requests, SERVER_NAME, Version};
pub use error::{Cause, Error, ErrorKind, FieldFault, Forbidden, ObjectError, Refused, WantedFault};
pub use event::{Event, Observer};
pub use health::{Node, UnhealthyPod, nodes, service_host, system_pods, unready_workloads};
pub use object::{ObjectRef, Phase, Wanted};
pub use plan::{
    Action, Conflict, Fate, FieldChange, Plan, PlanOptions, PlannedObject, Unwanted, check, plan,
};
pub use probe::http_answers;
pub use remote::{RemoteError, fetch_manifest};
pub use wait::{Awaited, Probe, Unready, WaitOptions, wait, wait_until_mutated};
