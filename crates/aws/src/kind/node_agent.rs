//! Builds of kcl-node in the state store: `<cluster>/kcl-node/<processor>/<sha256>`.

use kcl_engine::{Attrs, LiveNode, Owner};
use kcl_model::resource::NodeAgent as Wanted;
use sha2::{Digest, Sha256};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::named;
use crate::observe::Scope;
use crate::permission::{Ground, Permission};
use crate::store::Condition;

pub(crate) struct NodeAgent;

impl Kind for NodeAgent {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        let folder = folder(scope.cluster);
        let keys = store.list(&folder).await?;
        let builds = keys.iter().filter_map(|key| key.strip_prefix(&folder)?.split_once('/'));
        builds
            .map(|(processor, sha256)| {
                let fields = Wanted { sha256: sha256.to_owned() };
                Ok(LiveNode::new(processor, &fields, attrs(sha256), Owner::Cluster)?)
            })
            .collect()
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let failed = |kind, why: String| Error::new(kind, "node agent", why);
        let Some(path) = aws.node_agents.get(name) else {
            return Err(failed(ErrorKind::Unexpected, format!("there is no kcl-node for {name}")));
        };
        let unreadable = |error: std::io::Error| {
            failed(ErrorKind::NotFound, format!("{} cannot be read: {error}", path.display()))
        };
        let body = std::fs::read(path).map_err(unreadable)?;
        if hex::encode(Sha256::digest(&body)) != want.sha256 {
            let why =
                format!("{} was changed after the plan was made; run the same command again", path.display());
            return Err(failed(ErrorKind::Conflict, why));
        }
        // What is there under this hash is this build, or was cut short: it is written again.
        store.put(&key(cluster, name, &want.sha256), body, Condition::Always).await?;
        Ok(attrs(&want.sha256))
    }

    async fn update(
        aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        Self::create(aws, name, want).await
    }

    async fn delete(aws: &Aws, name: &str, live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        // The second build of a processor has a name of its own in the plan.
        let processor = name.split('#').next().unwrap_or(name);
        store.delete(&key(cluster, processor, named::attr(live, "sha256")?), None).await
    }
}

fn folder(cluster: &str) -> String {
    format!("{cluster}/kcl-node/")
}

fn key(cluster: &str, processor: &str, sha256: &str) -> String {
    format!("{}{processor}/{sha256}", folder(cluster))
}

fn attrs(sha256: &str) -> Attrs {
    named::attrs([("sha256", Some(sha256))])
}
