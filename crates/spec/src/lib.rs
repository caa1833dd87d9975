//! The cluster spec: text to [`Spec`] to [`Cluster`].
//!
//! [`parse`] reads documents and keeps the line of every value; [`validate`] judges them, fills in
//! the defaults and gives the [`Cluster`] that the model crate builds on, plus warnings. [`load`]
//! does both and reports the mistakes of both at once. [`complete`] writes the spec as its defaults
//! make it, [`parts`] takes it apart for the state store, and [`json_schema`] describes the documents
//! to editors.
//!
//! The format is kOps' `kops.k8s.io/v1alpha2`, and kcl's own `kcl.dev/v1alpha1` for what kOps has no
//! word for. Nothing is dropped in silence: an unknown field is an error, a field that nothing
//! follows from yet is a warning, each with its line.
//!
//! This crate does no IO and knows no AWS: what only the cloud can tell (whether a zone exists, what
//! an image's id is) is not looked at here.

pub mod cluster;
mod complete;
mod diagnostic;
mod document;
mod emit;
mod json_schema;
mod machine_types;
mod node;
mod parts;
mod read;
mod redact;
pub mod schema;
mod source;
mod suggest;
mod validate;
mod write;

pub use cluster::Cluster;
pub use complete::complete;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use document::{Body, Document, KCL_API, KOPS_API, Spec, parse};
pub use json_schema::json_schema;
pub use parts::parts;
pub use read::{Anything, Dict, List, Scalar};
pub use redact::redact;
pub use source::{Located, Place, Source};
pub use validate::{Loaded, Validated, is_cluster_name, load, load_with_objects, validate, web_server};
