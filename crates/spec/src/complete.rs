//! The spec as its defaults make it, as kOps keeps it in `cluster-completed.spec`.
//!
//! Takes what was loaded, gives text: the documents as they were read, and in each the fields that
//! were left out, with the values that validation chose for them. Those values are taken from the
//! [`Cluster`] and are decided nowhere here. What stands in a spec is never changed, but for old
//! spellings (`role: Master`). A field stays out where leaving it out is the only way to say what
//! it says: no key, AWS' own default, an empty list.
//!
//! Every struct of the cluster is taken apart field by field: a new one does not compile until it
//! is said here how a spec tells it.

mod addons;

use serde_yaml::Value;

use crate::cluster::{
    Api, ApiLoadBalancer, Bastion, BlockDevice, Cluster, DnsType, EtcdCluster, EtcdMember, Flannel,
    FlannelBackend, Iam, IngressController, IngressLoadBalancer, InstanceGroup, InstanceMetadata,
    LoadBalancerManager, LoadBalancerSubnet, Network, Purchase, Role, Scheme, ServiceAccountIssuer, Ssh,
    StateStore, Topology, Volume, VolumeType,
};
use crate::document::{Body, Document};
use crate::emit;
use crate::read::{Anything, Dict, List, Scalar};
use crate::schema::addons::{FlannelBackendSpec, FlannelSpec};
use crate::schema::cluster::{
    ApiLoadBalancerSpec, ApiSpec, ClusterSpec, DnsTypeSpec, EtcdMemberSpec, LoadBalancerClass,
    LoadBalancerSubnetSpec, LoadBalancerType, TopologySpec,
};
use crate::schema::cluster::{CloudProvider, EtcdClusterSpec};
use crate::schema::ingress_controller::{IngressControllerSpec, ManagedBy};
use crate::schema::instance_group::{
    HttpTokensSpec, InstanceGroupSpec, InstanceMetadataSpec, RootVolumeSpec, VolumeSpec, VolumeTypeSpec,
};
use crate::schema::namespace_defaults::LimitRangeSpec;
use crate::schema::{
    AccessEntryDocument, ClusterDocument, IngressControllerDocument, InstanceGroupDocument, ManifestDocument,
    Metadata, NamespaceDefaultsDocument, StateStoreDocument,
};
use crate::source::{Located, Place};
use crate::validate::{Loaded, MANAGER};
use crate::write::Write as _;

/// The spec as its defaults make it: the Cluster, the groups by name, the SSHCredential, and the
/// documents of `kcl.dev` by kind and name. The other Kubernetes objects are left out.
///
/// The text is the same for specs that differ in the order of documents, in comments and in
/// spelling only. Loading it gives the same cluster (but for its objects) and the same warnings,
/// and completing it again the same text.
pub fn complete(loaded: &Loaded) -> String {
    let Loaded { spec, cluster, warnings: _ } = loaded;
    let completed = spec.documents().iter().filter_map(|document| completed(document, cluster));
    let mut completed: Vec<Completed> = completed.collect();
    completed.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
    let texts: Vec<String> = completed.iter().map(|document| emit::document(&document.value)).collect();
    texts.join("---\n")
}

/// A document, and where it stands among the others.
struct Completed {
    rank: u8,
    name: String,
    value: Value,
}

