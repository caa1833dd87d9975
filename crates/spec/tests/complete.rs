//! A completed spec says the same as the spec it was made of, and all of it; a spec taken apart is
//! whole again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kcl_spec::schema::addons::{CloudConfigSpec, CloudControllerManagerSpec, EbsCsiDriverSpec, FlannelSpec};
use kcl_spec::schema::cluster::{
    ApiLoadBalancerSpec, ApiSpec, ClusterSpec, EtcdClusterSpec, EtcdMemberSpec, IamSpec, IssuerDiscoverySpec,
    NetworkingSpec, NodeTerminationHandlerSpec, SubnetSpec, TopologySpec,
};
use kcl_spec::schema::ingress_controller::{IngressControllerSpec, IngressLoadBalancerSpec};
use kcl_spec::schema::instance_group::{InstanceGroupSpec, InstanceMetadataSpec, MixedInstancesPolicySpec};
use kcl_spec::{Cluster, Diagnostic, Loaded, Severity, Source, complete, json_schema, load, parts, redact};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_yaml::{Mapping, Value};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(paths.len() >= 4);
    paths
}

#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn specs_of_kops() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/kops");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: {} is not there", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path().join("in-v1alpha2.yaml")).collect();
    paths.sort();
    paths
}

fn loaded(text: &str) -> Loaded {
    load(&[Source::new("cluster.yaml", text)]).map_err(|errors| format!("{errors}\n\n{text}")).unwrap()
}

fn example(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    loaded(&std::fs::read_to_string(path).unwrap())
}

/// Warnings without their places, in no order.
fn warnings(loaded: &Loaded) -> Vec<(Severity, String, Option<String>)> {
    let what = |warning: &Diagnostic| (warning.severity, warning.title.clone(), warning.hint.clone());
    let mut warnings: Vec<_> = loaded.warnings.iter().map(what).collect();
    warnings.sort();
    warnings
}

/// The cluster as far as a completed spec tells it: objects are kept elsewhere.
fn without_objects(loaded: &Loaded) -> Cluster {
    Cluster { objects: Vec::new(), ..loaded.cluster.clone() }
}

/// Completing changes nothing of what a spec says, and nothing of what is complete.
fn says_the_same(before: &Loaded) -> String {
    let text = complete(before);
    let after = loaded(&text);
    assert_eq!(after.cluster, without_objects(before), "{text}");
    assert_eq!(warnings(&after), warnings(before), "{text}");
    assert_eq!(complete(&after), text);
    text
}

/// A spec taken apart and put together again is the same.
fn is_whole_again(before: &Loaded) {
    let parts = parts(before);
    let sources: Vec<Source> = parts.iter().map(|(name, text)| Source::new(name, text.as_str())).collect();
    let after = load(&sources).map_err(|errors| format!("{errors}\n\n{parts:#?}")).unwrap();
    assert_eq!(after.cluster, before.cluster);
    assert_eq!(warnings(&after), warnings(before));
    let documents = |loaded: &Loaded| -> BTreeSet<String> {
        loaded
            .spec
            .documents()
            .iter()
            .map(|document| serde_yaml::to_string(&document.value).unwrap())
            .collect()
    };
    assert_eq!(documents(&after), documents(before));
    assert_eq!(after.spec.documents().len(), before.spec.documents().len());
    for name in parts.keys() {
        let is_known = name == "config" || name == "additional-objects";
        let group = name.strip_prefix("instancegroup/");
        assert!(is_known || group.is_some_and(|name| !name.is_empty() && !name.contains('/')), "{name}");
    }
}

#[test]
fn examples_and_specs_of_kops_say_the_same_when_completed() {
    for path in examples().into_iter().chain(specs_of_kops()) {
        let before = loaded(&std::fs::read_to_string(&path).unwrap());
        let text = says_the_same(&before);
        is_whole_again(&before);
        is_whole_again(&loaded(&text));
    }
}

#[test]
fn the_reference_cluster_completed() {
    insta::assert_snapshot!("karlaru", says_the_same(&example("karlaru.yaml")));
}

#[test]
fn the_minimum_completed() {
    insta::assert_snapshot!("minimal_completed", says_the_same(&example("minimal.yaml")));
}

