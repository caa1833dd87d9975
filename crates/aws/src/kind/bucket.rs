//! A bucket that kcl makes: versioned, encrypted, private but for single objects.
//!
//! A bucket that somebody else made is used as it is. Ours bear a mark, a tag that the creating call sets: one
//! whose maker was killed before it was protected is seen for what it is, and protected by the next run. With
//! the cluster it is never removed: other clusters' specs lie in it.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, Tag, VersioningConfiguration,
};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Resource, Set};
use kcl_model::resource::Bucket as Wanted;
use serde_json::{Value, json};

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{Error, ErrorKind};
use crate::named;
use crate::observe::{Depth, Scope};
use crate::permission::{Ground, Permission};
use crate::regional::Regional;
use crate::tags::BUCKET_MARK;
use crate::wait::{PROPAGATION, retry};

/// The statement of a bucket's policy that is ours; others are left alone.
const STATEMENT: &str = "KclPublicObjects";
/// S3 may refuse a public policy for a moment after the bucket's own block was lifted. Where it is the account
/// that blocks, it refuses for good: no reason to wait long.
const BLOCK_LIFTS: Duration = Duration::from_secs(5);

pub(crate) struct Bucket;

impl Kind for Bucket {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;
    const IN_REGION: bool = false;

    /// Making and protecting it. The state store's own bucket is removed by [`crate::store`], any other one never.
    fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
        const MAKE: [&str; 10] = [
            "s3:CreateBucket",
            "s3:GetBucketPolicy",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketTagging",
            "s3:GetBucketVersioning",
            "s3:GetEncryptionConfiguration",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketVersioning",
            "s3:PutEncryptionConfiguration",
            // The mark that the creating call sets.
            "s3:TagResource",
        ];
        let buckets = ground.all::<Wanted>();
        let arns = |public: bool| {
            let buckets =
                buckets.iter().filter(move |(_, bucket)| !public || !bucket.public_objects.is_empty());
            buckets.map(|(name, _)| ground.global_arn("s3", name)).collect::<Vec<_>>()
        };
        vec![
            Permission::new("BucketMake", &MAKE, arns(false)),
            Permission::new("BucketPublish", &["s3:PutBucketPolicy"], arns(true)),
        ]
    }

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        if scope.depth == Depth::Everything {
            return Ok(Vec::new());
        }
        let names = scope.wanted_names(Wanted::SCHEMA.kind).into_iter();
        let nodes = names.map(|name| async move {
            let Some(want) = scope.wanted.get::<Wanted>(name) else { return Ok(None) };
            let bucket = Bucketed::of(scope.aws, name, &want);
            let Some(live) = Box::pin(bucket.read(&want)).await? else { return Ok(None) };
            Ok::<_, Error>(Some(LiveNode::new(name, &live, attrs(name), Owner::Cluster)?))
        });
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        let bucket = Bucketed::of(aws, name, want);
        if bucket.make(want).await? {
            bucket.protect(None, want).await?;
        }
        Ok(attrs(name))
    }

    async fn update(
        aws: &Aws,
        name: &str,
        _live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        Bucketed::of(aws, name, want).protect(Some(old), want).await?;
        Ok(attrs(name))
    }

    /// Only an empty one: what lies in it is not ours to throw away here.
    async fn delete(aws: &Aws, name: &str, _live: &Attrs, old: &Wanted) -> Result<(), Error> {
        let bucket = Bucketed::of(aws, name, old);
        let delete =
            |client: Client| client.delete_bucket().bucket(name).expected_bucket_owner(&aws.account).send();
        match bucket.place.call("s3:DeleteBucket", delete).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn attrs(name: &str) -> Attrs {
    named::attrs([("name", Some(name))])
}

/// A bucket and the account that works with it.
struct Bucketed<'a> {
    aws: &'a Aws,
    name: &'a str,
    place: Regional,
}

