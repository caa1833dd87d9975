//! What the service needs of Kubernetes: one Secret per instance, and whether a node is there.
//!
//! [`Kubernetes`] is that need, [`ApiServer`] meets it with plain HTTPS requests and a client certificate.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use kcl_http::{Endpoint, Http, Options, Tls, TlsError, chain, request};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use crate::aws::TIMEOUT;

/// The roles that the service needs, and their bindings to the user `kcl:join-service` (YAML, to be applied).
pub const RBAC: &str = include_str!("../rbac.yaml");

/// The largest answer that is read: a Node lists its images, which takes some ten kilobytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// The longest message that is repeated, in characters.
const MAX_MESSAGE: usize = 300;

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was made.
    Done,
    /// Somebody else was faster; nothing was changed.
    Conflict,
}

/// Why Kubernetes did not answer as it should.
#[derive(Debug, Error)]
#[error("failed to {what}: {why}")]
pub struct KubernetesError {
    /// What was tried.
    pub what: String,
    /// What happened.
    pub why: String,
}

/// An object's name and marks, as far as they are needed here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Which object of that name it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Which version of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A Secret of `kube-system`. Its data is not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Name and marks.
    pub metadata: Metadata,
    /// Its type.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Base64 by key.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Node {
    /// Name and marks.
    pub metadata: Metadata,
    /// What it is.
    #[serde(default)]
    pub spec: NodeSpec,
}

/// What a node is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct NodeSpec {
    /// `aws:///<zone>/<instance id>`, once a cloud controller has seen it.
    #[serde(default, rename = "providerID")]
    pub provider_id: String,
}

/// What the service needs of Kubernetes.
pub trait Kubernetes: Send + Sync + 'static {
    /// A Secret of `kube-system`, if it is there.
    fn secret(&self, name: &str) -> impl Future<Output = Result<Option<Secret>, KubernetesError>> + Send;

    /// Makes one; a conflict if one of that name is there.
    fn create(&self, secret: &Secret) -> impl Future<Output = Result<Written, KubernetesError>> + Send;

    /// Replaces one; a conflict unless it is still of the version that was read.
    fn replace(&self, secret: &Secret) -> impl Future<Output = Result<Written, KubernetesError>> + Send;

    /// Deletes one; a conflict unless it is still of the version that was read.
    fn delete(&self, secret: &Secret) -> impl Future<Output = Result<Written, KubernetesError>> + Send;

    /// A node, if it is there.
    fn node(&self, name: &str) -> impl Future<Output = Result<Option<Node>, KubernetesError>> + Send;
}

/// How an API server is reached.
#[derive(Clone)]
pub struct ApiServerConfig {
    /// `https://host:port`.
    pub url: String,
    /// The cluster's authorities (PEM).
    pub ca_pem: String,
    /// A client certificate (PEM) of a user with the rights of [`RBAC`] or more.
    pub certificate_pem: String,
    /// Its private key (PEM).
    pub key_pem: String,
}

/// An API server.
#[derive(Clone)]
pub struct ApiServer {
    http: Http,
    base: String,
}

impl ApiServer {
    /// Connects to nothing yet.
    pub fn new(config: &ApiServerConfig) -> Result<Self, TlsError> {
        let ApiServerConfig { url, ca_pem, certificate_pem, key_pem } = config;
        let endpoint = Endpoint::parse(url).ok().filter(|endpoint| !endpoint.is_plain());
        let endpoint = endpoint.ok_or_else(|| TlsError::Pem {
            what: "the API server's address",
            why: "it is not `https://` with a host and a port".to_owned(),
        })?;
        let tls = Tls::of_cluster(ca_pem, Some((certificate_pem, key_pem)))?;
        Ok(Self { http: Http::new(tls, Options::default()), base: endpoint.base().to_owned() })
    }

    async fn send(
        &self,
        what: impl Fn() -> String,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), KubernetesError> {
        let failed = |why: String| KubernetesError { what: what(), why };
        let url = format!("{}{path}", self.base);
        let request = request(method.as_str(), &url, &[("content-type", "application/json")], body)
            .map_err(|_| failed("its name cannot stand in a path".to_owned()))?;
        let reply = self.http.send_bounded(request, MAX_ANSWER, TIMEOUT).await;
        let reply = reply.map_err(|error| failed(chain(&error)))?;
        match reply.status {
            status if status.is_success() => Ok((status, reply.body)),
            status @ (StatusCode::NOT_FOUND | StatusCode::CONFLICT) => Ok((status, reply.body)),
            status => Err(failed(format!("{status} {}", status_message(&reply.body)))),
        }
    }

    async fn get<T: for<'de> Deserialize<'de>>(
        &self,
        what: String,
        path: &str,
    ) -> Result<Option<T>, KubernetesError> {
        let (status, body) = self.send(|| what.clone(), Method::GET, path, Vec::new()).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        // The error of a Secret that cannot be read may repeat a part of it.
        let read = serde_json::from_slice(&body);
        read.map(Some).map_err(|_| KubernetesError { what, why: "its answer cannot be read".to_owned() })
    }

    async fn change(
        &self,
        verb: &str,
        secret: &Secret,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Written, KubernetesError> {
        let what = || format!("{verb} the secret {}", secret.metadata.name);
        let (status, _) = self.send(what, method, path, body).await?;
        // What is gone was deleted by somebody else.
        Ok(if status.is_success() { Written::Done } else { Written::Conflict })
    }
}

impl Kubernetes for ApiServer {
    async fn secret(&self, name: &str) -> Result<Option<Secret>, KubernetesError> {
        self.get(format!("read the secret {name}"), &format!("{SECRETS}/{name}")).await
    }

    async fn create(&self, secret: &Secret) -> Result<Written, KubernetesError> {
        self.change("create", secret, Method::POST, SECRETS, object(secret)).await
    }

    async fn replace(&self, secret: &Secret) -> Result<Written, KubernetesError> {
        let path = format!("{SECRETS}/{}", secret.metadata.name);
        self.change("replace", secret, Method::PUT, &path, object(secret)).await
    }

    async fn delete(&self, secret: &Secret) -> Result<Written, KubernetesError> {
        let Metadata { name, uid, resource_version, .. } = &secret.metadata;
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version}
        });
        let path = format!("{SECRETS}/{name}");
        self.change("delete", secret, Method::DELETE, &path, options.to_string().into_bytes()).await
    }

    async fn node(&self, name: &str) -> Result<Option<Node>, KubernetesError> {
        self.get(format!("read the node {name}"), &format!("/api/v1/nodes/{name}")).await
    }
}

/// A Secret as the API server takes it.
fn object(secret: &Secret) -> Vec<u8> {
    let Secret { metadata, kind, data } = secret;
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": data})
        .to_string()
        .into_bytes()
}

/// What the Status object says that an API server refuses with, in one short line.
pub fn status_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let said = serde_json::from_slice(body).map_or_else(|_| String::new(), |status: Status| status.message);
    let said = if said.is_empty() { "no reason given".to_owned() } else { said };
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect()
}
