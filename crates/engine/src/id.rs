//! How a resource is named: its kind and its name within the cluster.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A resource kind's name, for example `subnet`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(Cow<'static, str>);

impl Kind {
    /// A kind known at compile time.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one resource is called, the same in every run: `subnet/eu-north-1a.k8s.example.com`.
///
/// The name is ours (mostly the `Name` tag); the cloud's own identifiers are in [`crate::Attrs`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceId {
    /// The resource's kind.
    pub kind: Kind,
    /// Its name, unique within the kind.
    pub name: String,
}

impl ResourceId {
    /// The resource `name` of kind `kind`.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: Kind::new(kind), name: name.into() }
    }

    /// Reads back what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('/')?;
        Some(Self { kind: Kind(Cow::Owned(kind.to_owned())), name: name.to_owned() })
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
