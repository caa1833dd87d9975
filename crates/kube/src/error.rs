//! What can go wrong between kcl and an API server, with enough structure for hints.
//!
//! No error holds the value of a Secret, a private key, or a request's body.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::object::ObjectRef;
use crate::plan::Conflict;
use crate::retry::OVERTAKEN;
use crate::wait::Unready;

/// What kind of trouble it is; each asks for something else of the person who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The kubeconfig, the address, or the keys cannot be used; nothing was asked.
    Access,
    /// No connection, or none that lasted.
    Unreachable,
    /// The server does not know who asks.
    Unauthorized,
    /// The server knows who asks, and does not allow it.
    Forbidden,
    /// Another field manager, or another set of objects, holds what is wanted.
    Conflict,
    /// What is wanted is wrong: its schema, its kind, its namespace, or a policy that refuses it.
    Invalid,
    /// It did not happen in the time that was given.
    Timeout,
    /// It runs, and does not work.
    NotReady,
    /// It was stopped.
    Stopped,
    /// The server failed, or answered what nobody understands.
    Server,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The name has no address.
    Dns,
    /// Something answers at the address, and not at this port.
    Refused,
    /// Nothing answers.
    Timeout,
    /// Something answers, and is not the API server of this cluster.
    Tls,
    /// The connection broke.
    Broken,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "its name has no address",
            Self::Refused => "the connection was refused",
            Self::Timeout => "nothing answers",
            Self::Tls => "its certificate is not to be trusted",
            Self::Broken => "the connection broke",
        })
    }
}

/// One field that the server does not like, as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// `spec.replicas`; may be empty.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// What the person who asks may not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {user} may not {verb} {resource}{}", place(.namespace.as_deref()))]
pub struct Forbidden {
    /// What was to be done: `apply Deployment shop/till`.
    pub doing: String,
    /// `system:serviceaccount:ci:kcl`, or `this user` where the server does not say.
    pub user: String,
    /// `patch`.
    pub verb: String,
    /// `deployments.apps`.
    pub resource: String,
    /// `None`: in the whole cluster.
    pub namespace: Option<String>,
    /// Everything that the server said.
    pub message: String,
}

/// A request that the server refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {}", refused(*.status, .message))]
pub struct Refused {
    /// What was to be done: `apply Deployment shop/till`.
    pub doing: String,
    /// HTTP status.
    pub status: u16,
    /// `Invalid`, `Conflict`, `AlreadyExists`...
    pub reason: String,
    /// What the server says.
    pub message: String,
    /// The fields that it names.
    pub faults: Vec<FieldFault>,
}

/// What can go wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kubeconfig, the address, or the keys cannot be used.
    #[error("cannot use {what}: {reason}")]
    Access {
        /// `the kubeconfig /home/a/.kube/config`, `the certificate of the cluster's administrator`.
        what: String,
        /// Why.
        reason: String,
    },
    /// No connection.
    #[error("the API server {server} cannot be reached: {cause}{}", detail(.reason))]
    Unreachable {
        /// Its URL.
        server: String,
        /// Why, in kind.
        cause: Cause,
        /// Why, in the words of the system; may be empty.
        reason: String,
    },
    /// The server does not know who asks.
    #[error("the API server {server} does not accept who asks{}", detail(.reason))]
    Unauthorized {
        /// Its URL.
        server: String,
        /// What it says.
        reason: String,
    },
    /// The server does not allow it.
    #[error(transparent)]
    Forbidden(Box<Forbidden>),
    /// The server refuses it or failed: 400, 404, 409, 422, or 5xx after several tries.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// The server answers what nobody understands.
    #[error("{doing}: the answer cannot be understood: {reason}")]
    Answer {
        /// What was to be done.
        doing: String,
        /// Why.
        reason: String,
    },
    /// The list of wanted objects is wrong in itself; nothing was sent.
    #[error("{}", lines(.0))]
    Wanted(Vec<WantedFault>),
    /// The plan has objects that could not be planned, each with its own reason, and nothing of it was applied.
    #[error("{}", lines(.0))]
    Objects(Vec<ObjectError>),
    /// The ConfigMap that stands for everything applied belongs to somebody else.
    #[error("the ConfigMap {parent} cannot be the list of what kcl applied: {reason}")]
    ApplySet {
        /// `kube-system/kcl-karlaru.com`.
        parent: String,
        /// Why.
        reason: String,
    },
    /// The plan has conflicts, and nothing of it was applied.
    #[error("{}", lines(.0))]
    Conflicts(Vec<Conflict>),
    /// It took too long.
    #[error("waited {} for {what}, in vain{}", seconds(.after), detail(.last))]
    Timeout {
        /// What was waited for: `the API server https://... to be ready`.
        what: String,
        /// How long.
        after: Duration,
        /// How it stood last; may be empty.
        last: String,
    },
    /// What was applied does not work, each with why.
    #[error("{}", lines(.0))]
    NotReady(Vec<Unready>),
    /// Nothing may be changed any more, as [`Connection::change_under`](crate::Connection::change_under) was told.
    #[error("{doing}: nothing more is changed: the lock of the cluster is not held any more")]
    Guarded {
        /// What was to be done: `apply Deployment shop/till`.
        doing: String,
    },
    /// Somebody stopped it.
    #[error("stopped while {doing}")]
    Stopped {
        /// What was going on.
        doing: String,
    },
}