fn completed(document: &Document, cluster: &Cluster) -> Option<Completed> {
    let at = At(&document.place);
    let (rank, metadata, value) = match &document.body {
        Body::Cluster(body) => {
            let mut body = body.clone();
            let ClusterDocument { api_version: _, kind: _, metadata, spec } = &mut *body;
            sort_metadata(metadata.as_mut());
            self::cluster(at.open(spec), cluster, at);
            (0, body.metadata.clone(), body.write())
        }
        Body::InstanceGroup(body) => {
            let mut body = body.clone();
            let InstanceGroupDocument { api_version: _, kind: _, metadata, spec } = &mut *body;
            sort_metadata(metadata.as_mut());
            if let Some(group) = cluster.group(&name_of(metadata.as_ref())) {
                instance_group(at.open(spec), group, at);
            }
            (1, body.metadata.clone(), body.write())
        }
        Body::SshCredential(body) => {
            let mut body = body.clone();
            sort_metadata(body.metadata.as_mut());
            (2, body.metadata.clone(), body.write())
        }
        Body::IngressController(body) => {
            let mut body = body.clone();
            let IngressControllerDocument { api_version: _, kind: _, metadata, spec } = &mut *body;
            sort_metadata(metadata.as_mut());
            let name = name_of(metadata.as_ref());
            let controllers = &cluster.ingress_controllers;
            if let Some(controller) = controllers.iter().find(|controller| controller.name == name) {
                ingress_controller(at.open(spec), controller, at);
            }
            (3, body.metadata.clone(), body.write())
        }
        Body::StateStore(body) => {
            let mut body = body.clone();
            let StateStoreDocument { api_version: _, kind: _, metadata, spec: _ } = &mut *body;
            sort_metadata(metadata.as_mut());
            // The key has no default: without one there is no document.
            let StateStore { kms_key: _ } = &cluster.state_store;
            (4, body.metadata.clone(), body.write())
        }
        Body::AccessEntry(body) => {
            let mut body = body.clone();
            let AccessEntryDocument { api_version: _, kind: _, metadata, spec: _ } = &mut *body;
            sort_metadata(metadata.as_mut());
            // Nothing of it has a default.
            (5, body.metadata.clone(), body.write())
        }
        Body::NamespaceDefaults(body) => {
            let mut body = body.clone();
            let NamespaceDefaultsDocument { api_version: _, kind: _, metadata, spec } = &mut *body;
            sort_metadata(metadata.as_mut());
            let range = spec.as_mut().and_then(|spec| spec.value.limit_range.as_mut());
            if let Some(LimitRangeSpec { default_requests, default_limits }) =
                range.map(|range| &mut range.value)
            {
                sort(default_requests.as_mut());
                sort(default_limits.as_mut());
            }
            (6, body.metadata.clone(), body.write())
        }
        Body::Manifest(body) => {
            let mut body = body.clone();
            let ManifestDocument { api_version: _, kind: _, metadata, spec: _ } = &mut *body;
            sort_metadata(metadata.as_mut());
            // Nothing of it has a default.
            (7, body.metadata.clone(), body.write())
        }
        Body::Object => return None,
    };
    Some(Completed { rank, name: name_of(metadata.as_ref()), value })
}

fn name_of(metadata: Option<&Located<Metadata>>) -> String {
    let name = metadata.and_then(|metadata| metadata.value.name.as_ref());
    name.map_or_else(String::new, |name| name.value.clone())
}

fn sort_metadata(metadata: Option<&mut Located<Metadata>>) {
    let Some(metadata) = metadata else { return };
    sort(metadata.value.labels.as_mut());
    sort(metadata.value.annotations.as_mut());
}

/// Where the order of keys means nothing.
fn sort<T>(dict: Option<&mut Located<Dict<T>>>) {
    if let Some(dict) = dict {
        dict.value.0.sort_by(|(a, _), (b, _)| a.value.cmp(&b.value));
    }
}

/// The place that is said of what stands nowhere.
#[derive(Clone, Copy)]
struct At<'a>(&'a Place);

impl At<'_> {
    fn located<T>(self, value: T) -> Located<T> {
        Located::new(value, self.0.clone())
    }

    /// Gives a field that is absent its value.
    fn fill<T>(self, field: &mut Option<Located<T>>, value: T) {
        field.get_or_insert_with(|| self.located(value));
    }

    /// The same where there may be nothing to say.
    fn fill_some<T>(self, field: &mut Option<Located<T>>, value: Option<T>) {
        if let Some(value) = value {
            self.fill(field, value);
        }
    }

    /// The same for a list, which as an empty one says no more than as an absent one.
    fn fill_list<T>(self, field: &mut Option<Located<List<T>>>, values: impl IntoIterator<Item = T>) {
        if field.as_ref().is_none_or(|list| list.value.is_empty()) {
            *field = Some(self.located(values.into_iter().map(|value| self.located(value)).collect()));
        }
    }

    /// The mapping in a field, an empty one where there is none.
    fn open<T: Default>(self, field: &mut Option<Located<T>>) -> &mut T {
        &mut field.get_or_insert_with(|| self.located(T::default())).value
    }
}

