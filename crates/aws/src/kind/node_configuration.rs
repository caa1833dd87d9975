//! What machines are told, in the state store: `<cluster>/node/<group>/<sha256>.yaml`.
//!
//! A preview reads one object, the index of all configurations (`<cluster>/node/index.json`), and one list, of what is
//! there: a line of the index is no configuration that a machine could read.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{try_join, try_join_all};
use kcl_engine::{Attrs, LiveNode, Owner, Ref, Resource, Text};
use kcl_model::resource::{Keyset, LoadBalancer, NodeConfiguration as Wanted};
use kcl_node_config::NodeConfig;
use kcl_pki::KeysetName;

use super::{Kind, Service, keyset};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::named;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::store::configurations::{self, Entry};
use crate::store::{Condition, keysets};

pub(crate) struct NodeConfiguration;

impl Kind for NodeConfiguration {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        let wanted: BTreeMap<&str, Wanted> = scope.wanted_resources().into_iter().collect();
        let found = |entry: &Entry| fields(entry, wanted.get(entry.group.as_str()));
        let folder = configurations::folder(scope.cluster);
        let index = configurations::read(store, scope.cluster);
        let (mut entries, keys) = try_join(index, store.list(&folder)).await?;
        let keys: BTreeSet<String> = keys.into_iter().collect();
        // A line without an object was left by a run that was cut short. What is wanted is to be made then; what is not
        // is still there, to be removed once more, and its line with it.
        entries.retain(|entry| {
            keys.contains(&entry.key(scope.cluster))
                || wanted.get(entry.group.as_str()).is_none_or(|want| want.document != found(entry).document)
        });
        if scope.depth == Depth::Everything {
            let known: BTreeSet<String> = entries.iter().map(|entry| entry.key(scope.cluster)).collect();
            let others = keys.iter().filter(|key| !known.contains(*key));
            entries.extend(others.filter_map(|key| Entry::of_key(scope.cluster, key)));
        }
        let node =
            |entry: &Entry| Ok(LiveNode::new(&entry.group, &found(entry), attrs(entry), Owner::Cluster)?);
        entries.iter().map(node).collect()
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let mut made = Self::create_all(aws, vec![(name.to_owned(), want.clone())]).await?;
        Ok(made.pop().unwrap_or_default())
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

    async fn delete(aws: &Aws, _name: &str, live: &Attrs, old: &Wanted) -> Result<(), Error> {
        Self::delete_all(aws, vec![(live.clone(), old.clone())]).await
    }

    fn batch_key(_resource: &Wanted) -> Option<String> {
        // Together they are one index.
        Some("node-configurations".to_owned())
    }

    async fn create_all(aws: &Aws, wanted: Vec<(String, Wanted)>) -> Result<Vec<Attrs>, Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let authorities = authorities(aws).await?;
        let entries: Vec<Entry> =
            wanted.iter().map(|(group, want)| entry(group, want, &authorities)).collect::<Result<_, _>>()?;
        let turns = &aws.index_turns;
        configurations::change(store, cluster, turns, |index| index.extend(entries.iter().cloned())).await?;
        let written = entries.iter().map(async |entry| {
            store.put(&entry.key(cluster), entry.document.clone().into_bytes(), Condition::Always).await
        });
        try_join_all(written).await?;
        Ok(entries.iter().map(attrs).collect())
    }

    async fn delete_all(aws: &Aws, live: Vec<(Attrs, Wanted)>) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let mut gone = BTreeSet::new();
        for (live, _) in &live {
            gone.insert((named::attr(live, "group")?.to_owned(), named::attr(live, "sha256")?.to_owned()));
        }
        let keys =
            gone.iter().map(|(group, sha256)| format!("{cluster}/{}", NodeConfig::path(group, sha256)));
        store.delete_many(&keys.collect::<Vec<_>>()).await?;
        configurations::change(store, cluster, &aws.index_turns, |index| {
            index.retain(|entry| !gone.contains(&(entry.group.clone(), entry.sha256.clone())));
        })
        .await
    }
}

fn attrs(entry: &Entry) -> Attrs {
    named::attrs([("sha256", Some(entry.sha256.as_str())), ("group", Some(entry.group.as_str()))])
}

/// A configuration as it is in the store, read the way that its group's is `wanted`. One that cannot be read differs
/// from any that is wanted.
fn fields(entry: &Entry, wanted: Option<&Wanted>) -> Wanted {
    let by_load_balancer = wanted.is_some_and(|want| want.endpoint.is_some());
    let parts = NodeConfig::parse(&entry.document).and_then(|config| config.into_template(by_load_balancer));
    let (document, endpoint, authorities) =
        parts.unwrap_or_else(|_| (entry.document.clone(), String::new(), String::new()));
    Wanted {
        document: Text::new(document),
        endpoint: by_load_balancer.then(|| Ref::id(LoadBalancer::SCHEMA.kind, "dns_name", endpoint)),
        authorities: Ref::id(
            Keyset::SCHEMA.kind,
            "certificates",
            keyset::fingerprint(authorities.trim_end().as_bytes()),
        ),
    }
}

