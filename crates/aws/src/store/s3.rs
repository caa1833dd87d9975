//! A store in an S3 bucket.
//!
//! Encryption: with a KMS key, every object is written with it. Without one nothing is said about encryption, so
//! that the bucket's own default decides: S3 encrypts every new object with a key of its own (SSE-S3) unless the
//! bucket says otherwise, and where its owner set a KMS key as the default, a request for AES256 would undo that.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::future::BoxFuture;

use super::lock::{Fence, is_lock_key, is_released, lock_key};
use super::{Condition, Listed, Object, Purged, Store, Version, conflict};
use crate::client::timeouts;
use crate::error::{Error, ErrorKind};
use crate::guard::Guard;
use crate::regional::Regional;
use crate::tags::BUCKET_MARK;
use crate::wait::retry;

/// S3 says "conflict, try again" while two writes of one key are under way; a write takes some 50 ms.
const CONFLICTS: Duration = Duration::from_secs(3);

/// A bucket and a prefix.
#[derive(Debug)]
pub struct S3Store {
    bucket: Regional,
    prefix: String,
    kms_key: Option<String>,
    owner: OnceLock<String>,
    guard: Guard,
}

impl S3Store {
    /// The store under `prefix` of `bucket`, wherever that lies.
    pub fn new(client: Client, bucket: String, prefix: String) -> Self {
        let (bucket, guard) = (Regional::new(client, bucket), Guard::default());
        Self { bucket, prefix, kms_key: None, owner: OnceLock::new(), guard }
    }

    /// The same, which encrypts what it writes with this KMS key (id, ARN or alias).
    #[must_use]
    pub fn with_kms_key(self, kms_key: Option<String>) -> Self {
        Self { kms_key, ..self }
    }

    /// The same, in a bucket of this account and no other.
    #[must_use]
    pub fn with_owner(self, owner: Option<String>) -> Self {
        Self { owner: owner.map_or_else(OnceLock::new, OnceLock::from), ..self }
    }

    fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// A key of the bucket's as the store has it: without the store's prefix.
    fn own_key<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.key(""))
    }

    /// What looks at each try of a change of the object at `key`.
    fn guard_of(&self, key: &str) -> Guard {
        if is_lock_key(key) { Guard::default() } else { self.guard.clone() }
    }

    fn name(&self) -> &str {
        self.bucket.bucket()
    }

    fn owner(&self) -> Option<String> {
        self.owner.get().cloned()
    }

    async fn call<T, E, F>(&self, action: &str, send: impl Fn(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match self.bucket.call(action, send).await {
            Err(error) if error.kind == ErrorKind::Denied => Err(self.denied(error).await),
            Err(mut error) => {
                error.message = format!("bucket {}: {}", self.name(), error.message);
                Err(error)
            }
            answer => answer,
        }
    }

    /// S3 says no more than "denied" where the bucket is not the expected account's: then it lets us look at it as long
    /// as we do not say whose it should be.
    async fn denied(&self, mut error: Error) -> Error {
        let name = self.name();
        if let Some(owner) = self.owner.get() {
            let look = async |expected: Option<String>| {
                let look = |client: Client| {
                    client.head_bucket().bucket(name).set_expected_bucket_owner(expected.clone()).send()
                };
                self.bucket.call("s3:ListBucket", look).await.is_ok()
            };
            if !look(self.owner()).await && look(None).await {
                error.kind = ErrorKind::Refused;
                error.message = format!(
                    "the bucket {name} is not of the account {owner}: check its name; to use another account's \
                     bucket, say whose it is (s3://{name}/...?owner=ACCOUNT)"
                );
                return error;
            }
        }
        error.message = format!("bucket {name}: {}", error.message);
        error
    }

    async fn put_once(&self, key: &str, body: &[u8], condition: &Condition) -> Result<Version, Error> {
        let answer = self.call("s3:PutObject", |client| {
            let call = client.put_object().bucket(self.name()).key(self.key(key));
            let call = call.body(body.to_vec().into()).set_expected_bucket_owner(self.owner());
            let call = match &self.kms_key {
                // One key of the bucket's for many objects: KMS is asked, and paid, less often.
                Some(kms_key) => call
                    .server_side_encryption(ServerSideEncryption::AwsKms)
                    .ssekms_key_id(kms_key)
                    .bucket_key_enabled(true),
                None => call,
            };
            match condition {
                Condition::Always => call,
                Condition::IfAbsent => call.if_none_match("*"),
                Condition::IfUnchanged(version) => call.if_match(&version.0),
            }
            .customize()
            .interceptor(self.guard_of(key))
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts(body.len())))
            .send()
        });
        version("s3:PutObject", answer.await?.e_tag)
    }
}

