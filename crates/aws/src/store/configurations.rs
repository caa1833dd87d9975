//! The node configurations of a cluster in the state store, and their index.
//!
//! | object | what |
//! | --- | --- |
//! | `<cluster>/node/<group>/<sha256>.yaml` | one configuration, which machines read |
//! | `<cluster>/node/index.json` | all of them once more, so that a preview reads one object whatever the number of groups |
//!
//! The index lists all that may be there: it is written before what it lists, and a line goes after its object. A run
//! that is cut short in between leaves a line without an object, and the next one makes the object or removes the line.
//! One writer at a time changes it: one that was overtaken reads it again.

use kcl_node_config::NodeConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Condition, Store};
use crate::error::{Error, ErrorKind};

/// How often the index is read again when somebody else changed it meanwhile: the steps of one run are the only ones
/// that do, and they are few.
const TRIES: usize = 10;

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

#[derive(Default, Serialize, Deserialize)]
struct Index {
    configurations: Vec<Entry>,
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

/// All configurations, by the index. One that cannot be read lists nothing: it only repeats what lies beside it, and
/// whatever is wanted is written again.
pub async fn read(store: &dyn Store, cluster: &str) -> Result<Vec<Entry>, Error> {
    let Some(object) = store.get(&index_key(cluster)).await? else { return Ok(Vec::new()) };
    Ok(serde_json::from_slice::<Index>(&object.body).unwrap_or_default().configurations)
}

/// Changes the index; removes it with its last entry.
pub(crate) async fn change(
    store: &dyn Store,
    cluster: &str,
    change: impl Fn(&mut Vec<Entry>),
) -> Result<(), Error> {
    let key = index_key(cluster);
    let mut tried = 0;
    loop {
        tried += 1;
        let found = store.get(&key).await?;
        let mut index = match &found {
            Some(object) => serde_json::from_slice::<Index>(&object.body).unwrap_or_default(),
            None => Index::default(),
        };
        change(&mut index.configurations);
        index.configurations.sort();
        index.configurations.dedup();
        let version = found.map(|object| object.version);
        let written = if index.configurations.is_empty() {
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