#[test]
fn a_completed_spec_fits_the_json_schema() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for path in examples().into_iter().chain(specs_of_kops()) {
        let completed = loaded(&complete(&loaded(&std::fs::read_to_string(&path).unwrap())));
        for document in completed.spec.documents() {
            let json = serde_json::to_value(&document.value).unwrap();
            let problems: Vec<String> = validator
                .iter_errors(&json)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(problems.is_empty(), "{} {}: {problems:#?}", path.display(), document.kind);
        }
    }
}

/// A field with a default that completing forgets shows up here, whatever it becomes in the cluster.
#[test]
fn what_is_left_out_when_all_is_completed() {
    fn left_out(table: &mut String, what: &str, value: &Value, fields: &[&str]) {
        let absent: Vec<&str> = fields.iter().filter(|field| value.get(**field).is_none()).copied().collect();
        writeln!(table, "{what}: {}", absent.join(" ")).unwrap();
    }
    let text = complete(&example("karlaru.yaml"));
    let completed = loaded(&text);
    let spec = |kind: &str, name: &str| {
        let mut documents = completed.spec.documents().iter();
        let found =
            documents.find(|document| document.kind == kind && document.name.as_deref() == Some(name));
        found.unwrap().value["spec"].clone()
    };
    let cluster = spec("Cluster", "k8s.karlaru.com");
    let group = spec("InstanceGroup", "nodes");
    let ingress = spec("IngressController", "nginx-ingress");
    let mut table = String::new();
    left_out(&mut table, "Cluster", &cluster, ClusterSpec::FIELDS);
    left_out(&mut table, "networking", &cluster["networking"], NetworkingSpec::FIELDS);
    left_out(&mut table, "subnet", &cluster["subnets"][0], SubnetSpec::FIELDS);
    left_out(&mut table, "api", &cluster["api"], ApiSpec::FIELDS);
    left_out(&mut table, "api.loadBalancer", &cluster["api"]["loadBalancer"], ApiLoadBalancerSpec::FIELDS);
    left_out(&mut table, "cloudConfig", &cluster["cloudConfig"], CloudConfigSpec::FIELDS);
    let driver = &cluster["cloudConfig"]["awsEBSCSIDriver"];
    left_out(&mut table, "awsEBSCSIDriver", driver, EbsCsiDriverSpec::FIELDS);
    let manager = &cluster["cloudControllerManager"];
    left_out(&mut table, "cloudControllerManager", manager, CloudControllerManagerSpec::FIELDS);
    left_out(&mut table, "flannel", &cluster["networking"]["flannel"], FlannelSpec::FIELDS);
    left_out(&mut table, "topology", &cluster["topology"], TopologySpec::FIELDS);
    left_out(&mut table, "etcdCluster", &cluster["etcdClusters"][0], EtcdClusterSpec::FIELDS);
    let member = &cluster["etcdClusters"][0]["etcdMembers"][0];
    left_out(&mut table, "etcdMember", member, EtcdMemberSpec::FIELDS);
    left_out(&mut table, "iam", &cluster["iam"], IamSpec::FIELDS);
    let discovery = &cluster["serviceAccountIssuerDiscovery"];
    left_out(&mut table, "serviceAccountIssuerDiscovery", discovery, IssuerDiscoverySpec::FIELDS);
    let handler = &cluster["nodeTerminationHandler"];
    left_out(&mut table, "nodeTerminationHandler", handler, NodeTerminationHandlerSpec::FIELDS);
    left_out(&mut table, "InstanceGroup", &group, InstanceGroupSpec::FIELDS);
    left_out(&mut table, "instanceMetadata", &group["instanceMetadata"], InstanceMetadataSpec::FIELDS);
    let policy = &group["mixedInstancesPolicy"];
    left_out(&mut table, "mixedInstancesPolicy", policy, MixedInstancesPolicySpec::FIELDS);
    left_out(&mut table, "IngressController", &ingress, IngressControllerSpec::FIELDS);
    left_out(&mut table, "ingress loadBalancer", &ingress["loadBalancer"], IngressLoadBalancerSpec::FIELDS);
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(table) });
}

