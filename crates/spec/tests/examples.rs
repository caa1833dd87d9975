//! The cluster specs that come with kcl, and those of kOps, are sound and say what they mean.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use kcl_spec::cluster::{Egress, Image, Purchase, Role, ServiceAccountPermissions, Topology, Vpc};
use kcl_spec::{Body, Cluster, Loaded, Source, json_schema, load, parse, validate};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> Source {
    let name = path.file_name().unwrap().to_string_lossy();
    Source::new(name, std::fs::read_to_string(path).unwrap())
}

fn example(name: &str) -> Loaded {
    let loaded = load(&[read(&root().join("examples").join(name))]).map_err(|errors| errors.to_string());
    loaded.unwrap()
}

fn examples() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("examples")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(paths.len() >= 4);
    paths
}

/// The warnings of a spec, one line each.
fn warnings(loaded: &Loaded) -> String {
    let line = |warning: &kcl_spec::Diagnostic| {
        let place = warning.place.as_ref().map(|place| place.line().to_string()).unwrap_or_default();
        format!("{place:>4} {}\n", warning.title)
    };
    loaded.warnings.iter().map(line).collect()
}

#[test]
fn the_reference_cluster_is_what_it_says() {
    let loaded = example("karlaru.yaml");
    let cluster = &loaded.cluster;
    assert_eq!(cluster.name, "k8s.karlaru.com");
    assert_eq!(cluster.region, "eu-north-1");
    assert_eq!(cluster.kubernetes_version.to_string(), "1.36.4");
    assert_eq!(cluster.api.port, 6443);
    assert!(cluster.ssh.access.is_empty());
    let machines: Vec<(&str, &str, u32)> = cluster
        .instance_groups
        .iter()
        .map(|group| (group.name.as_str(), group.machine_type.as_str(), group.max_size))
        .collect();
    assert_eq!(machines, [("control-plane", "t3.small", 1), ("nodes", "t3.micro", 2)]);
    for group in &cluster.instance_groups {
        assert!(matches!(&group.purchase, Purchase::Mixed(mix) if mix.is_all_spot()), "{}", group.name);
        assert!(matches!(&group.image, Image::SsmParameter(path) if path.ends_with("x86_64")));
        assert!(group.associate_public_ip && group.root_volume.encrypted);
    }
    assert_eq!(cluster.etcd_clusters.len(), 1);
    assert!(cluster.etcd_clusters[0].members[0].volume.encrypted);
    assert_eq!(cluster.etcd_clusters[0].members[0].zone, "eu-north-1a");
    let role = &cluster.iam.service_accounts[0];
    assert_eq!((role.namespace.as_str(), role.name.as_str()), ("default", "iam-account"));
    assert!(matches!(&role.permissions, ServiceAccountPermissions::Inline(list) if list.len() == 1));
    let bucket = cluster.service_account_issuer.as_ref().unwrap().bucket.as_ref().unwrap();
    assert_eq!((bucket.name.as_str(), bucket.prefix.as_str()), ("karlaru-kcl-oidc", "k8s.karlaru.com"));
    assert_eq!(cluster.ingress_controllers[0].hosts, ["karlaru.com", "docs.karlaru.com"]);
    insta::assert_snapshot!(warnings(&loaded), @"");
}

#[test]
fn the_minimum_gets_defaults() {
    let cluster = example("minimal.yaml").cluster;
    insta::assert_snapshot!("minimal", serde_json::to_string_pretty(&cluster).unwrap());
}

#[test]
fn the_private_cluster_is_private() {
    let Cluster { network, bastion, protected, instance_groups, .. } = example("private-ha.yaml").cluster;
    assert!(protected);
    assert_eq!(
        (network.control_plane_topology, network.node_topology),
        (Topology::Private, Topology::Private)
    );
    assert_eq!(
        network.subnets.iter().filter(|subnet| matches!(subnet.egress, Egress::NatGateway { .. })).count(),
        3
    );
    assert_eq!(bastion.unwrap().subnets.len(), 3);
    for group in &instance_groups {
        assert_eq!(group.associate_public_ip, group.role == Role::Bastion, "{}", group.name);
    }
}

