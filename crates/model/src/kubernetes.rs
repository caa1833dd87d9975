//! What the cluster is to hold.

use kcl_manifests::Manifest;
use kcl_spec::cluster::Cluster;

use crate::facts::Facts;

/// Origin of objects that stand in the spec.
pub const SPEC_ORIGIN: &str = "spec";

/// Everything the cluster is to hold.
pub fn objects(cluster: &Cluster, facts: &Facts) -> Result<Vec<Manifest>, kcl_manifests::Error> {
    let _ = facts;
    let objects = crate::service_accounts(cluster, facts);
    Ok(vec![Manifest { addon: SPEC_ORIGIN.to_owned(), objects }])
}
