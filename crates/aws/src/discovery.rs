//! What anybody can read of the cluster's service-account issuer.
//!
//! IAM fetches the documents without credentials when it checks a token, so they are read here just like that. Read
//! so, a document tells three things at once: that it is there, what it says, and that it is public.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_config::SdkConfig;
use aws_sdk_s3::types::{PublicAccessBlockConfiguration, ServerSideEncryption};
use kcl_partition::Partition;
use kcl_pki::{JWKS_PATH, OPENID_CONFIGURATION_PATH};
use kcl_spec::cluster::IssuerBucket;

use kcl_model::resource::DiscoveryDocument;

use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::kind::Service;
use crate::permission::{Ground, Permission};
use crate::refusals::Refusals;
use crate::regional::Regional;
use crate::store::{Purged, S3Store};
use crate::wait::Pauses;

/// How long a policy that was just put may be without effect.
const PROPAGATION: std::time::Duration = std::time::Duration::from_secs(15);

/// What a read of an object gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The object.
    Document(Document),
    /// There is no such object.
    Missing,
    /// It may not be read, or there is none: who may not list the bucket is not told which of the two.
    Hidden,
    /// There is no such bucket.
    NoBucket,
}

impl Seen {
    /// Whether it is the configuration of an issuer in this bucket and region.
    pub(crate) fn names(&self, bucket: &str, region: &str) -> bool {
        let Self::Document(document) = self else { return false };
        let issuer = format!("\"https://{bucket}.s3.{region}.");
        String::from_utf8_lossy(&document.body).contains(&issuer)
    }
}

/// An object that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: String,
}

/// What reads gave, by bucket and key, with the region of the bucket where S3 told that.
type Reads = BTreeMap<(String, String), (Seen, Option<String>)>;

/// Reads without credentials. Each object is read once in a run, until it is written.
#[derive(Debug)]
pub(crate) struct PublicReads {
    client: aws_sdk_s3::Client,
    seen: Mutex<Reads>,
    /// What this run has removed, by bucket and key.
    removed: Mutex<BTreeSet<(String, String)>>,
}

impl PublicReads {
    pub(crate) fn new(config: &SdkConfig, refusals: &Refusals) -> Self {
        let mut config = config.to_builder();
        config.set_credentials_provider(None);
        let config = aws_sdk_s3::config::Builder::from(&config.build()).allow_no_auth();
        let client =
            aws_sdk_s3::Client::from_conf(config.interceptor(refusals.listener(Service::Other)).build());
        Self { client, seen: Mutex::default(), removed: Mutex::default() }
    }

    /// The object as anybody sees it, and the region of its bucket where S3 told that.
    pub(crate) async fn read(&self, bucket: &str, key: &str) -> Result<(Seen, Option<String>), Error> {
        let place = (bucket.to_owned(), key.to_owned());
        if let Some(seen) = locked(&self.seen).get(&place) {
            return Ok(seen.clone());
        }
        let bucket = Regional::new(self.client.clone(), bucket.to_owned());
        let seen = read(&bucket, key).await?;
        let region = bucket.region().filter(|_| seen != Seen::NoBucket);
        locked(&self.seen).insert(place, (seen.clone(), region.clone()));
        Ok((seen, region))
    }

    /// What was read at this place is out of date.
    fn forget(&self, bucket: &str, key: &str) {
        locked(&self.seen).remove(&(bucket.to_owned(), key.to_owned()));
    }

    /// Everything that was read is out of date.
    pub(crate) fn forget_all(&self) {
        locked(&self.seen).clear();
    }

