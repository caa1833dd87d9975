//! A store in an S3 bucket.

use aws_sdk_s3::types::{Delete, ObjectIdentifier, ServerSideEncryption};
use futures::future::BoxFuture;

use super::{Purged, Store};
use crate::error::{During, Error, ErrorKind};

/// A bucket and a prefix.
#[derive(Debug)]
pub struct S3Store {
    client: aws_sdk_s3::Client,
    bucket: String,
    prefix: String,
}

impl S3Store {
    /// The store under `prefix` of `bucket`.
    pub fn new(client: aws_sdk_s3::Client, bucket: String, prefix: String) -> Self {
        Self { client, bucket, prefix }
    }

    fn key(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }
}

/// A missing bucket is an empty store: a plan makes it.
fn or_nothing<T>(bucket: &str, result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(explain(bucket, error)),
    }
}

fn explain(bucket: &str, mut error: Error) -> Error {
    if error.is_code(&[
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ]) {
        error.kind = ErrorKind::Refused;
        error.message = format!("the bucket {bucket} lies in another region: {}", error.message);
    } else {
        error.message = format!("bucket {bucket}: {}", error.message);
    }
    error
}

impl Store for S3Store {
    fn location(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("s3://{}{slash}{}", self.bucket, self.prefix)
    }

    fn bucket(&self) -> Option<&str> {
        Some(&self.bucket)
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move {
            let call = self.client.get_object().bucket(&self.bucket).key(self.key(key));
            let Some(answer) = or_nothing(&self.bucket, call.send().await.during("s3:GetObject"))? else {
                return Ok(None);
            };
            let body = answer.body.collect().await.map_err(|error| {
                Error::new(ErrorKind::Ambiguous, "s3:GetObject", format!("the object was cut short: {error}"))
            })?;
            Ok(Some(body.to_vec()))
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let call = self.client.put_object().bucket(&self.bucket).key(self.key(key)).body(body.into());
            let call = call.server_side_encryption(ServerSideEncryption::Aes256);
            call.send().await.during("s3:PutObject").map_err(|error| explain(&self.bucket, error))?;
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let call = self.client.delete_object().bucket(&self.bucket).key(self.key(key));
            or_nothing(&self.bucket, call.send().await.during("s3:DeleteObject"))?;
            Ok(())
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let call = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.key(prefix));
            let mut pages = call.into_paginator().send();
            let ours = self.key("");
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                let Some(page) = or_nothing(&self.bucket, page.during("s3:ListBucket"))? else { break };
                let page_keys = page.contents().iter().filter_map(|object| object.key());
                keys.extend(page_keys.filter_map(|key| key.strip_prefix(&ours)).map(str::to_owned));
            }
            keys.sort();
            Ok(keys)
        })
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let ours = self.key("");
            let call = self.client.list_objects_v2().bucket(&self.bucket).prefix(&ours).delimiter("/");
            let mut pages = call.into_paginator().send();
            let mut names = Vec::new();
            while let Some(page) = pages.next().await {
                let Some(page) = or_nothing(&self.bucket, page.during("s3:ListBucket"))? else { break };
                let prefixes = page.common_prefixes().iter().filter_map(|prefix| prefix.prefix());
                let prefixes = prefixes.filter_map(|prefix| prefix.strip_prefix(&ours));
                names.extend(prefixes.map(|name| name.trim_end_matches('/').to_owned()));
            }
            names.sort();
            Ok(names)
        })
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Purged, Error>> {
        Box::pin(async move {
            super::check_folder(folder)?;
            let mut purged = Purged::default();
            loop {
                let prefix = self.key(&format!("{folder}/"));
                let Some(versions) = self.versions(&prefix).await? else { return Ok(purged) };
                if versions.is_empty() {
                    break;
                }
                purged.objects += versions.len();
                self.delete_versions(versions).await?;
            }
            if self.versions("").await?.is_some_and(|versions| versions.is_empty()) {
                let call = self.client.delete_bucket().bucket(&self.bucket);
                or_nothing(&self.bucket, call.send().await.during("s3:DeleteBucket"))?;
                purged.bucket_deleted = true;
            }
            Ok(purged)
        })
    }
}

impl S3Store {
    /// The first (at most 1,000) versions and delete markers under `prefix`; `None` without a bucket.
    async fn versions(&self, prefix: &str) -> Result<Option<Vec<ObjectIdentifier>>, Error> {
        let call = self.client.list_object_versions().bucket(&self.bucket).prefix(prefix);
        let Some(page) = or_nothing(&self.bucket, call.send().await.during("s3:ListBucketVersions"))? else {
            return Ok(None);
        };
        let versions = page.versions().iter().map(|version| (version.key(), version.version_id()));
        let markers = page.delete_markers().iter().map(|marker| (marker.key(), marker.version_id()));
        let identifiers = versions.chain(markers).filter_map(|(key, version)| {
            ObjectIdentifier::builder().key(key?).set_version_id(version.map(str::to_owned)).build().ok()
        });
        Ok(Some(identifiers.collect()))
    }

    async fn delete_versions(&self, versions: Vec<ObjectIdentifier>) -> Result<(), Error> {
        let delete = Delete::builder().set_objects(Some(versions)).quiet(true).build();
        let delete = delete.map_err(|error| Error::unexpected("s3:DeleteObjects", &error.to_string()))?;
        let call = self.client.delete_objects().bucket(&self.bucket).delete(delete);
        let answer = call.send().await.during("s3:DeleteObjectVersion")?;
        match answer.errors().first() {
            None => Ok(()),
            Some(error) => Err(Error::new(
                ErrorKind::Refused,
                "s3:DeleteObjectVersion",
                format!("{}: {}", error.key().unwrap_or("?"), error.message().unwrap_or("not deleted")),
            )),
        }
    }
}