fn version(action: &str, e_tag: Option<String>) -> Result<Version, Error> {
    e_tag.map(Version).ok_or_else(|| Error::unexpected(action, "ETag"))
}

/// A missing bucket is an empty store: a plan makes it.
fn or_nothing<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_busy(error: &Error) -> bool {
    error.is_code(&["ConditionalRequestConflict"])
}

/// What a condition that does not hold, or that the store does not know, looks like.
fn judged(error: Error, key: &str, condition: &Condition) -> Error {
    if *condition == Condition::Always {
        return error;
    }
    let refused = is_busy(&error) || error.is_code(&["PreconditionFailed"]);
    // There is nothing that could be unchanged.
    let gone = matches!(condition, Condition::IfUnchanged(_)) && error.is_code(&["NoSuchKey"]);
    if refused || gone {
        return conflict(&error.action, key, condition);
    }
    if error.is_code(&["NotImplemented"]) {
        return Error { kind: ErrorKind::Unsupported, ..error };
    }
    error
}

/// How many objects one call deletes: S3 takes no more.
const DELETED_AT_ONCE: usize = 1000;

/// When S3 gave an answer, by its own clock.
#[derive(Clone, Debug, Default)]
struct AnswerDate(Arc<Mutex<Option<DateTime>>>);

impl AnswerDate {
    /// The time since `then`; both are whole seconds.
    fn since(&self, then: Option<DateTime>) -> Option<Duration> {
        let now = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(Duration::from_secs(u64::try_from(now.secs() - then?.secs()).unwrap_or_default()))
    }
}

impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

impl Store for S3Store {
    fn location(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("s3://{}{slash}{}", self.name(), self.prefix)
    }

    fn bucket(&self) -> Option<&str> {
        Some(self.name())
    }

    fn expect_owner(&self, account: &str) {
        // One that is known already counts more.
        drop(self.owner.set(account.to_owned()));
    }

    fn change_under(&self, fence: Fence) {
        self.guard.set(fence);
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>, Error>> {
        Box::pin(async move {
            let date = AnswerDate::default();
            let answer = self.call("s3:GetObject", |client| {
                let call = client.get_object().bucket(self.name()).key(self.key(key));
                let call = call.set_expected_bucket_owner(self.owner());
                call.customize().interceptor(date.clone()).send()
            });
            let Some(answer) = or_nothing(answer.await)? else { return Ok(None) };
            let version = version("s3:GetObject", answer.e_tag)?;
            let age = date.since(answer.last_modified);
            let body = answer.body.collect().await.map_err(|error| {
                Error::new(ErrorKind::Ambiguous, "s3:GetObject", format!("the object was cut short: {error}"))
            })?;
            Ok(Some(Object { body: body.to_vec(), version, age }))
        })
    }

    fn try_put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        Box::pin(async move {
            let written = retry(CONFLICTS, is_busy, || self.put_once(key, &body, &condition)).await;
            written.map_err(|error| judged(error, key, &condition))
        })
    }

    fn delete<'a>(&'a self, key: &'a str, version: Option<Version>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let delete = || {
                self.call("s3:DeleteObject", |client| {
                    let call = client.delete_object().bucket(self.name()).key(self.key(key));
                    let call = call.set_expected_bucket_owner(self.owner());
                    let call = call.set_if_match(version.as_ref().map(|version| version.0.clone()));
                    call.customize().interceptor(self.guard_of(key)).send()
                })
            };
            let condition = version.clone().map_or(Condition::Always, Condition::IfUnchanged);
            match or_nothing(retry(CONFLICTS, is_busy, delete).await) {
                Ok(_) => Ok(()),
                Err(error) => Err(judged(error, key, &condition)),
            }
        })
    }

    fn delete_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for keys in keys.chunks(DELETED_AT_ONCE) {
                let objects = keys.iter().map(|key| ObjectIdentifier::builder().key(self.key(key)).build());
                let objects = objects.collect::<Result<Vec<_>, _>>()?;
                or_nothing(self.delete_objects("s3:DeleteObject", objects, &self.guard).await)?;
            }
            Ok(())
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let objects = self.list_objects(prefix).await?;
            Ok(objects.into_iter().map(|object| object.key).collect())
        })
    }

    fn list_objects<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let (objects, _) = self.listed(&self.key(prefix), None).await?;
            Ok(objects)
        })
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let (_, folders) = self.listed(&self.key(""), Some("/")).await?;
            Ok(folders.into_iter().map(|name| name.trim_end_matches('/').to_owned()).collect())
        })
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<usize, Error>> {
        Box::pin(async move {
            super::check_folder(folder)?;
            // What the lock was before goes; what it is now has to last until all else is gone.
            let lock = self.key(&lock_key(folder));
            self.remove_versions(&self.key(&format!("{folder}/")), |one| one.is_current_of(&lock)).await
        })
    }

    fn finish_purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            super::check_folder(folder)?;
            let (name, prefix) = (lock_key(folder), self.key(&format!("{folder}/")));
            let Some(mut left) = self.versions(&prefix).await? else { return Ok(false) };
            let lock = self.key(&name);
            if left.iter().any(|one| one.is_current_of(&lock)) {
                match self.get(&name).await? {
                    // Where it cannot be removed on condition, it says that it is nobody's.
                    Some(object) if is_released(&object) => {
                        drop(self.delete(&name, Some(object.version)).await);
                    }
                    None => {}
                    Some(_) => {
                        let message = format!(
                            "{}/{name} is held: by somebody who came meanwhile, or it could not be given back",
                            self.location()
                        );
                        return Err(Error::new(ErrorKind::Conflict, "state store", message));
                    }
                }
            }
            if left.iter().all(|one| one.key() == lock) {
                // By their versions: a lock that somebody takes meanwhile is another one. What has no version of its own
                // is not told from that, and stays.
                left.retain(|one| one.has_version() && !one.is_current_of(&lock));
                self.delete_versions(&left, &Guard::default()).await?;
            }
            self.delete_bucket_if_empty().await
        })
    }
}

