//! The judgement: who asks, whether it may, and what it gets.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use kcl_http::{Endpoint, Http, Options, Signer, Tls, TlsError, is_region};
use thiserror::Error;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::ec2::Ec2;
use crate::kubernetes::{Kubernetes, Written};
use crate::proof::hash;
use crate::protocol::{Envelope, Grant, JoinRequest, MAX_BODY};
use crate::record::{Ask, Record, Step, rfc3339};
use crate::refusal::Refusal;
use crate::seen::Seen;
use crate::sts::Sts;

/// How long a judgement may take. STS and EC2 take tenths of a second each.
const JUDGEMENT: Duration = Duration::from_secs(20);

/// How often a record is read again when another control plane changed it meanwhile.
const ROUNDS: usize = 4;

/// Whom a service lets in, and whom it asks.
#[derive(Clone)]
pub struct ServiceConfig {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's region.
    pub region: String,
    /// The cluster's AWS account.
    pub account: String,
    /// Names (without path) of the roles that nodes have: `nodes.<cluster>`, and those of instance profiles that the
    /// spec brings.
    pub node_roles: Vec<String>,
    /// Host and port of the API server, for the nodes.
    pub api_endpoint: String,
    /// The control plane's own role, which has to allow `ec2:DescribeInstances`.
    pub signer: Signer,
    /// `http(s)://host[:port]` in place of the region's STS.
    pub sts_endpoint: Option<String>,
    /// `http(s)://host[:port]` in place of the region's EC2.
    pub ec2_endpoint: Option<String>,
}

