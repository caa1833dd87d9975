//! What machines wrote into the state store of themselves: removed with the cluster, and never by anything else.
//! Backups are not among it.

use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner};
use kcl_model::resource::MachineRecords as Wanted;

use super::{Kind, Service, never_wanted};
use crate::client::Aws;
use crate::error::Error;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::store::Store;

/// The folders that machines write into, beside that of the backups.
const FOLDERS: [&str; 2] = ["control-plane", "status"];

/// What the plan calls them.
const NAME: &str = "machines";

pub(crate) struct MachineRecords;

impl Kind for MachineRecords {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const ONLY_REMOVED: bool = true;

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        if scope.depth != Depth::Everything {
            return Ok(Vec::new());
        }
        let objects = keys(store, scope.cluster).await?.len();
        if objects == 0 {
            return Ok(Vec::new());
        }
        Ok(vec![LiveNode::new(NAME, &Wanted { objects }, Attrs::new(), Owner::Cluster)?])
    }

    async fn create(_aws: &Aws, name: &str, _want: &Wanted) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn update(
        _aws: &Aws,
        name: &str,
        _live: &Attrs,
        _old: &Wanted,
        _want: &Wanted,
    ) -> Result<Attrs, Error> {
        Err(never_wanted(name))
    }

    async fn delete(aws: &Aws, _name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        // A machine may have written one more before it went.
        let keys = keys(store, cluster).await?;
        try_join_all(keys.iter().map(|key| store.delete(key, None))).await.map(drop)
    }
}

async fn keys(store: &dyn Store, cluster: &str) -> Result<Vec<String>, Error> {
    let prefixes = FOLDERS.map(|folder| format!("{cluster}/{folder}/"));
    let lists = try_join_all(prefixes.iter().map(|prefix| store.list(prefix))).await?;
    Ok(lists.concat())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::store::{Condition, FileStore, Store};
    use crate::testing::{CLUSTER, World};

    #[tokio::test]
    async fn a_cluster_of_the_same_name_finds_nothing_of_the_one_before_it() {
        let mut world = World::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let store: Arc<dyn Store> = Arc::new(FileStore::new(folder.path().to_owned()));
        world.aws = world.aws.clone().with_state(Arc::clone(&store), CLUSTER);
        let backup = format!("{CLUSTER}/backups/etcd/main/some/backup.json");
        let records = ["control-plane/initialized.json", "control-plane/members/a.json", "status/i-1"];
        let records = records.map(|key| format!("{CLUSTER}/{key}"));
        for key in records.iter().chain([&backup]) {
            store.put(key, b"{}".to_vec(), Condition::Always).await.expect("it is written");
        }
        world.remove().await;
        let left = store.list(&format!("{CLUSTER}/")).await.expect("it is listed");
        assert_eq!(left, [backup]);
    }
}
