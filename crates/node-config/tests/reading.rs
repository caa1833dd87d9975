//! What is read, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it should be")]

mod common;

use std::collections::BTreeMap;

use common::{control_plane, worker};
use kcl_node_config::assets::{Architecture, for_version};
use kcl_node_config::{AssetFile, NodeConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn what_is_written_is_read_again() {
    for config in [control_plane(), worker()] {
        let text = config.to_yaml().unwrap();
        assert_eq!(NodeConfig::parse(&text).unwrap(), config);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(NodeConfig::parse(&json).unwrap(), config, "JSON is YAML too");
    }
}

#[test]
fn a_workers_document() {
    let mut config = worker();
    config.assets.truncate(4);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(config.to_yaml().unwrap()) });
}

/// Each is one change to a document that is fine, and what is said of it.
#[test]
fn what_cannot_be_used_is_refused() {
    let changes: Vec<(&str, Value)> = vec![
        ("/apiVersion", json!("kcl.dev/v2")),
        ("/kind", json!("Node")),
        ("/unknown", json!(1)),
        ("/api/unknown", json!(1)),
        ("/cluster", json!("a\nb")),
        ("/cluster", json!("")),
        ("/instanceGroup", json!("../x")),
        ("/role", json!("Master")),
        ("/kubernetesVersion", json!("v1.36.3")),
        ("/kubernetesVersion", json!("1.36")),
        ("/store/location", json!("s3://")),
        ("/store/location", json!("https://bucket/x")),
        ("/store/location", json!("s3://bucket/x/")),
        ("/api/endpoint", json!("api.example.com:443")),
        ("/api/port", json!(0)),
        ("/api/port", json!(70000)),
        ("/api/caBundle", json!("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----")),
        ("/api/certSANs", json!(["a b"])),
        ("/serviceAccounts", json!({"issuer": "http://x", "audiences": ["a"]})),
        ("/serviceAccounts", json!({"issuer": "https://x/", "audiences": ["a"]})),
        ("/serviceAccounts", json!({"issuer": "https://x", "audiences": []})),
        ("/serviceAccounts", json!({"issuer": "https://x", "audiences": ["a,b"]})),
        ("/network/serviceCIDR", json!("100.64.0.1/13")),
        ("/network/podCIDR", json!("100.64.0.0/16")),
        ("/network/dnsIP", json!("10.0.0.10")),
        ("/network/dnsDomain", json!("cluster local")),
        ("/labels", json!({"node-role.kubernetes.io/node": ""})),
        ("/labels", json!({"a": "b,c=d"})),
        ("/labels", json!({"a b": "c"})),
        ("/taints", json!([{"key": "a", "value": "b", "effect": "Never"}])),
        ("/kubelet/kubeReserved", json!({"memory": "a lot"})),
        ("/kubelet/kubeReserved", json!({"disk": "1Gi"})),
        ("/kubelet/evictionHard", json!({"memory.available": "5%%"})),
        ("/sysctls", json!({"net.core.somaxconn": "1\nkernel.panic = 0"})),
        ("/sysctls", json!({"a = 1 #": "1"})),
        ("/fileRepository", json!("ftp://mirror")),
        ("/imageRepository", json!("mirror\"]")),
        ("/registryMirrors", json!({"../../etc": ["https://mirror"]})),
        ("/registryMirrors", json!({"docker.io": ["https://mirror\"]"]})),
        ("/assets/0/url", json!("file:///etc/passwd")),
        ("/assets/0/sha256", json!("ABC")),
        ("/assets/0/files", json!([])),
        ("/assets/0/files/0/to", json!("usr/bin/kubeadm")),
        ("/assets/0/files/0/to", json!("/usr/../etc/passwd")),
        ("/assets/0/files/0/mode", json!("4755")),
        ("/assets/3/files/0/member", json!("../containerd")),
        ("/account", json!("12345678901")),
        ("/account", json!("12345678901a")),
        ("/role", json!("ControlPlane")),
        ("/controlPlane", Value::Null),
        ("/controlPlane/unknown", json!(1)),
        ("/controlPlane/nodeRoles", json!(["arn:aws:iam::1:role/nodes"])),
        ("/controlPlane/etcd/member", json!("b")),
        ("/controlPlane/etcd/members", json!([])),
        ("/controlPlane/etcd/members", json!(["a", "a"])),
        ("/controlPlane/etcd/members", json!(["a", "../b"])),
        ("/controlPlane/etcd/members", json!(["a", "b,c"])),
        ("/controlPlane/etcd/backupRetentionDays", json!(0)),
        ("/controlPlane/dns/0/zone", json!("/hostedzone/Z1")),
        ("/controlPlane/dns/0/names", json!([])),
        ("/controlPlane/dns/0/names/0/name", json!("api karlaru")),
        ("/controlPlane/dns/0/names/0/address", json!("both")),
    ];
    let fine = serde_json::to_value(worker()).unwrap();
    let told = serde_json::to_value(control_plane()).unwrap();
    let mut said = String::new();
    for (pointer, value) in changes {
        let control_plane = pointer.starts_with("/controlPlane");
        let mut document = if control_plane { told.clone() } else { fine.clone() };
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let written = value.to_string();
        match document.pointer_mut(parent).unwrap() {
            Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
            parent => parent[key] = value,
        }
        let error = NodeConfig::parse(&document.to_string()).unwrap_err();
        said += &format!("{pointer} = {written}\n    {}\n", error.to_string().replace('\n', "\n    "));
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(said) });
}