fn cluster(spec: &mut ClusterSpec, cluster: &Cluster, at: At<'_>) {
    let Cluster {
        // Of the document's metadata.
        name: _,
        annotations: _,
        protected: _,
        // From the subnets' zones.
        region: _,
        kubernetes_version,
        // Only the user's own.
        config_base: _,
        cloud_labels: _,
        network,
        api,
        ssh,
        node_port_access,
        bastion,
        etcd_clusters,
        iam,
        service_account_issuer,
        node_termination_handler,
        // Documents of their own.
        instance_groups: _,
        ingress_controllers: _,
        state_store: _,
        access_entries: _,
        namespace_defaults: _,
        manifests: _,
        addons,
        // Only the user's own.
        image_mirror: _,
        file_repository: _,
        objects: _,
    } = cluster;
    at.fill(&mut spec.cloud_provider, CloudProvider::Aws);
    at.fill(&mut spec.kubernetes_version, kubernetes_version.to_string());
    sort(spec.cloud_labels.as_mut());
    self::network(spec, network, at);
    self::api(spec, api, at);
    let Ssh { access, key: _ } = ssh;
    at.fill_list(&mut spec.ssh_access, access.iter().map(ToString::to_string));
    at.fill_list(&mut spec.node_port_access, node_port_access.iter().map(ToString::to_string));
    if let Some(bastion) = bastion {
        self::bastion(at.open(&mut spec.topology), bastion, at);
    }
    etcd(&mut spec.etcd_clusters, etcd_clusters, at);
    self::iam(spec, iam, at);
    if let (Some(discovery), Some(issuer)) =
        (&mut spec.service_account_issuer_discovery, service_account_issuer)
    {
        let ServiceAccountIssuer {
            discovery_store: _,
            bucket: _,
            enable_aws_oidc_provider,
            additional_audiences: _,
        } = issuer;
        at.fill(&mut discovery.value.enable_aws_oidc_provider, *enable_aws_oidc_provider);
    }
    self::addons::addons(spec, addons, node_termination_handler, at);
}

fn network(spec: &mut ClusterSpec, network: &Network, at: At<'_>) {
    let Network {
        vpc: _,
        cidr,
        additional_cidrs: _,
        non_masquerade_cidr,
        pod_cidr,
        service_cidr,
        // Nothing of a subnet has a default that can be written.
        subnets: _,
        tag_subnets,
        control_plane_topology,
        node_topology,
        dns,
        dns_zone: _,
        cluster_dns_domain,
        // It has to be chosen.
        pod_network: _,
        flannel,
    } = network;
    at.fill(&mut spec.network_cidr, cidr.to_string());
    at.fill(&mut spec.non_masquerade_cidr, non_masquerade_cidr.to_string());
    at.fill(&mut spec.pod_cidr, pod_cidr.to_string());
    at.fill(&mut spec.service_cluster_ip_range, service_cidr.to_string());
    // The older spelling, which the newer one goes before.
    spec.disable_subnet_tags = None;
    at.fill(&mut spec.tag_subnets, *tag_subnets);
    at.fill(&mut spec.cluster_dns_domain, cluster_dns_domain.clone());
    if let (Some(flannel), Some(networking)) = (flannel, &mut spec.networking) {
        self::flannel(at.open(&mut networking.value.flannel), flannel, at);
    }
    let topology = at.open(&mut spec.topology);
    if topology.control_plane.is_none() {
        at.fill(&mut topology.masters, topology_word(*control_plane_topology));
    }
    at.fill(&mut topology.nodes, topology_word(*node_topology));
    let dns_type = match dns {
        DnsType::Public => DnsTypeSpec::Public,
        DnsType::Private => DnsTypeSpec::Private,
        DnsType::None => DnsTypeSpec::None,
    };
    at.fill(&mut at.open(&mut topology.dns).dns_type, dns_type);
}

fn flannel(spec: &mut FlannelSpec, flannel: &Flannel, at: At<'_>) {
    // The interval is flannel's own where none is given.
    let Flannel { backend, iptables_resync_seconds: _ } = flannel;
    let backend = match backend {
        FlannelBackend::Vxlan => FlannelBackendSpec::Vxlan,
        FlannelBackend::Udp => FlannelBackendSpec::Udp,
    };
    at.fill(&mut spec.backend, backend);
}

