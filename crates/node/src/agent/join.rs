//! The join service of this control-plane machine, with the API server's own certificate.
//!
//! It asks the API server of this machine, as a user of its own with the few rights of [`kcl_join::RBAC`]; those
//! are applied first. Certificates are looked at now and then: when they were renewed ([`super::renew`]), or the service's
//! own is half over, the service begins anew on the same port while what was begun is ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kcl_join::{ApiServer, ApiServerConfig, Limits, RBAC, Server, ServerTls, Service, ServiceConfig};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::certificate::{
    self, API_SERVER_CERTIFICATE, API_SERVER_KEY, CA_CERTIFICATE, CertificateError,
};
use super::kubernetes::{APPLY_PATCH, KubeError, Kubernetes};
use super::supervise::{Failure, Said};
use crate::system::System;

/// The user that the rights are bound to.
const USER: &str = "kcl:join-service";

/// How long the service's own certificate is good; it is renewed when half of that is over.
const VALIDITY: Duration = Duration::from_hours(24);

/// Applying takes seconds. The group is the one that needs no binding, so it works in a cluster whose bindings do
/// not.
const ADMIN: (&str, &str) = ("kcl:node-agent", "system:masters");
const ADMIN_VALIDITY: Duration = Duration::from_mins(10);

/// Who is said to have applied.
const FIELD_MANAGER: &str = "kcl-node";

/// What the service is served with.
#[derive(Clone)]
pub struct JoinSettings {
    /// Whom it lets in, and whom it asks.
    pub service: ServiceConfig,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The API server of this machine: `https://address:port`.
    pub server: String,
    /// How often the certificates are looked at.
    pub reload_every: Duration,
}

/// The rights' object, as far as its path needs it.
#[derive(Deserialize)]
struct Object {
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

/// Why the rights are not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RightsError {
    /// No certificate for it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The API server does not.
    #[error(transparent)]
    Kubernetes(#[from] KubeError),
    /// The text is none of RBAC.
    #[error("the rights of the join service cannot be read: {0}")]
    Text(String),
}

/// Gives the service's user its rights.
pub async fn apply_rights(system: &System, server: &str) -> Result<(), RightsError> {
    let (user, group) = ADMIN;
    let validity = time::Duration::try_from(ADMIN_VALIDITY).unwrap_or(time::Duration::MINUTE);
    let admin = Kubernetes::new(&certificate::user(system, server, user, Some(group), validity)?)?;
    for (path, object) in rights().map_err(RightsError::Text)? {
        let what = format!("apply {}", path.rsplit_once('/').map_or("", |(path, _)| path));
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        admin.patch(&what, &path, APPLY_PATCH, &object).await?;
    }
    Ok(())
}

/// The objects of the rights with their paths.
fn rights() -> Result<Vec<(String, Value)>, String> {
    let documents = RBAC.split("\n---\n");
    documents
        .map(|text| {
            let value: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
            let Object { kind, metadata } =
                serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
            let namespace = metadata.namespace.map(|name| format!("namespaces/{name}/")).unwrap_or_default();
            let plural = format!("{}s", kind.to_ascii_lowercase());
            let path = format!("/apis/rbac.authorization.k8s.io/v1/{namespace}{plural}/{}", metadata.name);
            Ok((path, value))
        })
        .collect()
}

/// What a generation of the service is made of.
#[derive(PartialEq)]
struct Files {
    authorities: Zeroizing<String>,
    certificate: Zeroizing<String>,
    key: Zeroizing<String>,
}

impl Files {
    fn read(system: &System) -> Result<Self, CertificateError> {
        Ok(Self {
            authorities: certificate::read(system, CA_CERTIFICATE)?,
            certificate: certificate::read(system, API_SERVER_CERTIFICATE)?,
            key: certificate::read(system, API_SERVER_KEY)?,
        })
    }
}

/// Serves for ever; `well` is called whenever the service is up.
pub async fn serve(
    system: System,
    settings: JoinSettings,
    well: Arc<dyn Fn() + Send + Sync>,
) -> Result<Infallible, Failure> {
    apply_rights(&system, &settings.server).await?;
    let JoinSettings { service, listen, server, reload_every } = settings;
    let listener = std::net::TcpListener::bind(listen)
        .map_err(|error| Said(format!("the join service cannot listen on {listen}: {error}")))?;
    listener.set_nonblocking(true)?;
    let mut serving = JoinSet::new();
    loop {
        let files = Files::read(&system)?;
        let own = certificate::user(&system, &server, USER, None, time::Duration::try_from(VALIDITY)?)?;
        let renew = Instant::now() + VALIDITY / 2;
        let api_server = ApiServer::new(&ApiServerConfig {
            url: server.clone(),
            ca_pem: own.authorities,
            certificate_pem: own.certificate,
            key_pem: own.key.to_string(),
        })?;
        let service = Service::new(service.clone(), api_server)?;
        let tls = ServerTls::new(&files.certificate, &files.key)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        serving.spawn(Server::new(service, tls, Limits::default()).serve(listener, async {
            // A sender that is gone means the same.
            drop(stopped.await);
        }));
        well();
        loop {
            tokio::time::sleep(reload_every).await;
            while serving.try_join_next().is_some() {}
            if serving.is_empty() {
                return Err(Said("the join service ended".to_owned()).into());
            }
            // Files that are being written are read again the next time.
            let changed = Files::read(&system).is_ok_and(|now| now != files && is_pair(&now));
            if changed || Instant::now() >= renew {
                break;
            }
        }
        drop(stop);
    }
}

/// Whether certificate and key go together: both are renewed, one after the other.
fn is_pair(files: &Files) -> bool {
    ServerTls::new(&files.certificate, &files.key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rights_have_their_paths() {
        let paths: Vec<String> = rights().unwrap().into_iter().map(|(path, _)| path).collect();
        let base = "/apis/rbac.authorization.k8s.io/v1";
        let wanted = [
            "namespaces/kube-system/roles",
            "namespaces/kube-system/rolebindings",
            "clusterroles",
            "clusterrolebindings",
        ];
        assert_eq!(paths, wanted.map(|kind| format!("{base}/{kind}/kcl:join-service")));
    }
}
