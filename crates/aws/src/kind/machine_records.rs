//! What machines wrote of themselves, into the state store and into Route53: removed with the cluster, and never by
//! anything else. Backups are not among it.
//!
//! It goes last, and the names of the records last of all: a machine that stops has the API's names lead to the others,
//! so that a record may come back as long as there is a machine.

use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Set};
use kcl_model::resource::MachineRecords as Wanted;

use super::{Kind, Service, dns_record, never_wanted};
use crate::client::Aws;
use crate::error::Error;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::store::{Store, configurations};

/// The folders that machines write into, beside that of the backups.
const FOLDERS: [&str; 2] = ["control-plane", "status"];

/// What the plan calls them.
const NAME: &str = "machines";

pub(crate) struct MachineRecords;

impl Kind for MachineRecords {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const ONLY_REMOVED: bool = true;
    const IN_REGION: bool = false;

    /// The store's own ([`crate::store`]), and the records' ([`dns_record`]).
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        if scope.depth != Depth::Everything {
            return Ok(Vec::new());
        }
        let objects = keys(store, scope.cluster).await?.len();
        let names = configurations::kept_names(store, scope.cluster).await?;
        let names: Set<String> = names.into_iter().map(|kept| kept.name).collect();
        if objects == 0 && names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![LiveNode::new(NAME, &Wanted { objects, names }, Attrs::new(), Owner::Cluster)?])
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
        dns_record::remove_kept(aws, &configurations::kept_names(store, cluster).await?).await?;
        // A machine may have written one more before it went.
        store.delete_many(&keys(store, cluster).await?).await?;
        configurations::forget_names(store, cluster, &aws.index_turns).await
    }
}

async fn keys(store: &dyn Store, cluster: &str) -> Result<Vec<String>, Error> {
    let prefixes = FOLDERS.map(|folder| format!("{cluster}/{folder}/"));
    let lists = try_join_all(prefixes.iter().map(|prefix| store.list(prefix))).await?;
    Ok(lists.concat())
}

#[cfg(test)]
mod tests {
    use kcl_engine::{Options, Resource as _, Step, Wanted, plan};
    use kcl_model::resource::{MachineRecords, catalogue};

    use crate::observe::Depth;
    use crate::store::{Condition, configurations};
    use crate::testing::{self, CLUSTER, World};

    #[tokio::test]
    async fn a_cluster_of_the_same_name_finds_nothing_of_the_one_before_it() {
        let (world, store, _folder) = World::with_folder().await;
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

    /// A run that is killed once what machines were told is gone, and a machine that has its last word then.
    #[tokio::test]
    async fn what_a_machine_says_last_goes_though_nobody_is_told_any_more() {
        let (world, store, _folder) = World::with_folder().await;
        let zone = world.zone("example.org.").await;
        testing::tell_to_keep(&*store, &zone, "api.internal.example.org").await;
        let is_it = |step: &Step| step.id.kind.as_str() == MachineRecords::SCHEMA.kind;
        let live = world.live(&Wanted::default(), Depth::Everything).await;
        let options = Options { prune: true, teardown: true };
        let plan = plan(&catalogue(), &Wanted::default(), live, options).expect("there is a plan");
        assert!(plan.steps.iter().any(is_it));
        world.apply(&plan.part(|step| !is_it(step))).await;
        assert!(configurations::read(&*store, CLUSTER).await.expect("it can be read").is_empty());
        for name in ["api.internal.example.org", "docs.example.org"] {
            world.record(&zone, name).await;
        }
        world.remove().await;
        assert_eq!(world.records(&zone).await, ["A docs.example.org."]);
        assert_eq!(store.list("").await.expect("it is listed"), [""; 0]);
    }
}
