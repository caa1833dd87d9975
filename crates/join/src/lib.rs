//! How a worker becomes a member of its cluster without a join secret lying anywhere: the service that a
//! control-plane machine runs, and the client that a worker runs.
//!
//! The client ([`join`]) takes the machine's own role credentials and gives a kubeadm bootstrap token of
//! 15 minutes; the service ([`Service`], served by [`Server`]) finds out who asks and makes that token. Neither
//! writes a file but the client's [`Claim`], reads the environment, or knows kubeadm, IMDS or a state store.
//!
//! # The protocol
//!
//! One `POST /v1/join` over TLS 1.3 to port [`PORT`]. The client trusts the cluster's own authorities and no
//! others. The body is JSON, at most [`MAX_BODY`] bytes:
//!
//! ```json
//! {
//!   "request": "{\"cluster\":..., \"instance_id\":..., \"claim\":..., \"nonce\":...}",
//!   "proof": {"credential": ..., "date": ..., "expires": ..., "security_token": ..., "signature": ...}
//! }
//! ```
//!
//! `proof` is what varies in a presigned STS `GetCallerIdentity`, and no more. It signs two headers: `host`, which
//! is the regional STS host, and `x-kcl-join`, which is the SHA-256 of the text of `request`. So a proof is good for one
//! request of one machine to one cluster, and a service of another cluster that is shown one cannot use it here.
//!
//! The service is never given a URL, a method or a header: it puts the values, each checked for its alphabet and
//! length, into the only request there is. What a stranger sends cannot choose where the service connects to.
//! Redirects are not followed.
//!
//! It judges in this order, the cheap and local first:
//!
//! 1. Sizes, times and shapes; the cluster; the region that the proof was signed for; that it has not expired.
//! 2. STS says who signed: account, role and session. The account must be the cluster's, the role one of its
//!    nodes' roles, and the session's name the instance id that is asked for: EC2 names a session so.
//! 3. The same proof is taken once.
//! 4. EC2 says that the instance runs, and is tagged as a node of this cluster.
//! 5. Kubernetes says what was given before, as below. The answer is `{"token", "expires", "api_endpoint"}`.
//!
//! `GET /healthz` is answered with 200 as long as the service runs: for load balancers, which may speak TLS 1.2.
//!
//! Anything else is answered with `{"reason", "retry"}`. `reason` says what helps the person at the machine; what
//! would help a stranger (what roles and accounts are let in) is only in the service's log. `retry` (status 503) says
//! that waiting may help; the client then signs anew and asks again, and otherwise gives up at once.
//!
//! # Once per instance
//!
//! A node is called as its instance: so nobody has to say what it is called, and no two machines ever share a name.
//!
//! The token is a Secret `bootstrap-token-<id>` in `kube-system`, and the Secret is also the record. Its id is
//! derived from cluster and instance, so two control planes that are asked at the same time make the same object,
//! and the API server lets one of them. Nothing is kept elsewhere; a service that was restarted finds it.
//!
//! | node of that name | token | claim | answer |
//! | --- | --- | --- | --- |
//! | none | none, or expired | any | a new token |
//! | any of this instance | valid | the recorded one | the same token; a new one if it is about to expire |
//! | any of this instance | valid | another | refused: given already |
//! | of this instance | none, or expired | any | refused: joined already |
//! | of another instance, by mistake | any | any | later: that Node has to go first |
//!
//! The claim is a secret that a machine makes before it first asks and keeps on its disk. With it, a machine whose
//! answer was lost, or that was killed on its way into the cluster, gets its token again; somebody who only has
//! the machine's credentials does not. A machine that lost its claim too can come back when the token has
//! expired. The record holds the claim's SHA-256, and when the newest proof was signed: an older one is not taken, by
//! whichever control plane it is shown to.
//!
//! # What it does not protect from
//!
//! A bootstrap token is kubeadm's: whoever holds one can ask for a kubelet's certificate under any node's name, and
//! kubeadm's defaults approve it.

mod aws;
mod client;
mod ec2;
mod kubernetes;
mod proof;
mod protocol;
mod record;
mod refusal;
mod seen;
mod server;
mod service;
mod sts;
mod tls;

pub use client::{Claim, ClientConfig, JoinError, Joined, join};
pub use kubernetes::{
    ApiServer, ApiServerConfig, Kubernetes, KubernetesError, Metadata, Node, NodeSpec, RBAC, Secret, Written,
    status_message,
};
pub use proof::{Proof, ProofError};
pub use protocol::{Envelope, Grant, HEALTH_PATH, JoinRequest, MAX_BODY, PATH, PORT, Refused, Token};
pub use refusal::Refusal;
pub use server::{Limits, Server, ServerTls};
pub use service::{Service, ServiceConfig, ServiceError};
pub use sts::sts_host;
