//! What AWS knows by a unique name: what its resources are called, and what to do when a name is taken.

use kcl_engine::{Attrs, Owner, Ref, Set};
use kcl_model::resource::Tags;

use crate::error::{Error, ErrorKind};
use crate::tags::{self, CLUSTER_TAG};

/// Attributes that AWS gave.
pub(crate) fn attrs<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Attrs {
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
    pairs.collect()
}

/// One attribute of a live resource.
pub(crate) fn attr<'a>(live: &'a Attrs, key: &str) -> Result<&'a str, Error> {
    let value = live.get(key).map(String::as_str);
    value.ok_or_else(|| Error::new(ErrorKind::Unexpected, "kcl", format!("a live resource has no {key}")))
}

/// What the references are resolved to.
pub(crate) fn values(refs: &Set<Ref>) -> Result<Vec<String>, Error> {
    refs.iter().map(|reference| Ok(reference.value()?.to_owned())).collect()
}

/// Whether something with the tags `live` belongs to the cluster that `want` is for: then it was left by an
/// interrupted run and can be brought to what is wanted. Any mark of the cluster will do, since the name is
/// one that only this cluster gives.
pub(crate) fn is_ours(live: &Tags, want: &Tags) -> bool {
    want.get(CLUSTER_TAG).is_some_and(|cluster| tags::owner(cluster, live).is_some())
}

/// Whose a live resource of a kind with unique names is: one that is wanted needs any mark of the cluster, so
/// that one of the two marks can be lost and is put back.
pub(crate) fn owner(cluster: &str, live: &Tags, is_wanted: bool) -> Option<Owner> {
    let owner = tags::owner(cluster, live)?;
    Some(if is_wanted { Owner::Cluster } else { owner })
}

/// The name is taken, as a look has shown: for what AWS would change or give back in silence instead of refusing.
pub(crate) fn taken(action: &str) -> Error {
    Error::new(ErrorKind::AlreadyExists, action, "the name is taken")
}

/// The name is taken by something that is not the cluster's.
pub(crate) fn stranger(mut error: Error, what: &str) -> Error {
    error.kind = ErrorKind::Refused;
    error.message = format!(
        "the {what} exists already, and its tags do not say that it is this cluster's: remove it, or tag it \
         kubernetes.io/cluster/<cluster>=owned if it is"
    );
    error
}

/// The name is taken by one of the cluster's that cannot become what is wanted.
pub(crate) fn unfit(mut error: Error, what: &str, why: &str) -> Error {
    error.kind = ErrorKind::Refused;
    error.message = format!("the {what} exists already, {why}: remove it");
    error
}