/// Whose a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// kcl's: it bears the mark.
    Kcl,
    /// Somebody else's.
    Other,
}

/// Just made, a bucket may not be known everywhere, and S3 refuses two changes of one at the same time.
fn is_passing(error: &Error) -> bool {
    error.is_code(&["NoSuchBucket", "OperationAborted"])
}

fn is_public_policy_blocked(error: &Error) -> bool {
    error.kind == ErrorKind::Denied && error.message.contains("BlockPublicPolicy")
}

impl<'a> Bucketed<'a> {
    /// The bucket `name`, which lies, or is to lie, in the wanted region; where it lies elsewhere it is found.
    fn of(aws: &'a Aws, name: &'a str, want: &Wanted) -> Self {
        let client = if want.region == aws.region {
            aws.s3.clone()
        } else {
            let config = aws.s3.config().to_builder().region(Region::new(want.region.clone()));
            Client::from_conf(config.build())
        };
        Self { aws, name, place: Regional::new(client, name.to_owned()) }
    }

    /// As it is; `None` where there is no such bucket. Somebody else's is as wanted, wherever it lies.
    async fn read(&self, want: &Wanted) -> Result<Option<Wanted>, Error> {
        match self.maker(want).await? {
            None => Ok(None),
            Some(Maker::Other) => Ok(Some(want.clone())),
            Some(Maker::Kcl) => self.protection(want).await.map(Some),
        }
    }

    /// Who made the bucket; `None` where there is none. One call, unless that is refused.
    async fn maker(&self, want: &Wanted) -> Result<Option<Maker>, Error> {
        let tags = self.place.call("s3:GetBucketTagging", |client| {
            client.get_bucket_tagging().bucket(self.name).expected_bucket_owner(&self.aws.account).send()
        });
        match tags.await {
            Ok(answer) => {
                let ours = |tag: &Tag| (tag.key(), tag.value()) == BUCKET_MARK;
                Ok(Some(if answer.tag_set().iter().any(ours) { Maker::Kcl } else { Maker::Other }))
            }
            Err(error) if error.is_code(&["NoSuchTagSet"]) => Ok(Some(Maker::Other)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) if error.kind == ErrorKind::Denied => self.looked_at(want).await,
            Err(error) => Err(error),
        }
    }

