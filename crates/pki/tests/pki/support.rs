//! What the tests share: a time, a source of randomness, and the `openssl` command.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use kcl_pki::{Entropy, EntropyError, KeyId, Keyset, PrivateKey, SystemEntropy};
use time::OffsetDateTime;
use time::macros::datetime;

/// The time at which the tests take place.
pub(crate) const NOW: OffsetDateTime = datetime!(2030-01-01 12:00:00 UTC);

/// Randomness that counts, with fresh P-256 keys, and RSA keys that are made once for all tests: making one takes
/// a good part of a second.
#[derive(Default)]
pub(crate) struct Counting {
    drawn: u8,
    rsa_keys: usize,
}

/// RSA keys that one keyset of the tests can have.
const RSA_KEYS: usize = 3;

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for byte in bytes {
            self.drawn = self.drawn.wrapping_add(1);
            *byte = self.drawn;
        }
        Ok(())
    }

    fn p256_key(&mut self) -> Result<PrivateKey, EntropyError> {
        SystemEntropy.p256_key()
    }

    fn rsa_2048_key(&mut self) -> Result<PrivateKey, EntropyError> {
        static KEYS: OnceLock<Vec<PrivateKey>> = OnceLock::new();
        let keys =
            KEYS.get_or_init(|| (0..RSA_KEYS).map(|_| SystemEntropy.rsa_2048_key().unwrap()).collect());
        self.rsa_keys += 1;
        Ok(keys[(self.rsa_keys - 1) % keys.len()].clone())
    }
}

/// The private keys of a keyset as a store has them.
pub(crate) fn private_objects(keyset: &Keyset) -> BTreeMap<KeyId, Vec<u8>> {
    let keys = keyset.keys().iter().filter_map(|key| {
        let text = key.private_key()?.to_pem();
        Some((key.id().clone(), text.reveal().as_bytes().to_vec()))
    });
    keys.collect()
}

/// Runs `openssl` in a folder. Gives what it wrote, to standard output and then to standard error, and whether it
/// was content.
pub(crate) fn try_openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("these tests need the `openssl` command: install the package openssl, or put it on PATH");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs `openssl` in a folder, and gives what it wrote.
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let (content, text) = try_openssl(folder, arguments);
    assert!(content, "openssl {arguments:?}: {text}");
    text
}
