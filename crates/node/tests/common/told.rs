//! What machines of a cluster are told in tests, and the cluster's keys.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kcl_node_config::{
    Api, ApiVersion, CloudProvider, ControlPlane, EncryptionKey, EncryptionKeys, Etcd, Kind, Kubelet,
    Network, NodeConfig, Role, ServiceAccounts, Store, Taint, TaintEffect,
};
use kcl_pki::{Issued, Keyset, KeysetName, Profile, SubjectAltNames, SystemEntropy};
use time::{Duration, OffsetDateTime};

pub(crate) const CLUSTER: &str = "karlaru.com";

/// The API's name on machines.
pub(crate) const API: &str = "api.internal.karlaru.com";

/// All keys of a cluster.
pub(crate) struct Keys {
    keysets: BTreeMap<KeysetName, Keyset>,
    encryption: EncryptionKeys,
}

impl Keys {
    pub(crate) fn fresh() -> Self {
        let now = OffsetDateTime::now_utc();
        let make = |name| (name, Keyset::generate(name, &mut SystemEntropy, now).unwrap());
        let key = EncryptionKey::new("key-1", STANDARD.encode([7; 32])).unwrap();
        Self {
            keysets: KeysetName::ALL.map(make).into(),
            encryption: EncryptionKeys::new(vec![key]).unwrap(),
        }
    }

    /// The keyset for changing it.
    pub(crate) fn keyset(&mut self, name: KeysetName) -> &mut Keyset {
        self.keysets.get_mut(&name).unwrap()
    }

    /// As kcl keeps them in the store: path and content.
    pub(crate) fn objects(&self) -> Vec<(String, String)> {
        let mut objects = vec![(EncryptionKeys::PATH.to_owned(), self.encryption.to_json().to_string())];
        for (name, keyset) in &self.keysets {
            objects.push((name.index_path(), keyset.index_yaml()));
            for key in keyset.keys() {
                let private = key.private_key().unwrap().to_pem();
                objects.push((name.private_key_path(key.id()), private.reveal().to_owned()));
            }
        }
        objects
    }

    /// Everything of them that nobody may read: the bodies of the private keys and of the encryption key.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![STANDARD.encode([7; 32])];
        for (path, content) in self.objects() {
            if path.rsplit('.').next() == Some("key") {
                secrets.push(content.lines().nth(1).unwrap().to_owned());
            }
        }
        secrets
    }

    pub(crate) fn authorities(&self) -> String {
        self.keysets[&KeysetName::KubernetesCa].trust_bundle()
    }

    /// A server's certificate for loopback, and its key.
    pub(crate) fn server(&self) -> Issued {
        let ips = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let profile = Profile::ApiServer(SubjectAltNames { dns: Vec::new(), ips });
        let authority = self.keysets[&KeysetName::KubernetesCa].authority(OffsetDateTime::now_utc()).unwrap();
        authority.issue(&profile, Duration::days(1), &mut SystemEntropy).unwrap()
    }
}

/// What a machine is told that fetches no program.
pub(crate) fn config(role: Role, store: &str, authorities: &str) -> NodeConfig {
    let control_plane = role == Role::ControlPlane;
    NodeConfig {
        api_version: ApiVersion::V1Alpha1,
        kind: Kind::NodeConfig,
        cluster: CLUSTER.to_owned(),
        account: "123456789012".to_owned(),
        instance_group: if control_plane { "control-plane".to_owned() } else { "nodes".to_owned() },
        role,
        kubernetes_version: "1.36.3".to_owned(),
        store: Store { location: store.to_owned() },
        api: Api {
            endpoint: API.to_owned(),
            port: 443,
            bind_port: 443,
            cert_sans: vec!["api.karlaru.com".to_owned()],
            ca_bundle: authorities.to_owned(),
        },
        control_plane: control_plane.then(|| ControlPlane {
            node_roles: vec!["nodes.karlaru.com".to_owned()],
            etcd: Etcd { member: "a".to_owned(), members: vec!["a".to_owned()], backup_retention_days: 90 },
            dns: Vec::new(),
        }),
        service_accounts: control_plane.then(|| ServiceAccounts {
            issuer: "https://karlaru-oidc.s3.eu-north-1.amazonaws.com/karlaru.com".to_owned(),
            audiences: vec!["kubernetes.svc.default".to_owned()],
        }),
        network: Network {
            pod_cidr: Some("100.96.0.0/11".to_owned()),
            service_cidr: "100.64.0.0/13".to_owned(),
            dns_domain: "cluster.local".to_owned(),
            dns_ip: "100.64.0.10".to_owned(),
        },
        labels: BTreeMap::from([("team".to_owned(), "web".to_owned())]),
        taints: vec![Taint {
            key: "dedicated".to_owned(),
            value: "web".to_owned(),
            effect: TaintEffect::NoSchedule,
        }],
        kubelet: Kubelet::for_memory(1024),
        cordon_on_rebalance: false,
        sysctls: BTreeMap::new(),
        cloud_provider: CloudProvider::External,
        assets: Vec::new(),
        file_repository: None,
        image_repository: None,
        registry_mirrors: BTreeMap::from([(
            "docker.io".to_owned(),
            vec!["https://mirror.example".to_owned()],
        )]),
    }
}
