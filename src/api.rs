//! How the cluster's API server is reached: by an address and the cluster's own keys, or by a kubeconfig.

use kcl_aws::store::{Store, keysets};
use kcl_kube::{Access, ClusterAccess};
use kcl_pki::{Issued, Keyset, KeysetName, Profile, SystemEntropy};
use time::OffsetDateTime;

use crate::cli::Ways;
use crate::error::CommandError;

/// What kubeadm binds to cluster-admin: RBAC can take it away again, unlike `system:masters`.
pub(crate) const ADMINS: &str = "kubeadm:cluster-admins";

/// How long the certificate is good for that one run of kcl signs for itself: longer than any bootstrap takes.
const OWN_VALIDITY: time::Duration = time::Duration::hours(12);

/// How to reach the API server of the cluster `name`, whose own address is `own_url`. `None`: it has no address or no
/// keys yet.
pub(crate) async fn access(
    ways: &Ways,
    store: &dyn Store,
    name: &str,
    own_url: Option<String>,
) -> Result<Option<Access>, CommandError> {
    if let Some(path) = &ways.kubeconfig {
        return Ok(Some(Access::Kubeconfig { path: path.clone() }));
    }
    let Some(server) = ways.api_server.clone().or(own_url) else { return Ok(None) };
    let published = keysets::published(store, name).await?;
    let Some(authority) = published.get(&KeysetName::KubernetesCa) else { return Ok(None) };
    let signing = keysets::with_primary_key(store, name, authority.clone()).await.map_err(|error| {
        CommandError::from(error)
            .hint("--kubeconfig FILE does without that key, --skip-bootstrap without Kubernetes")
    })?;
    let issued = admin_certificate(&signing, ADMINS, OWN_VALIDITY)?;
    Ok(Some(Access::Cluster(ClusterAccess {
        server,
        authority_pem: authority.trust_bundle(),
        private_key: issued.private_key.to_pem(),
        certificate_pem: issued.certificate_pem,
    })))
}

/// A certificate of `group` for whoever runs kcl.
pub(crate) fn admin_certificate(
    authority: &Keyset,
    group: &str,
    validity: time::Duration,
) -> Result<Issued, CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::failed(error.to_string());
    let profile = Profile::ApiClient { user: format!("kcl:{}", user()), group: Some(group.to_owned()) };
    let authority = authority.authority(OffsetDateTime::now_utc()).map_err(|error| failed(&error))?;
    authority.issue(&profile, validity, &mut SystemEntropy).map_err(|error| failed(&error))
}

fn user() -> String {
    let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "admin".to_owned())
}
