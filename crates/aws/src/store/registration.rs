//! A cluster's registered spec: what `kcl update NAME` works from.
//!
//! | object | what |
//! | --- | --- |
//! | `<cluster>/config` | the Cluster document as it was given |
//! | `<cluster>/instancegroup/<name>` | each InstanceGroup as it was given |
//! | `<cluster>/additional-objects` | every other document as it was given |
//! | `<cluster>/cluster-completed.spec` | what the defaults made of all kOps and kcl documents |
//!
//! Several objects cannot be written at once. So the completed spec is written last, in one piece, and it is what is
//! worked from: a registration that is cut short leaves the one before it in force. Its first line tells of what it
//! was made, so that whoever reads the parts knows whether they belong to it.

use std::collections::BTreeMap;

use futures::future::{try_join, try_join_all};
use sha2::{Digest, Sha256};

use super::{Condition, Store};
use crate::error::{Error, ErrorKind};

/// The object with the Cluster document.
pub const CONFIG: &str = "config";
/// The folder of the InstanceGroup documents.
pub const INSTANCE_GROUPS: &str = "instancegroup/";
/// The object with every other document.
pub const ADDITIONAL_OBJECTS: &str = "additional-objects";
/// The object with what the defaults made of it.
const COMPLETED: &str = "cluster-completed.spec";

/// How the completed spec's first line begins.
const HEADER: &str = "# What kcl works from; written by it. Made of documents with the digest ";
/// How its second line begins, where there are documents of other kinds.
const OBJECTS_HEADER: &str = "# The additional objects among them have the digest ";

/// The key of a cluster's completed spec.
pub fn spec_key(cluster: &str) -> String {
    format!("{cluster}/{COMPLETED}")
}

/// A spec to register, or one that is registered. It may hold what lies in Secrets, so it prints nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// What the defaults made of it. Never holds what lies in Secrets.
    pub completed: String,
    /// Tells one set of documents from any other.
    pub digest: String,
    /// The documents as they were given, by the object they are kept in: [`CONFIG`], [`INSTANCE_GROUPS`] and a
    /// name, [`ADDITIONAL_OBJECTS`]. `None`: those that are registered.
    pub parts: Option<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl From<Registered> for Registration {
    fn from(registered: Registered) -> Self {
        Self { completed: registered.completed, digest: registered.digest, parts: None }
    }
}

/// A registered spec as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// What the defaults made of it.
    pub completed: String,
    /// Of which documents.
    pub digest: String,
    /// Of which additional objects among them; `None`: there are none.
    pub objects_digest: Option<String>,
}

impl Registration {
    /// A spec to register: its documents as they were given, and what the defaults made of them.
    pub fn new(completed: String, parts: BTreeMap<String, String>) -> Self {
        Self { completed, digest: digest(&parts), parts: Some(parts) }
    }

    /// The documents that are neither the Cluster nor an InstanceGroup, as they were given; empty where they are those
    /// that are registered.
    pub fn additional_objects(&self) -> &str {
        let parts = self.parts.as_ref();
        parts.and_then(|parts| parts.get(ADDITIONAL_OBJECTS)).map_or("", String::as_str)
    }

    /// Writes it: the parts, then the completed spec, then what no longer belongs to it goes.
    pub async fn write(&self, store: &dyn Store, cluster: &str) -> Result<(), Error> {
        // What is registered already need not be written.
        let Some(parts) = &self.parts else { return Ok(()) };
        let written = parts.iter().map(|(name, text)| async move {
            store.put(&format!("{cluster}/{name}"), text.clone().into_bytes(), Condition::Always).await
        });
        let (_, mut stale) = try_join(try_join_all(written), part_keys(store, cluster)).await?;
        let objects = match parts.get(ADDITIONAL_OBJECTS) {
            Some(text) => format!("{OBJECTS_HEADER}{}\n", digest_of_objects(text)),
            None => String::new(),
        };
        let completed = format!("{HEADER}{}\n{objects}{}", self.digest, self.completed);
        store.put(&spec_key(cluster), completed.into_bytes(), Condition::Always).await?;
        let is_stale = |part: &str| !parts.contains_key(part);
        stale.retain(|key| key.strip_prefix(&format!("{cluster}/")).is_some_and(is_stale));
        try_join_all(stale.iter().map(|key| store.delete(key, None))).await?;
        Ok(())
    }
}