#[test]
fn order_comments_and_spelling_change_nothing() {
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut documents: Vec<&str> = text.split("---\n").collect();
        documents.reverse();
        let reversed: Vec<String> = documents
            .iter()
            .map(|document| {
                let lines = document.lines().filter(|line| !line.trim_start().starts_with('#'));
                lines.flat_map(|line| [line, "\n"]).collect()
            })
            .collect();
        let reversed = reversed.join("---\n").replace("role: ControlPlane", "role: Master");
        assert_eq!(complete(&loaded(&reversed)), complete(&loaded(&text)), "{}", path.display());
    }
}

#[test]
fn secrets_and_other_objects_are_left_out() {
    let minimal = std::fs::read_to_string(&examples()[1]).unwrap();
    let text = format!(
        "{minimal}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: hunter2}}\n---\napiVersion: v1\nkind: List\nitems: [{{kind: Secret, data: {{p: hunter2}}}}]\n"
    );
    let before = loaded(&text);
    assert_eq!(before.cluster.objects.len(), 2);
    let completed = says_the_same(&before);
    assert!(!completed.contains("hunter2"));
    assert_eq!(redact(&completed), completed);
    is_whole_again(&before);
    assert!(parts(&before)["additional-objects"].contains("hunter2"));
}

#[test]
fn parts_are_the_documents_as_given() {
    let parts = parts(&example("karlaru.yaml"));
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    assert_eq!(names, ["additional-objects", "config", "instancegroup/control-plane", "instancegroup/nodes"]);
    assert!(parts["config"].starts_with("# The reference cluster"));
    assert!(parts["additional-objects"].starts_with("# NGINX on every worker."));
}

/// Whatever ends or begins a document, the next one is not hurt.
#[test]
fn parts_survive_odd_markers() {
    let minimal = std::fs::read_to_string(&examples()[1]).unwrap();
    let object = |name: &str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}");
    let odd = format!(
        "%YAML 1.2\n---\n{}\n...\n# between\n%YAML 1.2\n---\n{}\n...\n---\n\n---\n# x\n---\n{}\n--- {{apiVersion: v1, kind: Namespace, metadata: {{name: d}}}}\n---\n{}",
        object("a"),
        object("b"),
        object("c"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: e}\ndata:\n  x: |\n    y"
    );
    for text in [format!("{minimal}---\n{}\n...\n{odd}", object("z")), format!("{odd}\n---\n{minimal}")] {
        let before = loaded(&text);
        assert!(before.cluster.objects.len() >= 5);
        is_whole_again(&before);
    }
    // One of several sources, without a line end.
    let sources = [Source::new("a", odd.as_str()), Source::new("b", minimal), Source::new("c", object("f"))];
    is_whole_again(&load(&sources).unwrap());
}

#[test]
fn a_hostile_group_name_is_refused() {
    let minimal = std::fs::read_to_string(&examples()[1]).unwrap();
    for name in ["../x", "..", ".", "/etc/x", "a/b", "a\\\\b", "config/../../x", "\"\"", "a%2fb", "A", "~"] {
        let text = minimal.replace("name: nodes", &format!("name: {name}"));
        assert!(load(&[Source::new("cluster.yaml", text)]).is_err(), "{name}");
    }
    // A number is text where text is expected.
    let before = loaded(&minimal.replace("name: nodes", "name: 17"));
    assert!(parts(&before).contains_key("instancegroup/17"));
    is_whole_again(&before);
    says_the_same(&before);
}

