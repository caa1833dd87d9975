//! Certificates and keys, as the `openssl` command sees them.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kcl_pki::{
    Authority, AuthorityError, CA_VALIDITY, CLOCK_SKEW, EXPIRY_WARNING_DAYS, IssueError, Issued, KeyId,
    Keyset, KeysetError, KeysetName, KeysetType, Profile, SubjectAltNames,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::support::{Counting, NOW, openssl, try_openssl};

const AUTHORITIES: [KeysetName; 3] = [KeysetName::KubernetesCa, KeysetName::EtcdCa, KeysetName::FrontProxyCa];

/// Every profile, with the purposes openssl knows it by.
fn profiles() -> Vec<(Profile, bool, bool)> {
    let alt_names = SubjectAltNames {
        dns: ["kubernetes", "kubernetes.default.svc", "*.api.example.com", "kubernetes"]
            .map(str::to_owned)
            .into(),
        ips: ["100.64.0.1", "::1", "100.64.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap()).into(),
    };
    let node = "i-0123456789abcdef0".to_owned();
    let user =
        || Profile::ApiClient { user: "alice".to_owned(), group: Some("kubeadm:cluster-admins".to_owned()) };
    let kubelet = || Profile::ApiServerKubeletClient { group: Some("kubeadm:cluster-admins".to_owned()) };
    vec![
        (user(), false, true),
        (Profile::ApiServer(alt_names.clone()), true, false),
        (kubelet(), false, true),
        (Profile::FrontProxyClient, false, true),
        (Profile::EtcdServer { node: node.clone(), alt_names: alt_names.clone() }, true, true),
        (Profile::EtcdPeer { node, alt_names }, true, true),
        (Profile::ApiServerEtcdClient, false, true),
        (Profile::EtcdHealthcheckClient, false, true),
    ]
}

fn issue(keyset: &Keyset, profile: &Profile, validity: Duration) -> Issued {
    keyset.authority(NOW).unwrap().issue(profile, validity, &mut Counting::default()).unwrap()
}

/// Writes a bundle and a certificate with its key, for openssl to read.
fn write(folder: &Path, keyset: &Keyset, issued: &Issued) {
    fs::write(folder.join("ca.crt"), keyset.trust_bundle()).unwrap();
    fs::write(folder.join("leaf.crt"), &issued.certificate_pem).unwrap();
    fs::write(folder.join("leaf.key"), issued.private_key.to_pem().reveal()).unwrap();
}

/// Whether `leaf.crt` is signed by `ca.crt` and good for a purpose at a time.
fn verifies(folder: &Path, purpose: &str, at: OffsetDateTime) -> bool {
    let at = at.unix_timestamp().to_string();
    let arguments =
        ["verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", purpose, "-attime", &at, "leaf.crt"];
    try_openssl(folder, &arguments).0
}

/// Names as newer versions of openssl write them, without spaces.
fn normal(text: &str) -> String {
    text.replace(" = ", "=")
}

fn text(folder: &Path, file: &str) -> String {
    normal(&openssl(folder, &["x509", "-noout", "-text", "-in", file]))
}

#[test]
fn authorities_are_as_kubeadm_makes_them() {
    let folder = TempDir::new().unwrap();
    for name in AUTHORITIES {
        let keyset = Keyset::generate(name, &mut Counting::default(), NOW).unwrap();
        fs::write(folder.path().join("ca.crt"), keyset.trust_bundle()).unwrap();
        let at = NOW.unix_timestamp().to_string();
        openssl(
            folder.path(),
            &["verify", "-x509_strict", "-check_ss_sig", "-attime", &at, "-CAfile", "ca.crt", "ca.crt"],
        );
        let text = text(folder.path(), "ca.crt");
        let common_name = name.common_name().unwrap();
        for expected in [
            "Basic Constraints: critical\n                CA:TRUE\n",
            "Key Usage: critical\n                Digital Signature, Key Encipherment, Certificate Sign\n",
            "Subject Key Identifier",
            "Signature Algorithm: ecdsa-with-SHA256",
            "NIST CURVE: P-256",
            "Not Before: Jan  1 11:55:00 2030 GMT",
            "Not After : Dec 30 12:00:00 2039 GMT",
            &format!("Issuer: CN={common_name}\n"),
            &format!("Subject: CN={common_name}\n"),
            &format!("DNS:{common_name}\n"),
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        let serial = openssl(folder.path(), &["x509", "-noout", "-serial", "-in", "ca.crt"]);
        assert_eq!(serial.trim().len(), "serial=".len() + 32, "{serial}");
    }
}

#[test]
fn every_profile_is_good_for_its_purposes_only() {
    let folder = TempDir::new().unwrap();
    for (profile, serves, calls) in profiles() {
        let keyset = Keyset::generate(profile.authority(), &mut Counting::default(), NOW).unwrap();
        let issued = issue(&keyset, &profile, Duration::hours(18));
        write(folder.path(), &keyset, &issued);
        let name = profile.name();
        assert_eq!(verifies(folder.path(), "sslserver", NOW), serves, "{name}");
        assert_eq!(verifies(folder.path(), "sslclient", NOW), calls, "{name}");
        let text = text(folder.path(), "leaf.crt");
        for expected in [
            "Key Usage: critical\n                Digital Signature, Key Encipherment\n",
            "Basic Constraints: critical\n                CA:FALSE\n",
            "Authority Key Identifier",
        ] {
            assert!(text.contains(expected), "{name}: {expected:?} is not in {text}");
        }
        assert_eq!(text.contains("TLS Web Server Authentication"), serves, "{name}");
        assert_eq!(text.contains("TLS Web Client Authentication"), calls, "{name}");
        let names = "DNS:kubernetes, DNS:kubernetes.default.svc, DNS:*.api.example.com, \
                     IP Address:100.64.0.1, IP Address:0:0:0:0:0:0:0:1\n";
        assert_eq!(text.contains(names), serves, "{name}: {text}");
        let of_key = openssl(folder.path(), &["pkey", "-in", "leaf.key", "-pubout"]);
        let of_certificate = openssl(folder.path(), &["x509", "-in", "leaf.crt", "-noout", "-pubkey"]);
        assert_eq!(of_key, of_certificate, "{name}");
    }
}

#[test]
fn subjects_are_as_kubernetes_reads_them() {
    let folder = TempDir::new().unwrap();
    let subjects = [
        "O=kubeadm:cluster-admins, CN=alice",
        "CN=kube-apiserver",
        "O=kubeadm:cluster-admins, CN=kube-apiserver-kubelet-client",
        "CN=front-proxy-client",
        "CN=i-0123456789abcdef0",
        "CN=i-0123456789abcdef0",
        "CN=kube-apiserver-etcd-client",
        "CN=kube-etcd-healthcheck-client",
    ];
    for ((profile, ..), expected) in profiles().into_iter().zip(subjects) {
        let keyset = Keyset::generate(profile.authority(), &mut Counting::default(), NOW).unwrap();
        write(folder.path(), &keyset, &issue(&keyset, &profile, Duration::hours(1)));
        let subject = openssl(folder.path(), &["x509", "-noout", "-subject", "-in", "leaf.crt"]);
        assert_eq!(normal(subject.trim()), format!("subject={expected}"));
    }
}

#[test]
fn a_certificate_is_valid_from_before_now_until_its_end() {
    let folder = TempDir::new().unwrap();
    let keyset = Keyset::generate(KeysetName::KubernetesCa, &mut Counting::default(), NOW).unwrap();
    let later = NOW + Duration::days(100);
    let authority = keyset.authority(later).unwrap();
    let profile = Profile::ApiClient { user: "alice".to_owned(), group: None };
    let issued = authority.issue(&profile, Duration::hours(18), &mut Counting::default()).unwrap();
    write(folder.path(), &keyset, &issued);
    assert_eq!(issued.not_after, later + Duration::hours(18));
    for (at, valid) in [
        (later - CLOCK_SKEW, true),
        (later - CLOCK_SKEW - Duration::SECOND, false),
        // OpenSSL takes the last second for one too many.
        (issued.not_after - Duration::SECOND, true),
        (issued.not_after + Duration::SECOND, false),
    ] {
        assert_eq!(verifies(folder.path(), "sslclient", at), valid, "{at}");
    }
}

#[test]
fn a_certificate_does_not_outlive_its_authority() {
    let keyset = Keyset::generate(KeysetName::KubernetesCa, &mut Counting::default(), NOW).unwrap();
    let profile = Profile::ApiClient { user: "alice".to_owned(), group: None };
    let end = NOW + CA_VALIDITY;
    for validity in [Duration::days(4000), Duration::MAX] {
        assert_eq!(issue(&keyset, &profile, validity).not_after, end);
    }
    // Nor does it begin before it: an authority that was just made is five minutes old.
    let folder = TempDir::new().unwrap();
    let early = NOW - Duration::minutes(3);
    let authority = keyset.authority(early).unwrap();
    let issued = authority.issue(&profile, Duration::hours(1), &mut Counting::default()).unwrap();
    write(folder.path(), &keyset, &issued);
    assert!(text(folder.path(), "leaf.crt").contains("Not Before: Jan  1 11:55:00 2030 GMT"));
}

#[test]
fn an_authority_signs_only_within_its_time() {
    let keyset = Keyset::generate(KeysetName::EtcdCa, &mut Counting::default(), NOW).unwrap();
    let end = NOW + CA_VALIDITY;
    assert!(keyset.authority(end).is_ok());
    let expired = keyset.authority(end + Duration::SECOND).unwrap_err();
    assert!(matches!(expired, KeysetError::Expired { .. }));
    let early = keyset.authority(NOW - Duration::hours(1)).unwrap_err();
    assert!(matches!(early, KeysetError::NotYetValid { .. }));
    let message = early.to_string();
    assert!(
        message.contains("2030-01-01T11:55:00Z") && message.contains("2030-01-01T11:00:00Z"),
        "{message}"
    );
    assert!(message.contains("clock"), "{message}");
    let message = expired.to_string();
    assert!(
        message.contains("2039-12-30T12:00:00Z") && message.contains("2039-12-30T12:00:01Z"),
        "{message}"
    );
}

#[test]
fn the_days_that_are_left_are_counted() {
    let keyset = Keyset::generate(KeysetName::EtcdCa, &mut Counting::default(), NOW).unwrap();
    let left = |days, seconds| {
        keyset.remaining_days(NOW + CA_VALIDITY - Duration::days(days) + Duration::seconds(seconds))
    };
    assert_eq!(keyset.remaining_days(NOW), Some(3650));
    assert_eq!(keyset.authority(NOW).unwrap().remaining_days(), 3650);
    assert_eq!(left(EXPIRY_WARNING_DAYS, 0), Some(60));
    assert_eq!(left(EXPIRY_WARNING_DAYS, 1), Some(59));
    assert_eq!(left(0, 0), Some(0));
    assert_eq!(left(0, 1), Some(-1));
    let tokens = Keyset::generate(KeysetName::ServiceAccount, &mut Counting::default(), NOW).unwrap();
    assert_eq!(tokens.remaining_days(NOW), None);
}

#[test]
fn the_bundle_trusts_old_and_new_until_the_old_is_distrusted() {
    let folder = TempDir::new().unwrap();
    let mut entropy = Counting::default();
    let mut keyset = Keyset::generate(KeysetName::KubernetesCa, &mut entropy, NOW).unwrap();
    let profile = Profile::ApiClient { user: "alice".to_owned(), group: None };
    let old = issue(&keyset, &profile, Duration::hours(18));
    let first = keyset.primary().id().clone();
    let second = keyset.add(&mut entropy, NOW + Duration::minutes(1)).unwrap();
    write(folder.path(), &keyset, &old);
    assert!(verifies(folder.path(), "sslclient", NOW), "both are in the bundle before the new one signs");
    keyset.promote(&second, NOW).unwrap();
    let new = issue(&keyset, &profile, Duration::hours(18));
    for (issued, distrusted, trusted) in
        [(&old, false, true), (&new, false, true), (&old, true, false), (&new, true, true)]
    {
        if distrusted {
            keyset.distrust(&first, NOW).unwrap();
        }
        write(folder.path(), &keyset, issued);
        assert_eq!(verifies(folder.path(), "sslclient", NOW), trusted);
    }
}

#[test]
fn service_account_keys_are_sound() {
    let folder = TempDir::new().unwrap();
    let keyset = Keyset::generate(KeysetName::ServiceAccount, &mut Counting::default(), NOW).unwrap();
    fs::write(folder.path().join("sa.key"), keyset.primary_private_pem().unwrap().reveal()).unwrap();
    let check = openssl(folder.path(), &["rsa", "-check", "-noout", "-in", "sa.key"]);
    assert!(check.contains("RSA key ok"), "{check}");
    let text = openssl(folder.path(), &["pkey", "-in", "sa.key", "-noout", "-text"]);
    assert!(text.contains("2048 bit") && text.contains("65537"), "{text}");
    assert_eq!(openssl(folder.path(), &["pkey", "-in", "sa.key", "-pubout"]), keyset.trust_bundle());
    openssl(folder.path(), &["pkey", "-in", "sa.key", "-pubout", "-outform", "DER", "-out", "sa.der"]);
    openssl(folder.path(), &["dgst", "-sha256", "-binary", "-out", "sa.hash", "sa.der"]);
    let hash = URL_SAFE_NO_PAD.encode(fs::read(folder.path().join("sa.hash")).unwrap());
    assert_eq!(keyset.primary().material().public_key().key_id(), hash);
}

#[test]
fn an_authority_that_go_or_openssl_made_can_be_used() {
    let folder = TempDir::new().unwrap();
    // Go writes a common name as a PrintableString where it can; so does openssl with this mask.
    let config = "[req]\ndistinguished_name = dn\nx509_extensions = ca\nstring_mask = default\nprompt = no\n\
                  [dn]\nCN = kubernetes\n\
                  [ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign\n\
                  subjectKeyIdentifier = hash\n";
    fs::write(folder.path().join("req.cnf"), config).unwrap();
    let curve = "ec_paramgen_curve:P-256";
    openssl(folder.path(), &["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", "old.key"]);
    let request =
        ["req", "-new", "-x509", "-config", "req.cnf", "-key", "old.key", "-days", "3650", "-out", "old.crt"];
    openssl(folder.path(), &request);
    let encoded = openssl(folder.path(), &["asn1parse", "-in", "old.crt"]);
    assert!(encoded.contains("PRINTABLESTRING   :kubernetes"), "{encoded}");

    let id = KeyId::parse("0123456789abcdef01234567").unwrap();
    let certificate = fs::read_to_string(folder.path().join("old.crt")).unwrap();
    let index = format!(
        "apiVersion: kcl.dev/v1alpha1\nkind: Keyset\nmetadata: {{name: kubernetes-ca}}\nspec:\n  type: Authority\n  \
         primaryID: '{id}'\n  keys:\n  - id: '{id}'\n    created: 2025-01-01T00:00:00Z\n    certificate: |\n      {}\n",
        certificate.trim().replace('\n', "\n      ")
    );
    let mut keyset = Keyset::parse(KeysetName::KubernetesCa, index.as_bytes()).unwrap();
    keyset.attach(&id, &fs::read(folder.path().join("old.key")).unwrap()).unwrap();
    // Signed by openssl with the machine's clock.
    let now = OffsetDateTime::now_utc() + Duration::hours(1);
    let profile = Profile::ApiClient { user: "alice".to_owned(), group: None };
    let issued = keyset
        .authority(now)
        .unwrap()
        .issue(&profile, Duration::hours(18), &mut Counting::default())
        .unwrap();
    write(folder.path(), &keyset, &issued);
    assert!(verifies(folder.path(), "sslclient", now));
    let again = Keyset::parse(KeysetName::KubernetesCa, keyset.index_yaml().as_bytes()).unwrap();
    assert_eq!(again.trust_bundle(), keyset.trust_bundle());
}

#[test]
fn what_cannot_stand_in_a_certificate_is_refused() {
    let keyset = Keyset::generate(KeysetName::KubernetesCa, &mut Counting::default(), NOW).unwrap();
    let authority = keyset.authority(NOW).unwrap();
    let refused = |profile: Profile, validity| {
        authority.issue(&profile, validity, &mut Counting::default()).unwrap_err()
    };
    let client = |user: &str, group: Option<&str>| Profile::ApiClient {
        user: user.to_owned(),
        group: group.map(str::to_owned),
    };
    let server = |dns: &[&str]| {
        Profile::ApiServer(SubjectAltNames {
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            ips: vec![],
        })
    };
    let hour = Duration::HOUR;
    let long = "x".repeat(65);
    for profile in [
        client("", None),
        client(" ", None),
        client(&long, None),
        client("a\nb", None),
        client("alice", Some("")),
        client("alice", Some(&long)),
        server(&["a..b"]),
        server(&["a b"]),
        server(&["bücher.example"]),
        server(&["a.*.b"]),
        server(&["a."]),
        server(&[&"a.".repeat(130)]),
    ] {
        assert!(matches!(refused(profile.clone(), hour), IssueError::Name { .. }), "{profile:?}");
    }
    assert!(matches!(refused(server(&[]), hour), IssueError::NoAltNames { .. }));
    for validity in [Duration::ZERO, Duration::seconds(-1), Duration::milliseconds(999), Duration::MIN] {
        assert!(matches!(refused(client("alice", None), validity), IssueError::Validity { .. }));
    }
    let wrong = refused(Profile::FrontProxyClient, hour);
    assert!(matches!(wrong, IssueError::WrongAuthority { expected: KeysetName::FrontProxyCa, .. }));
}

#[test]
fn token_keys_sign_no_certificates() {
    let keyset = Keyset::generate(KeysetName::ServiceAccount, &mut Counting::default(), NOW).unwrap();
    let error = keyset.authority(NOW).unwrap_err();
    assert!(matches!(error, KeysetError::WrongType { needed: KeysetType::Authority, .. }));
}

/// A control-plane machine signs with what it has on its disk, whatever else it trusts.
#[test]
fn a_machines_own_files_are_an_authority() {
    let folder = TempDir::new().unwrap();
    let (name, mut entropy) = (KeysetName::KubernetesCa, Counting::default());
    let mut keyset = Keyset::generate(name, &mut entropy, NOW).unwrap();
    let (old, key) = (keyset.trust_bundle(), keyset.primary_private_pem().unwrap());
    let next = keyset.add(&mut entropy, NOW).unwrap();
    keyset.promote(&next, NOW).unwrap();
    let (bundle, new_key) = (keyset.trust_bundle(), keyset.primary_private_pem().unwrap());
    let read =
        |bundle: &str, key: &str, now| Authority::from_pem(name, bundle.as_bytes(), key.as_bytes(), now);

    let user = Profile::ApiClient { user: "kcl:join-service".to_owned(), group: None };
    let authority = read(&bundle, new_key.reveal(), NOW).unwrap();
    let issued = authority.issue(&user, Duration::hours(1), &mut entropy).unwrap();
    write(folder.path(), &keyset, &issued);
    assert!(verifies(folder.path(), "sslclient", NOW));
    assert!(read(&old, key.reveal(), NOW).is_ok());

    let why = |result: Result<Authority, AuthorityError>| result.unwrap_err().to_string();
    let mismatch = why(read(&bundle, key.reveal(), NOW));
    assert_eq!(mismatch, "the private key of kubernetes-ca is not that of its first certificate");
    assert!(why(read("", key.reveal(), NOW)).contains("not one whole PEM block"));
    assert!(why(read(&old, "", NOW)).starts_with("the private key of kubernetes-ca is unusable"));
    assert!(why(read(&old, key.reveal(), NOW + CA_VALIDITY + Duration::DAY)).contains("is valid from"));
    let service = Authority::from_pem(KeysetName::ServiceAccount, b"", b"", NOW);
    assert_eq!(service.unwrap_err().to_string(), "service-account signs no certificates");
}