fn topology_word(topology: Topology) -> String {
    match topology {
        Topology::Public => "public",
        Topology::Private => "private",
    }
    .to_owned()
}

fn api(spec: &mut ClusterSpec, api: &Api, at: At<'_>) {
    let Api {
        public_name,
        internal_name,
        // From the ingress controllers.
        port: _,
        access,
        additional_sans: _,
        load_balancer,
    } = api;
    at.fill(&mut spec.master_public_name, public_name.clone());
    at.fill(&mut spec.master_internal_name, internal_name.clone());
    at.fill_list(&mut spec.kubernetes_api_access, access.iter().map(ToString::to_string));
    let ApiSpec { dns, load_balancer: balancer_spec } = at.open(&mut spec.api);
    match load_balancer {
        Some(balancer) => {
            if balancer_spec.is_none() {
                at.fill(&mut at.open(balancer_spec).class, LoadBalancerClass::Network);
            }
            api_load_balancer(at.open(balancer_spec), balancer, at);
        }
        None => at.fill(dns, Anything(Value::Mapping(serde_yaml::Mapping::new()))),
    }
}

fn api_load_balancer(spec: &mut ApiLoadBalancerSpec, balancer: &ApiLoadBalancer, at: At<'_>) {
    let ApiLoadBalancer {
        scheme,
        additional_security_groups: _,
        cross_zone,
        use_for_internal_api,
        ssl_certificate: _,
        ssl_policy: _,
        access_log: _,
        subnets,
    } = balancer;
    // A class that the user's own has not is warned of, this time and the next.
    at.fill(&mut spec.scheme, self::scheme(*scheme));
    at.fill(&mut spec.cross_zone_load_balancing, *cross_zone);
    at.fill(&mut spec.use_for_internal_api, *use_for_internal_api);
    let subnet = |subnet: &LoadBalancerSubnet| {
        // The addresses are the user's own: a subnet that was chosen for him has none.
        let LoadBalancerSubnet { subnet, private_ipv4_address: _, allocation_id: _ } = subnet;
        LoadBalancerSubnetSpec { name: Some(at.located(subnet.clone())), ..LoadBalancerSubnetSpec::default() }
    };
    at.fill_list(&mut spec.subnets, subnets.iter().map(subnet));
}

fn scheme(scheme: Scheme) -> LoadBalancerType {
    match scheme {
        Scheme::Public => LoadBalancerType::Public,
        Scheme::Internal => LoadBalancerType::Internal,
    }
}

fn bastion(spec: &mut TopologySpec, bastion: &Bastion, at: At<'_>) {
    // The subnets follow from the scheme.
    let Bastion { public_name: _, scheme, additional_security_groups: _, subnets: _ } = bastion;
    let balancer = at.open(&mut at.open(&mut spec.bastion).load_balancer);
    at.fill(&mut balancer.scheme, self::scheme(*scheme));
}

fn etcd(field: &mut Option<Located<List<EtcdClusterSpec>>>, clusters: &[EtcdCluster], at: At<'_>) {
    at.fill_list(
        field,
        clusters.iter().map(|cluster| EtcdClusterSpec {
            name: Some(at.located(cluster.name.clone())),
            ..EtcdClusterSpec::default()
        }),
    );
    for spec in field.iter_mut().flat_map(|list| &mut list.value) {
        let spec = &mut spec.value;
        let name = spec.name.as_ref().map(|name| &name.value);
        let Some(cluster) = clusters.iter().find(|cluster| Some(&cluster.name) == name) else { continue };
        let EtcdCluster { name: _, members, backup_retention_days } = cluster;
        at.fill(&mut at.open(&mut spec.manager).backup_retention_days, i64::from(*backup_retention_days));
        at.fill_list(
            &mut spec.members,
            members.iter().map(|member| EtcdMemberSpec {
                name: Some(at.located(member.name.clone())),
                instance_group: Some(at.located(member.instance_group.clone())),
                ..EtcdMemberSpec::default()
            }),
        );
        for spec in spec.members.iter_mut().flat_map(|list| &mut list.value) {
            let name = spec.value.name.as_ref().map(|name| &name.value);
            if let Some(member) = members.iter().find(|member| Some(&member.name) == name) {
                etcd_member(&mut spec.value, member, at);
            }
        }
    }
}

