//! Encryption of secrets in etcd.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
}