/// The whole configuration of a group. What it says of the authorities must be what the plan is about.
fn entry(group: &str, want: &Wanted, authorities: &str) -> Result<Entry, Error> {
    let failed = |kind, why: String| Error::new(kind, "node configuration", why);
    if keyset::fingerprint(authorities.trim_end().as_bytes()) != want.authorities.value()? {
        let why = "somebody changed the cluster's authorities meanwhile; run the same command again";
        return Err(failed(ErrorKind::Conflict, why.to_owned()));
    }
    let endpoint = want.endpoint.as_ref().map(Ref::value).transpose()?;
    let document = NodeConfig::from_template(&want.document.text, endpoint, authorities)
        .and_then(|config| config.to_yaml())
        .map_err(|error| failed(ErrorKind::Unexpected, error.to_string()))?;
    Ok(Entry::new(group, document))
}

/// The certificates that the API server is believed by.
async fn authorities(aws: &Aws) -> Result<String, Error> {
    let (store, cluster) = aws.state_of_cluster()?;
    let keysets = keysets::published(store, cluster).await?;
    let missing = || Error::new(ErrorKind::NotFound, "keys", format!("{cluster} has no authorities yet"));
    Ok(keysets.get(&KeysetName::KubernetesCa).ok_or_else(missing)?.trust_bundle())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kcl_engine::{Options, Plan, Ref, Resource, Text, plan};
    use kcl_model::resource::{Keyset, NodeConfiguration, catalogue};
    use kcl_node_config::NodeConfig;
    use kcl_pki::KeysetName;

    use crate::kind::keyset;
    use crate::observe::Depth;
    use crate::store::{FileStore, Store, configurations, keysets};
    use crate::testing::{self, CLUSTER, CutShort, World};

    /// A stand-in for authorities: it leaves the document with a gap.
    const CA: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";

    /// Two groups' configurations, for a version of Kubernetes.
    fn wanted(version: &str, authorities: &str) -> kcl_engine::Wanted {
        let mut wanted = kcl_engine::Wanted::default();
        for group in ["nodes", "others"] {
            let document = format!(
                "apiVersion: kcl.dev/v1alpha1\nkind: NodeConfig\ncluster: {CLUSTER}\naccount: '123456789012'\n\
                 instanceGroup: {group}\nrole: Node\nkubernetesVersion: {version}\n\
                 store: {{location: 's3://state/{CLUSTER}'}}\n\
                 api: {{endpoint: api.{CLUSTER}, port: 443, bindPort: 443, caBundle: '@authorities@'}}\n\
                 network: {{podCIDR: 100.96.0.0/11, serviceCIDR: 100.64.0.0/13, dnsDomain: cluster.local, \
                 dnsIP: 100.64.0.10}}\ncloudProvider: External\nassets: []\n"
            );
            let config = NodeConfig::from_template(&document, None, CA);
            let (document, ..) =
                config.and_then(|config| config.into_template(false)).expect("it is a configuration");
            let resource = NodeConfiguration {
                document: Text::new(document),
                endpoint: None,
                authorities: Ref::id(Keyset::SCHEMA.kind, "certificates", authorities),
            };
            testing::add(&mut wanted, group, &resource);
        }
        wanted
    }

    /// Those that are there, and those that the index lists.
    async fn there(store: &dyn Store) -> (Vec<String>, Vec<String>) {
        let mut keys = store.list(&configurations::folder(CLUSTER)).await.expect("it can be listed");
        let index = format!("{}index.json", configurations::folder(CLUSTER));
        keys.retain(|key| *key != index);
        let entries = configurations::read(store, CLUSTER).await.expect("it can be read");
        (keys, entries.iter().map(|entry| entry.key(CLUSTER)).collect())
    }

    /// What `kcl update --prune` would do.
    async fn preview(world: &World, wanted: &kcl_engine::Wanted) -> Plan {
        let options = Options { prune: true, teardown: false };
        let live = world.live(wanted, Depth::Preview).await;
        plan(&catalogue(), wanted, live, options).expect("there is a plan")
    }

    /// Whatever a run that is cut short leaves, the next one leaves nothing else than an undisturbed one.
    #[tokio::test]
    async fn what_is_cut_short_is_completed() {
        let mut world = World::start().await;
        let folder = tempfile::tempdir().expect("there is a folder");
        let store = Arc::new(CutShort::new(FileStore::new(folder.path().join("state"))));
        world.aws = world.aws.with_state(Arc::<CutShort>::clone(&store), CLUSTER);
        let keys =
            keysets::create(&*store, CLUSTER, &[KeysetName::KubernetesCa]).await.expect("there are keys");
        let bundle = keys[&KeysetName::KubernetesCa].trust_bundle();
        let authorities = keyset::fingerprint(bundle.trim_end().as_bytes());
        let [first, second] = ["1.36.3", "1.36.4"].map(|version| wanted(version, &authorities));
        for next in [&first, &second] {
            for writes in 0.. {
                world.reach(&first).await;
                let change = world.plan(&second).await;
                store.after(writes);
                let cut = world.try_apply(&change).await;
                store.never();
                // The next run looks no closer than a preview.
                world.apply(&preview(&world, next).await).await;
                let (keys, listed) = there(&*store).await;
                assert_eq!(keys.len(), 2, "after {writes} writes: {keys:#?}");
                assert_eq!(keys, listed, "after {writes} writes");
                assert!(world.plan(next).await.is_empty(), "after {writes} writes");
                if cut.is_ok() {
                    assert!(writes > 4, "two are made, two go, and the index changes");
                    break;
                }
            }
        }
        world.remove().await;
    }
}
