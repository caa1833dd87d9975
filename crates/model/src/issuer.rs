//! The cluster's service-account issuer: its URL, and who trusts it.

use kcl_spec::cluster::{Cluster, ServiceAccountIssuer};

use crate::error::ModelError;
use crate::facts::Facts;
use crate::names;

/// The audience of the tokens that pods show to AWS.
pub const TOKEN_AUDIENCE: &str = "amazonaws.com";

/// Thumbprints of the authorities that sign S3's certificates. IAM trusts these by itself and no longer looks
/// at the thumbprints of S3 hosts, but its API still wants some.
pub const DEFAULT_THUMBPRINTS: [&str; 2] =
    ["9e99a48a9960b14926bb7f3b02e22da2b0ab7280", "a9d53002e97e00e043244f3d170d6f4c414104fd"];

/// The issuer's URL, without a slash at its end: where its documents can be read by anyone.
pub fn issuer_url(
    cluster: &Cluster,
    issuer: &ServiceAccountIssuer,
    facts: &Facts,
) -> Result<String, ModelError> {
    let url = match &issuer.bucket {
        Some(bucket) => {
            let region = facts.issuer_region.as_deref().unwrap_or(&cluster.region);
            let host = format!("https://{}.s3.{region}.{}", bucket.name, facts.dns_suffix());
            format!("{host}/{}", bucket.prefix)
        }
        // Stand-ins for a store that some web server publishes: the host and path are its own.
        None => match issuer.discovery_store.split_once("://") {
            Some(("memfs" | "https", rest)) if !rest.is_empty() => format!("https://{rest}"),
            _ => return Err(ModelError::DiscoveryStore { store: issuer.discovery_store.clone() }),
        },
    };
    Ok(url.trim_end_matches('/').to_owned())
}

/// The ARN of the role of a service account: what its annotation `eks.amazonaws.com/role-arn` says.
pub(crate) fn service_account_role_arn(
    cluster: &Cluster,
    facts: &Facts,
    account: &str,
    namespace: &str,
) -> String {
    let role = names::service_account_role(account, namespace, &cluster.name);
    format!("arn:{}:iam::{}:role/{role}", facts.partition, facts.account)
}
