//! Whatever bytes are read, the answer is a value or an error.

use std::sync::OnceLock;

use kcl_pki::kubeconfig::{Entry, merge, remove};
use kcl_pki::{KeyId, Keyset, KeysetName, PrivateKey, PublicKey};
use proptest::prelude::*;

use crate::support::{Counting, NOW};

const ENTRY: Entry<'static> = Entry {
    name: "k8s.example.com",
    server: "https://api.k8s.example.com",
    certificate_authority_pem: "pem",
    client: None,
    tls_server_name: None,
    namespace: None,
};

/// Sound texts of each kind: an authority's index, token keys' index, a private key, and a kubeconfig.
fn sound() -> &'static [Vec<u8>] {
    static TEXTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let authority = Keyset::generate(KeysetName::EtcdCa, &mut Counting::default(), NOW).unwrap();
        let tokens = Keyset::generate(KeysetName::ServiceAccount, &mut Counting::default(), NOW).unwrap();
        vec![
            authority.index_yaml().into_bytes(),
            tokens.index_yaml().into_bytes(),
            authority.primary_private_pem().unwrap().reveal().as_bytes().to_vec(),
            tokens.primary_private_pem().unwrap().reveal().as_bytes().to_vec(),
            tokens.trust_bundle().into_bytes(),
            merge(None, &ENTRY, true).unwrap().reveal().as_bytes().to_vec(),
        ]
    })
}

/// Reads the bytes as everything they could be taken for.
fn read(bytes: &[u8]) {
    for name in KeysetName::ALL {
        if let Ok(keyset) = Keyset::parse(name, bytes) {
            // Whatever is accepted can be written and read again.
            assert_eq!(Keyset::parse(name, keyset.index_yaml().as_bytes()).unwrap(), keyset);
        }
    }
    let _ = PrivateKey::from_pem(bytes);
    let _ = PublicKey::from_rsa_pem(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = KeyId::parse(text);
        let _ = remove(text, ENTRY.name);
        if let Ok(merged) = merge(Some(text), &ENTRY, true) {
            let again = merge(Some(merged.reveal()), &ENTRY, true).unwrap();
            assert_eq!(again.reveal(), merged.reveal());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read(&bytes);
    }

    #[test]
    fn any_text_can_be_read(text in "[ -~\n]{0,256}") {
        read(text.as_bytes());
    }

    #[test]
    fn sound_texts_with_changes_can_be_read(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = which.get(sound()).clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read(&bytes);
    }

    #[test]
    fn changed_der_can_be_read(
        which in 0_usize..5,
        place in any::<prop::sample::Index>(),
        letter in prop::sample::select(&b"ABCDEFwxyz0189+/"[..]),
    ) {
        // Only letters of the base64 are changed, so that what is in it is read too.
        let mut bytes = sound()[which].clone();
        let begin = bytes.windows(5).position(|part| part == b"BEGIN").unwrap() + 30;
        let end = bytes.windows(8).position(|part| part == b"-----END").unwrap();
        let place = begin + place.index(end - begin);
        if bytes[place].is_ascii_alphanumeric() {
            bytes[place] = letter;
        }
        read(&bytes);
    }
}

#[test]
fn texts_that_are_deep_or_grow_are_read_or_refused() {
    let mut growing = "a0: &a0 [x]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}", level - 1);
        growing.push_str(&format!("a{level}: &a{level} [{before}, {before}, {before}, {before}]\n"));
    }
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        growing,
        "a: &a [*a]".to_owned(),
    ] {
        read(text.as_bytes());
    }
}
