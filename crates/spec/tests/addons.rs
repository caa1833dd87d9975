//! What a spec says of the components in the cluster, and what they are when it says nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use kcl_spec::cluster::{Addons, ImageMirror, PodNetwork};
use kcl_spec::{Cluster, Source, load};

/// The smallest example with fields of the Cluster put in, and documents after it.
fn cluster(fields: &str, documents: &str) -> Cluster {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replacen("\nspec:\n", &format!("\nspec:\n{fields}"), 1);
    let loaded = load(&[Source::new("cluster.yaml", text + documents)]);
    loaded.map_err(|errors| errors.to_string()).unwrap().cluster
}

fn addons(fields: &str) -> Addons {
    cluster(fields, "").addons
}

macro_rules! snapshot {
    ($value:expr) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(serde_yaml::to_string(&$value).unwrap())
        })
    };
}

#[test]
fn what_runs_when_nothing_is_said() {
    snapshot!(addons(""));
}

#[test]
fn what_runs_when_it_is_only_switched_on() {
    snapshot!(addons(
        "  clusterAutoscaler: {enabled: true}\n  metricsServer: {enabled: true}\n  externalDns: {provider: external-dns}\n  authentication: {aws: {}}\n"
    ));
}

#[test]
fn everything_that_can_be_said() {
    let addons = addons(
        r#"  cloudControllerManager:
    image: registry.example.com/ccm:v1
    logLevel: 4
    controllers: ["*", "-route"]
    configureCloudRoutes: true
    cpuRequest: 1
  cloudConfig:
    manageStorageClasses: false
    awsEBSCSIDriver:
      version: v1.2.3
      volumeAttachLimit: 20
      podAnnotations: {example.com/a: b}
  metricsServer:
    enabled: true
    image: registry.example.com/metrics-server:v1
    insecure: false
  clusterAutoscaler:
    enabled: true
    image: registry.example.com/autoscaler:v1
    expander: priority,least-waste
    balanceSimilarNodeGroups: true
    skipNodesWithSystemPods: false
    skipNodesWithLocalStorage: false
    skipNodesWithCustomControllerPods: false
    ignoreDaemonSetsUtilization: true
    scaleDownUtilizationThreshold: "0.7"
    newPodScaleUpDelay: 10s
    scaleDownDelayAfterAdd: 5m
    scaleDownUnneededTime: 6m
    scaleDownUnreadyTime: 7m
    maxNodeProvisionTime: 8m
    cordonNodeBeforeTerminating: false
    podAnnotations: {example.com/c: d}
    cpuRequest: 50m
    memoryRequest: 200Mi
    customPriorityExpanderConfig:
      50: [".*-spot.*"]
      10: [".*"]
  nodeTerminationHandler:
    enableSpotInterruptionDraining: false
    enableScheduledEventDraining: false
    enableRebalanceMonitoring: true
    enableRebalanceDraining: true
    excludeFromLoadBalancers: false
    taintNode: true
    podTerminationGracePeriod: 30
    enablePrometheusMetrics: true
    deleteSQSMsgIfNodeNotFound: true
    version: v1.22.0
    cpuRequest: 10m
    memoryRequest: 32Mi
  externalDns:
    provider: external-dns
    watchIngress: false
    watchNamespace: shop
  authentication:
    aws:
      image: registry.example.com/authenticator:v1
      clusterID: my-cluster
      backendMode: CRD, MountedFile
      cpuRequest: 10m
      cpuLimit: 100m
      memoryRequest: 20Mi
      memoryLimit: 20Mi
      identityMappings:
      - arn: arn:aws:iam::123456789012:role/Admin
        username: admin:{{SessionName}}
        groups: ["system:masters"]
"#,
    );
    snapshot!(addons);
}

#[test]
fn switched_off() {
    let off = addons(
        "  cloudConfig: {awsEBSCSIDriver: {enabled: false}}\n  metricsServer: {image: x}\n  clusterAutoscaler: {enabled: false}\n  externalDns: {disable: true, provider: external-dns}\n  nodeTerminationHandler: {enabled: false}\n",
    );
    assert_eq!(off.service_accounts(), [("kube-system", "aws-cloud-controller-manager")]);
    assert_eq!((off.metrics_server, off.iam_authenticator), (None, None));
    assert_eq!(addons("  cloudConfig: {awsEBSCSIDriver: {managed: false}}\n").ebs_csi_driver, None);
}