    /// Whether this run has removed the object: all that is known of one that may not be read.
    pub(crate) fn is_removed(&self, bucket: &str, key: &str) -> bool {
        locked(&self.removed).contains(&(bucket.to_owned(), key.to_owned()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked while holding the lock leaves what it holds as it was.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads an object with the credentials of `bucket`'s client.
pub(crate) async fn read(bucket: &Regional, key: &str) -> Result<Seen, Error> {
    const ACTION: &str = "s3:GetObject";
    let name = bucket.bucket();
    let answer = bucket.call(ACTION, |client| client.get_object().bucket(name).key(key).send()).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.is_code(&["NoSuchBucket"]) => return Ok(Seen::NoBucket),
        Err(error) if error.is_not_found() => return Ok(Seen::Missing),
        Err(error) if error.kind == ErrorKind::Denied || needs_signature(&error) => return Ok(Seen::Hidden),
        Err(mut error) => {
            error.message = format!("bucket {name}: {}", error.message);
            return Err(error);
        }
    };
    let content_type = answer.content_type.unwrap_or_default();
    let body = answer.body.collect().await.map_err(|error| {
        Error::new(ErrorKind::Ambiguous, ACTION, format!("the object was cut short: {error}"))
    })?;
    Ok(Seen::Document(Document { body: body.to_vec(), content_type }))
}

/// What S3 says to whoever has no credentials of an object that a key of KMS encrypts.
fn needs_signature(error: &Error) -> bool {
    error.is_code(&["InvalidArgument", "InvalidRequest"]) && error.message.contains("KMS")
}

/// Writes a document, and makes sure that anybody can read just that.
pub(crate) async fn write(aws: &Aws, bucket: &str, key: &str, document: &Document) -> Result<(), Error> {
    aws.public.forget(bucket, key);
    locked(&aws.public.removed).remove(&(bucket.to_owned(), key.to_owned()));
    let place = aws.bucket(bucket);
    let put = |client: aws_sdk_s3::Client| {
        let call = client.put_object().bucket(bucket).key(key).content_type(&document.content_type);
        // Whatever the bucket's default is: what a key of KMS encrypts cannot be read without credentials.
        let call = call.server_side_encryption(ServerSideEncryption::Aes256);
        call.body(document.body.clone().into()).send()
    };
    place.call("s3:PutObject", put).await.map_err(|mut error| {
        error.message = format!("bucket {bucket}: {}", error.message);
        error
    })?;
    check(aws, &place, key, document).await
}

/// Reads a document as IAM will. Where that fails, says why, before anything depends on it.
async fn check(aws: &Aws, bucket: &Regional, key: &str, document: &Document) -> Result<(), Error> {
    let mut pauses = Pauses::up_to(PROPAGATION);
    let mut looked = false;
    loop {
        aws.public.forget(bucket.bucket(), key);
        let (seen, _) = aws.public.read(bucket.bucket(), key).await?;
        if seen == Seen::Document(document.clone()) {
            return Ok(());
        }
        if !looked {
            looked = true;
            why_hidden(bucket, key).await?;
        }
        if !pauses.pause().await {
            return Err(unreadable(
                bucket.bucket(),
                key,
                "neither the bucket's own settings nor its policy keep anybody from it, so the account does: its \
                 block of public access (S3, \"Block Public Access settings for this account\"), or a policy of its \
                 organization. Lift `RestrictPublicBuckets` there, or publish the documents in another account's \
                 bucket and name that in `discoveryStore`",
            ));
        }
    }
}

fn unreadable(bucket: &str, key: &str, why: &str) -> Error {
    let message = format!(
        "AWS must be able to read s3://{bucket}/{key} without credentials, and that is refused: {why}"
    );
    Error::new(ErrorKind::Refused, "discovery documents", message)
}

/// Writing and removing the documents, and their bucket; where anybody cannot read them, a look at why. Reading them as
/// anybody needs no permission.
pub(crate) fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
    const OBJECTS: [&str; 4] = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"];
    // Why the documents cannot be read, and whether there are any: S3 tells that only who may list the bucket. For the
    // end: whether it is ours, and nothing else is in it.
    const BUCKET: [&str; 6] = [
        "s3:DeleteBucket",
        "s3:GetBucketPolicy",
        "s3:GetBucketPublicAccessBlock",
        "s3:GetBucketTagging",
        "s3:ListBucket",
        "s3:ListBucketVersions",
    ];
    let documents = ground.all::<DiscoveryDocument>();
    let objects =
        documents.iter().map(|(_, it)| ground.global_arn("s3", &format!("{}/{}", it.bucket, it.key)));
    let buckets = documents.iter().map(|(_, it)| ground.global_arn("s3", &it.bucket));
    vec![
        Permission::new("IssuerDocuments", &OBJECTS, objects),
        Permission::new("IssuerBucket", &BUCKET, buckets),
    ]
}

/// An error where the bucket itself keeps everybody out. Settings that may not be looked at prove nothing.
async fn why_hidden(bucket: &Regional, key: &str) -> Result<(), Error> {
    let name = bucket.bucket();
    let call = |client: aws_sdk_s3::Client| client.get_public_access_block().bucket(name).send();
    let block = bucket.call("s3:GetBucketPublicAccessBlock", call).await.ok();
    let block = block.and_then(|answer| answer.public_access_block_configuration);
    let on = |flag: fn(&PublicAccessBlockConfiguration) -> Option<bool>| {
        block.as_ref().and_then(flag).unwrap_or_default()
    };
    if on(PublicAccessBlockConfiguration::restrict_public_buckets) {
        return Err(unreadable(
            name,
            key,
            "the bucket's block of public access has `RestrictPublicBuckets`. Lift that for this bucket, or let kcl \
             make a bucket of its own: name one that is not there yet in `discoveryStore`",
        ));
    }
    let call = |client: aws_sdk_s3::Client| client.get_bucket_policy().bucket(name).send();
    match bucket.call("s3:GetBucketPolicy", call).await {
        Err(error) if error.is_code(&["NoSuchBucketPolicy"]) => Err(unreadable(
            name,
            key,
            "the bucket has no policy. Allow `s3:GetObject` on that object to everybody in one, or let kcl make a \
             bucket of its own: name one that is not there yet in `discoveryStore`",
        )),
        _ => Ok(()),
    }
}

/// Removes a document; one that is not there, or whose bucket is not, is a success.
pub(crate) async fn delete(aws: &Aws, bucket: &str, key: &str) -> Result<(), Error> {
    aws.public.forget(bucket, key);
    let call = |client: aws_sdk_s3::Client| client.delete_object().bucket(bucket).key(key).send();
    match aws.bucket(bucket).call("s3:DeleteObject", call).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => {
            locked(&aws.public.removed).insert((bucket.to_owned(), key.to_owned()));
            Ok(())
        }
    }
}

/// The documents of an issuer that not everybody can read, by their keys. Where there are none, AWS can tell whose
/// tokens are the cluster's.
pub async fn hidden(aws: &Aws, place: &IssuerBucket) -> Result<Vec<String>, Error> {
    let keys = [OPENID_CONFIGURATION_PATH, JWKS_PATH].map(|path| place.key(path));
    let reads = keys.each_ref().map(|key| aws.public.read(&place.name, key));
    let seen = futures::future::try_join_all(reads).await?;
    let hidden = keys.into_iter().zip(seen).filter(|(_, (seen, _))| !matches!(seen, Seen::Document(_)));
    Ok(hidden.map(|(key, _)| key).collect())
}

/// Removes the documents of an issuer, all versions of them, and its bucket where nothing else is in it and kcl made it.
pub async fn purge(aws: &Aws, place: &IssuerBucket) -> Result<Purged, Error> {
    let store = S3Store::new(aws.s3.clone(), place.name.clone(), place.prefix.clone());
    store.remove_all(&[OPENID_CONFIGURATION_PATH, JWKS_PATH].map(|path| place.key(path))).await
}

/// The region of a bucket, asked for with our own credentials; `None` where there is no such bucket.
pub(crate) async fn region(aws: &Aws, bucket: &str) -> Result<Option<String>, Error> {
    let place = aws.bucket(bucket);
    let tags = place.call("s3:GetBucketTagging", |client| client.get_bucket_tagging().bucket(bucket).send());
    match tags.await {
        Err(error) if error.is_code(&["NoSuchTagSet"]) || error.kind == ErrorKind::Denied => {
            Ok(place.region())
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(place.region()),
    }
}

/// Where anybody can read the documents of an issuer, by its URL without `https://`. `None` for one
/// that is not in S3.
pub(crate) fn place(issuer: &str) -> Option<IssuerBucket> {
    let (host, prefix) = issuer.split_once('/').unwrap_or((issuer, ""));
    let (bucket, service) = host.split_once('.')?;
    let is_aws = Partition::ALL
        .iter()
        .any(|partition| service.strip_suffix(partition.dns_suffix).is_some_and(|rest| rest.ends_with('.')));
    (is_aws && service.starts_with("s3."))
        .then(|| IssuerBucket { name: bucket.to_owned(), prefix: prefix.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places() {
        let is = |bucket: &str, prefix: &str| {
            Some(super::IssuerBucket { name: bucket.to_owned(), prefix: prefix.to_owned() })
        };
        assert_eq!(place("oidc.s3.eu-north-1.amazonaws.com/k8s.example.com"), is("oidc", "k8s.example.com"));
        assert_eq!(place("oidc.s3.cn-north-1.amazonaws.com.cn"), is("oidc", ""));
        assert_eq!(place("oidc.s3.eusc-de-east-1.amazonaws.eu/k"), is("oidc", "k"));
        assert_eq!(place("oidc.s3.eu-north-1.amazonaws.com.example.com/k"), None);
        assert_eq!(place("oidc.eks.eu-north-1.amazonaws.com/id/1"), None);
        assert_eq!(place("localhost"), None);
    }
}
