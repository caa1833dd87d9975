//! What can be wrong with a node configuration.

/// Longest message of the YAML parser that an error repeats, in characters.
const PARSER_WORDS: usize = 300;

/// Why a node configuration, or a text made from it, cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not a node configuration: broken YAML, a field that is missing, unknown or of another type.
    #[error(
        "the node configuration cannot be read: {why}\nhint: it is written by kcl; the kcl-node that reads it must be of the same release"
    )]
    Syntax {
        /// The parser's words.
        why: String,
    },
    /// A value that cannot be used.
    #[error("the node configuration's `{field}` is not usable: {why}")]
    Field {
        /// Where it is: `assets[2].url`.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// No hash is known for one of the files of a version.
    #[error(
        "the files of Kubernetes {version} for {architecture} are not known to this kcl: no sha256 of {url}\nhint: choose a version that is known ({known})"
    )]
    UnknownVersion {
        /// The version asked for.
        version: String,
        /// The processor.
        architecture: &'static str,
        /// The file that is missing.
        url: String,
        /// The versions that there are.
        known: String,
    },
    /// A document could not be written down.
    #[error("failed to write {what} as YAML: {why}")]
    Text {
        /// Which document.
        what: &'static str,
        /// The writer's words.
        why: String,
    },
    /// An object of the store that machines write for each other.
    #[error(
        "{path} in the state store cannot be read: {why}\nhint: it is written by kcl-node; restore its last version"
    )]
    Object {
        /// Where it is, relative to the cluster's folder.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The object with the keys of encryption at rest. Nothing of it is repeated.
    #[error(
        "secrets/encryption.json in the state store cannot be read, at line {line} column {column}\nhint: it is written by kcl, once; restore its first version, or secrets in etcd stay unreadable"
    )]
    EncryptionKeys {
        /// Where in it.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// A key that is not one of encryption at rest.
    #[error("the encryption key `{name}` is not 32 bytes in base64")]
    EncryptionKey {
        /// Its name.
        name: String,
    },
    /// Two keys of one name, by which etcd's data says which of them it needs.
    #[error("there are two encryption keys of the name `{name}`")]
    EncryptionKeyTwice {
        /// The name.
        name: String,
    },
    /// No key at all.
    #[error("encryption at rest needs at least one key")]
    NoEncryptionKey,
}

impl ConfigError {
    pub(crate) fn syntax(error: &serde_yaml::Error) -> Self {
        let why = error.to_string();
        Self::Syntax { why: why.chars().take(PARSER_WORDS).collect() }
    }

    pub(crate) fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Field { field: field.into(), why: why.into() }
    }
}
