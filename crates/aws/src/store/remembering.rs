//! A store that reads each object once in a run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::BoxFuture;

use super::{Purged, Store};
use crate::error::Error;

/// Another store, with what was read from it. What this process writes is known, too; what others write
/// meanwhile is not seen, so it lives no longer than one command.
#[derive(Debug)]
pub struct Remembering {
    store: Box<dyn Store>,
    read: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
}

/// Nothing was read at that key.
struct NotRead;

impl Remembering {
    /// `store`, read once.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self { store, read: Mutex::new(BTreeMap::new()) }
    }

    /// What was read at `key`: `Err` where nothing was read yet, `Ok(None)` where there is no object.
    fn remembered(&self, key: &str) -> Result<Option<Vec<u8>>, NotRead> {
        // A thread that panicked while holding the lock leaves the map as it was.
        self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(key).cloned().ok_or(NotRead)
    }

    fn remember(&self, key: &str, body: Option<Vec<u8>>) {
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        read.insert(key.to_owned(), body);
    }

    fn forget(&self, key: &str) {
        self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(key);
    }
}

impl Store for Remembering {
    fn location(&self) -> String {
        self.store.location()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move {
            if let Ok(known) = self.remembered(key) {
                return Ok(known);
            }
            let body = self.store.get(key).await?;
            self.remember(key, body.clone());
            Ok(body)
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            // A write that failed may have happened.
            self.forget(key);
            self.store.put(key, body.clone()).await?;
            self.remember(key, Some(body));
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.forget(key);
            self.store.delete(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        self.store.list(prefix)
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.store.folders()
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Purged, Error>> {
        self.store.purge(folder)
    }

    fn bucket(&self) -> Option<&str> {
        self.store.bucket()
    }
}