#[test]
fn the_shared_vpc_is_not_ours() {
    let cluster = example("shared-vpc.yaml").cluster;
    assert!(matches!(cluster.network.vpc, Vpc::Shared { .. }));
    assert_eq!(cluster.objects.len(), 1);
    assert!(!cluster.network.tag_subnets);
}

#[test]
fn every_example_fits_the_json_schema() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for path in examples() {
        let spec = parse(&[read(&path)]).unwrap_or_else(|errors| panic!("{errors}"));
        for document in spec.documents() {
            let json = serde_json::to_value(&document.value).unwrap();
            let problems: Vec<String> = validator
                .iter_errors(&json)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(problems.is_empty(), "{} {}: {problems:#?}", path.display(), document.kind);
        }
    }
}

#[test]
fn the_json_schema_refuses_what_nobody_knows() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let document = |api: &str, kind: &str, spec: serde_json::Value| serde_json::json!({ "apiVersion": api, "kind": kind, "metadata": { "name": "x" }, "spec": spec });
    let kops = "kops.k8s.io/v1alpha2";
    assert!(validator.is_valid(&document(
        kops,
        "InstanceGroup",
        serde_json::json!({ "machineType": "t3.small" })
    )));
    assert!(!validator.is_valid(&document(
        kops,
        "InstanceGroup",
        serde_json::json!({ "machinetype": "t3.small" })
    )));
    assert!(!validator.is_valid(&document(kops, "InstanceGroup", serde_json::json!({ "minSize": "two" }))));
    assert!(!validator.is_valid(&document(kops, "InstanceGroup", serde_json::json!({ "role": "Nodes" }))));
    assert!(!validator.is_valid(&document(kops, "Clutser", serde_json::json!({}))));
    assert!(!validator.is_valid(&document("kops.k8s.io/v1alpha3", "Cluster", serde_json::json!({}))));
    assert!(!validator.is_valid(&document("kcl.dev/v1alpha1", "Ingress", serde_json::json!({}))));
    let key = serde_json::json!({ "kmsKeyID": "alias/kcl-state" });
    assert!(validator.is_valid(&document("kcl.dev/v1alpha1", "StateStore", key)));
    assert!(!validator.is_valid(&document(
        "kcl.dev/v1alpha1",
        "StateStore",
        serde_json::json!({ "kmsKeyID": 1 })
    )));
    assert!(!validator.is_valid(&document(
        "kcl.dev/v1alpha1",
        "StateStore",
        serde_json::json!({ "kmsKey": "x" })
    )));
    assert!(validator.is_valid(&document("apps/v1", "Deployment", serde_json::json!({ "anything": 1 }))));
    assert!(!validator.is_valid(&serde_json::json!({ "kind": "Cluster" })));
}

#[test]
fn documents_can_be_printed_again() {
    for path in examples() {
        let source = read(&path);
        let spec = parse(std::slice::from_ref(&source)).unwrap();
        let text: Vec<&str> = spec.documents().iter().map(|document| document.text.as_str()).collect();
        assert_eq!(text.join("---\n"), source.text, "{}", path.display());
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn specs_of_kops_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/kops");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return;
    };
    let mut seen = 0;
    for entry in entries {
        let path = entry.unwrap().path().join("in-v1alpha2.yaml");
        let spec = parse(&[read(&path)]).unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
        let validated = validate(&spec).unwrap_or_else(|errors| panic!("{}:\n{errors}", path.display()));
        assert_eq!(validated.cluster.region, "us-test-1");
        assert!(spec.documents().iter().all(|document| !matches!(document.body, Body::Object)));
        seen += 1;
    }
    assert_eq!(seen, 8);
}