/// What is wrong with one wanted object, before anybody is asked about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WantedFault {
    /// It lacks `apiVersion`, `kind` or `metadata.name`, or is no object at all.
    #[error("{origin}: {what}: {reason}")]
    Malformed {
        /// Who wants it.
        origin: String,
        /// As far as it can be named: `ConfigMap shop/prices`, `object 3`.
        what: String,
        /// Why.
        reason: String,
    },
    /// Wanted twice.
    #[error("{object} is wanted twice: by {first} and by {second}")]
    Twice {
        /// Which one.
        object: ObjectRef,
        /// Who wants it first.
        first: String,
        /// And who else.
        second: String,
    },
    /// The server does not know its kind, and no wanted CustomResourceDefinition brings it.
    #[error("{origin}: {object}: the cluster has no such kind in {api_version}{}", detail(.reason))]
    UnknownKind {
        /// Who wants it.
        origin: String,
        /// Which one.
        object: ObjectRef,
        /// Its `apiVersion`.
        api_version: String,
        /// What is there instead; may be empty.
        reason: String,
    },
}

/// What went wrong with one object.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{origin}: {error}")]
pub struct ObjectError {
    /// Which one.
    pub object: ObjectRef,
    /// Who wants it.
    pub origin: String,
    /// Why; it names the object.
    pub error: Box<Error>,
}

impl Serialize for ObjectError {
    /// As its text: the whole sentence.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Error {
    /// What kind of trouble it is. Of several, that of the first.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Access { .. } => ErrorKind::Access,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Unauthorized { .. } => ErrorKind::Unauthorized,
            Self::Forbidden(_) => ErrorKind::Forbidden,
            Self::ApplySet { .. } | Self::Conflicts(_) => ErrorKind::Conflict,
            Self::Refused(refused) => match refused.status {
                // Nobody's field stands in the way: others wrote it for as long as was tried.
                409 if refused.message.contains(OVERTAKEN) => ErrorKind::Server,
                409 => ErrorKind::Conflict,
                // It is busy, and was for as long as was waited.
                429 => ErrorKind::Server,
                400..500 => ErrorKind::Invalid,
                _ => ErrorKind::Server,
            },
            Self::Wanted(_) => ErrorKind::Invalid,
            Self::Answer { .. } => ErrorKind::Server,
            Self::Objects(errors) => errors.first().map_or(ErrorKind::Server, |first| first.error.kind()),
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::NotReady(_) => ErrorKind::NotReady,
            Self::Guarded { .. } | Self::Stopped { .. } => ErrorKind::Stopped,
        }
    }

    /// It would be the same for every object: the server is gone, does not know who asks, or nothing may be changed.
    pub(crate) fn is_of_all(&self) -> bool {
        matches!(self.kind(), ErrorKind::Unreachable | ErrorKind::Unauthorized | ErrorKind::Stopped)
    }
}

fn detail(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn place(namespace: Option<&str>) -> String {
    match namespace {
        Some(namespace) => format!(" in the namespace {namespace}"),
        None => " in the whole cluster".to_owned(),
    }
}

fn refused(status: u16, message: &str) -> String {
    if message.is_empty() { format!("the API server answered {status}") } else { message.to_owned() }
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs())
}

fn lines<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_meanwhile_is_no_field_in_the_way() {
        let kind = |message: &str| {
            let refused = Refused {
                doing: "apply Role shop/till".to_owned(),
                status: 409,
                reason: "Conflict".to_owned(),
                message: message.to_owned(),
                faults: Vec::new(),
            };
            Error::Refused(Box::new(refused)).kind()
        };
        assert_eq!(
            kind("Apply failed with 1 conflict: conflict with \"kubectl\": .rules"),
            ErrorKind::Conflict
        );
        let overtaken = "Operation cannot be fulfilled on roles \"till\": the object has been modified; please apply \
                         your changes to the latest version and try again";
        assert_eq!(kind(overtaken), ErrorKind::Server);
    }
}
