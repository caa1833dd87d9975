//! Encryption of secrets in etcd.

use std::collections::HashSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::error::ConfigError;
use crate::file::{self, File, paths};

/// The length of a key of `secretbox`.
const KEY_BYTES: usize = 32;

/// A key that secrets are encrypted with in etcd. It prints nothing of itself and is overwritten when dropped.
#[derive(Clone)]
pub struct EncryptionKey {
    name: String,
    base64: Zeroizing<String>,
}

impl EncryptionKey {
    /// A key by its name, which etcd keeps beside what it encrypted, and its 32 bytes in base64.
    pub fn new(name: impl Into<String>, base64: impl Into<String>) -> Result<Self, ConfigError> {
        let (name, base64) = (name.into(), Zeroizing::new(base64.into()));
        let bytes = STANDARD.decode(base64.as_bytes()).map(Zeroizing::new);
        let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !named || bytes.map_or(0, |bytes| bytes.len()) != KEY_BYTES {
            return Err(ConfigError::EncryptionKey { name });
        }
        Ok(Self { name, base64 })
    }

    /// The API server's configuration: the first key encrypts, all of them decrypt, and what was written
    /// before there was a key can still be read.
    pub fn file(keys: &[Self]) -> Result<File, ConfigError> {
        if keys.is_empty() {
            return Err(ConfigError::NoEncryptionKey);
        }
        let list: Vec<_> =
            keys.iter().map(|key| json!({"name": key.name, "secret": key.base64.as_str()})).collect();
        let document = json!({
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{
                "resources": ["secrets"],
                "providers": [{"secretbox": {"keys": list}}, {"identity": {}}],
            }],
        });
        let text = file::yaml("the encryption configuration", &document)?;
        Ok(File::private(format!("{}/encryption.yaml", paths::API_SERVER), text))
    }
}

/// The keys of a cluster, as `kcl` keeps them in the store: the object `secrets/encryption.json`,
/// `{"keys":[{"name":"key-1","secret":"<32 bytes in base64>"}]}`. The first encrypts, all of them decrypt.
#[derive(Clone, Debug)]
pub struct EncryptionKeys(Vec<EncryptionKey>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysText {
    keys: Vec<KeyText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    name: String,
    secret: String,
}

impl EncryptionKeys {
    /// Where they are, relative to the cluster's folder.
    pub const PATH: &'static str = "secrets/encryption.json";

    /// Keys, the one that encrypts first.
    pub fn new(keys: Vec<EncryptionKey>) -> Result<Self, ConfigError> {
        let mut names = HashSet::new();
        if keys.is_empty() {
            return Err(ConfigError::NoEncryptionKey);
        }
        match keys.iter().find(|key| !names.insert(key.name.as_str())) {
            Some(twice) => Err(ConfigError::EncryptionKeyTwice { name: twice.name.clone() }),
            None => Ok(Self(keys)),
        }
    }

    /// Reads them.
    pub fn read(bytes: &[u8]) -> Result<Self, ConfigError> {
        let text: KeysText = serde_json::from_slice(bytes)
            .map_err(|error| ConfigError::EncryptionKeys { line: error.line(), column: error.column() })?;
        let keys: Result<Vec<_>, _> =
            text.keys.into_iter().map(|KeyText { name, secret }| EncryptionKey::new(name, secret)).collect();
        Self::new(keys?)
    }

    /// Their text, for the store.
    pub fn to_json(&self) -> Zeroizing<String> {
        let keys: Vec<_> =
            self.0.iter().map(|key| json!({"name": key.name, "secret": key.base64.as_str()})).collect();
        Zeroizing::new(json!({ "keys": keys }).to_string())
    }

    /// The API server's configuration of them.
    pub fn file(&self) -> Result<File, ConfigError> {
        EncryptionKey::file(&self.0)
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({}, not shown)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_nothing_of_itself() {
        let text = STANDARD.encode([7; KEY_BYTES]);
        let key = EncryptionKey::new("key-1", text.clone()).unwrap();
        assert!(!format!("{key:?}").contains(&text));
        let short = EncryptionKey::new("key-1", STANDARD.encode([7; 16])).unwrap_err();
        assert!(!short.to_string().contains(&STANDARD.encode([7; 16])));
        assert!(EncryptionKey::new("a\nb", text).is_err(), "names stand in a file");
        assert!(EncryptionKey::file(&[]).is_err());
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let secret = |byte| STANDARD.encode([byte; KEY_BYTES]);
        let key = |name: &str, byte| EncryptionKey::new(name, secret(byte)).unwrap();
        let keys = EncryptionKeys::new(vec![key("key-2", 2), key("key-1", 1)]).unwrap();
        let text = keys.to_json();
        let again = EncryptionKeys::read(text.as_bytes()).unwrap();
        assert_eq!(again.file().unwrap(), keys.file().unwrap());
        assert!(!format!("{again:?}").contains(&secret(1)));
        assert!(
            EncryptionKeys::new(vec![key("a", 1), key("a", 2)]).is_err(),
            "etcd tells them by their names"
        );
        for broken in ["", "{}", r#"{"keys":[]}"#, &text.replace("key-2", "key-1"), &text[..40]] {
            let said = EncryptionKeys::read(broken.as_bytes()).unwrap_err().to_string();
            assert!(!said.contains(&secret(2)[..8]), "{said}");
        }
    }
}