/// Fields of the Cluster in spellings that are easily lost.
const CLUSTER: &[&str] = &[
    "additionalNetworkCIDRs: [10.200.0.0/16]",
    "additionalPolicies: {master: '[{\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\"}]', control-plane: '[{\"Effect\": \"Deny\", \"Action\": \"s3:*\", \"Resource\": \"*\"}]'}",
    "additionalSans: [1.2.3.4, \"*.17\"]",
    "addons: [{manifest: 's3://x'}]",
    "api: {dns: {}}",
    "api: {}",
    "api: {loadBalancer: {}}",
    "api: {loadBalancer: {type: Internal}}",
    "api: {loadBalancer: {type: Public, class: Network, idleTimeoutSeconds: 300, subnets: [], useForInternalApi: yes}}",
    "assets: {containerRegistry: registry.example.com/mirror/}",
    "assets: {containerProxy: 'proxy.example.com:5000', fileRepository: 'https://x'}",
    "authentication: {aws: {}}",
    "authentication: {aws: {backendMode: 'CRD, MountedFile', clusterID: 17, cpuRequest: 0.10, identityMappings: [{arn: 'arn:aws:iam::123456789012:role/a', username: a, groups: ['system:masters']}]}}",
    "authorization: {rbac: {}}",
    "certManager: {enabled: no}",
    "certManager: {enabled: false}",
    "channel: stable",
    "cloudLabels: {b: 0.10, a: 1_000, c: \"yes\", d: 0x1F, e: '', f: \" x \", g: \"\\u00a0\\u3000\", h: 1e3, i: null-ish}",
    "cloudProvider: aws",
    "cloudConfig: {}",
    "cloudConfig: {manageStorageClasses: no, nodeIPFamilies: [ipv4]}",
    "cloudConfig: {awsEBSCSIDriver: {enabled: off}}",
    "cloudConfig: {awsEBSCSIDriver: {managed: no, version: v1.2.3}}",
    "cloudConfig: {awsEBSCSIDriver: {volumeAttachLimit: 17, podAnnotations: {z: \"1\", a: 1.10}}}",
    "cloudControllerManager: {}",
    "cloudControllerManager: {logLevel: 0, controllers: ['*', -route], configureCloudRoutes: yes, cpuRequest: 1, cloudProvider: aws}",
    "clusterAutoscaler: {enabled: no}",
    "clusterAutoscaler: {}",
    "clusterAutoscaler: {enabled: true, scaleDownUtilizationThreshold: 0.70, podAnnotations: {z: a, b: c}, skipNodesWithCustomControllerPods: no}",
    "clusterAutoscaler: {enabled: true, expander: 'priority,least-waste'}",
    "clusterAutoscaler: {enabled: true, expander: priority, createPriorityExpanderConfig: no}",
    "clusterAutoscaler: {enabled: true, expander: priority, customPriorityExpanderConfig: {20: ['b.*'], 10: [a]}}",
    "clusterAutoscaler: {enabled: true, customPriorityExpanderConfig: {20: ['b.*']}}",
    "clusterDNSDomain: cluster.local",
    "clusterDNSDomain: other.local",
    "configBase: s3://example-kcl-state/minimal.example.com",
    "DisableSubnetTags: true",
    "DisableSubnetTags: no\n  tagSubnets: off",
    "dnsZone: 17",
    "encryptionConfig: no",
    "etcdClusters: []",
    "etcdClusters: ~",
    "externalDns: {}",
    "externalDns: {disable: yes, provider: external-dns}",
    "externalDns: {provider: external-dns, watchNamespace: 17}",
    "externalDns: {provider: dns-controller, watchIngress: yes}",
    "externalDns: {watchIngress: yes}",
    "externalPolicies: {master: ['arn:aws:iam::aws:policy/x'], control-plane: ['arn:aws:iam::aws:policy/x']}",
    "hooks: [{z: 1, a: [0.10, 1e3, yes, ~]}]",
    "iam: {legacy: no, allowContainerRegistry: on}",
    "iam: {legacy: yes}",
    "iam: {useServiceAccountExternalPermissions: off}",
    "iam: {useServiceAccountExternalPermissions: on}\n  serviceAccountIssuerDiscovery: {discoveryStore: s3://example-oidc, enableAWSOIDCProvider: yes}",
    "isolateMasters: off",
    "kubeAPIServer:\n    b: {d: 1, c: \"2\"}\n    a: |+\n      x\n\n        y\n\n",
    "kubelet: {anonymousAuth: no}",
    "kubelet: {anonymousAuth: false}",
    "kubernetesApiAccess: []",
    "kubernetesApiAccess: [\"::/0\", 0.0.0.0/0]",
    "kubernetesVersion: v1.99.0",
    "masterPublicName: other.example.com",
    "networking: {amazonvpc: {}}",
    "metricsServer: {enabled: on}",
    "metricsServer: {enabled: on, insecure: off, image: 'x/y:1'}",
    "networking: {cni: {}}",
    "networking: {calico: {mtu: 1440}}",
    "networking: {flannel: {backend: udp, iptablesResyncSeconds: 360, disableTxChecksumOffloading: yes}}",
    "nodePortAccess: [10.0.0.0/8]",
    "nodeTerminationHandler: {enabled: off, enableSpotInterruptionDraining: on, prometheusEnable: yes, cpuRequest: 0.10}",
    "nodeTerminationHandler: {}",
    "nodeTerminationHandler: {enabled: off, enableRebalanceMonitoring: on}",
    "nodeTerminationHandler: {enableRebalanceMonitoring: on, enablePrometheusMetrics: on, podTerminationGracePeriod: -1}",
    "nodeTerminationHandler: {podTerminationGracePeriod: 30, taintNode: on, version: v1.22.0, webhookURL: x}",
    "podIdentityWebhook: {enabled: true, replicas: 2}",
    "nonMasqueradeCIDR: 100.64.0.0/12",
    "podCIDR: 100.96.0.0/13",
    "serviceAccountIssuerDiscovery: {}",
    "serviceAccountIssuerDiscovery: {discoveryStore: s3://example-kcl-state/oidc/}",
    "serviceAccountIssuerDiscovery: {discoveryStore: s3://example-oidc, enableAWSOIDCProvider: yes}",
    "sshAccess: [0.0.0.0/0]",
    "sshKeyName: \"\"",
    "sysctlParameters: [\"a=1\", \"b=5\"]",
    "tagSubnets: no",
    "topology: {controlPlane: private}",
    "topology: {masters: Private, nodes: PUBLIC, dns: {}}",
    "topology: {dns: {type: None}, bastion: {idleTimeoutSeconds: 10}}",
    "topology: {bastion: {loadBalancer: {type: Internal}, bastionPublicName: b.example.com}}",
];

