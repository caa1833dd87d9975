//! A cluster's keys in the state store.
//!
//! | object | what |
//! | --- | --- |
//! | `<cluster>/pki/private/<keyset>/keyset.yaml` | its index: which keys there are, and which is the primary one |
//! | `<cluster>/pki/private/<keyset>/<id>.key` | a private key: written once, never overwritten |
//! | `<cluster>/pki/issued/<keyset>/bundle.pem` | what machines trust |
//! | `<cluster>/pki/issued/keysets.yaml` | the indices of all keysets, so that a preview reads one object |
//!
//! What lies under `pki/issued` follows from the indices, and is written after them. A private key is written before
//! the index that lists it, so that a run that is cut short may leave a key that nothing uses. The next one that makes
//! the keyset makes it of that key; the next one that changes it removes the key.
//!
//! A key is only removed once it is certain that nobody will list it: it was there before an index was written that
//! does not list it, and that was written over the very one that its maker had read, or, as the first one, where there
//! was none. Whoever comes later with an index that does is refused, as the one it is based on is not there any more.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use kcl_pki::{KeyId, KeyInfo, Keyset, KeysetError, KeysetName, SystemEntropy};
use time::OffsetDateTime;

use super::{Condition, Object, Store, Version};
use crate::error::{Error, ErrorKind};

/// The indices of all keysets, in one object.
const SUMMARY: &str = "pki/issued/keysets.yaml";

/// Keysets by their names.
pub type Keysets = BTreeMap<KeysetName, Keyset>;

/// A keyset as it was read.
#[derive(Debug)]
struct Stored {
    keyset: Keyset,
    version: Version,
}

fn key(cluster: &str, path: &str) -> String {
    format!("{cluster}/{path}")
}

/// A keyset that is not as kcl wrote it: nothing is done with it.
fn unsound(store: &dyn Store, cluster: &str, error: &KeysetError) -> Error {
    let message = format!("{}/{cluster}: {error}", store.location());
    Error::new(ErrorKind::Refused, "keys", message)
}

/// The public halves of all keysets, as they were published. Empty where there are none yet.
pub async fn published(store: &dyn Store, cluster: &str) -> Result<Keysets, Error> {
    let Some(object) = store.get(&key(cluster, SUMMARY)).await? else { return Ok(Keysets::new()) };
    read_summary(&object.body).map_err(|error| {
        let message = format!(
            "{}/{cluster}/{SUMMARY} is not as it was written: {error}. It only repeats what the keysets say: remove it, \
             and `kcl update {cluster} --yes` writes it anew",
            store.location()
        );
        Error::new(ErrorKind::Refused, "keys", message)
    })
}

fn read_summary(body: &[u8]) -> Result<Keysets, KeysetError> {
    let text = String::from_utf8_lossy(body);
    let mut found = Keysets::new();
    for document in text.split("\n---\n").filter(|document| !document.trim().is_empty()) {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap_or_default();
        let name: KeysetName = name.parse()?;
        found.insert(name, Keyset::parse(name, document.as_bytes())?);
    }
    Ok(found)
}

fn summary(keysets: &Keysets) -> String {
    // Each index ends in a newline.
    keysets.values().map(Keyset::index_yaml).collect::<Vec<_>>().join("---\n")
}

/// The public halves of all keysets, from their own indices.
pub async fn read(store: &dyn Store, cluster: &str) -> Result<Keysets, Error> {
    let found = try_join_all(KeysetName::ALL.map(|name| stored(store, cluster, name))).await?;
    Ok(found.into_iter().flatten().map(|stored| (stored.keyset.name(), stored.keyset)).collect())
}

