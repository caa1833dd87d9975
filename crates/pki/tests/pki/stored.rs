//! Stored objects that are not as they were written: each has its own error, and none says anything secret.

use std::collections::BTreeMap;

use kcl_pki::{
    CertificateFault, KeyFault, KeyId, Keyset, KeysetError, KeysetName, KeysetType, MAX_OBJECT_BYTES, Profile,
};
use time::Duration;

use crate::support::{Counting, NOW, private_objects};

fn keyset(name: KeysetName) -> Keyset {
    let mut entropy = Counting::default();
    let mut keyset = Keyset::generate(name, &mut entropy, NOW).unwrap();
    keyset.add(&mut entropy, NOW + Duration::HOUR).unwrap();
    keyset
}

fn refused(name: KeysetName, index: &str) -> KeysetError {
    let error = Keyset::parse(name, index.as_bytes()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&name.index_path()), "{message}");
    assert!(!message.contains("MII"), "{message}");
    error
}

#[test]
fn the_index_is_text_without_secrets() {
    let keyset = keyset(KeysetName::EtcdCa);
    let id = keyset.primary().id();
    let text = keyset.index_yaml();
    let head = format!(
        "apiVersion: kcl.dev/v1alpha1\nkind: Keyset\nmetadata:\n  name: etcd-ca\nspec:\n  type: Authority\n  \
         primaryID: \"{id}\"\n  keys:\n  - id: \"{id}\"\n    created: \"2030-01-01T12:00:00Z\"\n    certificate: |\n      \
         -----BEGIN CERTIFICATE-----\n"
    );
    assert!(text.starts_with(&head), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
    let secret = keyset.primary_private_pem().unwrap();
    let line = secret.reveal().lines().nth(1).unwrap().to_owned();
    for shown in [text, format!("{keyset:?}"), format!("{:?}", keyset.authority(NOW).unwrap())] {
        assert!(!shown.contains(&line), "{shown}");
    }
    let issued = keyset
        .authority(NOW)
        .unwrap()
        .issue(&Profile::ApiServerEtcdClient, Duration::HOUR, &mut Counting::default())
        .unwrap();
    let line = issued.private_key.to_pem().reveal().lines().nth(1).unwrap().to_owned();
    assert!(!format!("{issued:?}").contains(&line));
}

#[test]
fn paths_are_within_the_clusters_folder() {
    let id = KeyId::parse("0123456789abcdef01234567").unwrap();
    let name = KeysetName::ServiceAccount;
    assert_eq!(name.index_path(), "pki/private/service-account/keyset.yaml");
    assert_eq!(name.private_key_path(&id), "pki/private/service-account/0123456789abcdef01234567.key");
    assert_eq!(name.bundle_path(), "pki/issued/service-account/bundle.pem");
    for text in
        ["", "1", "../../../../config/secret1", "0123456789ABCDEF01234567", "0123456789abcdef0123456 "]
    {
        assert!(KeyId::parse(text).is_none(), "{text}");
    }
    for name in KeysetName::ALL {
        assert_eq!(name.as_str().parse::<KeysetName>().unwrap(), name);
    }
    assert!(matches!("ca".parse::<KeysetName>(), Err(KeysetError::NoSuchKeyset { .. })));
}

#[test]
fn an_object_of_somebody_else_is_recognised() {
    let name = KeysetName::EtcdCa;
    let index = keyset(name).index_yaml();
    for (text, found) in [
        (index.replace("kind: Keyset", "kind: Secret"), "Secret"),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n".to_owned(), "ConfigMap"),
        ("{}".to_owned(), "none"),
    ] {
        assert!(matches!(refused(name, &text), KeysetError::Foreign { kind, .. } if kind == found));
    }
    let newer = refused(name, &index.replace("v1alpha1", "v1"));
    assert!(matches!(newer, KeysetError::Version { found, .. } if found == "kcl.dev/v1"));
    let other = refused(name, &keyset(KeysetName::FrontProxyCa).index_yaml());
    assert!(matches!(other, KeysetError::Name { found, .. } if found == "front-proxy-ca"));
    let typed = refused(name, &index.replace("type: Authority", "type: SigningKey"));
    assert!(matches!(typed, KeysetError::Type { expected: KeysetType::Authority, .. }));
}

#[test]
fn what_is_not_an_index_is_refused() {
    let name = KeysetName::EtcdCa;
    let index = keyset(name).index_yaml();
    for text in ["", " \n"] {
        assert!(matches!(refused(name, text), KeysetError::Blank { .. }));
    }
    for text in [
        "[]".to_owned(),
        "a: [".to_owned(),
        format!("{index}---\n{index}"),
        format!("{index}extra: 1\n"),
        index.replace("metadata:\n", "metadata:\n  labels: {}\n"),
        index.replacen("    created", "    note: x\n    created", 1),
        index.replace("  primaryID", "  primaryId"),
        index.replace("kind: Keyset\n", "kind: Keyset\nkind: Keyset\n"),
        "[".repeat(100_000),
    ] {
        let error = refused(name, &text);
        assert!(matches!(error, KeysetError::Yaml { .. }), "{error}");
    }
    let half = &index[..index.len() / 2];
    assert!(Keyset::parse(name, half.as_bytes()).is_err());
    assert!(matches!(Keyset::parse(name, b"kind: \xff"), Err(KeysetError::NotText { .. })));
    let large = vec![b' '; MAX_OBJECT_BYTES + 1];
    assert!(matches!(Keyset::parse(name, &large), Err(KeysetError::TooLarge { .. })));
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let name = KeysetName::EtcdCa;
    let keyset = keyset(name);
    let index = keyset.index_yaml();
    let (first, second) = (keyset.keys()[0].id().clone(), keyset.keys()[1].id().clone());
    let (one, two) = (keyset.keys()[0].material().to_pem(), keyset.keys()[1].material().to_pem());
    let indent = |pem: &str| pem.trim_end().replace('\n', "\n      ");

    let error = refused(name, &index.replace(second.as_str(), first.as_str()));
    assert!(matches!(error, KeysetError::DuplicateId { id, .. } if id == first));
    let error = refused(name, &index.replace(&indent(&two), &indent(&one)));
    assert!(matches!(error, KeysetError::SameKeyTwice { .. }), "{error}");
    let unlisted = index.replacen(first.as_str(), "000000000000000000000000", 1);
    assert!(matches!(refused(name, &unlisted), KeysetError::PrimaryNotListed { .. }));
    let distrusted =
        index.replacen("    certificate", "    distrusted: 2030-02-01T00:00:00Z\n    certificate", 1);
    assert!(matches!(refused(name, &distrusted), KeysetError::PrimaryDistrusted { id, .. } if id == first));
    let none = format!("{}  keys: []\n", index.split("  keys:").next().unwrap());
    assert!(matches!(refused(name, &none), KeysetError::PrimaryNotListed { .. }));
    let error = refused(name, &index.replace(second.as_str(), "../config"));
    assert!(matches!(error, KeysetError::Id { found, .. } if found == "../config"));
    for time in ["yesterday", "2030-01-01", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-23:00"] {
        let error = refused(name, &index.replacen("2030-01-01T12:00:00Z", time, 1));
        assert!(matches!(error, KeysetError::Time { field: "created", .. }), "{error}");
    }
}

#[test]
fn certificates_that_are_no_authority_of_ours_are_refused() {
    let name = KeysetName::EtcdCa;
    let keyset = keyset(name);
    let index = keyset.index_yaml();
    let own = keyset.primary().material().to_pem();
    let fault = |pem: &str| {
        let indent = |pem: &str| pem.trim_end().replace('\n', "\n      ");
        match refused(name, &index.replace(&indent(&own), &indent(pem))) {
            KeysetError::Certificate { fault, .. } => fault,
            other => panic!("{other}"),
        }
    };
    let leaf = keyset
        .authority(NOW)
        .unwrap()
        .issue(&Profile::ApiServerEtcdClient, Duration::HOUR, &mut Counting::default())
        .unwrap();
    assert_eq!(fault(&leaf.certificate_pem), CertificateFault::NotCa);
    let stranger = self::keyset(KeysetName::KubernetesCa).primary().material().to_pem();
    assert!(matches!(fault(&stranger), CertificateFault::Subject { found, .. } if found == "CN=kubernetes"));
    let private = keyset.primary_private_pem().unwrap();
    assert!(
        matches!(fault(private.reveal()), CertificateFault::Pem(KeyFault::Label { found, .. }) if found == "PRIVATE KEY")
    );
    assert_eq!(fault(&format!("{own}{own}")), CertificateFault::Pem(KeyFault::SeveralBlocks));
    assert_eq!(fault("nothing"), CertificateFault::Pem(KeyFault::NotPem));
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    assert!(matches!(fault(empty), CertificateFault::NotX509 { .. }));
    // One byte of the signature changed: the last but one of the base64, which all stands for it.
    let end = own.find("\n-----END").unwrap();
    let before = own[..end].rfind(|c: char| c.is_ascii_alphanumeric()).unwrap() - 3;
    let mut changed = own.clone().into_bytes();
    changed[before] = if changed[before] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    assert!(matches!(fault(&changed), CertificateFault::Signature | CertificateFault::NotX509 { .. }));
}

#[test]
fn public_keys_that_are_none_are_refused() {
    let name = KeysetName::ServiceAccount;
    let keyset = keyset(name);
    let index = keyset.index_yaml();
    let both = index.replacen("    publicKey", "    certificate: x\n    publicKey", 1);
    assert!(matches!(refused(name, &both), KeysetError::Material { field: "publicKey", .. }));
    let other = index.replacen("    publicKey", "    certificate", 1);
    assert!(matches!(refused(name, &other), KeysetError::Material { field: "publicKey", .. }));
    let broken = index.replacen("MIIBI", "MIIBJ", 1);
    assert!(matches!(refused(name, &broken), KeysetError::PublicKey { fault: KeyFault::NotPublicKey, .. }));
}

#[test]
fn a_half_written_keyset_says_what_is_missing() {
    for name in KeysetName::ALL {
        let keyset = keyset(name);
        let id = keyset.primary().id().clone();
        let mut objects = private_objects(&keyset);
        objects.remove(&id);
        let error = Keyset::parse_with_private(name, keyset.index_yaml().as_bytes(), &objects).unwrap_err();
        let path = name.private_key_path(&id);
        assert!(error.to_string().contains(&path), "{error}");
        assert_eq!(error, KeysetError::HalfWritten { keyset: name, id, path });
    }
}

#[test]
fn private_keys_of_others_are_refused() {
    let name = KeysetName::EtcdCa;
    let keyset = keyset(name);
    let index = keyset.index_yaml();
    let (first, second) = (keyset.keys()[0].id(), keyset.keys()[1].id());
    let objects = private_objects(&keyset);
    let refused = |pem: &[u8]| {
        let objects = BTreeMap::from([(first.clone(), pem.to_vec())]);
        let error = Keyset::parse_with_private(name, index.as_bytes(), &objects).unwrap_err();
        assert!(error.to_string().contains(&name.private_key_path(first)), "{error}");
        error
    };
    let swapped = refused(&objects[second]);
    assert!(matches!(swapped, KeysetError::Mismatch { field: "certificate", .. }), "{swapped}");
    let tokens = self::keyset(KeysetName::ServiceAccount);
    let rsa = refused(tokens.primary_private_pem().unwrap().reveal().as_bytes());
    assert!(matches!(rsa, KeysetError::Mismatch { .. }), "{rsa}");
    for pem in [b"".as_slice(), b"\xff\xfe", index.as_bytes(), &objects[first][..100]] {
        let error = refused(pem);
        assert!(matches!(error, KeysetError::PrivateKey { .. }), "{error}");
    }
    assert!(matches!(refused(&vec![b' '; MAX_OBJECT_BYTES + 1]), KeysetError::TooLarge { .. }));
}

#[test]
fn a_private_key_in_the_wrong_place_is_not_repeated() {
    let name = KeysetName::EtcdCa;
    let keyset = keyset(name);
    let index = keyset.index_yaml();
    let secret = keyset.primary_private_pem().unwrap();
    let line = secret.reveal().lines().nth(1).unwrap();
    let folded = secret.reveal().trim_end().replace('\n', "\n      ");
    for text in [
        secret.reveal().to_owned(),
        index.replace("name: etcd-ca", &format!("name: |\n      {folded}")),
        index.replace("kind: Keyset", &format!("kind: |\n      {folded}")),
        index.replace("apiVersion: ", &format!("apiVersion: |\n      {folded}\nx: ")),
        index.replace("type: Authority", &format!("type: {line}")),
        index.replacen("created: \"2030-01-01T12:00:00Z\"", &format!("created: {line}"), 1),
        index.replace("  keys:\n", &format!("  {line}: 1\n  keys:\n")),
        index.replace("metadata:\n", &format!("metadata: {line}\nother:\n")),
        format!("{index}: \"{line}\""),
    ] {
        let error = Keyset::parse(name, text.as_bytes()).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(line), "{shown}");
        }
    }
}
