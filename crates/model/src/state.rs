//! The registered spec, and the bucket it lies in.
//!
//! Apart from [`crate::build`]: where the state is kept is the caller's, not the cluster's.

use kcl_engine::{Resource, Text, Wanted};

use crate::error::ModelError;
use crate::resource::{Bucket, RegisteredSpec};

/// A bucket that is to be made for the state store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBucket {
    /// Its name.
    pub name: String,
    /// The region it is to lie in.
    pub region: String,
    /// The KMS key that encrypts what lies in it; `None`: S3's own.
    pub kms_key: Option<String>,
}

/// What is to be registered.
#[derive(Clone, Copy, Debug)]
pub struct Documents<'a> {
    /// What the defaults made of the documents of kOps' and kcl's own kinds.
    pub completed: &'a str,
    /// The other documents as they were given.
    pub objects: &'a str,
}

/// The kind of the bucket in a plan.
pub const BUCKET_KIND: &str = Bucket::SCHEMA.kind;

/// Adds the registered spec of `cluster`, and the bucket where there is none yet (only an S3 store can need
/// one). Everything else comes after them: a cluster half made can always be found, finished or removed.
pub fn add_state(
    wanted: &mut Wanted,
    cluster: &str,
    make_bucket: Option<&NewBucket>,
    documents: &Documents<'_>,
) -> Result<(), ModelError> {
    let bucket = match make_bucket {
        Some(new) => {
            // The issuer's documents may lie in the same bucket; what is public in it then stays so.
            let issuer = wanted.get::<Bucket>(&new.name);
            let public_objects = issuer.map(|bucket| bucket.public_objects).unwrap_or_default();
            let bucket = Bucket::new(&new.region, new.kms_key.clone(), public_objects);
            Some(wanted.add(&new.name, &bucket)?)
        }
        None => None,
    };
    let spec = RegisteredSpec {
        spec: Text::new(documents.completed),
        objects: Text::new(kcl_spec::redact(documents.objects)),
        up_to_date: true,
    };
    let spec = wanted.add(cluster, &spec)?;
    if let Some(bucket) = bucket {
        wanted.order(&spec, bucket);
    }
    wanted.order_all_after(&spec);
    Ok(())
}
