//! What machines are told, in the state store: `<cluster>/node/<group>/<sha256>.yaml`.
//!
//! A preview reads one object, the index of all configurations (`<cluster>/node/index.json`); only where it is to be
//! sure does it look whether they are there.

use std::collections::BTreeSet;

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

    /// The store's own: [`crate::store`].
    fn permissions(_ground: &Ground<'_>) -> Vec<Permission> {
        Vec::new()
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        let Some(store) = scope.aws.state.as_deref() else { return Ok(Vec::new()) };
        let mut entries = configurations::read(store, scope.cluster).await?;
        if scope.depth != Depth::Preview {
            let keys: BTreeSet<String> =
                store.list(&configurations::folder(scope.cluster)).await?.into_iter().collect();
            entries.retain(|entry| keys.contains(&entry.key(scope.cluster)));
            if scope.depth == Depth::Everything {
                let known: BTreeSet<String> = entries.iter().map(|entry| entry.key(scope.cluster)).collect();
                let others = keys.iter().filter(|key| !known.contains(*key));
                entries.extend(others.filter_map(|key| Entry::of_key(scope.cluster, key)));
            }
        }
        let wanted = scope.wanted_resources::<Wanted>();
        let by_load_balancer =
            |group: &str| wanted.iter().any(|(name, want)| *name == group && want.endpoint.is_some());
        entries.iter().map(|entry| live(entry, by_load_balancer(&entry.group))).collect()
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
        for entry in &entries {
            let body = entry.document.clone().into_bytes();
            store.put(&entry.key(cluster), body, Condition::Always).await?;
        }
        let made = entries.iter().map(attrs).collect();
        configurations::change(store, cluster, |index| index.extend(entries.iter().cloned())).await?;
        Ok(made)
    }

    async fn delete_all(aws: &Aws, live: Vec<(Attrs, Wanted)>) -> Result<(), Error> {
        let (store, cluster) = aws.state_of_cluster()?;
        let mut gone = BTreeSet::new();
        for (live, _) in &live {
            gone.insert((named::attr(live, "group")?.to_owned(), named::attr(live, "sha256")?.to_owned()));
        }
        configurations::change(store, cluster, |index| {
            index.retain(|entry| !gone.contains(&(entry.group.clone(), entry.sha256.clone())));
        })
        .await?;
        for (group, sha256) in gone {
            store.delete(&format!("{cluster}/{}", NodeConfig::path(&group, &sha256)), None).await?;
        }
        Ok(())
    }
}

fn attrs(entry: &Entry) -> Attrs {
    named::attrs([("sha256", Some(entry.sha256.as_str())), ("group", Some(entry.group.as_str()))])
}

/// A configuration as it is in the store. One that cannot be read differs from any that is wanted.
fn live(entry: &Entry, by_load_balancer: bool) -> Result<LiveNode, Error> {
    let parts = NodeConfig::parse(&entry.document).and_then(|config| config.into_template(by_load_balancer));
    let (document, endpoint, authorities) =
        parts.unwrap_or_else(|_| (entry.document.clone(), String::new(), String::new()));
    let fields = Wanted {
        document: Text::new(document),
        endpoint: by_load_balancer.then(|| Ref::id(LoadBalancer::SCHEMA.kind, "dns_name", endpoint)),
        authorities: Ref::id(
            Keyset::SCHEMA.kind,
            "certificates",
            keyset::fingerprint(authorities.trim_end().as_bytes()),
        ),
    };
    Ok(LiveNode::new(&entry.group, &fields, attrs(entry), Owner::Cluster)?)
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
