//! What kcl hands out is what Kubernetes takes: a real API server with the cluster's keys from the state store, and a
//! real kubectl with the exported kubeconfig.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kcl_pki::{Issued, KeyId, Keyset, KeysetName, Profile, SubjectAltNames, SystemEntropy};
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig};
use kcl_testkit::{World, example, http};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "k8s.karlaru.com";

/// A keyset as a control-plane machine reads it from the state store.
fn keyset(state: &Path, name: KeysetName) -> Keyset {
    let index = std::fs::read(state.join(name.index_path())).unwrap();
    let mut private: BTreeMap<KeyId, Vec<u8>> = BTreeMap::new();
    for key in Keyset::parse(name, &index).unwrap().keys() {
        private.insert(key.id().clone(), std::fs::read(state.join(name.private_key_path(key.id()))).unwrap());
    }
    Keyset::parse_with_private(name, &index, &private).unwrap()
}

/// The files that kubeadm would find on a control-plane machine.
fn write_pki(state: &Path, folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    for name in KeysetName::ALL {
        let keyset = keyset(state, name);
        write(name.kubeadm_files().public, &keyset.trust_bundle());
        write(name.kubeadm_files().private, keyset.primary_private_pem().unwrap().reveal());
    }
    let here = SubjectAltNames {
        dns: vec!["localhost".to_owned(), "kubernetes.default.svc".to_owned()],
        ips: vec!["127.0.0.1".parse().unwrap()],
    };
    let node = "localhost".to_owned();
    for profile in [
        Profile::ApiServer(here.clone()),
        Profile::ApiServerKubeletClient { group: Some("kubeadm:cluster-admins".to_owned()) },
        Profile::FrontProxyClient,
        Profile::EtcdServer { node: node.clone(), alt_names: here.clone() },
        Profile::EtcdPeer { node, alt_names: here },
        Profile::ApiServerEtcdClient,
    ] {
        let Issued { certificate_pem, private_key, .. } = keyset(state, profile.authority())
            .authority(OffsetDateTime::now_utc())
            .unwrap()
            .issue(&profile, Duration::days(1), &mut SystemEntropy)
            .unwrap();
        let file = profile.kubeadm_file().unwrap();
        write(&format!("{file}.crt"), &certificate_pem);
        write(&format!("{file}.key"), private_key.to_pem().reveal());
    }
}

/// The reference cluster with its state in files, and an API server with its keys.
fn start() -> (World, ApiServer, String) {
    let world = World::new(KCL);
    world.make_zone("karlaru.com");
    let bucket = format!("oidc-{}", world.aws.account());
    let path = world.spec(&example("karlaru.yaml").replace("karlaru-kcl-oidc", &bucket));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let state = world.folder.path().join("state").join(CLUSTER);
    let pki = world.folder.path().join("pki");
    write_pki(&state, &pki);
    let issuer = format!("https://{bucket}.s3.eu-north-1.amazonaws.com/{CLUSTER}");
    let mut config = ApiServerConfig::new(&pki, &issuer);
    config.api_audiences = vec!["amazonaws.com".to_owned()];
    let server = ApiServer::start(config).unwrap();
    (world, server, issuer)
}

#[test]
fn the_clusters_keys_and_kubeconfig_are_what_kubernetes_takes() {
    let (world, server, issuer) = start();
    let file: PathBuf = world.folder.path().join("kubeconfig");
    let path = file.display().to_string();
    world.kcl(&["export", "kubeconfig", "--admin=1h", "--kubeconfig", &path]).expect(0);
    let url = server.url();
    let kubectl = |args: &[&str]| {
        // The context is the cluster's; only the way to it is another one here.
        let args = [&["--server", &url][..], args].concat();
        kcl_testkit::kubernetes::kubectl(&file, &args).unwrap()
    };
    let context = kubectl(&["config", "current-context"]).expect(0);
    assert_eq!(context.stdout.trim(), CLUSTER);
    let who: Value =
        serde_json::from_str(&kubectl(&["auth", "whoami", "-o", "json"]).expect(0).stdout).unwrap();
    let groups = &who["status"]["userInfo"]["groups"];
    assert_eq!(groups[0], "kubeadm:cluster-admins", "{who}");

    // kubeadm binds that group; until it does, only the emergency exit leads in.
    kubectl(&["get", "namespaces"]).expect(1);
    world.kcl(&["export", "kubeconfig", "--admin=1h", "--break-glass", "--kubeconfig", &path]).expect(0);
    kubectl(&[
        "create",
        "clusterrolebinding",
        "admins",
        "--clusterrole=cluster-admin",
        "--group=kubeadm:cluster-admins",
    ])
    .expect(0);
    world.kcl(&["export", "kubeconfig", "--admin=1h", "--kubeconfig", &path]).expect(0);
    kubectl(&["get", "namespaces"]).expect(0);

    // A pod's token, as the API server signs it, and whoever reads nothing but the published documents.
    kubectl(&["create", "serviceaccount", "iam-account"]).expect(0);
    let token = kubectl(&["create", "token", "iam-account", "--audience=amazonaws.com"]).expect(0).stdout;
    let token = token.trim();
    let published = format!("/oidc-{}/{CLUSTER}/openid/v1/jwks", world.aws.account());
    let published = http(&world.aws.endpoint(), "GET", &published, None, &[], "").unwrap().body;
    let keys: JwkSet = serde_json::from_str(&published).unwrap();
    let key = keys.find(&jsonwebtoken::decode_header(token).unwrap().kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["amazonaws.com"]);
    validation.set_issuer(&[&issuer]);
    let decoded =
        jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
    assert_eq!(decoded.claims["sub"], "system:serviceaccount:default:iam-account");
    // The API server publishes the same keys.
    let from_api: Value =
        serde_json::from_str(&kubectl(&["get", "--raw", "/openid/v1/jwks"]).expect(0).stdout).unwrap();
    assert_eq!(from_api, serde_json::from_str::<Value>(&published).unwrap());
}
