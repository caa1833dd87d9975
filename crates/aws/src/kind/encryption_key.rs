//! The key that Secrets are encrypted with in etcd: an object of the state store that only control-plane machines read.
//!
//! It is written once and never read here, so that it cannot get into anything that kcl shows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_engine::{Attrs, LiveNode, Owner};
use kcl_model::resource::EncryptionKey as Wanted;
use kcl_node_config::{EncryptionKey as Key, EncryptionKeys};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::store::Condition;

/// What the plan calls it.
const NAME: &str = "secrets";
/// Bytes of a key.
const LENGTH: usize = 32;

pub(crate) struct EncryptionKey;

impl Kind for EncryptionKey {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        let key = key(scope.cluster);
        if !store.list(&key).await?.contains(&key) {
            return Ok(Vec::new());
        }
        let fields = Wanted { purpose: "Secrets in etcd".to_owned() };
        Ok(vec![LiveNode::new(NAME, &fields, Attrs::new(), Owner::Cluster)?])
    }

    async fn create(aws: &Aws, _name: &str, _want: &Wanted) -> Result<Attrs, Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let mut bytes = [0; LENGTH];
        let failed = |why: String| Error::new(ErrorKind::Unexpected, "keys", why);
        getrandom::fill(&mut bytes).map_err(|error| failed(error.to_string()))?;
        let first = Key::new("key-1", STANDARD.encode(bytes)).and_then(|key| EncryptionKeys::new(vec![key]));
        let document = first.map_err(|error| failed(error.to_string()))?.to_json();
        match store.try_put(&key(cluster), document.as_bytes().to_vec(), Condition::IfAbsent).await {
            // Somebody made one meanwhile, or this write's first answer was lost: either is the cluster's key.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(Attrs::new()),
            Err(error) => Err(error),
            Ok(_) => Ok(Attrs::new()),
        }
    }

    async fn update(
        _aws: &Aws,
        _name: &str,
        live: &Attrs,
        _old: &Wanted,
        _want: &Wanted,
    ) -> Result<Attrs, Error> {
        Ok(live.clone())
    }

    async fn delete(aws: &Aws, _name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        store.delete(&key(cluster), None).await
    }
}

fn key(cluster: &str) -> String {
    format!("{cluster}/{}", EncryptionKeys::PATH)
}