fn etcd_member(spec: &mut EtcdMemberSpec, member: &EtcdMember, at: At<'_>) {
    // The zone is that of the group's subnets.
    let EtcdMember { name: _, instance_group: _, zone: _, volume } = member;
    let fields = VolumeFields {
        size: &mut spec.volume_size,
        kind: &mut spec.volume_type,
        iops: &mut spec.volume_iops,
        throughput: &mut spec.volume_throughput,
        encrypted: &mut spec.encrypted_volume,
    };
    fields.fill(volume, at);
}

/// The fields of a disk, wherever they are written.
struct VolumeFields<'a> {
    size: &'a mut Option<Located<i64>>,
    kind: &'a mut Option<Located<VolumeTypeSpec>>,
    iops: &'a mut Option<Located<i64>>,
    throughput: &'a mut Option<Located<i64>>,
    encrypted: &'a mut Option<Located<bool>>,
}

impl VolumeFields<'_> {
    fn fill(self, volume: &Volume, at: At<'_>) {
        // Without a key of the user's own, it is the account's.
        let Volume { size_gib, kind, iops, throughput, encrypted, kms_key: _ } = volume;
        at.fill(self.size, i64::from(*size_gib));
        at.fill(self.kind, volume_type(*kind));
        at.fill_some(self.iops, iops.map(i64::from));
        at.fill_some(self.throughput, throughput.map(i64::from));
        at.fill(self.encrypted, *encrypted);
    }
}

fn volume_type(kind: VolumeType) -> VolumeTypeSpec {
    match kind {
        VolumeType::Gp2 => VolumeTypeSpec::Gp2,
        VolumeType::Gp3 => VolumeTypeSpec::Gp3,
        VolumeType::Io1 => VolumeTypeSpec::Io1,
        VolumeType::Io2 => VolumeTypeSpec::Io2,
        VolumeType::St1 => VolumeTypeSpec::St1,
        VolumeType::Sc1 => VolumeTypeSpec::Sc1,
        VolumeType::Standard => VolumeTypeSpec::Standard,
    }
}

fn iam(spec: &mut ClusterSpec, iam: &Iam, at: At<'_>) {
    let Iam {
        permissions_boundary: _,
        allow_container_registry,
        // Only the user's own. Two keys may name one role (`master`, `control-plane`), and then
        // their order is that of the role's policies: they are not sorted.
        additional_policies: _,
        external_policies: _,
        use_service_account_external_permissions,
        service_accounts: _,
    } = iam;
    let spec = at.open(&mut spec.iam);
    at.fill(&mut spec.allow_container_registry, *allow_container_registry);
    at.fill(&mut spec.use_service_account_external_permissions, *use_service_account_external_permissions);
}

