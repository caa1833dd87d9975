//! The registered spec, and the bucket it lies in.
//!
//! Apart from [`crate::build`]: where the state is kept is the caller's, not the cluster's.

use kcl_engine::{Text, Wanted};

use crate::error::ModelError;
use crate::resource::{Bucket, RegisteredSpec};

/// A bucket that is to be made for the state store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBucket {
    /// Its name.
    pub name: String,
    /// The region it is to lie in.
    pub region: String,
    /// The KMS key that encrypts what says nothing else about it.
    pub kms_key: Option<String>,
    /// The objects in it that anybody may read, by key, or by prefix if it ends in `/`.
    pub public_objects: Vec<String>,
}

impl NewBucket {
    fn wanted(&self) -> Bucket {
        let Self { name: _, region, kms_key, public_objects } = self;
        Bucket::new(region, kms_key.clone(), public_objects.iter().cloned().collect())
    }
}

/// Adds the registered spec of `cluster`, and the bucket where there is none yet (only an S3 store can need
/// one). Everything else comes after them: a cluster half made can always be found, finished or removed.
pub fn add_state(
    wanted: &mut Wanted,
    cluster: &str,
    make_bucket: Option<&NewBucket>,
    documents: &str,
) -> Result<(), ModelError> {
    let bucket = match make_bucket {
        Some(bucket) => Some(wanted.add(&bucket.name, &bucket.wanted())?),
        None => None,
    };
    let spec = wanted.add(
        cluster,
        &RegisteredSpec { documents: Text::new(kcl_spec::redact(documents)), as_given: true },
    )?;
    if let Some(bucket) = bucket {
        wanted.order(&spec, bucket);
    }
    wanted.order_all_after(&spec);
    Ok(())
}
