//! Why a machine does not get a token: said in full to the service's log, and in part to the machine.

use hyper::StatusCode;
use thiserror::Error;
use time::OffsetDateTime;

use crate::kubernetes::KubernetesError;

/// Why a machine does not get a token. Its text is for the log; [`Refusal::reason`] is for the machine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It has not the form of a request. The text never repeats what was sent.
    #[error("the request is malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Another cluster's machine, or another cluster's service that shows what it was sent.
    #[error("it asks for another cluster: {found:?}")]
    Cluster {
        /// The cluster that it asks for.
        found: String,
    },
    /// The proof would go to another STS, or to another service.
    #[error("the proof was signed for another region or service")]
    Scope,
    /// The proof is not valid yet, or no longer.
    #[error("the proof was signed at {signed} and is not valid now")]
    Time {
        /// When it was signed.
        signed: OffsetDateTime,
    },
    /// STS did not accept it: a wrong signature, another request than the one that was signed, expired credentials.
    #[error("STS does not accept the proof: {code}")]
    Unproven {
        /// AWS' error code.
        code: String,
    },
    /// AWS knows who it is, and it is nobody who may join.
    #[error("{arn:?} may not join: {why}")]
    Identity {
        /// Who it is.
        arn: String,
        /// What speaks against it.
        why: &'static str,
    },
    /// The same proof was used before.
    #[error("the proof was used before")]
    Replayed,
    /// A newer proof was used before.
    #[error("a proof that was signed later was used before")]
    Outdated,
    /// Its tags say that it is not a node of this cluster.
    #[error("the instance is not a node of this cluster: {why}")]
    NotMember {
        /// Which tag is missing.
        why: String,
    },
    /// It is stopping or stopped.
    #[error("the instance is {state:?}")]
    NotRunning {
        /// EC2's name of its state.
        state: String,
    },
    /// It has a token already, and cannot show that it is the one that got it.
    #[error("the instance has a token already, which expires at {until}")]
    Given {
        /// When it expires.
        until: OffsetDateTime,
    },
    /// It is a node already.
    #[error("the instance is the node {node:?} already")]
    Joined {
        /// The node's name.
        node: String,
    },
    /// EC2 does not know it, or not yet.
    #[error("EC2 does not know the instance (yet)")]
    Unknown,
    /// It is not running yet.
    #[error("the instance is still pending")]
    Pending,
    /// A node of that name is there and belongs to another machine.
    #[error("the node {node:?} belongs to another instance: {owner:?}")]
    NodeOfAnother {
        /// The node's name.
        node: String,
        /// What the node says about its machine.
        owner: String,
    },
    /// Another Secret has the name of its token.
    #[error("the secret {name} is there and belongs to another instance")]
    TokenOfAnother {
        /// The Secret's name.
        name: String,
    },
    /// STS or EC2 gives no answer that can be used.
    #[error("failed to ask {service}: {why}")]
    Aws {
        /// Which one.
        service: &'static str,
        /// What happened.
        why: String,
    },
    /// The API server gives none.
    #[error("failed to keep the token: {0}")]
    Kubernetes(#[from] KubernetesError),
    /// Other control planes were faster each time.
    #[error("the record of the instance kept changing")]
    Contended,
    /// Too much to do, or too long.
    #[error("the service is busy: {why}")]
    Busy {
        /// With what.
        why: &'static str,
    },
    /// No randomness for a token.
    #[error("failed to make a token: the system gives no random bytes")]
    NoRandomness,
}

impl Refusal {
    /// Whether waiting may help.
    pub fn retry(&self) -> bool {
        match self {
            Self::Malformed { .. }
            | Self::Cluster { .. }
            | Self::Scope
            | Self::Unproven { .. }
            | Self::Identity { .. }
            | Self::Replayed
            | Self::NotMember { .. }
            | Self::NotRunning { .. }
            | Self::Given { .. }
            | Self::Joined { .. } => false,
            // A clock that is wrong when a machine boots is set soon after.
            Self::Time { .. }
            | Self::Outdated
            | Self::Unknown
            | Self::Pending
            | Self::NodeOfAnother { .. }
            | Self::TokenOfAnother { .. }
            | Self::Aws { .. }
            | Self::Kubernetes(_)
            | Self::Contended
            | Self::Busy { .. }
            | Self::NoRandomness => true,
        }
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            refusal if refusal.retry() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// What the machine is told: nothing that it could not know of itself.
    pub fn reason(&self) -> String {
        match self {
            Self::Malformed { .. }
            | Self::Scope
            | Self::Replayed
            | Self::Outdated
            | Self::NotRunning { .. }
            | Self::NotMember { .. }
            | Self::Unknown
            | Self::Pending
            | Self::Busy { .. } => self.to_string(),
            Self::Unproven { code } => format!(
                "AWS does not accept the proof ({code}): was it signed with the machine's own role credentials, \
                 and do they still hold?"
            ),
            Self::Cluster { .. } => "this is the join service of another cluster".to_owned(),
            Self::Time { .. } => {
                "the proof is not valid at this time: is the machine's clock right?".to_owned()
            }
            Self::Identity { .. } => {
                "this identity may not join: the control plane's log says why".to_owned()
            }
            Self::Given { until } => format!(
                "the instance has a token already; it gets another one when that has expired unused, at {until}"
            ),
            Self::Joined { node } => format!(
                "the instance is the node {node} already; to let it join anew: kubectl delete node {node}"
            ),
            Self::NodeOfAnother { node, .. } => {
                format!("another machine's node {node} has to go first: kubectl delete node {node}")
            }
            Self::TokenOfAnother { .. } | Self::Contended => "another request is in the way".to_owned(),
            Self::Aws { service, .. } => format!("the control plane could not ask {service}"),
            Self::Kubernetes(_) => "the control plane could not ask its API server".to_owned(),
            Self::NoRandomness => "the control plane could not make a token".to_owned(),
        }
    }
}