async fn stored(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<Option<Stored>, Error> {
    let Some(Object { body, version, .. }) = store.get(&key(cluster, &name.index_path())).await? else {
        return Ok(None);
    };
    let keyset = Keyset::parse(name, &body).map_err(|error| unsound(store, cluster, &error))?;
    Ok(Some(Stored { keyset, version }))
}

/// The keyset with the private half of its primary key, to sign with. An error where there is none.
pub async fn signing(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<Keyset, Error> {
    let Some(Stored { keyset, .. }) = stored(store, cluster, name).await? else {
        return Err(no_keyset(store, cluster, name));
    };
    with_primary_key(store, cluster, keyset).await
}

/// `keyset`, read from `store`, with the private half of its primary key.
pub async fn with_primary_key(store: &dyn Store, cluster: &str, mut keyset: Keyset) -> Result<Keyset, Error> {
    let id = keyset.primary().id().clone();
    attach(store, cluster, &mut keyset, &[id]).await?;
    // The index alone may be there: its key was lost, or belongs to something else.
    keyset.primary_private_pem().map_err(|error| unsound(store, cluster, &error))?;
    Ok(keyset)
}

/// Gives those keys their private halves that have one in the store.
async fn attach(store: &dyn Store, cluster: &str, keyset: &mut Keyset, ids: &[KeyId]) -> Result<(), Error> {
    let paths: Vec<String> = ids.iter().map(|id| key(cluster, &keyset.name().private_key_path(id))).collect();
    for (id, object) in ids.iter().zip(store.get_many(&paths).await?) {
        let Some(object) = object else { continue };
        keyset.attach(id, &object.body).map_err(|error| unsound(store, cluster, &error))?;
    }
    Ok(())
}

fn no_keyset(store: &dyn Store, cluster: &str, name: KeysetName) -> Error {
    let message = format!(
        "{cluster} has no keyset {name} in {}; `kcl update {cluster} --yes` makes what is missing",
        store.location()
    );
    Error::new(ErrorKind::NotFound, "keys", message)
}

/// Makes those of `names` that are not there yet. One that is there, whoever made it, is left as it is.
pub async fn create(store: &dyn Store, cluster: &str, names: &[KeysetName]) -> Result<Keysets, Error> {
    let made = names.iter().map(|name| create_one(store, cluster, *name));
    try_join_all(made).await?;
    publish(store, cluster).await
}

async fn create_one(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<(), Error> {
    if stored(store, cluster, name).await?.is_some() {
        return Ok(());
    }
    let keyset = if let Some(keyset) = left_behind(store, cluster, name).await? {
        keyset
    } else {
        let keyset = compute(move || Keyset::generate(name, &mut SystemEntropy, OffsetDateTime::now_utc()));
        let keyset = keyset.await?.map_err(|error| unsound(store, cluster, &error))?;
        write_private(store, cluster, &keyset, keyset.primary().id()).await?;
        keyset
    };
    let index = keyset.index_yaml().into_bytes();
    match store.put(&key(cluster, &name.index_path()), index, Condition::IfAbsent).await {
        // Somebody else's came first. It may have been made of our key; if not, nobody will ever list that.
        Err(error) if error.kind == ErrorKind::Conflict => {
            let id = keyset.primary().id();
            match stored(store, cluster, name).await? {
                Some(Stored { keyset, .. }) if keyset.get(id).is_none() => {
                    store.delete(&key(cluster, &name.private_key_path(id)), None).await
                }
                _ => Ok(()),
            }
        }
        written => written.map(|_| ()),
    }
}

/// The ids of all private keys of `name` that there are, listed or not.
async fn private_keys(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<Vec<KeyId>, Error> {
    let folder = key(cluster, &format!("pki/private/{name}/"));
    let keys = store.list(&folder).await?;
    let id = |key: &String| KeyId::parse(key.strip_prefix(&folder)?.strip_suffix(".key")?);
    Ok(keys.iter().filter_map(id).collect())
}

/// A keyset of the newest private key that a run made which was cut short before it listed it. One that cannot be read
/// is left where it is.
async fn left_behind(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<Option<Keyset>, Error> {
    let Some(id) = private_keys(store, cluster, name).await?.into_iter().max() else { return Ok(None) };
    let Some(object) = store.get(&key(cluster, &name.private_key_path(&id))).await? else { return Ok(None) };
    Ok(Keyset::adopt(name, id, &object.body, &mut SystemEntropy, OffsetDateTime::now_utc()).ok())
}

/// The private keys of a keyset that it does not list, though they were made after its first one: of a change that was
/// cut short. What is older is of an index that was lost; something may have been signed with it.
async fn unlisted(store: &dyn Store, cluster: &str, keyset: &Keyset) -> Result<Vec<KeyId>, Error> {
    let first = keyset.keys().iter().map(kcl_pki::Key::id).min();
    let mut ids = private_keys(store, cluster, keyset.name()).await?;
    ids.retain(|id| keyset.get(id).is_none() && Some(id) > first);
    Ok(ids)
}

/// Making an RSA key takes long enough to hold up everything else.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| Error::new(ErrorKind::Unexpected, "keys", error.to_string()))
}

async fn write_private(store: &dyn Store, cluster: &str, keyset: &Keyset, id: &KeyId) -> Result<(), Error> {
    let private = keyset.get(id).and_then(kcl_pki::Key::private_key);
    let missing =
        || Error::new(ErrorKind::Unexpected, "keys", "a key that was just made has no private half");
    let pem = private.ok_or_else(missing)?.to_pem();
    let path = key(cluster, &keyset.name().private_key_path(id));
    store.put(&path, pem.reveal().as_bytes().to_vec(), Condition::IfAbsent).await?;
    Ok(())
}

/// Writes what follows from the indices, where it is not so already: what machines trust, and the summary.
pub async fn publish(store: &dyn Store, cluster: &str) -> Result<Keysets, Error> {
    let keysets = read(store, cluster).await?;
    let bundles = keysets.values().map(|keyset| (keyset.name().bundle_path(), keyset.trust_bundle()));
    let bundles = bundles.map(|(path, text)| async move {
        store.put(&key(cluster, &path), text.into_bytes(), Condition::Always).await
    });
    try_join_all(bundles).await?;
    store.put(&key(cluster, SUMMARY), summary(&keysets).into_bytes(), Condition::Always).await?;
    Ok(keysets)
}

/// Changes the keyset `name`, and publishes it. `change` gets the keyset with the private halves of all its keys that
/// have one; what it gives is handed on. Where somebody else changed the keyset meanwhile, nothing is written.
pub async fn change<T>(
    store: &dyn Store,
    cluster: &str,
    name: KeysetName,
    change: impl FnOnce(&mut Keyset, OffsetDateTime) -> Result<T, KeysetError>,
) -> Result<T, Error> {
    let Some(Stored { keyset: old, version }) = stored(store, cluster, name).await? else {
        return Err(no_keyset(store, cluster, name));
    };
    let mut keyset = old.clone();
    let ids: Vec<KeyId> = old.keys().iter().map(|key| key.id().clone()).collect();
    attach(store, cluster, &mut keyset, &ids).await?;
    let result = change(&mut keyset, OffsetDateTime::now_utc());
    let result = result.map_err(|error| Error::new(ErrorKind::Refused, "keys", error.to_string()))?;
    keyset.is_successor_of(&old).map_err(|error| unsound(store, cluster, &error))?;
    let index = keyset.index_yaml().into_bytes();
    if index != old.index_yaml().into_bytes() {
        let unlisted = unlisted(store, cluster, &old).await?;
        let added = keyset.keys().iter().map(kcl_pki::Key::id).filter(|id| old.get(id).is_none());
        for id in added {
            write_private(store, cluster, &keyset, id).await?;
        }
        let path = key(cluster, &name.index_path());
        store.put(&path, index, Condition::IfUnchanged(version)).await.map_err(|mut error| {
            if error.kind == ErrorKind::Conflict {
                error.message =
                    format!("somebody else changed the keyset {name} at the same time; nothing was changed");
            }
            error
        })?;
        let unlisted = unlisted.iter().map(|id| key(cluster, &name.private_key_path(id)));
        store.delete_many(&unlisted.collect::<Vec<_>>()).await?;
    }
    publish(store, cluster).await?;
    Ok(result)
}

/// What there is to know of the keys of `name`, but for the keys themselves.
pub async fn list(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<Vec<KeyInfo>, Error> {
    let Some(Stored { keyset, .. }) = stored(store, cluster, name).await? else { return Ok(Vec::new()) };
    let keys = store.list(&key(cluster, &format!("pki/private/{name}/"))).await?;
    let mut infos = keyset.list();
    for info in &mut infos {
        info.has_private_key = keys.contains(&key(cluster, &name.private_key_path(&info.id)));
    }
    Ok(infos)
}

/// Which of the keysets have any object in the store, sound or not.
pub async fn present(store: &dyn Store, cluster: &str) -> Result<Vec<KeysetName>, Error> {
    let keys = store.list(&key(cluster, "pki/")).await?;
    let has = |name: &KeysetName| {
        let folders = [format!("{cluster}/pki/private/{name}/"), format!("{cluster}/pki/issued/{name}/")];
        keys.iter().any(|key| folders.iter().any(|folder| key.starts_with(folder)))
    };
    Ok(KeysetName::ALL.into_iter().filter(has).collect())
}

/// Removes the keyset: its private keys first.
pub async fn remove(store: &dyn Store, cluster: &str, name: KeysetName) -> Result<(), Error> {
    for folder in ["private", "issued"] {
        let keys = store.list(&key(cluster, &format!("pki/{folder}/{name}/"))).await?;
        try_join_all(keys.iter().map(|key| store.delete(key, None))).await?;
    }
    Ok(())
}

/// Removes the summary of keysets that are gone.
pub async fn remove_summary(store: &dyn Store, cluster: &str) -> Result<(), Error> {
    store.delete(&key(cluster, SUMMARY), None).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FileStore;
    use crate::testing::{CLUSTER, CutShort};

    const NAMES: [KeysetName; 2] = [KeysetName::KubernetesCa, KeysetName::ServiceAccount];

    /// What is there is what the indices say: `count` keys of each keyset, the private halves of just those, and what
    /// is published of them.
    async fn assert_whole(store: &dyn Store, counts: [usize; 2]) {
        let keysets = read(store, CLUSTER).await.expect("they can be read");
        assert_eq!(published(store, CLUSTER).await.expect("they can be read"), keysets);
        let mut expected = vec![key(CLUSTER, SUMMARY)];
        for (name, count) in NAMES.into_iter().zip(counts) {
            let keyset = &keysets[&name];
            assert_eq!(keyset.keys().len(), count, "{name}");
            signing(store, CLUSTER, name).await.expect("it can sign");
            expected.extend([name.index_path(), name.bundle_path()].map(|path| key(CLUSTER, &path)));
            let keys = keyset.keys().iter().map(|one| key(CLUSTER, &name.private_key_path(one.id())));
            expected.extend(keys);
        }
        expected.sort();
        assert_eq!(store.list("").await.expect("it can be listed"), expected);
    }

    /// Whatever a run that is cut short leaves, the next one leaves nothing else than an undisturbed one.
    #[tokio::test]
    async fn what_is_cut_short_is_completed() {
        for writes in 0.. {
            let folder = tempfile::tempdir().expect("there is a folder");
            let store = CutShort::new(FileStore::new(folder.path().to_owned()));
            store.after(writes);
            let cut = create(&store, CLUSTER, &NAMES).await;
            store.never();
            create(&store, CLUSTER, &NAMES).await.expect("they are made");
            assert_whole(&store, [1, 1]).await;
            if cut.is_ok() {
                assert_eq!(writes, 7, "two keys, two indices, two bundles, the summary");
                break;
            }
        }
    }

    #[tokio::test]
    async fn a_change_that_is_cut_short_leaves_no_key_behind() {
        const NAME: KeysetName = KeysetName::KubernetesCa;
        for writes in 0.. {
            let folder = tempfile::tempdir().expect("there is a folder");
            let store = CutShort::new(FileStore::new(folder.path().to_owned()));
            create(&store, CLUSTER, &NAMES).await.expect("they are made");
            store.after(writes);
            let add = |keyset: &mut Keyset, now| keyset.add(&mut SystemEntropy, now);
            let cut = change(&store, CLUSTER, NAME, add).await;
            store.never();
            let listed = read(&store, CLUSTER).await.expect("they can be read")[&NAME].keys().len();
            change(&store, CLUSTER, NAME, add).await.expect("it is changed");
            assert_whole(&store, [listed + 1, 1]).await;
            if cut.is_ok() {
                assert!(writes >= 3, "a key, the index, the summary");
                break;
            }
            assert_eq!(listed, if writes < 2 { 1 } else { 2 }, "after {writes} writes");
        }
    }

    #[tokio::test]
    async fn those_who_make_one_at_the_same_time_leave_one_key() {
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("there is a folder");
            let store = FileStore::new(folder.path().to_owned());
            let made = try_join_all((0..4).map(|_| create(&store, CLUSTER, &NAMES[..1]))).await;
            made.expect("they are made");
            let ids = private_keys(&store, CLUSTER, NAMES[0]).await.expect("they can be listed");
            let keysets = read(&store, CLUSTER).await.expect("they can be read");
            assert_eq!(ids, [keysets[&NAMES[0]].primary().id().clone()]);
        }
    }

    /// An index that was lost: what may have been signed with an older key is not lost with it.
    #[tokio::test]
    async fn keys_of_an_index_that_was_lost_stay() {
        let folder = tempfile::tempdir().expect("there is a folder");
        let store = FileStore::new(folder.path().to_owned());
        let name = NAMES[0];
        let add = |keyset: &mut Keyset, now| keyset.add(&mut SystemEntropy, now);
        create(&store, CLUSTER, &[name]).await.expect("it is made");
        change(&store, CLUSTER, name, add).await.expect("it is changed");
        let before = private_keys(&store, CLUSTER, name).await.expect("they can be listed");
        store.delete(&key(CLUSTER, &name.index_path()), None).await.expect("it is lost");
        create(&store, CLUSTER, &[name]).await.expect("it is made");
        change(&store, CLUSTER, name, add).await.expect("it is changed");
        let after = private_keys(&store, CLUSTER, name).await.expect("they can be listed");
        assert_eq!(after[..2], before);
        let keyset = signing(&store, CLUSTER, name).await.expect("it can sign");
        assert_eq!(*keyset.primary().id(), before[1]);
    }
}