#[test]
fn kubenet_needs_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/minimal.yaml");
    let text = std::fs::read_to_string(path).unwrap().replace("flannel: {}", "kubenet: {}");
    let cluster = load(&[Source::new("cluster.yaml", text)]).unwrap().cluster;
    assert_eq!(cluster.network.pod_network, PodNetwork::Kubenet);
    assert!(cluster.addons.cloud_controller_manager.unwrap().configure_cloud_routes);
}

#[test]
fn groups_have_priorities() {
    let group = |name: &str, fields: &str| {
        format!(
            "---\napiVersion: kops.k8s.io/v1alpha2\nkind: InstanceGroup\nmetadata: {{name: {name}}}\nspec: {{role: Node, subnets: [eu-north-1a], {fields}}}\n"
        )
    };
    let groups = group("spot", "autoscalePriority: 100")
        + &group("fixed", "autoscale: false")
        + &group("spare", "autoscalePriority: 100");
    let priorities = |fields: &str| {
        let cluster = cluster(fields, &groups);
        let scaled: Vec<String> = cluster
            .instance_groups
            .iter()
            .filter(|group| group.autoscale)
            .map(|group| group.name.clone())
            .collect();
        assert_eq!(scaled, ["nodes", "spare", "spot"]);
        serde_json::to_string(&cluster.addons.cluster_autoscaler.unwrap().priorities).unwrap()
    };
    assert_eq!(
        priorities("  clusterAutoscaler: {enabled: true, expander: priority}\n"),
        r#"{"0":["^nodes\\.minimal\\.example\\.com$"],"100":["^spare\\.minimal\\.example\\.com$","^spot\\.minimal\\.example\\.com$"]}"#
    );
    assert_eq!(priorities("  clusterAutoscaler: {enabled: true}\n"), "{}");
    let none =
        "  clusterAutoscaler: {enabled: true, expander: priority, createPriorityExpanderConfig: false}\n";
    assert_eq!(priorities(none), "{}");
}

#[test]
fn a_namespace_has_one_limit_range() {
    let defaults = |spec: &str| {
        let document = format!(
            "---\napiVersion: kcl.dev/v1alpha1\nkind: NamespaceDefaults\nmetadata: {{name: default}}\nspec: {spec}\n"
        );
        cluster("", &document)
    };
    assert!(defaults("{defaultDeny: [Egress]}").addons.limit_range.is_some());
    assert!(defaults("{limitRange: {}}").addons.limit_range.is_none());
    let own = defaults("{limitRange: {defaultRequests: {cpu: 50m}}, defaultDeny: [Ingress, Egress]}");
    assert!(own.addons.limit_range.is_none());
    snapshot!(own.namespace_defaults);
}

#[test]
fn mirrors() {
    let mirror = |fields: &str| cluster(fields, "").image_mirror;
    assert_eq!(mirror(""), None);
    let files = cluster("  assets: {fileRepository: https://files.example.com/mirror/}\n", "");
    assert_eq!(files.file_repository.as_deref(), Some("https://files.example.com/mirror"));
    assert_eq!(files.image_mirror, None);
    let registry = ImageMirror::Registry("registry.example.com:5000/mirror".to_owned());
    assert_eq!(mirror("  assets: {containerRegistry: registry.example.com:5000/mirror/}\n"), Some(registry));
    let proxy = ImageMirror::Proxy("proxy.example.com".to_owned());
    assert_eq!(mirror("  assets: {containerProxy: proxy.example.com}\n"), Some(proxy));
}

#[test]
fn documents_of_kcl() {
    let documents = "---
apiVersion: kcl.dev/v1alpha1
kind: AccessEntry
metadata: {name: ops}
spec: {principal: {iam: 'arn:aws:iam::123456789012:role/Ops'}, clusterRole: cluster-admin}
---
apiVersion: kcl.dev/v1alpha1
kind: AccessEntry
metadata: {name: dev}
spec: {principal: {group: dev}, role: deployer, namespaces: [shop, test]}
---
apiVersion: kcl.dev/v1alpha1
kind: Manifest
metadata: {name: tools}
spec:
  url: file:///srv/tools.yaml
  sha256: E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855
";
    let cluster = cluster("  authentication: {aws: {}}\n", documents);
    snapshot!((cluster.access_entries, cluster.manifests));
}
