//! A store that reads each object once in a run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use super::lock::{Fence, is_lock_key};
use super::{Condition, Listed, Object, Store, Version};
use crate::error::Error;

/// Another store, with what was read from it. What this process writes is known, too; what others write
/// meanwhile is not seen until a conditional write fails over it, so it lives no longer than one command. Locks,
/// which live by being written, are never remembered.
#[derive(Debug)]
pub struct Remembering {
    store: Box<dyn Store>,
    read: Mutex<BTreeMap<String, Option<Object>>>,
}

/// Nothing was read at that key.
struct NotRead;

impl Remembering {
    /// `store`, read once.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { store, read: Mutex::new(BTreeMap::new()) }
    }

    fn read(&self) -> MutexGuard<'_, BTreeMap<String, Option<Object>>> {
        // A thread that panicked while holding the lock leaves the map as it was.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read at `key`: `Err` where nothing was read yet, `Ok(None)` where there is no object.
    fn remembered(&self, key: &str) -> Result<Option<Object>, NotRead> {
        self.read().get(key).cloned().ok_or(NotRead)
    }

    fn remember(&self, key: &str, object: Option<Object>) {
        if !is_lock_key(key) {
            self.read().insert(key.to_owned(), object);
        }
    }

    fn forget(&self, key: &str) {
        self.read().remove(key);
    }
}

impl Store for Remembering {
    fn location(&self) -> String {
        self.store.location()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>, Error>> {
        Box::pin(async move {
            if let Ok(known) = self.remembered(key) {
                return Ok(known);
            }
            let object = self.store.get(key).await?;
            self.remember(key, object.clone());
            Ok(object)
        })
    }

    fn try_put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        Box::pin(async move {
            // A write that failed may have happened, and one that was refused shows that we know too little.
            self.forget(key);
            let version = self.store.try_put(key, body.clone(), condition).await?;
            self.remember(key, Some(Object { body, version: version.clone(), age: None }));
            Ok(version)
        })
    }

    fn delete<'a>(&'a self, key: &'a str, version: Option<Version>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.forget(key);
            self.store.delete(key, version).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        self.store.list(prefix)
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<(), Error>> {
        for key in keys {
            self.forget(key);
        }
        self.store.delete_many(keys)
    }

    fn list_objects<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        self.store.list_objects(prefix)
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.store.folders()
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<usize, Error>> {
        self.read().clear();
        self.store.purge(folder)
    }

    fn finish_purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        self.store.finish_purge(folder)
    }

    fn bucket(&self) -> Option<&str> {
        self.store.bucket()
    }

    fn forget_reads(&self) {
        self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    fn expect_owner(&self, account: &str) {
        self.store.expect_owner(account);
    }

    fn change_under(&self, fence: Fence) {
        self.store.change_under(fence);
    }
}