/// The same of an instance group.
const GROUP: &[&str] = &[
    "additionalUserData: [{name: a.sh, type: text/x-shellscript, content: \"#!/bin/sh\\n\\n\\techo \\\"$(date)\\\"\\n\\n\"}]",
    "associatePublicIp: no",
    "associatePublicIp: yes",
    "autoscale: no",
    "autoscalePriority: 5",
    "cloudLabels: {z: 1.50, a: null-ish, g: \"\\u0085\\t\"}",
    "cpuCredits: unlimited",
    "image: ubuntu/images/x",
    "image: ami-0123456789abcdef0",
    "instanceMetadata: {httpTokens: optional}",
    "instanceMetadata: ~",
    "instanceInterruptionBehavior: stop",
    "kubelet: {maxPods: 010}",
    "machineType: t4g.small",
    "machineType: m7i.large",
    "manager: CloudGroup",
    "maxInstanceLifetime: 0",
    "maxInstanceLifetime: 48h20m",
    "maxPrice: 0.10",
    "maxPrice: \"0.050\"",
    "minSize: 0",
    "maxSize: 1",
    "minSize: 3",
    "mixedInstancesPolicy: {}",
    "mixedInstancesPolicy: {onDemandAboveBase: 0, instances: []}",
    "mixedInstancesPolicy: {instanceRequirements: {cpu: {min: 2}, memory: {min: 1.50Gi, max: 4Gi}}}",
    "nodeLabels: {b: \"1\", a: 1.10, example.com/c: \"\"}",
    "role: Master",
    "role: node",
    "role: bastion",
    "rootVolume: {}",
    "rootVolume: {size: 30, type: gp2, iops: 4000}",
    "rootVolumeEncryption: no\n  rootVolumeEncryptionKey: x",
    "rootVolumeSize: 20",
    "rootVolumeType: io2",
    "rootVolumeType: gp2\n  rootVolumeIops: 4000\n  rootVolumeThroughput: 200",
    "rootVolumeDeleteOnTermination: yes",
    "subnets: []",
    "suspendProcesses: [AZRebalance]",
    "taints: [\"a=b:NoSchedule\", \"c:NoExecute\"]",
    "tenancy: default",
    "volumes: [{device: /dev/xvdd, size: 10}, {device: /dev/xvde, size: 20, type: io1, encrypted: off}]",
];

