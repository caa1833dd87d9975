//! Node configurations that tests begin from.

use std::collections::BTreeMap;

use kcl_node_config::assets::{Architecture, for_version};
use kcl_node_config::{
    Api, ApiVersion, CloudProvider, ControlPlane, Dns, DnsAddress, DnsName, Etcd, Kind, Kubelet, Network,
    NodeConfig, Role, ServiceAccounts, Store, Taint, TaintEffect,
};

/// A stand-in: nothing here looks into it.
pub(crate) const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// The control plane of the reference cluster.
pub(crate) fn control_plane() -> NodeConfig {
    NodeConfig {
        api_version: ApiVersion::V1Alpha1,
        kind: Kind::NodeConfig,
        cluster: "karlaru.com".to_owned(),
        account: "123456789012".to_owned(),
        instance_group: "control-plane-eu-north-1a".to_owned(),
        role: Role::ControlPlane,
        kubernetes_version: "1.36.3".to_owned(),
        store: Store { location: "s3://karlaru-state/karlaru.com".to_owned() },
        api: Api {
            endpoint: "api.internal.karlaru.com".to_owned(),
            port: 443,
            bind_port: 443,
            cert_sans: vec!["api.karlaru.com".to_owned(), "127.0.0.1".to_owned()],
            ca_bundle: CA.to_owned(),
        },
        control_plane: Some(ControlPlane {
            node_roles: vec!["nodes.karlaru.com".to_owned()],
            etcd: Etcd { member: "a".to_owned(), members: vec!["a".to_owned()], backup_retention_days: 90 },
            dns: vec![Dns {
                zone: "Z0123456789ABCDEFGHIJ".to_owned(),
                names: vec![
                    DnsName { name: "api.karlaru.com".to_owned(), address: DnsAddress::Public },
                    DnsName { name: "api.internal.karlaru.com".to_owned(), address: DnsAddress::Private },
                ],
            }],
        }),
        service_accounts: Some(ServiceAccounts {
            issuer: "https://karlaru-oidc.s3.eu-north-1.amazonaws.com/karlaru.com".to_owned(),
            audiences: vec!["kubernetes.svc.default".to_owned(), "amazonaws.com".to_owned()],
        }),
        network: Network {
            pod_cidr: Some("100.96.0.0/11".to_owned()),
            service_cidr: "100.64.0.0/13".to_owned(),
            dns_domain: "cluster.local".to_owned(),
            dns_ip: "100.64.0.10".to_owned(),
        },
        labels: BTreeMap::new(),
        taints: Vec::new(),
        kubelet: Kubelet::for_memory(2048),
        cordon_on_rebalance: false,
        sysctls: BTreeMap::new(),
        cloud_provider: CloudProvider::External,
        assets: for_version("1.36.3", Architecture::Amd64, &BTreeMap::new()).unwrap(),
        file_repository: None,
        image_repository: None,
        registry_mirrors: BTreeMap::new(),
    }
}

/// A group of workers that has something to say everywhere.
pub(crate) fn worker() -> NodeConfig {
    NodeConfig {
        instance_group: "nodes".to_owned(),
        role: Role::Node,
        control_plane: None,
        service_accounts: None,
        labels: BTreeMap::from([
            ("node.kubernetes.io/lifecycle".to_owned(), "spot".to_owned()),
            ("team".to_owned(), String::new()),
        ]),
        taints: vec![Taint {
            key: "dedicated".to_owned(),
            value: "web".to_owned(),
            effect: TaintEffect::PreferNoSchedule,
        }],
        kubelet: Kubelet { max_pods: Some(30), ..Kubelet::for_memory(1024) },
        cordon_on_rebalance: true,
        sysctls: BTreeMap::from([
            ("net.core.somaxconn".to_owned(), "4096".to_owned()),
            ("kernel.panic".to_owned(), "0".to_owned()),
        ]),
        file_repository: Some("https://mirror.example/files/".to_owned()),
        image_repository: Some("mirror.example/k8s".to_owned()),
        registry_mirrors: BTreeMap::from([(
            "docker.io".to_owned(),
            vec!["https://mirror.example".to_owned(), "http://10.0.0.1:5000".to_owned()],
        )]),
        ..control_plane()
    }
}