/// Every key under which `cluster` may have a document.
async fn part_keys(store: &dyn Store, cluster: &str) -> Result<Vec<String>, Error> {
    let mut keys = store.list(&format!("{cluster}/{INSTANCE_GROUPS}")).await?;
    keys.extend([CONFIG, ADDITIONAL_OBJECTS].map(|part| format!("{cluster}/{part}")));
    Ok(keys)
}

fn digest(parts: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, text) in parts {
        // With their lengths, so that no two sets of parts look the same.
        for bytes in [name.as_bytes(), text.as_bytes()] {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
    }
    hex::encode(hash.finalize())
}

fn digest_of_objects(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// The registered spec of `cluster`; `None` where it is not registered.
pub async fn read(store: &dyn Store, cluster: &str) -> Result<Option<Registered>, Error> {
    let Some(object) = store.get(&spec_key(cluster)).await? else { return Ok(None) };
    let foreign = || {
        let message = format!(
            "{}/{} is not a completed spec that kcl wrote; nothing was changed. Register the spec again with \
             `kcl replace -f FILE`, after a look at whose object that is",
            store.location(),
            spec_key(cluster)
        );
        Error::new(ErrorKind::Refused, "state store", message)
    };
    let text = String::from_utf8(object.body).map_err(|_| foreign())?;
    let (first, completed) = text.split_once('\n').ok_or_else(foreign)?;
    let digest = first.strip_prefix(HEADER).ok_or_else(foreign)?;
    let (objects_digest, completed) = match completed.split_once('\n') {
        Some((line, rest)) if line.starts_with(OBJECTS_HEADER) => {
            (line.strip_prefix(OBJECTS_HEADER).map(str::to_owned), rest)
        }
        _ => (None, completed),
    };
    Ok(Some(Registered { completed: completed.to_owned(), digest: digest.to_owned(), objects_digest }))
}

/// The additional objects of `registered` as they were given; empty where there are none. An error where they are not
/// those that it was made of.
pub async fn read_objects(
    store: &dyn Store,
    cluster: &str,
    registered: &Registered,
) -> Result<String, Error> {
    let Some(digest) = &registered.objects_digest else { return Ok(String::new()) };
    let object = store.get(&format!("{cluster}/{ADDITIONAL_OBJECTS}")).await?;
    let text = object.map(|object| String::from_utf8_lossy(&object.body).into_owned()).unwrap_or_default();
    if digest_of_objects(&text) == *digest { Ok(text) } else { Err(other_documents(store, cluster)) }
}

fn other_documents(store: &dyn Store, cluster: &str) -> Error {
    let message = format!(
        "the documents in {}/{cluster} are not those that were registered: a registration was cut short, or they \
         were changed by hand. kcl works from the last whole one ({COMPLETED}); `kcl replace -f FILE` registers \
         them anew",
        store.location()
    );
    Error::new(ErrorKind::Refused, "state store", message)
}

/// The documents of `registered` as they were given, by the object they are kept in. An error where they are not
/// those it was made of: a registration was cut short, or somebody changed them by hand.
pub async fn read_parts(
    store: &dyn Store,
    cluster: &str,
    registered: &Registered,
) -> Result<BTreeMap<String, String>, Error> {
    let keys = part_keys(store, cluster).await?;
    let objects = store.get_many(&keys).await?;
    let mut parts = BTreeMap::new();
    for (key, object) in keys.iter().zip(objects) {
        let (Some(part), Some(object)) = (key.strip_prefix(&format!("{cluster}/")), object) else { continue };
        parts.insert(part.to_owned(), String::from_utf8_lossy(&object.body).into_owned());
    }
    if digest(&parts) == registered.digest { Ok(parts) } else { Err(other_documents(store, cluster)) }
}

/// Whether anything of a registered spec of `cluster` is there, sound or not.
pub async fn is_there(store: &dyn Store, cluster: &str) -> Result<bool, Error> {
    // Not the whole folder: backups may be thousands.
    let parts = [CONFIG, INSTANCE_GROUPS, ADDITIONAL_OBJECTS, COMPLETED];
    let prefixes = parts.map(|part| format!("{cluster}/{part}"));
    let lists = try_join_all(prefixes.iter().map(|prefix| store.list(prefix))).await?;
    Ok(lists.iter().any(|keys| !keys.is_empty()))
}

/// Removes the registered spec of `cluster`: the completed one last, so that an interrupted removal can be taken up.
pub async fn remove(store: &dyn Store, cluster: &str) -> Result<(), Error> {
    let keys = part_keys(store, cluster).await?;
    try_join_all(keys.iter().map(|key| store.delete(key, None))).await?;
    store.delete(&spec_key(cluster), None).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FileStore;

    const CLUSTER: &str = "k8s.example.com";

    fn registration(parts: &[(&str, &str)]) -> Registration {
        let owned = parts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Registration::new(format!("completed: {}\n", parts.len()), owned.collect())
    }

    #[tokio::test]
    async fn a_registration_is_replaced_as_a_whole() {
        let directory = std::env::temp_dir().join(format!("kcl-registration-{}", std::process::id()));
        let store = FileStore::new(directory.clone());
        assert_eq!(read(&store, CLUSTER).await.unwrap(), None);
        let first = registration(&[
            (CONFIG, "kind: Cluster\n"),
            ("instancegroup/a", "kind: InstanceGroup\n"),
            ("instancegroup/b", "kind: InstanceGroup\n"),
            (ADDITIONAL_OBJECTS, "kind: Secret\n"),
        ]);
        first.write(&store, CLUSTER).await.unwrap();
        let registered = read(&store, CLUSTER).await.unwrap().unwrap();
        assert_eq!((&registered.completed, &registered.digest), (&first.completed, &first.digest));
        assert_eq!(read_objects(&store, CLUSTER, &registered).await.unwrap(), "kind: Secret\n");
        let objects = format!("{CLUSTER}/{ADDITIONAL_OBJECTS}");
        store.put(&objects, b"kind: Service\n".to_vec(), Condition::Always).await.unwrap();
        assert!(read_objects(&store, CLUSTER, &registered).await.unwrap_err().message.contains("cut short"));
        store.put(&objects, b"kind: Secret\n".to_vec(), Condition::Always).await.unwrap();
        assert_eq!(read_parts(&store, CLUSTER, &registered).await.unwrap(), first.parts.unwrap());

        let second =
            registration(&[(CONFIG, "kind: Cluster\n"), ("instancegroup/b", "kind: InstanceGroup\n")]);
        second.write(&store, CLUSTER).await.unwrap();
        let keys = store.list(&format!("{CLUSTER}/")).await.unwrap();
        let names = [spec_key(CLUSTER), format!("{CLUSTER}/config"), format!("{CLUSTER}/instancegroup/b")];
        assert_eq!(keys, names, "what is no longer in the spec goes");
        let registered = read(&store, CLUSTER).await.unwrap().unwrap();
        assert_eq!(read_parts(&store, CLUSTER, &registered).await.unwrap(), second.parts.unwrap());
        assert_eq!(read_objects(&store, CLUSTER, &registered).await.unwrap(), "");

        // A registration that is cut short: parts are new, the completed spec is not.
        store.put(&names[1], b"kind: Cluster # new\n".to_vec(), Condition::Always).await.unwrap();
        assert_eq!(read(&store, CLUSTER).await.unwrap(), Some(registered.clone()));
        assert!(read_parts(&store, CLUSTER, &registered).await.unwrap_err().message.contains("cut short"));

        remove(&store, CLUSTER).await.unwrap();
        assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());
        store.put(&names[0], b"kind: Cluster\n".to_vec(), Condition::Always).await.unwrap();
        assert!(read(&store, CLUSTER).await.unwrap_err().message.contains("not a completed spec"));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn nothing_of_the_documents_is_printed() {
        let registration = registration(&[(ADDITIONAL_OBJECTS, "kind: Secret\nstringData: {p: hunter2}\n")]);
        assert!(!format!("{registration:?}").contains("hunter2"));
    }
}
