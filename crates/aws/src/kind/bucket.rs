//! The state store's bucket, where kcl makes it: private, versioned, encrypted.
//!
//! A bucket that is there is used as it is, so all that is read of it is whether and where it is. With the
//! cluster it is never removed: other clusters' specs lie in it.

use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};
use futures::future::try_join_all;
use kcl_engine::{Attrs, LiveNode, Owner, Resource};
use kcl_model::resource::Bucket as Wanted;

use super::{Kind, Service};
use crate::client::Aws;
use crate::error::{During, Error, ErrorKind};
use crate::named;
use crate::observe::{Depth, Scope};

pub(crate) struct Bucket;

impl Kind for Bucket {
    type Resource = Wanted;
    const SERVICE: Service = Service::Other;

    async fn observe(scope: &Scope<'_>) -> Result<Vec<LiveNode>, Error> {
        if scope.depth == Depth::Everything {
            return Ok(Vec::new());
        }
        let names = scope.wanted_names(Wanted::SCHEMA.kind).into_iter();
        let nodes = names.map(|name| async move {
            if region(scope.aws, name).await?.is_none() {
                return Ok(None);
            }
            // Wherever it lies: it is used as it is.
            let Some(bucket) = scope.wanted.get::<Wanted>(name) else { return Ok(None) };
            Ok::<_, Error>(Some(LiveNode::new(name, &bucket, attrs(name), Owner::Cluster)?))
        });
        Ok(try_join_all(nodes).await?.into_iter().flatten().collect())
    }

    async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<Attrs, Error> {
        create(aws, name, want).await?;
        protect(aws, name).await?;
        Ok(attrs(name))
    }

    async fn update(
        _aws: &Aws,
        name: &str,
        _live: &Attrs,
        old: &Wanted,
        want: &Wanted,
    ) -> Result<Attrs, Error> {
        let message = format!("the bucket {name} lies in {}, not in {}", old.region, want.region);
        Err(Error::new(ErrorKind::Refused, "s3:CreateBucket", message))
    }

    /// Only an empty one: what lies in it is not ours to throw away here.
    async fn delete(aws: &Aws, name: &str, _live: &Attrs, _old: &Wanted) -> Result<(), Error> {
        match aws.s3.delete_bucket().bucket(name).send().await.during("s3:DeleteBucket") {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

fn attrs(name: &str) -> Attrs {
    named::attrs([("name", Some(name))])
}

/// Where the bucket lies; `None` where there is none.
async fn region(aws: &Aws, name: &str) -> Result<Option<String>, Error> {
    match aws.s3.head_bucket().bucket(name).send().await.during("s3:ListBucket") {
        Ok(answer) => Ok(Some(answer.bucket_region.unwrap_or_else(|| aws.region.clone()))),
        Err(error) if error.is_not_found() => Ok(None),
        Err(mut error) if error.kind == ErrorKind::Denied => {
            error.message = format!(
                "the bucket {name} is somebody else's, or these credentials may not look at it (s3:ListBucket)"
            );
            Err(error)
        }
        Err(error) => Err(error),
    }
}

async fn create(aws: &Aws, name: &str, want: &Wanted) -> Result<(), Error> {
    // The first region is the one without a name of its own in this call.
    let elsewhere = (want.region != "us-east-1").then(|| {
        let region = BucketLocationConstraint::from(want.region.as_str());
        CreateBucketConfiguration::builder().location_constraint(region).build()
    });
    let call = aws.s3.create_bucket().bucket(name).set_create_bucket_configuration(elsewhere);
    match call.send().await.during("s3:CreateBucket") {
        Err(error) if error.is_code(&["BucketAlreadyOwnedByYou"]) => Ok(()),
        Err(mut error) if error.is_code(&["BucketAlreadyExists"]) => {
            error.kind = ErrorKind::Refused;
            error.message =
                format!("the bucket name {name} is taken by another AWS account: choose another one");
            Err(error)
        }
        made => made.map(|_| ()),
    }
}

/// A new bucket is private and encrypted on AWS by itself; said once more, it stays so whatever the account's
/// defaults become.
async fn protect(aws: &Aws, name: &str) -> Result<(), Error> {
    let block = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let call = aws.s3.put_public_access_block().bucket(name).public_access_block_configuration(block);
    call.send().await.during("s3:PutBucketPublicAccessBlock")?;
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let call = aws.s3.put_bucket_versioning().bucket(name).versioning_configuration(versioning);
    call.send().await.during("s3:PutBucketVersioning")?;
    let default = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256);
    let rule =
        ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default.build()?).build();
    let encryption = ServerSideEncryptionConfiguration::builder().rules(rule).build()?;
    let call = aws.s3.put_bucket_encryption().bucket(name).server_side_encryption_configuration(encryption);
    call.send().await.during("s3:PutEncryptionConfiguration")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::BucketVersioningStatus;
    use kcl_engine::{Action, Wanted};
    use kcl_model::resource::Bucket;

    use crate::Depth;
    use crate::testing::{self, World};

    #[tokio::test]
    async fn is_made_protected_and_kept() {
        let world = World::start().await;
        let name = format!("state-{}", world.aws.account);
        let mut wanted = Wanted::default();
        testing::add(&mut wanted, &name, &Bucket { region: world.aws.region.clone() });
        assert_eq!(world.reach(&wanted).await, [(Action::Create, format!("bucket/{name}"))]);
        let block = world.aws.s3.get_public_access_block().bucket(&name).send().await.expect("it is set");
        let block = block.public_access_block_configuration.expect("it is there");
        assert_eq!(block.block_public_policy(), Some(true));
        let versioning = world.aws.s3.get_bucket_versioning().bucket(&name).send().await.expect("it is set");
        assert_eq!(versioning.status(), Some(&BucketVersioningStatus::Enabled));
        world.remove().await;
        assert_eq!(world.live(&wanted, Depth::Preview).await.len(), 1, "the bucket stays");
    }
}
