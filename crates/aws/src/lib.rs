//! AWS: the only crate that speaks to it.
//!
//! One file per resource kind in `kind` (observe, create, update, delete), what has to be looked up before a
//! cluster can be modelled ([`lookup`]), reading everything a cluster has ([`observe()`]), running single steps
//! of a plan (`Aws` is the [`kcl_apply::Provider`]), the state stores ([`store`]), and what all of this must be
//! allowed ([`policy`]).

mod blockers;
mod busy;
mod client;
pub mod discovery;
mod ec2;
mod elb;
mod error;
mod fresh;
mod guard;
pub mod health;
mod iam;
mod kind;
pub mod lookup;
mod named;
mod observe;
mod others;
mod permission;
pub mod policy;
mod provider;
mod refusals;
mod regional;
pub mod store;
mod tags;
#[cfg(test)]
mod testing;
mod wait;

pub use client::{Aws, Settings};
pub use error::{Error, ErrorKind, is_about_time};
pub use observe::{Depth, Scope, is_regional, observe, protections};