/// The keys of one or several of these fields.
fn keys(fields: &str) -> Vec<&str> {
    let lines = fields.lines().enumerate();
    let of_spec =
        lines.filter(|(index, line)| *index == 0 || (line.starts_with("  ") && !line.starts_with("   ")));
    of_spec.filter_map(|(_, line)| line.trim().split(':').next()).collect()
}

/// Every mapping and list of a tree that something can be taken out of, as paths.
fn paths(value: &Value, path: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    let children: Vec<&Value> = match value {
        Value::Mapping(mapping) => mapping.values().collect(),
        Value::Sequence(items) => items.iter().collect(),
        _ => return,
    };
    for (index, child) in children.into_iter().enumerate() {
        path.push(index);
        found.push(path.clone());
        paths(child, path, found);
        path.pop();
    }
}

/// Takes what is at a path out of a tree, or empties it.
fn take_out(value: &mut Value, path: &[usize], emptied: bool) {
    let [index, rest @ ..] = path else { return };
    match value {
        Value::Mapping(mapping) => {
            let Some(key) = mapping.keys().nth(*index).cloned() else { return };
            match (rest, emptied) {
                ([], true) => drop(mapping.insert(key, Value::Null)),
                ([], false) => drop(mapping.remove(&key)),
                _ => take_out(&mut mapping[&key], rest, emptied),
            }
        }
        Value::Sequence(items) if *index < items.len() => match rest {
            [] => drop(items.remove(*index)),
            _ => take_out(&mut items[*index], rest, emptied),
        },
        _ => {}
    }
}

/// A spec of one of the examples with fields taken out and others put in.
fn changed(spec: usize, out: &[(Index, bool)], put: &[(Index, Index)]) -> String {
    let mut specs = examples();
    specs.extend(specs_of_kops());
    let text = std::fs::read_to_string(&specs[spec % specs.len()]).unwrap();
    let mut documents: Vec<Value> =
        loaded(&text).spec.documents().iter().map(|document| document.value.clone()).collect();
    for (at, emptied) in out {
        let mut found = Vec::new();
        let tree = Value::Sequence(documents.clone());
        paths(&tree, &mut Vec::new(), &mut found);
        let mut tree = tree;
        // Not the documents themselves, nor what says what they are.
        found.retain(|path| path.len() > 2);
        take_out(&mut tree, &found[at.index(found.len())], *emptied);
        documents.clone_from(tree.as_sequence().unwrap());
    }
    let mut texts = Vec::new();
    for (index, mut document) in documents.into_iter().enumerate() {
        let fields = match document["kind"].as_str() {
            Some("Cluster") => CLUSTER,
            Some("InstanceGroup") => GROUP,
            _ => &[],
        };
        let mut lines = String::new();
        for (at, which) in put.iter().filter(|_| !fields.is_empty()) {
            if at.index(3) != index.min(2) {
                continue;
            }
            let field = fields[which.index(fields.len())];
            if let Some(spec) = document.get_mut("spec").and_then(Value::as_mapping_mut) {
                let keys: Vec<&str> =
                    field.lines().filter_map(|line| line.trim().split(':').next()).collect();
                if keys.iter().any(|key| lines.contains(&format!("  {key}:"))) {
                    continue;
                }
                for key in keys {
                    spec.remove(key);
                }
                writeln!(lines, "  {field}").unwrap();
            }
        }
        let is_empty =
            document.get("spec").is_some_and(|spec| spec.as_mapping().is_some_and(Mapping::is_empty));
        if is_empty {
            document.as_mapping_mut().unwrap().remove("spec");
        }
        let mut text = serde_yaml::to_string(&document).unwrap();
        if is_empty {
            text.push_str("spec:\n");
        }
        texts.push(text.replacen("\nspec:\n", &format!("\nspec:\n{lines}"), 1));
    }
    texts.join("---\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_loads_says_the_same_when_completed(
        spec in 0..12_usize,
        out in prop::collection::vec(any::<(Index, bool)>(), 0..4),
        put in prop::collection::vec(any::<(Index, Index)>(), 0..6),
    ) {
        let text = changed(spec, &out, &put);
        if let Ok(before) = load(&[Source::new("cluster.yaml", text)]) {
            says_the_same(&before);
            is_whole_again(&before);
        }
    }
}

