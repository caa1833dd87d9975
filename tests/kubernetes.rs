//! What kcl hands out is what Kubernetes takes: a real API server with the cluster's keys from the state store, and a
//! real kubectl with the exported kubeconfig.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::path::PathBuf;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig};
use kcl_testkit::{World, example, http};
use serde_json::Value;

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "k8s.karlaru.com";

/// The reference cluster with its state in files, and an API server with its keys.
fn start() -> (World, ApiServer, String) {
    let world = World::new(KCL);
    world.make_zone("karlaru.com");
    let bucket = format!("oidc-{}", world.aws.account());
    let path = world.spec(&example("karlaru.yaml").replace("karlaru-kcl-oidc", &bucket));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let pki = world.pki(CLUSTER);
    let issuer = format!("https://{bucket}.s3.eu-north-1.amazonaws.com/{CLUSTER}");
    let mut config = ApiServerConfig::new(pki.folder(), &issuer);
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
