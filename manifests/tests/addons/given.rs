//! Clusters whose specs ask for addons, and what is made of them.

use std::collections::BTreeMap;
use std::fs;

use kcl_manifests::{Error, Inputs, Manifest, identities, render};
use kcl_spec::Cluster;
use kcl_spec::cluster::{
    AccessEntry, CloudControllerManager, ClusterAutoscaler, Container, EbsCsiDriver, ExternalDns, Flannel,
    FlannelBackend, IamAuthenticator, IdentityMapping, IngressController, IngressLoadBalancer, LimitRange,
    LoadBalancerManager, MetricsServer, NamespaceDefaults, Principal, RoleKind, TerminationHandler,
};
use serde_json::Value;

/// A cluster and what [`Inputs`] has beside it.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) cluster: Cluster,
    pub(crate) roles: BTreeMap<(String, String), String>,
    pub(crate) vpc_cidrs: Vec<String>,
    pub(crate) zones: Vec<String>,
    pub(crate) queue: Option<String>,
}

impl Given {
    /// A cluster of the examples.
    pub(crate) fn example(name: &str) -> Self {
        let path = format!("{}/../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&path).unwrap();
        let loaded = kcl_spec::load(&[kcl_spec::Source::new(path, text)]);
        let cluster = loaded.unwrap_or_else(|found| panic!("{name}: {found:?}")).cluster;
        Self {
            cluster,
            roles: BTreeMap::new(),
            vpc_cidrs: vec!["172.20.0.0/16".to_owned()],
            zones: Vec::new(),
            queue: None,
        }
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            cluster: &self.cluster,
            partition: "aws",
            account: "123456789012",
            roles: &self.roles,
            vpc_cidrs: &self.vpc_cidrs,
            zones: &self.zones,
            queue: self.queue.as_deref(),
        }
    }

    pub(crate) fn render(&self) -> Result<Vec<Manifest>, Error> {
        render(&self.inputs())
    }

