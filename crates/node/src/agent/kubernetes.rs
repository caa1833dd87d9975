//! Kubernetes' API server, as far as the agent asks it: plain requests over TLS with a client certificate.

use std::time::Duration;

use kcl_http::{Http, HttpError, Options, Tls, TlsError, request};
use kcl_join::status_message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

/// An API server that is well answers in tenths of a second; beyond this it is asked anew.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer: fifty pods have some hundred kilobytes, a Node lists its images.
const LARGEST: usize = 4 << 20;

/// A patch that names the fields that change (RFC 7386).
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// A patch that names all fields that one wants.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Who is said to have applied, or to have changed something.
pub(super) const FIELD_MANAGER: &str = "kcl-node";

const JSON: &str = "application/json";

/// A list's objects without anything but their metadata.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Why the API server did not do as it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubeError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No answer.
    #[error("failed to {what}")]
    Http {
        /// What was tried.
        what: String,
        /// Why.
        source: HttpError,
    },
    /// It says no.
    #[error("the API server does not {what}: {message} (HTTP {status})")]
    Refused {
        /// What was tried.
        what: String,
        /// HTTP status.
        status: u16,
        /// Its reason.
        message: String,
    },
    /// Its answer is something else than it should be.
    #[error("failed to {what}: the answer cannot be read")]
    Unreadable {
        /// What was tried.
        what: String,
    },
}

impl KubeError {
    /// HTTP status, if it answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct MetadataList {
    metadata: ListMetadata,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    go_on: String,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMetadata,
}

#[derive(Deserialize)]
struct ItemMetadata {
    name: String,
}

/// Who asks, and whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// `https://host:port`.
    pub server: String,
    /// The cluster's authorities (PEM).
    pub authorities: String,
    /// The client's certificate (PEM).
    pub certificate: String,
    /// Its private key (PEM).
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("server", &self.server).finish_non_exhaustive()
    }
}

/// An API server, asked as somebody.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    http: Http,
    server: String,
}

impl Kubernetes {
    /// Asks nobody yet.
    pub fn new(identity: &Identity) -> Result<Self, KubeError> {
        let Identity { server, authorities, certificate, key } = identity;
        let tls = Tls::of_cluster(authorities, Some((certificate, key)))?;
        Ok(Self { http: Http::new(tls, Options::default()), server: server.trim_end_matches('/').to_owned() })
    }

    /// Reads an object or a list; `what` says in errors what is tried: `read the node i-1`.
    pub async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, KubeError> {
        let body = self.send(what, "GET", path, (JSON, JSON), Vec::new()).await?;
        serde_json::from_slice(&body).map_err(|_| KubeError::Unreadable { what: what.to_owned() })
    }

    /// The names of the objects of a list, and where its next page begins, if there is one. Nothing of the objects is
    /// sent but their metadata ("Metadata-only fetches" in the documentation of Kubernetes' API).
    pub async fn names(&self, what: &str, path: &str) -> Result<(Vec<String>, Option<String>), KubeError> {
        let body = self.send(what, "GET", path, (METADATA, JSON), Vec::new()).await?;
        let list: MetadataList =
            serde_json::from_slice(&body).map_err(|_| KubeError::Unreadable { what: what.to_owned() })?;
        let next = Some(list.metadata.go_on).filter(|next| !next.is_empty());
        Ok((list.items.into_iter().map(|item| item.metadata.name).collect(), next))
    }

    /// Makes an object.
    pub async fn create(&self, what: &str, path: &str, object: &Value) -> Result<(), KubeError> {
        self.send(what, "POST", path, (JSON, JSON), object.to_string().into_bytes()).await.map(drop)
    }

    /// Changes an object by a patch of a kind: [`MERGE_PATCH`], [`APPLY_PATCH`].
    pub async fn patch(
        &self,
        what: &str,
        path: &str,
        kind: &'static str,
        fields: &Value,
    ) -> Result<(), KubeError> {
        self.send(what, "PATCH", path, (JSON, kind), fields.to_string().into_bytes()).await.map(drop)
    }

    /// Deletes an object.
    pub async fn delete(&self, what: &str, path: &str, options: &Value) -> Result<(), KubeError> {
        self.send(what, "DELETE", path, (JSON, JSON), options.to_string().into_bytes()).await.map(drop)
    }

    async fn send(
        &self,
        what: &str,
        method: &str,
        path: &str,
        (accept, kind): (&'static str, &'static str),
        body: Vec<u8>,
    ) -> Result<Vec<u8>, KubeError> {
        let http = |source| KubeError::Http { what: what.to_owned(), source };
        let headers = [("accept", accept), ("content-type", kind), ("user-agent", "kcl-node")];
        let request = request(method, &format!("{}{path}", self.server), &headers, body).map_err(http)?;
        let answer = self.http.send_bounded(request, LARGEST, TIMEOUT).await.map_err(http)?;
        if answer.status.is_success() {
            return Ok(answer.body.into());
        }
        let message = status_message(&answer.body);
        Err(KubeError::Refused { what: what.to_owned(), status: answer.status.as_u16(), message })
    }
}
