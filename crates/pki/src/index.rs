//! A keyset's index: the text in the store that says what keys there are and which is the primary one.
//!
//! Nothing secret is in it: each private key is an object of its own. Reading is strict, because whatever is not
//! as it was written may mean that somebody else's object is there, or that a write was cut short.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::certificate::CaCertificate;
use crate::clock::{rfc3339, whole_seconds};
use crate::error::{KeysetError, excerpt, parser_words};
use crate::key::PublicKey;
use crate::keyset::{Key, KeyId, Keyset, Material};
use crate::layout::KeysetName;
use crate::yaml;

/// The largest object that is read, in bytes: room for several hundred keys, and far more than a keyset gets.
pub const MAX_OBJECT_BYTES: usize = 1024 * 1024;

const API_VERSION: &str = "kcl.dev/v1alpha1";
const KIND: &str = "Keyset";

/// What any Kubernetes-like object has, to tell what it is before it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: Option<String>,
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct IndexText {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    metadata: MetadataText,
    spec: SpecText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataText {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecText {
    r#type: String,
    #[serde(rename = "primaryID")]
    primary_id: String,
    keys: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyText {
    id: String,
    created: String,
    distrusted: Option<String>,
    certificate: Option<String>,
    public_key: Option<String>,
}

/// A certificate has two kilobytes, and a keyset a handful of them: whatever is larger than this is none.
const MAX_INDEX: usize = 1024 * 1024;

impl Keyset {
    /// The text for [`KeysetName::index_path`]. It ends in a newline, and is the same for the same keyset.
    pub fn index_yaml(&self) -> String {
        let mut text = format!(
            "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:\n  name: {}\nspec:\n  type: {}\n  primaryID: \"{}\"\n  keys:\n",
            self.name(),
            self.name().keyset_type(),
            self.primary().id()
        );
        for key in self.keys() {
            // Quoted, because an id may consist of decimal digits only.
            let _ = write!(text, "  - id: \"{}\"\n    created: \"{}\"\n", key.id, rfc3339(key.created));
            if let Some(distrusted) = key.distrusted {
                let _ = writeln!(text, "    distrusted: \"{}\"", rfc3339(distrusted));
            }
            let _ = writeln!(text, "    {}: |", key.material.field());
            for line in key.material.to_pem().lines() {
                let _ = writeln!(text, "      {line}");
            }
        }
        text
    }

    /// Reads the index of the keyset `name`, without private keys.
    ///
    /// Errors: anything that is not as [`Keyset::index_yaml`] writes it, but for layout and comments.
    pub fn parse(name: KeysetName, index: &[u8]) -> Result<Self, KeysetError> {
        let path = name.index_path();
        let spec = read_text(name, &path, index)?;
        let mut keys: Vec<Key> = Vec::with_capacity(spec.keys.len());
        for text in &spec.keys {
            let key = read_key(name, &path, text)?;
            check_unlike(&path, &keys, &key)?;
            keys.push(key);
        }
        let primary = read_id(&path, &spec.primary_id)?;
        let Some(place) = keys.iter().position(|key| key.id == primary) else {
            return Err(KeysetError::PrimaryNotListed { path, id: primary });
        };
        if !keys[place].is_trusted() {
            return Err(KeysetError::PrimaryDistrusted { path, id: primary });
        }
        Ok(Self::from_parts(name, keys, place))
    }

    /// Reads the index of the keyset `name` and gives its keys their private halves, which are by id in
    /// `private`. Private keys that the index does not list are passed over: a run that was killed between the
    /// two writes leaves one behind.
    ///
    /// Errors: those of [`Keyset::parse`] and [`Keyset::attach`], and a primary key without its private half.
    pub fn parse_with_private<P: AsRef<[u8]>>(
        name: KeysetName,
        index: &[u8],
        private: &BTreeMap<KeyId, P>,
    ) -> Result<Self, KeysetError> {
        let mut keyset = Self::parse(name, index)?;
        let listed: Vec<KeyId> = keyset.keys().iter().map(|key| key.id.clone()).collect();
        for id in listed {
            if let Some(pem) = private.get(&id) {
                keyset.attach(&id, pem.as_ref())?;
            }
        }
        let primary = keyset.primary();
        if primary.private.is_none() {
            let id = primary.id.clone();
            let path = name.private_key_path(&id);
            return Err(KeysetError::HalfWritten { keyset: name, id, path });
        }
        Ok(keyset)
    }
}

/// Checks what the object is, and gives the part of it that differs from keyset to keyset.
fn read_text(name: KeysetName, path: &str, index: &[u8]) -> Result<SpecText, KeysetError> {
    let path = || path.to_owned();
    if index.len() > MAX_OBJECT_BYTES {
        return Err(KeysetError::TooLarge { path: path(), size: index.len(), limit: MAX_OBJECT_BYTES });
    }
    let text = std::str::from_utf8(index).map_err(|_| KeysetError::NotText { path: path() })?;
    if text.len() > MAX_INDEX {
        let reason = format!("it is larger than {} KiB", MAX_INDEX / 1024);
        return Err(KeysetError::Yaml { path: path(), reason });
    }
    if text.trim().is_empty() {
        return Err(KeysetError::Blank { path: path() });
    }
    if yaml::is_too_deep(text) {
        return Err(KeysetError::Yaml { path: path(), reason: yaml::TOO_DEEP.to_owned() });
    }
    let unreadable =
        |error: serde_yaml::Error| KeysetError::Yaml { path: path(), reason: parser_words(&error) };
    let header: Header = serde_yaml::from_str(text).map_err(unreadable)?;
    let kind = header.kind.unwrap_or_else(|| "none".to_owned());
    if kind != KIND {
        return Err(KeysetError::Foreign { path: path(), kind: excerpt(&kind) });
    }
    let version = header.api_version.unwrap_or_else(|| "none".to_owned());
    if version != API_VERSION {
        return Err(KeysetError::Version { path: path(), found: excerpt(&version), expected: API_VERSION });
    }
    let IndexText { _api_version, _kind, metadata, spec } = serde_yaml::from_str(text).map_err(unreadable)?;
    if metadata.name != name.as_str() {
        return Err(KeysetError::Name { path: path(), found: excerpt(&metadata.name), expected: name });
    }
    let expected = name.keyset_type();
    if spec.r#type != expected.as_str() {
        return Err(KeysetError::Type { path: path(), found: excerpt(&spec.r#type), expected });
    }
    Ok(spec)
}

fn read_key(name: KeysetName, path: &str, text: &KeyText) -> Result<Key, KeysetError> {
    let KeyText { id, created, distrusted, certificate, public_key } = text;
    let id = read_id(path, id)?;
    let created = read_time(path, &id, "created", created)?;
    let distrusted = match distrusted {
        Some(time) => Some(read_time(path, &id, "distrusted", time)?),
        None => None,
    };
    let material = read_material(name, path, &id, certificate.as_deref(), public_key.as_deref())?;
    Ok(Key { id, created, distrusted, material, private: None })
}

fn read_material(
    name: KeysetName,
    path: &str,
    id: &KeyId,
    certificate: Option<&str>,
    public_key: Option<&str>,
) -> Result<Material, KeysetError> {
    let (path, id) = (path.to_owned(), id.clone());
    match (name.common_name(), certificate, public_key) {
        (Some(common_name), Some(text), None) => CaCertificate::from_pem(text.as_bytes(), common_name)
            .map(Material::Certificate)
            .map_err(|fault| KeysetError::Certificate { path, id, fault }),
        (None, None, Some(text)) => PublicKey::from_rsa_pem(text.as_bytes())
            .map(Material::PublicKey)
            .map_err(|fault| KeysetError::PublicKey { path, id, fault }),
        (Some(_), ..) => Err(KeysetError::Material { path, id, field: "certificate" }),
        (None, ..) => Err(KeysetError::Material { path, id, field: "publicKey" }),
    }
}

/// A key must differ from those before it in its id and in its public key.
fn check_unlike(path: &str, keys: &[Key], key: &Key) -> Result<(), KeysetError> {
    let path = path.to_owned();
    if keys.iter().any(|other| other.id == key.id) {
        return Err(KeysetError::DuplicateId { path, id: key.id.clone() });
    }
    match keys.iter().find(|other| other.material.public_key() == key.material.public_key()) {
        Some(other) => {
            Err(KeysetError::SameKeyTwice { path, first: other.id.clone(), second: key.id.clone() })
        }
        None => Ok(()),
    }
}

fn read_id(path: &str, text: &str) -> Result<KeyId, KeysetError> {
    KeyId::parse(text).ok_or_else(|| KeysetError::Id { path: path.to_owned(), found: excerpt(text) })
}

fn read_time(path: &str, id: &KeyId, field: &'static str, text: &str) -> Result<OffsetDateTime, KeysetError> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(whole_seconds).ok_or_else(|| KeysetError::Time {
        path: path.to_owned(),
        id: id.clone(),
        field,
        found: excerpt(text),
    })
}
