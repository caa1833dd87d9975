//! Local AWS, and local Kubernetes, for demo and tests.
//!
//! [`LocalAws`] is an AWS account on this machine: moto (a Python program, pinned, installed by itself into
//! the cache folder) behind a front of ours that records every call, mends what moto gets wrong, and adds
//! the rules that AWS has and moto lacks. The real kcl binary uses it through `AWS_ENDPOINT_URL`:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let aws = kcl_testkit::LocalAws::shared()?;
//! let status = std::process::Command::new("kcl").args(["get", "clusters"]).envs(aws.env()).status()?;
//! assert!(status.success());
//! assert!(aws.mutating_calls().is_empty(), "a preview changes nothing");
//! assert!(aws.unsupported().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`kubernetes`] is a real Kubernetes API server likewise, and [`imds`] the metadata service of a machine.
//!
//! What AWS does and how each rule does it here is told in the files of `rules`.
//!
//! Nobody has to prove who they are: signatures are not verified, IAM's policies stop no call, and
//! `AssumeRoleWithWebIdentity` looks neither at the token nor at the role's trust. That a call is not signed
//! at all matters to S3 only.

mod audit;
mod call;
mod error;
mod faults;
mod front;
pub mod imds;
mod ingress_stand_in;
pub mod kubernetes;
mod local_aws;
mod moto;
mod redact;
mod releases;
mod rules;
pub mod sweep;
mod upstream;
mod wire;
mod world;
mod xml;

pub use audit::{Audit, Auditor, audit};
pub use call::Call;
pub use error::Error;
pub use faults::{Fault, Halt, Moment, Point, Strikes, When};
pub use ingress_stand_in::IngressStandIn;
pub use local_aws::{FrontConfig, LocalAws};
pub use moto::{Flavour, Moto, cache_folder};
pub use redact::Redactor;
pub use releases::{node_agent_stand_ins, release_server};
pub use rules::{Decision, Gate, Reply, Rule, TargetState};
pub use upstream::Ask;
pub use wire::{Protocol, Request, Response};
pub use world::{Answer, Run, World, example, examples, http, make_record, make_zone, run_without_cloud};
pub use xml::{Edits, Element};