    /// The same, where its tags may not be read.
    async fn looked_at(&self, want: &Wanted) -> Result<Option<Maker>, Error> {
        // Documents that our roles trust must not lie where somebody else can change them.
        let owner = (!want.public_objects.is_empty()).then(|| self.aws.account.clone());
        let look = self.place.call("s3:ListBucket", |client| {
            client.head_bucket().bucket(self.name).set_expected_bucket_owner(owner.clone()).send()
        });
        match look.await {
            Ok(_) => Ok(Some(Maker::Other)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(mut error) if error.kind == ErrorKind::Denied => {
                error.message = format!(
                    "the bucket {} is somebody else's, or these credentials may not look at it (s3:ListBucket)",
                    self.name
                );
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// What protects one of ours.
    async fn protection(&self, want: &Wanted) -> Result<Wanted, Error> {
        let (versioned, encryption, public_access_block) =
            futures::try_join!(self.versioned(), self.encryption(), self.public_access_block())?;
        let all = Wanted::new(&want.region, None, Set::default()).public_access_block;
        // Where all is blocked and nothing is to be public, a policy could not change that.
        let public = if want.public_objects.is_empty() && public_access_block == all {
            Public::default()
        } else {
            Public::of(self.name, &self.policy().await?)
        };
        // What other clusters publish in the same bucket is none of this one's business.
        let with_others = public.with(want);
        let public_access_block = if public_access_block == with_others.public_access_block {
            want.public_access_block.clone()
        } else {
            public_access_block
        };
        let public_objects = public.wanted(want);
        let encrypted = encryption.is_some();
        // With no key asked for, whatever key the bucket's owner has set is right.
        let kms_key = encryption.flatten().filter(|_| want.kms_key.is_some());
        let region = want.region.clone();
        Ok(Wanted { region, versioned, encrypted, kms_key, public_access_block, public_objects })
    }

    async fn versioned(&self) -> Result<bool, Error> {
        let answer = self
            .place
            .call("s3:GetBucketVersioning", |client| client.get_bucket_versioning().bucket(self.name).send());
        Ok(answer.await?.status == Some(BucketVersioningStatus::Enabled))
    }

    /// Whether the bucket encrypts by default, and with which KMS key.
    async fn encryption(&self) -> Result<Option<Option<String>>, Error> {
        let answer = self.place.call("s3:GetEncryptionConfiguration", |client| {
            client.get_bucket_encryption().bucket(self.name).send()
        });
        let answer = match answer.await {
            Err(error) if error.is_code(&["ServerSideEncryptionConfigurationNotFoundError"]) => {
                return Ok(None);
            }
            answer => answer?,
        };
        let rules = answer.server_side_encryption_configuration.map(|it| it.rules).unwrap_or_default();
        let default = rules.into_iter().find_map(|rule| rule.apply_server_side_encryption_by_default);
        Ok(default.map(|default| default.kms_master_key_id))
    }

    async fn public_access_block(&self) -> Result<Set<String>, Error> {
        let answer = self.place.call("s3:GetBucketPublicAccessBlock", |client| {
            client.get_public_access_block().bucket(self.name).send()
        });
        let answer = match answer.await {
            Err(error) if error.is_code(&["NoSuchPublicAccessBlockConfiguration"]) => {
                return Ok(Set::default());
            }
            answer => answer?,
        };
        let Some(block) = answer.public_access_block_configuration else { return Ok(Set::default()) };
        let named = [
            ("BlockPublicAcls", block.block_public_acls),
            ("IgnorePublicAcls", block.ignore_public_acls),
            ("BlockPublicPolicy", block.block_public_policy),
            ("RestrictPublicBuckets", block.restrict_public_buckets),
        ];
        Ok(named.into_iter().filter(|(_, on)| *on == Some(true)).map(|(name, _)| name.to_owned()).collect())
    }

    /// The statements of the bucket's policy.
    async fn policy(&self) -> Result<Vec<Value>, Error> {
        let answer = self
            .place
            .call("s3:GetBucketPolicy", |client| client.get_bucket_policy().bucket(self.name).send());
        match answer.await {
            Err(error) if error.is_code(&["NoSuchBucketPolicy"]) => Ok(Vec::new()),
            answer => statements(&answer?.policy.unwrap_or_default()),
        }
    }

    /// Makes the bucket, with its mark. Whether it is ours then: somebody may have made one meanwhile.
    async fn make(&self, want: &Wanted) -> Result<bool, Error> {
        // The first region is the one without a name of its own in this call.
        let place =
            (want.region != "us-east-1").then(|| BucketLocationConstraint::from(want.region.as_str()));
        let mark = Tag::builder().key(BUCKET_MARK.0).value(BUCKET_MARK.1).build()?;
        let configuration =
            CreateBucketConfiguration::builder().set_location_constraint(place).tags(mark).build();
        let make = || {
            self.place.call("s3:CreateBucket", |client| {
                let call = client.create_bucket().bucket(self.name);
                call.create_bucket_configuration(configuration.clone()).send()
            })
        };
        // The name of a bucket that was just deleted is not free at once.
        let busy = |error: &Error| error.is_code(&["OperationAborted"]);
        match retry(PROPAGATION, busy, make).await {
            Err(error) if error.is_code(&["BucketAlreadyOwnedByYou"]) => {
                Ok(self.maker(want).await? == Some(Maker::Kcl))
            }
            Err(mut error) if error.is_code(&["BucketAlreadyExists"]) => {
                error.kind = ErrorKind::Refused;
                error.message = format!(
                    "the bucket name {} is taken by another AWS account: choose another one",
                    self.name
                );
                Err(error)
            }
            answer => answer.map(|_| true),
        }
    }

    /// Makes what protects the bucket as wanted, where it is not. A new bucket is private and encrypted on AWS by
    /// itself; said once more, it stays so whatever the account's defaults become.
    async fn protect(&self, old: Option<&Wanted>, want: &Wanted) -> Result<(), Error> {
        let differs = |same: fn(&Wanted, &Wanted) -> bool| old.is_none_or(|old| !same(old, want));
        // What other clusters publish in the same bucket stays.
        let public = match old {
            Some(_) => Public::of(self.name, &self.policy().await?),
            None => Public::default(),
        };
        let all = public.with(want);
        let objects = match old {
            Some(old) => old.public_objects != want.public_objects,
            None => !want.public_objects.is_empty(),
        };
        if differs(|old, want| old.public_access_block == want.public_access_block) {
            self.block(&all).await?;
        }
        if differs(|old, want| old.versioned == want.versioned) {
            self.keep_versions().await?;
        }
        if differs(|old, want| (old.encrypted, &old.kms_key) == (want.encrypted, &want.kms_key)) {
            self.encrypt(want).await?;
        }
        if objects {
            self.publish(&all).await?;
        }
        Ok(())
    }

    /// One of the calls that protect the bucket.
    async fn set<T, F>(&self, call: impl Fn() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        retry(PROPAGATION, is_passing, call).await.map(|_| ())
    }

    async fn block(&self, want: &Wanted) -> Result<(), Error> {
        let on = |name: &str| want.public_access_block.contains(&name.to_owned());
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(on("BlockPublicAcls"))
            .ignore_public_acls(on("IgnorePublicAcls"))
            .block_public_policy(on("BlockPublicPolicy"))
            .restrict_public_buckets(on("RestrictPublicBuckets"))
            .build();
        self.set(|| {
            self.place.call("s3:PutBucketPublicAccessBlock", |client| {
                let call = client.put_public_access_block().bucket(self.name);
                let call = call.expected_bucket_owner(&self.aws.account);
                call.public_access_block_configuration(block.clone()).send()
            })
        })
        .await
    }

    async fn keep_versions(&self) -> Result<(), Error> {
        let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.set(|| {
            self.place.call("s3:PutBucketVersioning", |client| {
                let call = client.put_bucket_versioning().bucket(self.name);
                let call = call.expected_bucket_owner(&self.aws.account);
                call.versioning_configuration(versioning.clone()).send()
            })
        })
        .await
    }

    async fn encrypt(&self, want: &Wanted) -> Result<(), Error> {
        let default = ServerSideEncryptionByDefault::builder();
        let default = match &want.kms_key {
            Some(key) => default.sse_algorithm(ServerSideEncryption::AwsKms).kms_master_key_id(key),
            None => default.sse_algorithm(ServerSideEncryption::Aes256),
        };
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default.build()?)
            // One key of the bucket's for many objects: KMS is asked, and paid, less often.
            .set_bucket_key_enabled(want.kms_key.as_ref().map(|_| true));
        let encryption = ServerSideEncryptionConfiguration::builder().rules(rule.build()).build()?;
        self.set(|| {
            self.place.call("s3:PutEncryptionConfiguration", |client| {
                let call = client.put_bucket_encryption().bucket(self.name);
                let call = call.expected_bucket_owner(&self.aws.account);
                call.server_side_encryption_configuration(encryption.clone()).send()
            })
        })
        .await
    }

    /// Lets anybody read the public objects, and nothing else by our doing.
    async fn publish(&self, want: &Wanted) -> Result<(), Error> {
        let mut statements = self.policy().await?;
        statements.retain(|statement| !is_ours(statement));
        if !want.public_objects.is_empty() {
            statements.push(statement(&self.aws.partition, self.name, &want.public_objects));
        }
        if statements.is_empty() {
            let delete = |client: Client| {
                let call = client.delete_bucket_policy().bucket(self.name);
                call.expected_bucket_owner(&self.aws.account).send()
            };
            return self.set(|| self.place.call("s3:DeleteBucketPolicy", delete)).await;
        }
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        let put = || {
            self.place.call("s3:PutBucketPolicy", |client| {
                let call = client.put_bucket_policy().bucket(self.name);
                call.expected_bucket_owner(&self.aws.account).policy(&policy).send()
            })
        };
        match retry(BLOCK_LIFTS, is_public_policy_blocked, || self.set(put)).await {
            Err(mut error) if is_public_policy_blocked(&error) => {
                error.kind = ErrorKind::Refused;
                error.message = format!(
                    "objects of {} cannot be made public: the account {} as a whole has S3 Block Public Access on \
                     (BlockPublicPolicy); have it turned off for the account (BlockPublicPolicy and \
                     RestrictPublicBuckets; each bucket still has its own), or publish them elsewhere",
                    self.name, self.aws.account
                );
                Err(error)
            }
            result => result,
        }
    }
}

fn statements(policy: &str) -> Result<Vec<Value>, Error> {
    if policy.is_empty() {
        return Ok(Vec::new());
    }
    let mut policy: Value = serde_json::from_str(policy)?;
    Ok(match policy.get_mut("Statement").map(Value::take) {
        Some(Value::Array(statements)) => statements,
        Some(statement) => vec![statement],
        None => Vec::new(),
    })
}

fn is_ours(statement: &Value) -> bool {
    statement["Sid"] == STATEMENT
}

/// The resource that stands for a key, or for all keys under a prefix.
fn arn(partition: &str, bucket: &str, key: &str) -> String {
    let rest = if key.ends_with('/') { "*" } else { "" };
    format!("arn:{partition}:s3:::{bucket}/{key}{rest}")
}

fn statement(partition: &str, bucket: &str, keys: &Set<String>) -> Value {
    let resources: Vec<String> = keys.iter().map(|key| arn(partition, bucket, key)).collect();
    json!({
        "Sid": STATEMENT,
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": resources,
    })
}

/// What our statement makes public: for this cluster, and for others that share the bucket.
#[derive(Default)]
struct Public {
    objects: Set<String>,
    /// The statement says something else than we do: it was changed, and is written anew.
    changed: bool,
}

impl Public {
    fn of(bucket: &str, statements: &[Value]) -> Self {
        let Some(found) = statements.iter().find(|statement| is_ours(statement)) else {
            return Self::default();
        };
        let listed = match &found["Resource"] {
            Value::Array(resources) => resources.iter().filter_map(Value::as_str).collect(),
            Value::String(resource) => BTreeSet::from([resource.as_str()]),
            _ => BTreeSet::new(),
        };
        let keys = listed.iter().filter_map(|resource| {
            let (_, key) = resource.split_once(&format!(":s3:::{bucket}/"))?;
            Some(key.strip_suffix("/*").map_or_else(|| key.to_owned(), |prefix| format!("{prefix}/")))
        });
        let objects: Set<String> = keys.collect();
        let partition = listed.iter().find_map(|arn| arn.split(':').nth(1)).unwrap_or_default();
        let mut as_written = statement(partition, bucket, &objects);
        let mut found = found.clone();
        for statement in [&mut as_written, &mut found] {
            statement["Resource"] = Value::Null;
            // Both mean everybody.
            if statement["Principal"] == json!({ "AWS": "*" }) {
                statement["Principal"] = json!("*");
            }
            if statement["Action"] == json!(["s3:GetObject"]) {
                statement["Action"] = json!("s3:GetObject");
            }
        }
        let changed = as_written != found || objects.len() != listed.len();
        Self { objects, changed }
    }

    /// The bucket as `want` has it, with what others publish in it.
    fn with(&self, want: &Wanted) -> Wanted {
        let objects = self.objects.iter().chain(want.public_objects.iter()).cloned().collect();
        Wanted::new(&want.region, want.kms_key.clone(), objects)
    }

    /// Of what is public, what `want` asks for. Of a statement that was changed, everything, marked so: what a plan
    /// shows is that there is something, and that it is not what it should be.
    fn wanted(&self, want: &Wanted) -> Set<String> {
        if self.changed {
            return self.objects.iter().map(|key| format!("{key} (changed)")).collect();
        }
        self.objects.iter().filter(|key| want.public_objects.contains(key)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{BucketVersioningStatus, CreateBucketConfiguration, Tag};
    use kcl_engine::{Action, Set, Wanted};
    use kcl_model::resource::Bucket;
    use kcl_testkit::{Decision, Protocol, Response};

    use super::{BUCKET_MARK, Kind as _};
    use crate::discovery::Seen;
    use crate::testing::{self, World};
    use crate::{Depth, ErrorKind};

    fn wanted(name: &str, bucket: &Bucket) -> Wanted {
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, name, bucket);
        wanted
    }

    fn private() -> Bucket {
        Bucket::new("eu-north-1", None, Set::default())
    }

    fn public(objects: &[&str]) -> Bucket {
        Bucket::new("eu-north-1", None, objects.iter().copied().map(str::to_owned).collect())
    }

    /// A bucket as somebody leaves it who is killed after the first call.
    async fn marked(world: &World, name: &str) -> String {
        let name = format!("{name}-{}", world.aws.account);
        let mark = Tag::builder().key(BUCKET_MARK.0).value(BUCKET_MARK.1).build().expect("it is a tag");
        let configuration =
            CreateBucketConfiguration::builder().location_constraint("eu-north-1".into()).tags(mark).build();
        let call = world.aws.s3.create_bucket().bucket(&name).create_bucket_configuration(configuration);
        call.send().await.expect("a bucket is made");
        name
    }

    fn updated(name: &str) -> [(Action, String); 1] {
        [(Action::Update, format!("bucket/{name}"))]
    }

    #[tokio::test]
    async fn is_made_protected_and_kept() {
        let world = World::start().await;
        let name = format!("state-{}", world.aws.account);
        let wanted = wanted(&name, &private());
        assert_eq!(world.reach(&wanted).await, [(Action::Create, format!("bucket/{name}"))]);
        let block = world.aws.s3.get_public_access_block().bucket(&name).send().await.expect("it is set");
        let block = block.public_access_block_configuration.expect("it is there");
        assert_eq!(block.block_public_policy(), Some(true));
        let versioning = world.aws.s3.get_bucket_versioning().bucket(&name).send().await.expect("it is set");
        assert_eq!(versioning.status(), Some(&BucketVersioningStatus::Enabled));
        world.remove().await;
        assert_eq!(world.live(&wanted, Depth::Preview).await.len(), 1, "the bucket stays");
        assert_eq!(world.local.unsupported(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_a_killed_run_left_unprotected_is_seen_and_protected() {
        let world = World::start().await;
        let name = marked(&world, "half").await;
        let call = world.aws.s3.delete_public_access_block().bucket(&name);
        call.send().await.expect("it is removed");
        let wanted = wanted(&name, &private());
        let plan = world.plan(&wanted).await;
        let changed: Vec<&str> = plan.steps[0].changes.iter().map(|change| change.path.as_str()).collect();
        assert!(changed.iter().any(|path| path.starts_with("versioned")), "{changed:?}");
        assert!(changed.iter().any(|path| path.starts_with("public_access_block")), "{changed:?}");
        assert_eq!(world.reach(&wanted).await, updated(&name));
    }

    #[tokio::test]
    async fn somebody_elses_is_used_as_it_is() {
        let world = World::start().await;
        for region in ["eu-north-1", "eu-west-3"] {
            let name = world.bucket(&format!("own-{region}"), region).await;
            world.local.take_calls();
            let wanted = wanted(&name, &private());
            assert!(world.plan(&wanted).await.is_empty());
            let calls: Vec<String> = world.local.take_calls().into_iter().map(|call| call.action).collect();
            let first = if region == "eu-north-1" { 1 } else { 2 };
            assert_eq!(calls.iter().filter(|call| *call == "GetBucketTagging").count(), first, "{calls:?}");
            // Made by somebody else while our plan was waiting.
            super::Bucket::create(&world.aws, &name, &private()).await.expect("it is used");
            let versioning = world.local.calls().into_iter().filter(|call| call.mutating).count();
            assert_eq!(versioning, 1, "it is not changed");
        }
    }

    /// Whatever the last call of a run that is killed, the next one finishes what it began.
    #[tokio::test]
    async fn what_is_cut_short_is_completed() {
        for calls in 0.. {
            let world = World::start().await;
            let name = format!("cut-{}", world.aws.account);
            let want = wanted(&name, &public(&["c/"]));
            let plan = world.plan(&want).await;
            let left = std::sync::atomic::AtomicUsize::new(calls);
            world.local.before(move |call| {
                use std::sync::atomic::Ordering::Relaxed;
                let goes_on =
                    !call.mutating || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
                if goes_on {
                    return Decision::Forward;
                }
                Decision::Respond(Response::error(Protocol::S3, 403, "AccessDenied", "it was cut short"))
            });
            let cut = world.try_apply(&plan).await;
            world.local.clear_rules();
            world.reach(&want).await;
            let put = world.aws.s3.put_object().bucket(&name).key("c/keys").body(b"{}".to_vec().into());
            put.send().await.expect("it is written");
            let (seen, _) = world.aws.public.read(&name, "c/keys").await.expect("it can be read");
            assert!(matches!(seen, Seen::Document(_)), "after {calls} calls: {seen:?}");
            if cut.is_ok() {
                assert_eq!(calls, 5, "it is made, opened, versioned, encrypted, and published");
                break;
            }
        }
    }

    #[tokio::test]
    async fn passing_refusals_are_waited_out() {
        let world = World::start().await;
        let name = format!("fresh-{}", world.aws.account);
        let left = std::sync::atomic::AtomicI32::new(2);
        world.local.before(move |call| {
            let code = match (call.action.as_str(), left.load(std::sync::atomic::Ordering::Relaxed)) {
                ("PutBucketVersioning", 2) => "NoSuchBucket",
                ("PutBucketVersioning", 1) => "OperationAborted",
                _ => return Decision::Forward,
            };
            left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            let status = if code == "NoSuchBucket" { 404 } else { 409 };
            Decision::Respond(Response::error(Protocol::S3, status, code, "not yet"))
        });
        world.reach(&wanted(&name, &private())).await;
    }

    #[tokio::test]
    async fn a_key_is_its_default() {
        let world = World::start().await;
        let name = format!("key-{}", world.aws.account);
        let with =
            |key: Option<&str>| wanted(&name, &Bucket { kms_key: key.map(str::to_owned), ..private() });
        world.reach(&with(Some("alias/one"))).await;
        assert_eq!(world.reach(&with(Some("alias/two"))).await, updated(&name));
        // With none asked for, the one that is there is right.
        assert!(world.plan(&with(None)).await.is_empty());
    }

    #[tokio::test]
    async fn single_objects_are_public() {
        let world = World::start().await;
        let name = format!("public-{}", world.aws.account);
        let objects = ["c/.well-known/openid-configuration", "c/openid/"];
        world.reach(&wanted(&name, &public(&objects))).await;
        for key in ["c/.well-known/openid-configuration", "c/openid/v1/jwks", "c/pki"] {
            let put = world.aws.s3.put_object().bucket(&name).key(key).body(b"{}".to_vec().into());
            put.send().await.expect("it is written");
            let policy = world.aws.s3.get_bucket_policy().bucket(&name).send().await.expect("there is one");
            assert!(policy.policy().is_some_and(|policy| !policy.contains("pki")));
        }
        // A statement of somebody else's is left alone.
        let policy = world.aws.s3.get_bucket_policy().bucket(&name).send().await.expect("there is one");
        let mut policy: serde_json::Value =
            serde_json::from_str(policy.policy().expect("there is one")).expect("it is JSON");
        let theirs = serde_json::json!({ "Sid": "Theirs", "Effect": "Deny", "Principal": { "AWS": "1" },
            "Action": "s3:DeleteBucket", "Resource": format!("arn:aws:s3:::{name}") });
        policy["Statement"].as_array_mut().expect("it is a list").push(theirs);
        let put = world.aws.s3.put_bucket_policy().bucket(&name).policy(policy.to_string());
        put.send().await.expect("it is written");
        assert!(world.plan(&wanted(&name, &public(&objects))).await.is_empty());
        // Another cluster's documents in the same bucket take nothing away from the first one's, nor the other way.
        assert_eq!(world.reach(&wanted(&name, &public(&["d/"]))).await, updated(&name));
        assert!(world.plan(&wanted(&name, &public(&objects))).await.is_empty());
        assert!(world.plan(&wanted(&name, &private())).await.is_empty());
        let policy = world.aws.s3.get_bucket_policy().bucket(&name).send().await.expect("there is one");
        let policy = policy.policy().expect("there is one");
        assert!(
            policy.contains("Theirs") && policy.contains("c/openid/*") && policy.contains("d/*"),
            "{policy}"
        );
    }

    #[tokio::test]
    async fn a_statement_that_says_more_is_put_right() {
        let world = World::start().await;
        let name = format!("more-{}", world.aws.account);
        let want = wanted(&name, &public(&["c/openid/"]));
        world.reach(&want).await;
        let policy = world.aws.s3.get_bucket_policy().bucket(&name).send().await.expect("there is one");
        let more = policy.policy().expect("there is one").replace("s3:GetObject", "s3:*");
        let put = world.aws.s3.put_bucket_policy().bucket(&name).policy(more);
        put.send().await.expect("it is written");
        assert_eq!(world.reach(&want).await, updated(&name));
    }

    #[tokio::test]
    async fn an_account_that_blocks_public_policies_is_named() {
        let world = World::start().await;
        let name = format!("blocked-{}", world.aws.account);
        world.local.before(|call| {
            if call.action != "PutBucketPolicy" {
                return Decision::Forward;
            }
            let message = "User is not authorized to perform: s3:PutBucketPolicy because public policies are \
                           prevented by the BlockPublicPolicy setting in S3 Block Public Access.";
            Decision::Respond(Response::error(Protocol::S3, 403, "AccessDenied", message))
        });
        let error = super::Bucket::create(&world.aws, &name, &public(&["c/"])).await;
        let error = error.expect_err("it is refused");
        assert_eq!(error.kind, ErrorKind::Refused);
        let account = format!("the account {} as a whole", world.aws.account);
        assert!(error.message.contains(&account) && error.message.contains("BlockPublicPolicy"), "{error}");
    }

    #[tokio::test]
    async fn somebody_elses_name_is_no_place_for_public_documents() {
        let (ours, theirs) = (World::start().await, World::start().await);
        let name = theirs.bucket("theirs", "eu-north-1").await;
        let want = wanted(&name, &public(&["c/"]));
        let scope = crate::Scope::new(&ours.aws, testing::CLUSTER, &want, Depth::Deep);
        let errors = crate::observe(&scope).await.expect_err("it is refused");
        let message = format!("{errors:?}");
        assert!(message.contains("somebody else's"), "{message}");
    }
}