    /// The objects of one addon.
    pub(crate) fn objects(&self, addon: &str) -> Vec<Value> {
        let manifests = self.render().unwrap();
        let manifest = manifests.into_iter().find(|manifest| manifest.addon == addon);
        manifest.map(|manifest| manifest.objects).unwrap_or_default()
    }
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn container() -> Container {
    Container {
        image: None,
        version: None,
        cpu_request: Some("15m".to_owned()),
        memory_request: None,
        cpu_limit: None,
        memory_limit: Some("300Mi".to_owned()),
    }
}

fn autoscaler() -> ClusterAutoscaler {
    ClusterAutoscaler {
        container: Container::default(),
        expander: "priority".to_owned(),
        balance_similar_node_groups: true,
        skip_nodes_with_system_pods: true,
        skip_nodes_with_local_storage: false,
        skip_nodes_with_custom_controller_pods: Some(false),
        ignore_daemon_sets_utilization: Some(true),
        scale_down_utilization_threshold: "0.5".to_owned(),
        new_pod_scale_up_delay: "0s".to_owned(),
        scale_down_delay_after_add: "10m0s".to_owned(),
        scale_down_unneeded_time: "10m0s".to_owned(),
        scale_down_unready_time: "20m0s".to_owned(),
        max_node_provision_time: "15m0s".to_owned(),
        cordon_node_before_terminating: true,
        pod_annotations: map(&[("example.com/note", "scaled")]),
        priorities: [("100".to_owned(), strings([".*spot.*"])), ("20".to_owned(), strings([".*"]))].into(),
    }
}

fn termination_handler() -> TerminationHandler {
    TerminationHandler {
        container: Container::default(),
        spot_interruption_draining: true,
        scheduled_event_draining: true,
        rebalance_monitoring: false,
        rebalance_draining: false,
        exclude_from_load_balancers: true,
        taint_node: false,
        pod_termination_grace_period: None,
        prometheus_port: None,
        delete_sqs_message_if_node_not_found: false,
    }
}

fn limits() -> LimitRange {
    LimitRange {
        default_requests: map(&[("cpu", "100m")]),
        default_limits: map(&[("memory", "256Mi"), ("cpu", "1")]),
    }
}

fn entry(name: &str, principal: Principal, role_kind: RoleKind, namespaces: Vec<String>) -> AccessEntry {
    AccessEntry { name: name.to_owned(), principal, role_kind, role: "view".to_owned(), namespaces }
}

fn ingress(name: &str, namespace: &str, managed_by: LoadBalancerManager) -> IngressController {
    IngressController {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        ingress_class: name.to_owned(),
        load_balancer: IngressLoadBalancer { managed_by, proxy_protocol: true, share_with_api: false },
        hosts: strings(["example.com", "docs.example.com"]),
    }
}

/// The reference cluster.
pub(crate) fn reference() -> Given {
    Given::example("karlaru")
}

fn driver() -> EbsCsiDriver {
    EbsCsiDriver {
        container: Container::default(),
        volume_attach_limit: None,
        pod_annotations: BTreeMap::new(),
        storage_classes: true,
    }
}

/// Everything, and nothing of it has a role of its own.
pub(crate) fn with_the_machines_role() -> Given {
    let mut given = reference();
    given.queue = Some("k8s-karlaru-com-nth".to_owned());
    given.zones = strings(["/hostedzone/Z1", "Z2"]);
    let cluster = &mut given.cluster;
    cluster.addons.cloud_controller_manager = Some(CloudControllerManager::default());
    cluster.addons.ebs_csi_driver = Some(driver());
    cluster.addons.node_termination_handler = Some(termination_handler());
    cluster.addons.limit_range = Some(limits());
    cluster.addons.cluster_autoscaler = Some(autoscaler());
    cluster.addons.metrics_server = Some(MetricsServer { container: container(), insecure: true });
    cluster.addons.external_dns = Some(ExternalDns { watch_ingress: true, watch_namespace: None });
    cluster.addons.iam_authenticator = Some(IamAuthenticator {
        container: Container::default(),
        cluster_id: "k8s.karlaru.com".to_owned(),
        backend_mode: strings(["CRD"]),
        identity_mappings: vec![IdentityMapping {
            arn: "arn:aws:iam::123456789012:user/ann".to_owned(),
            username: "ann".to_owned(),
            groups: strings(["system:masters"]),
        }],
    });
    let admins = Principal::Iam("arn:aws:iam::123456789012:role/admins".to_owned());
    cluster.access_entries = vec![
        entry("admins", admins, RoleKind::ClusterRole, Vec::new()),
        entry(
            "readers",
            Principal::Group("readers".to_owned()),
            RoleKind::Role,
            strings(["shop", "kube-system"]),
        ),
    ];
    cluster.namespace_defaults = vec![
        NamespaceDefaults {
            namespace: "shop".to_owned(),
            deny_ingress: true,
            deny_egress: true,
            limit_range: Some(limits()),
        },
        NamespaceDefaults {
            namespace: "nginx-ingress".to_owned(),
            deny_ingress: false,
            deny_egress: false,
            limit_range: None,
        },
    ];
    given
}

/// Everything, each with a role of its own; the other choice wherever there are two.
pub(crate) fn with_roles() -> Given {
    let mut given = with_the_machines_role();
    given.queue = Some("queue".to_owned());
    for identity in identities(&given.inputs()) {
        let account = (identity.namespace.to_owned(), identity.service_account.to_owned());
        given.roles.insert(account, format!("arn:aws:iam::123456789012:role/{}", identity.service_account));
    }
    let cluster = &mut given.cluster;
    cluster.network.flannel =
        Some(Flannel { backend: FlannelBackend::Udp, iptables_resync_seconds: Some(5) });
    cluster.ingress_controllers = vec![
        ingress("nginx-ingress", "nginx-service", LoadBalancerManager::Service),
        ingress("inner", "nginx-service", LoadBalancerManager::Service),
        ingress("in-default", "default", LoadBalancerManager::Service),
    ];
    cluster.ingress_controllers[1].load_balancer.proxy_protocol = false;
    cluster.addons.cloud_controller_manager = Some(CloudControllerManager {
        container: container(),
        log_level: Some(4),
        controllers: strings(["*", "-service"]),
        configure_cloud_routes: true,
    });
    let driver = cluster.addons.ebs_csi_driver.as_mut().unwrap();
    driver.volume_attach_limit = Some(20);
    driver.pod_annotations = map(&[("example.com/note", "a")]);
    driver.container.version = Some("v1.57.0".to_owned());
    let handler = cluster.addons.node_termination_handler.as_mut().unwrap();
    handler.prometheus_port = Some(9092);
    handler.pod_termination_grace_period = Some(30);
    let autoscaler = cluster.addons.cluster_autoscaler.as_mut().unwrap();
    "least-waste".clone_into(&mut autoscaler.expander);
    autoscaler.priorities = BTreeMap::new();
    autoscaler.skip_nodes_with_custom_controller_pods = None;
    cluster.addons.metrics_server.as_mut().unwrap().insecure = false;
    let external_dns = cluster.addons.external_dns.as_mut().unwrap();
    external_dns.watch_ingress = false;
    external_dns.watch_namespace = Some("shop".to_owned());
    cluster.addons.iam_authenticator.as_mut().unwrap().backend_mode =
        strings(["MountedFile", "EKSConfigMap"]);
    cluster.namespace_defaults[0].deny_egress = false;
    given
}

pub(crate) fn variants() -> [(&'static str, Given); 3] {
    [
        ("reference", reference()),
        ("with the machines' role", with_the_machines_role()),
        ("with roles", with_roles()),
    ]
}

pub(crate) fn all_objects(given: &Given) -> Vec<Value> {
    given.render().unwrap().into_iter().flat_map(|manifest| manifest.objects).collect()
}

pub(crate) fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// The specs of pods, by the name of what makes them.
pub(crate) fn pods(objects: &[Value]) -> Vec<(String, &Value)> {
    let workloads = objects.iter().filter(|object| object["spec"]["template"]["spec"].is_object());
    workloads.map(|object| (name(object), &object["spec"]["template"]["spec"])).collect()
}

pub(crate) fn containers(pod: &Value) -> Vec<&Value> {
    let of = |list: &str| pod[list].as_array().map(Vec::as_slice).unwrap_or_default();
    of("initContainers").iter().chain(of("containers")).collect()
}
