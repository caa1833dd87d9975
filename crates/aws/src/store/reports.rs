//! What the cluster's machines write into the state store for others to read: how far each is, etcd's backups, and how
//! the restore of one goes.
//!
//! What cannot be read is left out: it is shown to people, and nothing is decided by it. Any machine can write what it
//! wants there, so control characters, which a terminal would take for its own, are taken out.

use std::collections::BTreeMap;
use std::time::Duration;

use kcl_node_config::{BACKUPS, Backup, Mark, MarkState, RestoreProgress, RestoreRequest, Status};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Condition, Listed, Store, Version};
use crate::error::{Error, ErrorKind};

/// Whether the control plane has begun: from then on the API's names are published.
pub async fn has_begun(store: &dyn Store, cluster: &str) -> Result<bool, Error> {
    let object = store.get(&format!("{cluster}/{}", Mark::PATH)).await?;
    let mark = object.and_then(|object| Mark::read(&object.body).ok());
    Ok(mark.is_some_and(|mark| mark.state == MarkState::Initialized))
}

/// How far machines are that said so in this time, and not yet what is `known`: which state of each was read before. One
/// list, and what is new in it, however many machines the cluster has had.
pub async fn new_statuses(
    store: &dyn Store,
    cluster: &str,
    within: Duration,
    known: &mut BTreeMap<String, Version>,
) -> Result<Vec<Status>, Error> {
    let mut new = store.list_objects(&format!("{cluster}/status/")).await?;
    new.retain(|object| is_new(object, within, known));
    let keys: Vec<String> = new.iter().map(|object| object.key.clone()).collect();
    let statuses = documents(store, &keys).await?;
    // Where a machine said more since the list was made, it is read once more.
    known.extend(new.into_iter().filter_map(|object| Some((object.key, object.version?))));
    Ok(statuses)
}

fn is_new(object: &Listed, within: Duration, known: &BTreeMap<String, Version>) -> bool {
    let is_known = object.version.is_some() && known.get(&object.key) == object.version.as_ref();
    !is_known && object.age.is_none_or(|age| age <= within)
}

/// How far these machines are, in any order.
pub async fn statuses_of(
    store: &dyn Store,
    cluster: &str,
    instances: impl IntoIterator<Item = &str>,
) -> Result<Vec<Status>, Error> {
    let keys: Vec<String> =
        instances.into_iter().map(|instance| format!("{cluster}/{}", Status::path(instance))).collect();
    documents(store, &keys).await
}

/// The backups of the cluster's etcd, the oldest first. One that was cut short is none.
pub async fn backups(store: &dyn Store, cluster: &str) -> Result<Vec<Backup>, Error> {
    all(store, &format!("{cluster}/{BACKUPS}/"), "/backup.json").await
}

/// Asks the control plane for a restore; an earlier request is replaced.
pub async fn request_restore(
    store: &dyn Store,
    cluster: &str,
    request: &RestoreRequest,
) -> Result<(), Error> {
    let body = serde_json::to_vec(request)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "restore", error.to_string()))?;
    store.put(&format!("{cluster}/{}", RestoreRequest::PATH), body, Condition::Always).await.map(drop)
}

/// How far each member is with a restore.
pub async fn restore_progress(
    store: &dyn Store,
    cluster: &str,
    id: &str,
) -> Result<Vec<RestoreProgress>, Error> {
    all(store, &format!("{cluster}/{}", RestoreProgress::folder(id)), ".json").await
}

/// The documents whose keys begin and end so, by their keys.
async fn all<T: DeserializeOwned>(store: &dyn Store, prefix: &str, suffix: &str) -> Result<Vec<T>, Error> {
    let keys = store.list(prefix).await?;
    let keys: Vec<String> = keys.into_iter().filter(|key| key.ends_with(suffix)).collect();
    documents(store, &keys).await
}

async fn documents<T: DeserializeOwned>(store: &dyn Store, keys: &[String]) -> Result<Vec<T>, Error> {
    let objects = store.get_many(keys).await?;
    let values = objects.into_iter().flatten().filter_map(|object| serde_json::from_slice(&object.body).ok());
    Ok(values.filter_map(|value| serde_json::from_value(plain(value)).ok()).collect())
}

/// Texts without control characters but for ends of lines.
fn plain(value: Value) -> Value {
    match value {
        Value::String(text) => {
            text.chars().filter(|c| !c.is_control() || *c == '\n').collect::<String>().into()
        }
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, plain(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FileStore, S3Store};
    use crate::testing::World;

    #[tokio::test]
    async fn what_is_no_document_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().to_owned());
        let put = |key: &'static str, text: &'static str| {
            let store = &store;
            async move { store.put(key, text.as_bytes().to_vec(), Condition::Always).await.unwrap() }
        };
        put("c/status/i-1", r#"{"instance":"i-1","version":"1","state":"failed","step":"programs","error":"\u001b[31mno","at":"t"}"#)
            .await;
        put("c/status/i-2", "{").await;
        put("c/backups/etcd/main/2026-11-27T03:15:00Z-i-1/etcd.db", "data without its document").await;
        let mut known = BTreeMap::new();
        let found = new_statuses(&store, "c", Duration::MAX, &mut known).await.unwrap();
        assert_eq!(found.iter().map(|status| status.instance.as_str()).collect::<Vec<_>>(), ["i-1"]);
        assert_eq!(found[0].error.as_deref(), Some("[31mno"), "nothing that a terminal would obey");
        assert_eq!(statuses_of(&store, "c", ["i-1", "i-2", "i-3"]).await.unwrap(), found);
        assert!(backups(&store, "c").await.unwrap().is_empty());
        assert!(restore_progress(&store, "c", "some").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_what_is_new_is_read() {
        let world = World::start().await;
        let bucket = world.bucket("state", &world.aws.region).await;
        let store = S3Store::new(world.s3(), bucket, String::new());
        let mut known = BTreeMap::new();
        let said = async |instance: &str, step: &str| {
            let text = format!(
                r#"{{"instance":"{instance}","version":"1","state":"running","step":"{step}","at":"t"}}"#
            );
            let key = format!("c/status/{instance}");
            store.put(&key, text.into_bytes(), Condition::Always).await.expect("it is written");
        };
        for instance in ["i-1", "i-2", "i-3"] {
            said(instance, "programs").await;
        }
        let within = Duration::from_mins(1);
        assert_eq!(new_statuses(&store, "c", within, &mut known).await.unwrap().len(), 3);
        said("i-2", "join").await;
        world.local.take_calls();
        let new = new_statuses(&store, "c", within, &mut known).await.unwrap();
        assert_eq!(new.iter().map(|status| status.step.as_str()).collect::<Vec<_>>(), ["join"]);
        assert_eq!(world.local.count("s3", "GetObject"), 1);
    }

    #[test]
    fn what_was_said_long_ago_is_not_read() {
        let within = Duration::from_mins(1);
        let said = |seconds: Option<u64>| {
            let age = seconds.map(Duration::from_secs);
            is_new(&Listed { key: "c/status/i-1".to_owned(), version: None, age }, within, &BTreeMap::new())
        };
        assert!(said(Some(60)) && !said(Some(61)) && said(None), "what has no age may be new");
    }
}
