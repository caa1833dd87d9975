//! What kcl puts into every cluster: one folder per addon, embedded.
//!
//! Pure: a cluster and what was looked up of its account in ([`Inputs`]), Kubernetes objects out
//! ([`Manifest`]). Templates are YAML whose every `{{ value }}` is written as JSON, so that nothing in a spec
//! can break out of the place it is put in. Which addon needs what of AWS is said here too
//! ([`Identity`]): the model gives it to a role of its own or to the machines' role.

use std::collections::BTreeMap;

use kcl_spec::Cluster;
use serde_json::Value;

/// What the objects are made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// `aws`, `aws-cn`...
    pub partition: &'a str,
    /// The account's number.
    pub account: &'a str,
    /// ARNs of the roles that service accounts assume, by namespace and name; none for one that has none.
    pub roles: &'a BTreeMap<(String, String), String>,
    /// All IPv4 ranges of the VPC.
    pub vpc_cidrs: &'a [String],
    /// The hosted zones that names of the cluster lie in, by id.
    pub zones: &'a [String],
    /// The interruption queue's name; `None`: there is none.
    pub queue: Option<&'a str>,
}

/// The objects of one addon.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The addon: its folder's name.
    pub addon: String,
    /// Its objects, each with `apiVersion`, `kind` and `metadata.name`.
    pub objects: Vec<Value>,
}

/// Who an addon is to AWS, where it is anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The namespace of its service account.
    pub namespace: &'static str,
    /// The service account.
    pub service_account: &'static str,
    /// What it may do: statements of an IAM policy.
    pub statements: Vec<Value>,
}

/// The manifests of every addon that `inputs` asks for.
pub fn render(inputs: &Inputs<'_>) -> Result<Vec<Manifest>, Error> {
    let _ = inputs;
    Ok(Vec::new())
}

/// Who the addons that `inputs` asks for are to AWS. Reads everything of it but `roles`.
pub fn identities(inputs: &Inputs<'_>) -> Vec<Identity> {
    let _ = inputs;
    Vec::new()
}

/// Why an addon cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster's version lacks what the addon is made of.
    #[error("{what} needs Kubernetes {needed} or newer, and the cluster has {version}")]
    Version {
        /// What is wanted.
        what: &'static str,
        /// The first version that has it: `1.36`.
        needed: &'static str,
        /// The cluster's.
        version: String,
    },
    /// A template of kcl is wrong.
    #[error("the template {template} cannot be rendered: {reason}")]
    Template {
        /// Its path in `manifests/`.
        template: String,
        /// Why.
        reason: String,
    },
}
