//! The cluster as this machine's kubelet sees it, with the kubelet's own credentials: what a node may do to itself.
//!
//! A kubelet may cordon its own node, and read, evict and delete the pods that are on it; Kubernetes' node authorizer
//! and NodeRestriction see to it that it may do so to no other. So emptying a machine needs no further secret.

use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_node_config::paths::KUBELET as KUBECONFIG;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::kubernetes::{Identity, KubeError, Kubernetes, MERGE_PATCH};
use super::pods::{Pod, PodList};
use crate::system::System;

/// So many pods are asked for at a time: what answers take in memory is bounded on every machine.
const PAGE: usize = 50;

/// Why the kubelet's view cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeletError {
    /// Its credentials.
    #[error("the kubelet's credentials in {} are unusable: {why}", path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it; nothing of its content.
        why: String,
    },
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] KubeError),
}

/// What became of sending a pod away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It ends, or is gone.
    Yes,
    /// Not now: a disruption budget forbids it, or the API server has too much to do.
    NotNow(String),
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    spec: NodeSpec,
}

#[derive(Default, Deserialize)]
struct NodeSpec {
    #[serde(default)]
    unschedulable: bool,
}

/// This machine's node, as the kubelet.
#[derive(Debug)]
pub struct Kubelet {
    system: System,
    node: String,
    /// The client, and what it was made of: the kubelet renews its certificate now and then.
    kept: Mutex<Option<(Identity, Arc<Kubernetes>)>>,
}

impl Kubelet {
    /// Reads nothing yet. `node` is the name of the machine's node, which is its instance id.
    pub fn new(system: System, node: &str) -> Self {
        Self { system, node: node.to_owned(), kept: Mutex::default() }
    }

    /// Whether nothing new is placed here.
    pub async fn is_cordoned(&self) -> Result<bool, KubeletError> {
        let what = format!("read the node {}", self.node);
        let node: Node = self.client()?.get(&what, &self.path()).await?;
        Ok(node.spec.unschedulable)
    }

    /// Forbids, or allows again, to place pods here.
    pub async fn cordon(&self, on: bool) -> Result<(), KubeletError> {
        let what = format!("{} the node {}", if on { "cordon" } else { "uncordon" }, self.node);
        let patch = json!({"spec": {"unschedulable": on.then_some(true)}});
        Ok(self.client()?.patch(&what, &self.path(), MERGE_PATCH, &patch).await?)
    }

    fn path(&self) -> String {
        format!("/api/v1/nodes/{}", self.node)
    }

    /// All pods that are placed here.
    pub async fn pods(&self) -> Result<Vec<Pod>, KubeletError> {
        let client = self.client()?;
        let mut pods = Vec::new();
        let mut next = String::new();
        loop {
            let go_on = if next.is_empty() { String::new() } else { format!("&continue={next}") };
            let path =
                format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}&limit={PAGE}{go_on}", self.node);
            let PodList { metadata, items } = client.get("list the machine's pods", &path).await?;
            pods.extend(items);
            next = percent_encoding::utf8_percent_encode(&metadata.next, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
            if next.is_empty() {
                return Ok(pods);
            }
        }
    }

    /// Sends a pod away as disruption budgets allow, if it is still the same.
    pub async fn evict(&self, pod: &Pod, grace: Option<i64>) -> Result<Sent, KubeletError> {
        let (path, uid) = (path(pod), &pod.metadata.uid);
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
            "deleteOptions": {"gracePeriodSeconds": grace, "preconditions": {"uid": uid}},
        });
        let what = format!("evict the pod {}", name(pod));
        sent(self.client()?.create(&what, &format!("{path}/eviction"), &eviction).await)
    }

    /// Deletes a pod, whatever forbids to evict it, if it is still the same.
    pub async fn delete(&self, pod: &Pod, grace: i64) -> Result<Sent, KubeletError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": grace,
            "preconditions": {"uid": pod.metadata.uid},
        });
        let what = format!("delete the pod {}", name(pod));
        sent(self.client()?.delete(&what, &path(pod), &options).await)
    }

    /// The client, made anew when the kubelet has new credentials.
    fn client(&self) -> Result<Arc<Kubernetes>, KubeletError> {
        let identity = self.identity()?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*kept
            && *of == identity
        {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Kubernetes::new(&identity)?);
        *kept = Some((identity, Arc::clone(&client)));
        Ok(client)
    }

    fn identity(&self) -> Result<Identity, KubeletError> {
        let text = self.read(KUBECONFIG)?;
        let config = Kubeconfig::parse(&text).map_err(|why| self.unusable(KUBECONFIG, &why))?;
        let Kubeconfig { server, authorities, certificate, key } = config;
        Ok(Identity {
            server,
            authorities: self.text(&authorities)?,
            certificate: self.text(&certificate)?,
            key: Zeroizing::new(self.text(&key)?),
        })
    }

    fn text(&self, part: &Part) -> Result<String, KubeletError> {
        match part {
            Part::File(path) => self.read(path),
            Part::Data(data) => {
                let bytes = STANDARD.decode(data.trim()).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                text.ok_or_else(|| self.unusable(KUBECONFIG, &"a part of it is not base64 of a text"))
            }
        }
    }

    fn read(&self, path: &str) -> Result<String, KubeletError> {
        fs::read_to_string(self.system.path(path)).map_err(|error| self.unusable(path, &error))
    }

    fn unusable(&self, path: &str, why: &dyn Display) -> KubeletError {
        KubeletError::Credentials { path: self.system.path(path), why: why.to_string() }
    }
}