/// Versions of objects, and where the list goes on.
struct Page {
    versions: Vec<ObjectVersion>,
    next: Option<Marker>,
}

/// A place in a list of versions.
#[derive(Default)]
struct Marker {
    key: Option<String>,
    version: Option<String>,
}

/// A version of an object, or the mark that it was deleted.
struct ObjectVersion {
    identifier: ObjectIdentifier,
    /// Whether that is what is there now; a mark says that nothing is.
    is_latest: bool,
    is_delete_marker: bool,
}

impl ObjectVersion {
    fn key(&self) -> &str {
        self.identifier.key()
    }

    /// Whether it is told from whatever is written at its key later; in a bucket without versions nothing is.
    fn has_version(&self) -> bool {
        self.identifier.version_id().is_some_and(|version| version != "null")
    }

    /// Whether it is what can be read at `key`.
    fn is_current_of(&self, key: &str) -> bool {
        self.is_latest && !self.is_delete_marker && self.key() == key
    }
}

impl S3Store {
    /// Removes everything under these prefixes, all versions of it included, and the bucket where nothing else is in
    /// it and kcl made it.
    pub(crate) async fn remove_all(&self, prefixes: &[String]) -> Result<Purged, Error> {
        let mut objects = 0;
        for prefix in prefixes {
            objects += self.remove_versions(prefix, |_| false).await?;
        }
        Ok(Purged { objects, bucket_deleted: self.delete_bucket_if_empty().await? })
    }

    /// Removes all versions under `prefix` but those that stay; gives how many.
    async fn remove_versions(
        &self,
        prefix: &str,
        stays: impl Fn(&ObjectVersion) -> bool,
    ) -> Result<usize, Error> {
        let mut removed = 0;
        loop {
            let Some(mut versions) = self.versions(prefix).await? else { return Ok(removed) };
            versions.retain(|one| !stays(one));
            if versions.is_empty() {
                return Ok(removed);
            }
            removed += versions.len();
            self.delete_versions(&versions, &self.guard).await?;
        }
    }

    async fn delete_versions(&self, versions: &[ObjectVersion], guard: &Guard) -> Result<(), Error> {
        for versions in versions.chunks(DELETED_AT_ONCE) {
            let identifiers = versions.iter().map(|one| one.identifier.clone()).collect();
            or_nothing(self.delete_objects("s3:DeleteObjectVersion", identifiers, guard).await)?;
        }
        Ok(())
    }

    /// Deletes the bucket where nothing is in it and kcl made it; gives whether that was so.
    async fn delete_bucket_if_empty(&self) -> Result<bool, Error> {
        let page = self.page("", None).await?;
        if !page.is_some_and(|page| page.versions.is_empty()) || !self.is_made_by_kcl().await? {
            return Ok(false);
        }
        let delete = |client: Client| {
            client.delete_bucket().bucket(self.name()).set_expected_bucket_owner(self.owner()).send()
        };
        match or_nothing(self.call("s3:DeleteBucket", delete).await) {
            // Somebody put something there meanwhile.
            Err(error) if error.is_code(&["BucketNotEmpty"]) => Ok(false),
            deleted => deleted.map(|_| true),
        }
    }

