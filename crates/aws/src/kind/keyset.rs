//! The cluster's keys. A preview reads one object, the summary of all keysets; only where it is to be sure are their
//! own indices read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner};
use kcl_model::resource::Keyset as Wanted;
use kcl_pki::{KeysetName, KeysetType};
use sha2::{Digest, Sha256};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::named;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::store::keysets;

pub(crate) struct Keyset;

impl Kind for Keyset {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        if scope.depth == Depth::Everything {
            // They go, whatever became of them.
            let names = keysets::present(store, scope.cluster).await?.into_iter();
            return names.map(|name| node(name, true, Attrs::new())).collect();
        }
        let published = keysets::published(store, scope.cluster).await?;
        let keysets = match scope.depth {
            Depth::Preview if !published.is_empty() => published.clone(),
            _ => keysets::read(store, scope.cluster).await?,
        };
        let nodes = keysets.iter().map(|(name, keyset)| {
            let is_published =
                published.get(name).is_some_and(|published| published.index_yaml() == keyset.index_yaml());
            node(*name, is_published, attrs(keyset)?)
        });
        nodes.collect()
    }

    async fn create(aws: &Aws, name: &str, _want: &Wanted) -> Result<Attrs, Error> {
        let mut made =
            Self::create_all(aws, vec![(name.to_owned(), wanted(keyset_name(name)?, true))]).await?;
        Ok(made.pop().unwrap_or_default())
    }

    async fn update(
        aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &Wanted,
        _want: &Wanted,
    ) -> Result<Attrs, Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let keysets = keysets::publish(store, cluster).await?;
        keysets.get(&keyset_name(name)?).map_or_else(|| Ok(Attrs::new()), attrs)
    }

    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        keysets::remove(store, cluster, keyset_name(name)?).await
    }

    fn batch_key(_resource: &Wanted) -> Option<String> {
        // Together they are one summary.
        Some("keysets".to_owned())
    }

    async fn create_all(aws: &Aws, wanted: Vec<(String, Wanted)>) -> Result<Vec<Attrs>, Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let names = wanted.iter().map(|(name, _)| keyset_name(name)).collect::<Result<Vec<_>, _>>()?;
        let keysets = keysets::create(store, cluster, &names).await?;
        names.iter().map(|name| keysets.get(name).map_or_else(|| Ok(Attrs::new()), attrs)).collect()
    }

    async fn delete_all(aws: &Aws, live: Vec<(Attrs, Wanted)>) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let names = live.iter().map(|(live, _)| keyset_name(named::attr(live, "name")?));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        try_join_all(names.into_iter().map(|name| keysets::remove(store, cluster, name))).await?;
        keysets::remove_summary(store, cluster).await
    }
}

fn wanted(name: KeysetName, published: bool) -> Wanted {
    Wanted { purpose: name.keyset_type().as_str().to_owned(), published }
}

fn node(name: KeysetName, published: bool, mut attrs: Attrs) -> Result<LiveNode, Error> {
    attrs.insert("name".to_owned(), name.to_string());
    Ok(LiveNode::new(name.as_str(), &wanted(name, published), attrs, Owner::Cluster)?)
}

fn keyset_name(name: &str) -> Result<KeysetName, Error> {
    name.parse()
        .map_err(|error: kcl_pki::KeysetError| Error::new(ErrorKind::Unexpected, "keys", error.to_string()))
}

/// Fingerprints: of the service accounts' keys, what tokens are verified with; of authorities, what is believed.
fn attrs(keyset: &kcl_pki::Keyset) -> Result<Attrs, Error> {
    if keyset.name().keyset_type() != KeysetType::SigningKey {
        let certificates = fingerprint(keyset.trust_bundle().trim_end().as_bytes());
        return Ok(named::attrs([("certificates", Some(certificates.as_str()))]));
    }
    let jwks = kcl_pki::jwks(keyset);
    let jwks = jwks.map_err(|error| Error::new(ErrorKind::Refused, "keys", error.to_string()))?;
    Ok(named::attrs([("keys", Some(fingerprint(jwks.as_bytes()).as_str()))]))
}

/// The fingerprint of what is published of keys: two that are equal verify the same.
pub(crate) fn fingerprint(published: &[u8]) -> String {
    format!("sha256:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(published)))
}
