//! The cluster's keys: they are made once, in the state store, before any machine that needs them.

use kcl_engine::{Ref, Resource, ResourceId};
use kcl_pki::KeysetName;

use crate::builder::Builder;
use crate::error::ModelError;
use crate::resource::Keyset;

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    for name in KeysetName::ALL {
        let purpose = name.keyset_type().as_str().to_owned();
        builder.add(name.as_str(), &Keyset { purpose, published: true })?;
    }
    Ok(())
}

/// What the tokens of service accounts are verified with: a fingerprint of the public keys.
pub(crate) fn token_keys() -> Ref {
    Ref::to(Keyset::SCHEMA.kind, KeysetName::ServiceAccount.as_str(), "keys")
}

/// The keysets: machines come up with them.
pub(crate) fn ids() -> impl Iterator<Item = ResourceId> {
    KeysetName::ALL.into_iter().map(|name| ResourceId::new(Keyset::SCHEMA.kind, name.as_str()))
}
