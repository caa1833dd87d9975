//! The machines' SSH key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kcl_engine::{Ref, Resource};
use kcl_spec::cluster::SshKey;
use md5::{Digest, Md5};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::names;
use crate::resource::KeyPair;

/// Adds the key pair, where it is ours.
pub(crate) fn add(builder: &mut Builder<'_>) -> Result<Option<Ref>, ModelError> {
    let public_key = match &builder.cluster.ssh.key {
        SshKey::None => return Ok(None),
        SshKey::Existing { name } => return Ok(Some(Ref::id(KeyPair::SCHEMA.kind, "name", name))),
        SshKey::Managed { public_key } => without_comment(public_key)?,
    };
    let name = names::key_pair(&fingerprint(&public_key)?, builder.name());
    // kOps' own: the key's `Name` is the cluster's.
    let tags = builder.tags(builder.name());
    builder.add(&name, &KeyPair { public_key, tags })?;
    Ok(Some(Ref::to(KeyPair::SCHEMA.kind, name, "name")))
}

/// `type base64`: what comes after is the owner's own note.
fn without_comment(public_key: &str) -> Result<String, ModelError> {
    let mut words = public_key.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) => Ok(format!("{kind} {key}")),
        _ => Err(ModelError::PublicKey { why: "it is not `type base64 comment`" }),
    }
}

/// The MD5 fingerprint as OpenSSH writes it: sixteen bytes, with colons.
fn fingerprint(public_key: &str) -> Result<String, ModelError> {
    let key = public_key.split_ascii_whitespace().nth(1).unwrap_or_default();
    let blob =
        STANDARD.decode(key).map_err(|_| ModelError::PublicKey { why: "its middle part is not base64" })?;
    let bytes: Vec<String> = Md5::digest(&blob).iter().map(|byte| hex::encode([*byte])).collect();
    Ok(bytes.join(":"))
}