fn instance_group(spec: &mut InstanceGroupSpec, group: &InstanceGroup, at: At<'_>) {
    let InstanceGroup {
        name: _,
        // It has to be given.
        role,
        image,
        machine_type,
        // From the machine type.
        architecture: _,
        min_size,
        max_size,
        autoscale,
        autoscale_priority,
        subnets,
        associate_public_ip,
        root_volume,
        // Absent, these are AWS' own choice.
        ebs_optimized: _,
        volumes,
        purchase,
        cpu_credits: _,
        instance_metadata,
        detailed_monitoring,
        instance_protection,
        tenancy: _,
        max_instance_lifetime_seconds,
        // Only the user's own.
        suspend_processes: _,
        additional_security_groups: _,
        security_group_override: _,
        iam_profile: _,
        target_group_arns: _,
        additional_user_data: _,
        cloud_labels: _,
        node_labels: _,
        taints: _,
        // From the machine type.
        memory_mib: _,
        // Only the user's own.
        sysctls: _,
    } = group;
    at.fill(&mut spec.manager, MANAGER.to_owned());
    at.fill(&mut spec.image, image.to_string());
    at.fill(&mut spec.machine_type, machine_type.clone());
    at.fill(&mut spec.min_size, i64::from(*min_size));
    at.fill(&mut spec.max_size, i64::from(*max_size));
    if *role == Role::Node {
        at.fill(&mut spec.autoscale, *autoscale);
        at.fill(&mut spec.autoscale_priority, i64::from(*autoscale_priority));
    }
    at.fill_list(&mut spec.subnets, subnets.iter().cloned());
    at.fill(&mut spec.associate_public_ip, *associate_public_ip);
    self::root_volume(spec, root_volume, at);
    for (spec, device) in spec.volumes.iter_mut().flat_map(|list| &mut list.value).zip(volumes) {
        self::volume(&mut spec.value, device, at);
    }
    self::purchase(spec, purchase, at);
    let InstanceMetadata { tokens_required, hop_limit } = instance_metadata;
    let InstanceMetadataSpec { http_put_response_hop_limit, http_tokens } =
        at.open(&mut spec.instance_metadata);
    at.fill(http_put_response_hop_limit, i64::from(*hop_limit));
    at.fill(http_tokens, if *tokens_required { HttpTokensSpec::Required } else { HttpTokensSpec::Optional });
    at.fill(&mut spec.detailed_instance_monitoring, *detailed_monitoring);
    at.fill(&mut spec.instance_protection, *instance_protection);
    at.fill(&mut spec.max_instance_lifetime, Scalar(format!("{max_instance_lifetime_seconds}s")));
    sort(spec.cloud_labels.as_mut());
    sort(spec.node_labels.as_mut());
}

/// In the spelling that the group uses already; the two exclude each other.
fn root_volume(spec: &mut InstanceGroupSpec, volume: &Volume, at: At<'_>) {
    let fields = match &mut spec.root_volume {
        Some(block) => {
            let RootVolumeSpec {
                size,
                volume_type,
                iops,
                throughput,
                encryption,
                encryption_key: _,
                optimization: _,
            } = &mut block.value;
            VolumeFields { size, kind: volume_type, iops, throughput, encrypted: encryption }
        }
        None => VolumeFields {
            size: &mut spec.root_volume_size,
            kind: &mut spec.root_volume_type,
            iops: &mut spec.root_volume_iops,
            throughput: &mut spec.root_volume_throughput,
            encrypted: &mut spec.root_volume_encryption,
        },
    };
    fields.fill(volume, at);
}

fn volume(spec: &mut VolumeSpec, device: &BlockDevice, at: At<'_>) {
    let BlockDevice { device: _, volume, delete_on_termination } = device;
    let VolumeSpec {
        device: _,
        size,
        volume_type,
        iops,
        throughput,
        encrypted,
        key: _,
        delete_on_termination: field,
    } = spec;
    VolumeFields { size, kind: volume_type, iops, throughput, encrypted }.fill(volume, at);
    at.fill(field, *delete_on_termination);
}

/// Of a mix, only its types have a default; a number that is left out is left to AWS.
fn purchase(spec: &mut InstanceGroupSpec, purchase: &Purchase, at: At<'_>) {
    match (purchase, &mut spec.mixed_instances_policy) {
        (Purchase::Mixed(mix), Some(policy)) if mix.requirements.is_none() => {
            at.fill_list(&mut policy.value.instances, mix.instance_types.iter().cloned());
        }
        (Purchase::OnDemand | Purchase::Spot(_) | Purchase::Mixed(_), _) => {}
    }
}

fn ingress_controller(spec: &mut IngressControllerSpec, controller: &IngressController, at: At<'_>) {
    let IngressController { name: _, namespace, ingress_class, load_balancer, hosts: _ } = controller;
    let IngressLoadBalancer { managed_by, proxy_protocol, share_with_api } = load_balancer;
    at.fill(&mut spec.namespace, namespace.clone());
    at.fill(&mut spec.ingress_class, ingress_class.clone());
    let balancer = at.open(&mut spec.load_balancer);
    let manager = match managed_by {
        LoadBalancerManager::Kcl => ManagedBy::Kcl,
        LoadBalancerManager::Service => ManagedBy::Service,
    };
    at.fill(&mut balancer.managed_by, manager);
    at.fill(&mut balancer.proxy_protocol, *proxy_protocol);
    at.fill(&mut balancer.share_with_api, *share_with_api);
}