    async fn is_made_by_kcl(&self) -> Result<bool, Error> {
        let tags = self.call("s3:GetBucketTagging", |client| {
            client.get_bucket_tagging().bucket(self.name()).set_expected_bucket_owner(self.owner()).send()
        });
        match tags.await {
            Err(error) if error.is_code(&["NoSuchTagSet"]) || error.kind == ErrorKind::Denied => Ok(false),
            Err(error) if error.is_not_found() => Ok(false),
            tags => Ok(tags?.tag_set().iter().any(|tag| (tag.key(), tag.value()) == BUCKET_MARK)),
        }
    }

    /// Objects and folders under `prefix`, sorted, without the store's own prefix.
    async fn listed(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
    ) -> Result<(Vec<Listed>, Vec<String>), Error> {
        let own = |name: Option<&str>| self.own_key(name?).map(str::to_owned);
        let (mut objects, mut folders) = (Vec::new(), Vec::new());
        let date = AnswerDate::default();
        let mut next = None;
        loop {
            let page = self.call("s3:ListBucket", |client| {
                let call = client.list_objects_v2().bucket(self.name()).prefix(prefix);
                let call = call.set_delimiter(delimiter.map(str::to_owned));
                let call = call.set_expected_bucket_owner(self.owner());
                let call = call.set_continuation_token(next.clone());
                call.customize().interceptor(date.clone()).send()
            });
            let Some(page) = or_nothing(page.await)? else { break };
            objects.extend(page.contents().iter().filter_map(|object| {
                let version = object.e_tag().map(|e_tag| Version(e_tag.to_owned()));
                let age = date.since(object.last_modified().copied());
                Some(Listed { key: own(object.key())?, version, age })
            }));
            folders.extend(page.common_prefixes().iter().filter_map(|prefix| own(prefix.prefix())));
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        objects.sort_by(|a: &Listed, b| a.key.cmp(&b.key));
        folders.sort();
        Ok((objects, folders))
    }

    /// All versions and delete markers under `prefix`; `None` without a bucket.
    async fn versions(&self, prefix: &str) -> Result<Option<Vec<ObjectVersion>>, Error> {
        let (mut versions, mut after) = (Vec::new(), None);
        loop {
            let Some(page) = self.page(prefix, after).await? else { return Ok(None) };
            versions.extend(page.versions);
            if page.next.is_none() {
                return Ok(Some(versions));
            }
            after = page.next;
        }
    }

    /// Some of them: at most 1,000, behind the one that `after` names.
    async fn page(&self, prefix: &str, after: Option<Marker>) -> Result<Option<Page>, Error> {
        let Marker { key, version } = after.unwrap_or_default();
        let page = self.call("s3:ListBucketVersions", |client| {
            let call = client.list_object_versions().bucket(self.name()).prefix(prefix);
            let call = call.set_key_marker(key.clone()).set_version_id_marker(version.clone());
            call.set_expected_bucket_owner(self.owner()).send()
        });
        let Some(page) = or_nothing(page.await)? else { return Ok(None) };
        let read = |key: Option<&str>, version: Option<&str>, is_latest, is_delete_marker| {
            let identifier = ObjectIdentifier::builder().key(key?).set_version_id(version.map(str::to_owned));
            let (identifier, is_latest) = (identifier.build().ok()?, is_latest == Some(true));
            Some(ObjectVersion { identifier, is_latest, is_delete_marker })
        };
        let versions = page.versions().iter();
        let versions = versions.filter_map(|one| read(one.key(), one.version_id(), one.is_latest(), false));
        let markers = page.delete_markers().iter();
        let markers = markers.filter_map(|one| read(one.key(), one.version_id(), one.is_latest(), true));
        let versions = versions.chain(markers).collect();
        let next = page.next_key_marker.filter(|_| page.is_truncated == Some(true));
        let next = next.map(|key| Marker { key: Some(key), version: page.next_version_id_marker });
        Ok(Some(Page { versions, next }))
    }

    /// Deletes these objects, or versions of them: at most [`DELETED_AT_ONCE`]. `action` is what has to be allowed,
    /// and `guard` looks at each try.
    async fn delete_objects(
        &self,
        action: &str,
        objects: Vec<ObjectIdentifier>,
        guard: &Guard,
    ) -> Result<(), Error> {
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build()?;
        let answer = self.call(action, |client| {
            let call = client.delete_objects().bucket(self.name()).delete(delete.clone());
            let call = call.set_expected_bucket_owner(self.owner());
            call.customize().interceptor(guard.clone()).send()
        });
        let answer = answer.await?;
        match answer.errors().first() {
            None => Ok(()),
            Some(error) => Err(Error::new(
                ErrorKind::Refused,
                action,
                format!("{}: {}", error.key().unwrap_or("?"), error.message().unwrap_or("not deleted")),
            )),
        }
    }
}