/// Documents of kcl's own in spellings that are easily lost.
const OF_KCL: &[&str] = &[
    "kind: AccessEntry\nmetadata: {name: a}\nspec: {principal: {group: 17}, clusterRole: 'system:aggregate-to-view', namespaces: [b, a]}",
    "kind: AccessEntry\nmetadata: {name: a, labels: {z: a, b: c}}\nspec: {principal: {group: ops}, role: r, namespaces: [x], clusterRole: ~}",
    "kind: NamespaceDefaults\nmetadata: {name: shop}\nspec: {defaultDeny: [Egress, Ingress]}",
    "kind: NamespaceDefaults\nmetadata: {name: default}\nspec: {limitRange: {}}",
    "kind: NamespaceDefaults\nmetadata: {name: 17}\nspec: {defaultDeny: [], limitRange: {defaultRequests: {memory: 64Mi, cpu: 0.10}, defaultLimits: {nvidia.com/gpu: 1, cpu: 1}}}",
    "kind: Manifest\nmetadata: {name: calico}\nspec: {url: 'https://example.com/a?b#c', sha256: E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855}",
    "kind: Manifest\nmetadata: {name: x}\nspec: {url: file:///a b/c.yaml, sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"}",
];

#[test]
fn documents_of_kcl_say_the_same_when_completed() {
    let minimal = std::fs::read_to_string(&examples()[1]).unwrap();
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    for document in OF_KCL {
        let before = loaded(&format!("{minimal}---\napiVersion: kcl.dev/v1alpha1\n{document}\n"));
        let text = says_the_same(&before);
        is_whole_again(&before);
        is_whole_again(&loaded(&text));
        assert!(parts(&before)["additional-objects"].contains(document));
        for document in loaded(&text).spec.documents() {
            assert!(validator.is_valid(&serde_json::to_value(&document.value).unwrap()), "{}", document.kind);
        }
    }
    let all: Vec<String> = OF_KCL
        .iter()
        .enumerate()
        .map(|(index, document)| {
            let text = document.replacen("name: a", &format!("name: a{index}"), 1);
            format!("---\napiVersion: kcl.dev/v1alpha1\n{text}\n")
        })
        .collect();
    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    let with = |documents: &[String]| loaded(&format!("{minimal}{}", documents.concat()));
    assert_eq!(with(&all).cluster, with(&reversed).cluster);
    assert_eq!(says_the_same(&with(&all)), says_the_same(&with(&reversed)));
}

/// The generator above is worth something only where most of what it puts in is sound.
#[test]
fn each_odd_spelling_says_the_same_when_completed() {
    let minimal = std::fs::read_to_string(&examples()[1]).unwrap();
    let mut refused = String::new();
    for (kind, fields) in [("Cluster", CLUSTER), ("InstanceGroup", GROUP)] {
        for field in fields {
            let documents = minimal.split("---\n").map(|text| {
                let is_meant =
                    text.contains(&format!("kind: {kind}\n")) && !text.contains("role: ControlPlane");
                if !is_meant {
                    return text.to_owned();
                }
                let mut document: Value = serde_yaml::from_str(text).unwrap();
                let spec = document["spec"].as_mapping_mut().unwrap();
                for key in keys(field) {
                    spec.remove(key);
                }
                // Never empty, so that the fields fit in below it.
                spec.insert("channel".into(), Value::Null);
                if kind == "InstanceGroup" {
                    spec.remove("channel");
                    spec.insert("compressUserData".into(), Value::Null);
                }
                let text = serde_yaml::to_string(&document).unwrap();
                text.replacen("\nspec:\n", &format!("\nspec:\n  {field}\n"), 1)
            });
            let text = documents.collect::<Vec<_>>().join("---\n").replace("  channel: null\n", "");
            match load(&[Source::new("cluster.yaml", text)]) {
                Ok(before) => drop(says_the_same(&before)),
                Err(errors) => writeln!(refused, "{field}: {}", errors.iter().next().unwrap().title).unwrap(),
            }
        }
    }
    assert_eq!(refused, "role: Master: 2 control-plane groups: etcd needs an odd number\n");
}
