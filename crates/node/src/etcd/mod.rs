//! etcd, by the JSON gateway of a member: who is in the cluster, how it does, and snapshots of it.
//!
//! One client asks one member: an answer is that member's own. gRPC would be most of this program. What etcd's
//! protocol calls an `int64` is a string in its JSON ("gRPC gateway" in etcd's documentation).

mod error;
mod snapshot;
mod wire;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;
use kcl_http::{Answer, Body, Http, Options, Tls, request};
use kcl_node_config::paths;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;

pub use error::EtcdError;
pub use snapshot::Snapshot;
pub use wire::{Member, Status};

use crate::system::System;

/// The member of this machine, as kubeadm has it listen.
pub const LOCAL: &str = "https://127.0.0.1:2379";

/// etcd itself gives up on what finds no quorum after seven seconds at most.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who is healthy says so at once; who is alone tries for as long as it is let.
const HEALTH: Duration = Duration::from_secs(3);

/// How long a connection may take: to this machine or one of the same VPC.
const CONNECT: Duration = Duration::from_secs(3);

/// Where kubeadm has the keys of etcd's clients: those of the liveness probe and of the API server. Both may do
/// everything: etcd knows no lesser ones here.
const CLIENTS: [&str; 2] = ["etcd/healthcheck-client", "apiserver-etcd-client"];

/// The client URL of the member on a machine.
pub fn client_url(address: std::net::IpAddr) -> String {
    format!("https://{}", std::net::SocketAddr::new(address, 2379))
}

/// The peer URL of the member on a machine.
pub fn peer_url(address: std::net::IpAddr) -> String {
    format!("https://{}", std::net::SocketAddr::new(address, 2380))
}

/// Whether anybody listens at `https://ADDRESS:PORT` at all: nobody does once the member there has ended.
pub async fn listens(endpoint: &str) -> bool {
    let address = endpoint.rsplit("://").next().unwrap_or_default().trim_end_matches('/');
    matches!(tokio::time::timeout(CONNECT, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// The id of a member, which etcd shows in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// The id of a cluster, likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A client of one member. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Etcd {
    http: Http,
    endpoint: String,
}

impl Etcd {
    /// A client of the member at `https://ADDRESS:PORT`. `authorities`, the client's certificate and its key are PEM.
    pub fn new(endpoint: &str, authorities: &str, identity: (&str, &str)) -> Result<Self, EtcdError> {
        let tls = Tls::of_cluster(authorities, Some(identity))?;
        let options = Options { connect_timeout: CONNECT, plain: false };
        Ok(Self { http: Http::new(tls, options), endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    /// Likewise, with the keys that kubeadm has on a machine of the control plane.
    pub fn with_keys_of(system: &System, endpoint: &str) -> Result<Self, EtcdError> {
        let file = |name: &str| system.path(&format!("{}/{name}", paths::PKI));
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(source) => Err(EtcdError::File { what: "read", path, source }),
        };
        let [probe, api_server] = CLIENTS;
        let client = if file(&format!("{probe}.crt")).exists() { probe } else { api_server };
        let authorities = read(file("etcd/ca.crt"))?;
        let certificate = read(file(&format!("{client}.crt")))?;
        let key = read(file(&format!("{client}.key")))?;
        Self::new(endpoint, &authorities, (&certificate, &key))
    }

    /// A client of another member, with the same keys.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self { http: self.http.clone(), endpoint: endpoint.trim_end_matches('/').to_owned() }
    }

    /// Whom it asks.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How the member does. It answers without the others, once it has been in the cluster.
    pub async fn status(&self) -> Result<Status, EtcdError> {
        self.call("tell its status", "maintenance/status", &json!({})).await
    }

    /// Everybody in the cluster, as the majority knows it.
    pub async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        let ask = json!({"linearizable": true});
        let found: wire::Members = self.call("list the members", "cluster/member/list", &ask).await?;
        Ok(found.members)
    }

    /// Says where a member is reached by the others now.
    pub async fn update_member(&self, id: MemberId, peer_url: &str) -> Result<(), EtcdError> {
        let ask = json!({"ID": id.0.to_string(), "peerURLs": [peer_url]});
        let _: Value = self.call("update a member", "cluster/member/update", &ask).await?;
        Ok(())
    }

    /// Takes a member out of the cluster, for ever.
    pub async fn remove_member(&self, id: MemberId) -> Result<(), EtcdError> {
        let _: Value = self.call("remove a member", "cluster/member/remove", &by_id(id)).await?;
        Ok(())
    }

    /// Gives a learner its vote.
    pub async fn promote_member(&self, id: MemberId) -> Result<(), EtcdError> {
        let _: Value = self.call("promote a member", "cluster/member/promote", &by_id(id)).await?;
        Ok(())
    }

    /// Whether the member can read what the majority agrees on: the cluster works, seen from it.
    pub async fn is_healthy(&self) -> Result<bool, EtcdError> {
        const WHAT: &str = "tell its health";
        let answer = self.send(WHAT, "GET", "/health", Body::empty(), HEALTH).await?;
        let health: wire::Health = self.read(WHAT, &answer)?;
        Ok(answer.status == StatusCode::OK && health.health == "true")
    }

    /// Whether anybody listens there at all ([`listens`]).
    pub async fn listens(&self) -> bool {
        listens(&self.endpoint).await
    }

    /// Asks a method of the gateway, `kv/range` for example.
    pub async fn call<T: DeserializeOwned>(
        &self,
        what: &'static str,
        method: &str,
        ask: &Value,
    ) -> Result<T, EtcdError> {
        let body = ask.to_string().into();
        let answer = self.send(what, "POST", &format!("/v3/{method}"), body, TIMEOUT).await?;
        if answer.status == StatusCode::OK {
            return self.read(what, &answer);
        }
        Err(self.refused(what, answer.status, &answer.body))
    }

    async fn send(
        &self,
        what: &'static str,
        method: &str,
        path: &str,
        body: Body,
        timeout: Duration,
    ) -> Result<Answer, EtcdError> {
        let url = format!("{}{path}", self.endpoint);
        let failed = |source| EtcdError::Http { what, source };
        let request = request(method, &url, &[("content-type", "application/json")], body).map_err(failed)?;
        self.http.send(request, timeout).await.map_err(failed)
    }

    fn read<T: DeserializeOwned>(&self, what: &'static str, answer: &Answer) -> Result<T, EtcdError> {
        serde_json::from_slice(&answer.body).map_err(|error| EtcdError::Answer {
            what,
            endpoint: self.endpoint.clone(),
            why: error.to_string(),
        })
    }

    /// etcd says no, or something between says it.
    fn refused(&self, what: &'static str, status: StatusCode, body: &[u8]) -> EtcdError {
        let refusal: wire::Refusal = serde_json::from_slice(body).unwrap_or_default();
        let message = if refusal.message.is_empty() { format!("HTTP {status}") } else { refusal.message };
        EtcdError::Refused { what, endpoint: self.endpoint.clone(), code: refusal.code, message }
    }
}

fn by_id(id: MemberId) -> Value {
    json!({"ID": id.0.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_listens_does_so_however_the_endpoint_is_spelt() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        for end in ["", "/"] {
            assert!(listens(&format!("{endpoint}{end}")).await, "{end:?}");
        }
        drop(listener);
        assert!(!listens(&endpoint).await && !listens("").await);
    }
}