/// What is for the control plane does not go to workers.
#[test]
fn a_worker_is_not_told_what_the_control_plane_is() {
    let config = NodeConfig { control_plane: control_plane().control_plane, ..worker() };
    let error = config.to_yaml().unwrap_err().to_string();
    assert!(error.contains("a machine of this role must not have it"), "{error}");
}

/// Each content has a place of its own, and the volume's tag is kOps'.
#[test]
fn names_in_store_and_cloud() {
    assert_eq!(NodeConfig::path("nodes", &"0a".repeat(32)), format!("node/nodes/{}.yaml", "0a".repeat(32)));
    let mut etcd = control_plane().control_plane.unwrap().etcd;
    assert_eq!(etcd.volume_tag(), "a/a");
    etcd.members = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(etcd.volume_tag(), "a/a,b,c");
}

#[test]
fn a_missing_field_is_named() {
    let mut document = serde_json::to_value(worker()).unwrap();
    document.as_object_mut().unwrap().remove("network");
    let error = NodeConfig::parse(&document.to_string()).unwrap_err().to_string();
    assert!(error.contains("missing field `network`"), "{error}");
}

/// Assets come from a mirror by their own paths, and from nowhere else.
#[test]
fn a_file_repository_has_the_assets_under_their_paths() {
    let config = worker();
    let url = config.asset_url(&config.assets[0]);
    assert_eq!(url, "https://mirror.example/files/release/v1.36.3/bin/linux/amd64/kubeadm");
    let config = control_plane();
    assert_eq!(config.asset_url(&config.assets[0]), config.assets[0].url);
}

#[test]
fn every_version_that_is_known_is_whole() {
    let none = BTreeMap::new();
    for version in ["1.34.0", "1.35.0", "1.36.0", "1.36.1", "1.36.2", "1.36.3"] {
        for architecture in [Architecture::Amd64, Architecture::Arm64] {
            let assets = for_version(version, architecture, &none).unwrap();
            assert_eq!(assets.len(), 7);
            let mut config = control_plane();
            config.assets = assets;
            config.to_yaml().unwrap();
        }
    }
}

#[test]
fn an_unknown_version_is_refused_unless_its_hashes_are_given() {
    let mut more = BTreeMap::new();
    let error = for_version("1.36.4", Architecture::Arm64, &more).unwrap_err().to_string();
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(error) });
    for name in ["kubeadm", "kubectl", "kubelet"] {
        let url = format!("https://dl.k8s.io/release/v1.36.4/bin/linux/arm64/{name}");
        more.insert(url, "0".repeat(64));
    }
    let assets = for_version("1.36.4", Architecture::Arm64, &more).unwrap();
    assert_eq!(assets[0].sha256, "0".repeat(64));
    let whole = AssetFile { member: None, to: "/usr/local/bin/kubeadm".to_owned(), mode: "0755".to_owned() };
    assert_eq!(assets[0].files, [whole]);
}

proptest! {
    /// Whatever is read, it is read or refused, and what was accepted makes no further lines of itself.
    #[test]
    fn hostile_values_stay_values(text in "\\PC{0,40}|[a-z\n\"'=,\\[\\]#$`]{0,20}") {
        let mut config = worker();
        config.sysctls = BTreeMap::from([("net.core.somaxconn".to_owned(), text.clone())]);
        config.image_repository = Some(text.clone());
        config.registry_mirrors = BTreeMap::from([("docker.io".to_owned(), vec![format!("https://{text}")])]);
        config.labels = BTreeMap::from([("team".to_owned(), text.clone())]);
        let _ = NodeConfig::parse(&text);
        if NodeConfig::parse(&serde_json::to_string(&config).unwrap()).is_ok() {
            prop_assert!(!text.contains(['\n', '"', '\'', '`']));
        }
    }
}
