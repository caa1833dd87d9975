//! The cluster's keys, from the state store to where kubeadm finds them.
//!
//! kubeadm issues everything else with them itself: certificates are the machine's own, for its own address, and
//! die with it.

use std::collections::BTreeMap;

use futures::future::{try_join, try_join_all};
use kcl_node_config::{ConfigError, EncryptionKeys, File, paths};
use kcl_pki::{Keyset, KeysetError, KeysetName};

use crate::store::{Store, StoreError};

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys.
    #[error(transparent)]
    Keyset(#[from] KeysetError),
    /// The keys of encryption at rest.
    #[error(transparent)]
    Encryption(#[from] ConfigError),
}

/// kubeadm's files of all keysets, and the API server's of encryption at rest: all for root alone.
pub async fn files(store: &Store) -> Result<Vec<File>, PkiError> {
    let keysets = try_join_all(KeysetName::ALL.map(|name| keyset_files(store, name)));
    let (keysets, encryption) = try_join(keysets, encryption_file(store)).await?;
    Ok(keysets.into_iter().flatten().chain([encryption]).collect())
}

async fn encryption_file(store: &Store) -> Result<File, PkiError> {
    let keys = store.require(EncryptionKeys::PATH).await?;
    Ok(EncryptionKeys::read(&keys.bytes)?.file()?)
}

/// What is trusted, the primary key's first, and the primary's private half. kubeadm signs with the first
/// certificate of a bundle.
async fn keyset_files(store: &Store, name: KeysetName) -> Result<[File; 2], PkiError> {
    let index = store.require(&name.index_path()).await?.bytes;
    let primary = Keyset::parse(name, &index)?.primary().id().clone();
    let private = store.require(&name.private_key_path(&primary)).await?.bytes;
    let keyset = Keyset::parse_with_private(name, &index, &BTreeMap::from([(primary, private)]))?;
    let file =
        |name: &str, content: String| File { path: format!("{}/{name}", paths::PKI), mode: 0o600, content };
    let names = name.kubeadm_files();
    Ok([
        file(names.public, keyset.trust_bundle()),
        file(names.private, keyset.primary_private_pem()?.reveal().to_owned()),
    ])
}
