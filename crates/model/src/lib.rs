//! Cluster in, wanted resources out.
//!
//! Pure: what must be looked up in the cloud first (account, AMIs, hosted zones...) is an argument
//! ([`Facts`]; [`needed`] says which of it a cluster needs), and nothing here talks to AWS. [`resource`] has
//! the type of each resource kind, shared by what is wanted (built here) and what is live (read by
//! `kcl-aws`). Names, tags, rules and attributes are those kOps gives the same spec, so that what people
//! know, and what other tools look for, holds here too.
//!
//! One file per concern: network, security (groups and rules), keys, identity (roles, profiles, OIDC provider),
//! control plane (etcd volumes, API load balancer), machines (what they are told, and run), nodes (launch templates and groups of every role),
//! bastion, ingress, dns, events; and [`kubernetes`], the objects that the cluster itself holds. None of them reads what another one built: each takes the cluster.

mod addresses;
mod bastion;
mod builder;
mod control_plane;
mod dns;
mod error;
mod events;
mod facts;
mod identity;
mod ingress;
mod instance_store;
mod issuer;
mod keys;
pub mod kubernetes;
mod load_balancing;
mod machines;
pub mod names;
mod network;
mod nodes;
mod permissions;
pub mod policy;
pub mod resource;
mod security;
mod service_accounts;
mod ssh_key;
mod state;
mod statements;
mod tags;
#[cfg(test)]
mod tests;
mod user_data;

use kcl_engine::Wanted;
use kcl_spec::cluster::Cluster;

pub use addresses::{api_load_balancer, api_url, ingress_load_balancer, load_balancers, own_api_url};
pub use control_plane::MAIN as MAIN_ETCD;
pub use dns::kept_by_machines;
pub use error::{ModelError, Warning};
pub use facts::{Facts, HostedZone, ImageFacts, Needs, StoreLocation, SubnetFacts, VpcFacts, needed};
pub use issuer::{DEFAULT_THUMBPRINTS, TOKEN_AUDIENCE, issuer_url};
pub use kcl_manifests::ROLE_ANNOTATION;
pub use state::{BUCKET_KIND, Documents, NewBucket, add_state};

use builder::Builder;

/// What a cluster is made of, and what its owner should know about it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Model {
    /// The wanted resources.
    pub wanted: Wanted,
    /// What the spec asks for and does not get, or gets otherwise than it may expect.
    pub warnings: Vec<Warning>,
}

/// The wanted resources of `cluster`. The same arguments always give the same model.
pub fn build(cluster: &Cluster, facts: &Facts) -> Result<Model, ModelError> {
    let mut builder = Builder::new(cluster, facts);
    network::add(&mut builder)?;
    security::add(&mut builder)?;
    keys::add(&mut builder)?;
    identity::add(&mut builder)?;
    control_plane::add(&mut builder)?;
    bastion::add(&mut builder)?;
    ingress::add(&mut builder)?;
    dns::add(&mut builder)?;
    events::add(&mut builder)?;
    machines::add(&mut builder)?;
    nodes::add(&mut builder)?;
    Ok(builder.finish())
}