/// Why a service cannot be set up.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// A value of the configuration.
    #[error("failed to set up the join service: {what} {found:?} is not {wanted}")]
    Config {
        /// Which value.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// TLS towards AWS.
    #[error("failed to set up the join service")]
    Tls(#[from] TlsError),
}

/// A join service. It listens to nothing: see [`crate::Server`].
pub struct Service<K> {
    cluster: String,
    region: String,
    account: String,
    node_roles: Vec<String>,
    api_endpoint: String,
    sts: Sts,
    ec2: Ec2,
    kubernetes: K,
    seen: Seen,
}

impl<K> fmt::Debug for Service<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl<K: Kubernetes> Service<K> {
    /// Sets up; asks nobody yet.
    pub fn new(config: ServiceConfig, kubernetes: K) -> Result<Self, ServiceError> {
        let ServiceConfig {
            cluster,
            region,
            account,
            node_roles,
            api_endpoint,
            signer,
            sts_endpoint,
            ec2_endpoint,
        } = config;
        let wrong =
            |what, found: &str, wanted| ServiceError::Config { what, found: found.to_owned(), wanted };
        if !is_region(&region) {
            return Err(wrong("region", &region, "a region's name"));
        }
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("account", &account, "an account id of twelve digits"));
        }
        let wanted = "https://host:port";
        // Without TLS only where the configuration says so: AWS' own endpoints have it.
        let http = Http::new(Tls::of_this_machine()?, Options { plain: true, ..Options::default() });
        let sts = Endpoint::regional("sts", &region, sts_endpoint.as_deref())
            .map_err(|error| wrong("the STS endpoint", &error.text, wanted))?;
        let ec2 = Ec2::new(http.clone(), signer, &region, ec2_endpoint.as_deref())
            .map_err(|error| wrong("the EC2 endpoint", &error.text, wanted))?;
        Ok(Self {
            sts: Sts::new(http, sts, &region),
            ec2,
            seen: Seen::default(),
            cluster,
            region,
            account,
            node_roles,
            api_endpoint,
            kubernetes,
        })
    }

    /// Judges a request's body, and logs what came of it.
    pub async fn join(&self, peer: SocketAddr, body: &[u8]) -> Result<Grant, Refusal> {
        let (envelope, request) = read(body).inspect_err(|refusal| {
            tracing::warn!(%peer, reason = %refusal, "join refused");
        })?;
        let judgement = Box::pin(self.judge(&envelope, &request));
        let busy = || Err(Refusal::Busy { why: "AWS and the API server take too long to answer" });
        let outcome = timeout(JUDGEMENT, judgement).await.unwrap_or_else(|_| busy());
        let instance = &request.instance_id;
        match &outcome {
            Ok(grant) => tracing::info!(%peer, %instance, expires = grant.expires, "join granted"),
            Err(refusal) => {
                tracing::warn!(%peer, %instance, retry = refusal.retry(), reason = %refusal, "join refused");
            }
        }
        outcome
    }

    async fn judge(&self, envelope: &Envelope, request: &JoinRequest) -> Result<Grant, Refusal> {
        let now = OffsetDateTime::now_utc();
        if request.cluster != self.cluster {
            return Err(Refusal::Cluster { found: request.cluster.clone() });
        }
        let proof = envelope.proof.check(&self.region, &envelope.request, now)?;
        let identity = self.sts.identity(&proof).await?;
        if let Some(why) = identity.fault(&self.account, &self.node_roles, &request.instance_id) {
            return Err(Refusal::Identity { arn: identity.arn, why });
        }
        self.seen.take(proof.digest, now)?;
        self.ec2.instance(&request.instance_id).await?.check(&self.cluster)?;
        let ask = Ask {
            cluster: request.cluster.clone(),
            instance_id: request.instance_id.clone(),
            claim: hash(&request.claim),
            signed: proof.signed,
            proof: hex::encode(proof.digest),
        };
        let Record { token, expires, .. } = self.give(&ask).await?;
        Ok(Grant { token, expires: rfc3339(expires), api_endpoint: self.api_endpoint.clone() })
    }

    /// Gives the machine its token. Every change depends on what was read, so of two control planes one has to
    /// read again.
    async fn give(&self, ask: &Ask) -> Result<Record, Refusal> {
        let name = ask.secret_name();
        for _ in 0..ROUNDS {
            let old = self.kubernetes.secret(&name).await?;
            let record = match &old {
                None => None,
                Some(secret) => {
                    let record = ask.record(secret);
                    Some(record.ok_or_else(|| Refusal::TokenOfAnother { name: name.clone() })?)
                }
            };
            let node = self.kubernetes.node(&ask.instance_id).await?;
            let now = OffsetDateTime::now_utc();
            match (ask.decide(record.as_ref(), node.as_ref(), now)?, old, record) {
                (Step::Same, Some(mut secret), Some(record)) => {
                    ask.mark(&mut secret);
                    if self.kubernetes.replace(&secret).await? == Written::Done {
                        return Ok(record);
                    }
                }
                (_, old, _) => {
                    // Not replaced: the controller that deletes expired tokens looks at the uid only, and may
                    // still know this one as expired.
                    if let Some(secret) = old
                        && self.kubernetes.delete(&secret).await? == Written::Conflict
                    {
                        continue;
                    }
                    let (record, secret) = ask.fresh(now)?;
                    if self.kubernetes.create(&secret).await? == Written::Done {
                        return Ok(record);
                    }
                }
            }
        }
        Err(Refusal::Contended)
    }
}

/// A body's request and proof.
fn read(body: &[u8]) -> Result<(Envelope, JoinRequest), Refusal> {
    if body.len() > MAX_BODY {
        return Err(Refusal::Malformed { what: "it has more than 16 KiB" });
    }
    let envelope: Envelope = serde_json::from_slice(body)
        .map_err(|_| Refusal::Malformed { what: "it is not JSON of a request and its proof" })?;
    let request: JoinRequest = serde_json::from_str(&envelope.request)
        .map_err(|_| Refusal::Malformed { what: "`request` is not JSON of a join request" })?;
    match request.fault() {
        Some(what) => Err(Refusal::Malformed { what }),
        None => Ok((envelope, request)),
    }
}
