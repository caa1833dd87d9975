//! The node configurations of a cluster in the state store, and their index.
//!
//! | object | what |
//! | --- | --- |
//! | `<cluster>/node/<group>/<sha256>.yaml` | one configuration, which machines read |
//! | `<cluster>/node/index.json` | all of them once more, so that a preview reads one object whatever the number of groups; and the names that machines keep |
//!
//! The index lists all that may be there: it is written before what it lists, and a line goes after its object. A run
//! that is cut short in between leaves a line without an object, and the next one makes the object or removes the line.
//! One writer at a time changes it: the steps of a run take turns ([`Turns`]), and a writer that was overtaken all the
//! same reads it again.
//!
//! Names in Route53 that machines were told to keep at their own addresses stay in the index when the configuration
//! that told it goes: a machine may have said a last word since. They go once their records are gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use kcl_node_config::NodeConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Condition, Store};
use crate::error::{Error, ErrorKind};

/// How often the index is read again when somebody else changed it meanwhile: whoever does holds no lock.
const TRIES: usize = 10;

/// Who of one run may change the index. A cluster has a configuration for each of its groups, and dozens of steps that
/// overtake one another would get nowhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<tokio::sync::Mutex<()>>);

/// A configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// The instance group.
    pub group: String,
    /// The document's hash.
    pub sha256: String,
    /// The document.
    pub document: String,
}

/// A name that machines were told to keep at their own addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct KeptName {
    /// The hosted zone's id.
    pub(crate) zone: String,
    /// `api.internal.example.com`.
    pub(crate) name: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    configurations: Vec<Entry>,
    /// Those of all configurations that there ever were.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    names: BTreeSet<KeptName>,
}

impl Index {
    /// One that cannot be read lists nothing: it only repeats what lies beside it, and whatever is wanted is written
    /// again.
    fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn keep_names(&mut self) {
        let names: Vec<KeptName> = self.configurations.iter().flat_map(Entry::names).collect();
        self.names.extend(names);
    }
}

impl Entry {
    /// A document of a group.
    pub(crate) fn new(group: &str, document: String) -> Self {
        let sha256 = hex::encode(Sha256::digest(document.as_bytes()));
        Self { group: group.to_owned(), sha256, document }
    }

    /// An object that no index lists: somebody took it away.
    pub(crate) fn of_key(cluster: &str, key: &str) -> Option<Self> {
        let (group, file) = key.strip_prefix(&folder(cluster))?.split_once('/')?;
        let sha256 = file.strip_suffix(".yaml")?;
        Some(Self { group: group.to_owned(), sha256: sha256.to_owned(), document: String::new() })
    }

    /// The names that it tells machines to keep.
    fn names(&self) -> Vec<KeptName> {
        let config = NodeConfig::parse(&self.document).ok();
        let zones = config.and_then(|config| config.control_plane).map(|told| told.dns).unwrap_or_default();
        let names = zones.into_iter().flat_map(|dns| {
            let zone = dns.zone;
            dns.names.into_iter().map(move |entry| KeptName { zone: zone.clone(), name: entry.name })
        });
        names.collect()
    }

    /// Where it is.
    pub(crate) fn key(&self, cluster: &str) -> String {
        format!("{cluster}/{}", NodeConfig::path(&self.group, &self.sha256))
    }
}

/// The folder of them all.
pub(crate) fn folder(cluster: &str) -> String {
    format!("{cluster}/node/")
}

fn index_key(cluster: &str) -> String {
    format!("{cluster}/node/index.json")
}

async fn index(store: &dyn Store, cluster: &str) -> Result<Index, Error> {
    let object = store.get(&index_key(cluster)).await?;
    Ok(object.map(|object| Index::parse(&object.body)).unwrap_or_default())
}

/// All configurations, by the index.
pub async fn read(store: &dyn Store, cluster: &str) -> Result<Vec<Entry>, Error> {
    Ok(index(store, cluster).await?.configurations)
}

/// The names that machines were ever told to keep.
pub(crate) async fn kept_names(store: &dyn Store, cluster: &str) -> Result<BTreeSet<KeptName>, Error> {
    let mut index = index(store, cluster).await?;
    index.keep_names();
    Ok(index.names)
}

/// Forgets the names that no machine keeps any more.
pub(crate) async fn forget_names(store: &dyn Store, cluster: &str, turns: &Turns) -> Result<(), Error> {
    change_index(store, cluster, turns, |index| index.names.clear()).await
}

/// Changes the entries of the index. It goes with the last of them, and of the names.
pub(crate) async fn change(
    store: &dyn Store,
    cluster: &str,
    turns: &Turns,
    change: impl Fn(&mut Vec<Entry>),
) -> Result<(), Error> {
    let change = |index: &mut Index| {
        index.keep_names();
        change(&mut index.configurations);
        index.configurations.sort();
        index.configurations.dedup();
        index.keep_names();
    };
    change_index(store, cluster, turns, change).await
}

async fn change_index(
    store: &dyn Store,
    cluster: &str,
    turns: &Turns,
    change: impl Fn(&mut Index),
) -> Result<(), Error> {
    let _turn = turns.0.lock().await;
    let key = index_key(cluster);
    let mut tried = 0;
    loop {
        tried += 1;
        let found = store.get(&key).await?;
        let mut index = found.as_ref().map(|object| Index::parse(&object.body)).unwrap_or_default();
        change(&mut index);
        let version = found.map(|object| object.version);
        let written = if index.configurations.is_empty() && index.names.is_empty() {
            store.delete(&key, version).await
        } else {
            let body = serde_json::to_vec(&index).map_err(|error| {
                Error::new(ErrorKind::Unexpected, "node configuration", error.to_string())
            })?;
            let condition = version.map_or(Condition::IfAbsent, Condition::IfUnchanged);
            store.put(&key, body, condition).await.map(drop)
        };
        match written {
            Err(error) if error.kind == ErrorKind::Conflict && tried < TRIES => store.forget_reads(),
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::try_join_all;

    use super::*;
    use crate::store::S3Store;
    use crate::testing::{CLUSTER, World};

    #[tokio::test]
    async fn many_steps_at_once_each_change_it_once() {
        let world = World::start().await;
        let bucket = world.bucket("state", "eu-north-1").await;
        let store = S3Store::new(world.s3(), bucket, String::new());
        let turns = Turns::default();
        world.local.take_calls();
        let steps = (0..30).map(|number| {
            let entry = Entry::new(&format!("nodes-{number}"), String::new());
            let (store, turns) = (&store, &turns);
            async move { change(store, CLUSTER, turns, |index| index.push(entry.clone())).await }
        });
        try_join_all(steps).await.expect("each has its turn");
        assert_eq!(read(&store, CLUSTER).await.expect("it can be read").len(), 30);
        assert_eq!(world.local.count("s3", "PutObject"), 30, "none was overtaken");
    }
}