fn path(pod: &Pod) -> String {
    format!("/api/v1/namespaces/{}/pods/{}", pod.metadata.namespace, pod.metadata.name)
}

/// A pod as people name it.
pub fn name(pod: &Pod) -> String {
    format!("{}/{}", pod.metadata.namespace, pod.metadata.name)
}

/// A pod that is gone, or another one of the same name, need not be sent away any more.
fn sent(result: Result<(), KubeError>) -> Result<Sent, KubeletError> {
    match result {
        Ok(()) => Ok(Sent::Yes),
        Err(error) => match (error.status(), error) {
            (Some(404 | 409), _) => Ok(Sent::Yes),
            (Some(429), KubeError::Refused { message, .. }) => Ok(Sent::NotNow(message)),
            (_, error) => Err(error.into()),
        },
    }
}

/// A part of a kubeconfig: in itself, or in a file.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    File(String),
    Data(String),
}

/// What a kubeconfig says of its current context.
#[derive(Debug, PartialEq, Eq)]
struct Kubeconfig {
    server: String,
    authorities: Part,
    certificate: Part,
    key: Part,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "they are Kubernetes' own")]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
}

impl Kubeconfig {
    /// What is wrong is said without anything of the text, which may hold a key.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let Document { current_context, contexts, clusters, users } =
            serde_yaml::from_str(text).map_err(|_| "it is not a kubeconfig")?;
        let context = contexts.into_iter().find(|named| named.name == current_context);
        let Context { cluster, user } = context.ok_or("its current context is not there")?.context;
        let cluster = clusters.into_iter().find(|named| named.name == cluster);
        let Cluster { server, certificate_authority, certificate_authority_data } =
            cluster.ok_or("its cluster is not there")?.cluster;
        let user = users.into_iter().find(|named| named.name == user).ok_or("its user is not there")?.user;
        Ok(Self {
            server,
            authorities: part(certificate_authority, certificate_authority_data)
                .ok_or("it has no authority")?,
            certificate: part(user.client_certificate, user.client_certificate_data)
                .ok_or("it has no client certificate")?,
            key: part(user.client_key, user.client_key_data).ok_or("it has no client key")?,
        })
    }
}

/// Where both are given, the data counts, as for every client of Kubernetes.
fn part(file: Option<String>, data: Option<String>) -> Option<Part> {
    data.map(Part::Data).or(file.map(Part::File))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As kubeadm leaves it behind.
    const KUBELET: &str = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: \
        https://api.internal.example.com:443\n  name: default-cluster\ncontexts:\n- context:\n    cluster: \
        default-cluster\n    namespace: default\n    user: default-auth\n  name: default-context\n\
        current-context: default-context\nkind: Config\nusers:\n- name: default-auth\n  user:\n    \
        client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n    client-key: \
        /var/lib/kubelet/pki/kubelet-client-current.pem\n";

    #[test]
    fn the_kubelets_kubeconfig_is_read() {
        let file = || Part::File("/var/lib/kubelet/pki/kubelet-client-current.pem".to_owned());
        let wanted = Kubeconfig {
            server: "https://api.internal.example.com:443".to_owned(),
            authorities: Part::Data("QQ==".to_owned()),
            certificate: file(),
            key: file(),
        };
        assert_eq!(Kubeconfig::parse(KUBELET).unwrap(), wanted);
    }

    #[test]
    fn what_is_wrong_with_it_is_said_without_its_content() {
        let wrong = |from: &str, to: &str| Kubeconfig::parse(&KUBELET.replace(from, to)).unwrap_err();
        assert_eq!(wrong("apiVersion: v1", "["), "it is not a kubeconfig");
        assert_eq!(
            wrong("current-context: default-context", "current-context: x"),
            "its current context is not there"
        );
        assert_eq!(wrong("name: default-cluster", "name: x"), "its cluster is not there");
        assert_eq!(wrong("- name: default-auth", "- name: x"), "its user is not there");
        assert_eq!(wrong("client-key:", "token:"), "it has no client key");
    }

    #[test]
    fn a_pod_that_is_gone_need_not_be_sent_away() {
        let refused = |status| {
            sent(Err(KubeError::Refused { what: "evict".to_owned(), status, message: "budget".to_owned() }))
        };
        assert_eq!(sent(Ok(())).unwrap(), Sent::Yes);
        assert_eq!(refused(404).unwrap(), Sent::Yes);
        assert_eq!(refused(409).unwrap(), Sent::Yes);
        assert_eq!(refused(429).unwrap(), Sent::NotNow("budget".to_owned()));
        assert!(refused(403).is_err() && refused(500).is_err());
    }
}
