//! The type of each resource kind, one file per kind: its fields and the rules of planning for it.
//!
//! Wanted and live resources are these same types, normalised in the same way, so that comparing them is
//! plain equality. Which attributes ([`kcl_engine::Attrs`]) a kind gives out stands in its own
//! documentation.

mod auto_scaling_group;
mod bucket;
mod classic_load_balancer;
mod dhcp_options;
mod discovery_document;
mod dns_record;
mod elastic_ip;
mod encryption_key;
mod event_rule;
mod iam_role;
mod instance;
mod instance_profile;
mod internet_gateway;
mod key_pair;
mod keyset;
mod launch_template;
mod listener;
mod load_balancer;
mod machine_records;
mod nat_gateway;
mod network_interface;
mod node_agent;
mod node_configuration;
mod oidc_provider;
mod queue;
mod registered_spec;
mod route;
mod route_table;
mod route_table_association;
mod security_group;
mod security_group_rule;
mod subnet;
mod target_group;
mod volume;
mod vpc;

use std::collections::BTreeMap;

use kcl_engine::{Catalogue, Resource};

pub use auto_scaling_group::{AutoScalingGroup, InstanceRequirements, LifecycleHook, MixedInstances};
pub use bucket::Bucket;
pub use classic_load_balancer::ClassicLoadBalancer;
pub use dhcp_options::DhcpOptions;
pub use discovery_document::DiscoveryDocument;
pub use dns_record::DnsRecord;
pub use elastic_ip::ElasticIp;
pub use encryption_key::EncryptionKey;
pub use event_rule::EventRule;
pub use iam_role::IamRole;
pub use instance::Instance;
pub use instance_profile::InstanceProfile;
pub use internet_gateway::InternetGateway;
pub use key_pair::KeyPair;
pub use keyset::Keyset;
pub use launch_template::{AGENT_GAP, BlockDevice, CONFIGURATION_GAP, LaunchTemplate, SpotOptions};
pub use listener::Listener;
pub use load_balancer::{AccessLog, LoadBalancer};
pub use machine_records::MachineRecords;
pub use nat_gateway::NatGateway;
pub use network_interface::NetworkInterface;
pub use node_agent::NodeAgent;
pub use node_configuration::NodeConfiguration;
pub use oidc_provider::OidcProvider;
pub use queue::Queue;
pub use registered_spec::RegisteredSpec;
pub use route::{Route, RouteTarget};
pub use route_table::RouteTable;
pub use route_table_association::RouteTableAssociation;
pub use security_group::SecurityGroup;
pub use security_group_rule::{Direction, Peer, Protocol, SecurityGroupRule};
pub use subnet::Subnet;
pub use target_group::{HealthCheck, TargetGroup};
pub use volume::Volume;
pub use vpc::Vpc;

/// Tags: key to value.
pub type Tags = BTreeMap<String, String>;

/// The tag that says on AWS itself that a cluster is protected, with the value `true`: as the annotation of that name
/// says it in the spec, for whoever deletes without it.
pub const PROTECT_TAG: &str = "kcl.dev/protect";

/// Every kind, in the order in which a plan shows them.
pub fn catalogue() -> Catalogue {
    Catalogue::new([
        Bucket::SCHEMA,
        RegisteredSpec::SCHEMA,
        Keyset::SCHEMA,
        EncryptionKey::SCHEMA,
        MachineRecords::SCHEMA,
        Vpc::SCHEMA,
        DhcpOptions::SCHEMA,
        InternetGateway::SCHEMA,
        Subnet::SCHEMA,
        ElasticIp::SCHEMA,
        NatGateway::SCHEMA,
        RouteTable::SCHEMA,
        Route::SCHEMA,
        RouteTableAssociation::SCHEMA,
        SecurityGroup::SCHEMA,
        SecurityGroupRule::SCHEMA,
        NetworkInterface::SCHEMA,
        DiscoveryDocument::SCHEMA,
        OidcProvider::SCHEMA,
        IamRole::SCHEMA,
        InstanceProfile::SCHEMA,
        Volume::SCHEMA,
        LoadBalancer::SCHEMA,
        TargetGroup::SCHEMA,
        Listener::SCHEMA,
        ClassicLoadBalancer::SCHEMA,
        DnsRecord::SCHEMA,
        KeyPair::SCHEMA,
        NodeAgent::SCHEMA,
        NodeConfiguration::SCHEMA,
        LaunchTemplate::SCHEMA,
        AutoScalingGroup::SCHEMA,
        Instance::SCHEMA,
        Queue::SCHEMA,
        EventRule::SCHEMA,
    ])
}

/// Whether a tag is none of ours: teams, cost tools and controllers put tags of their own on what we make,
/// and we leave those alone. Ours are `Name`, `KubernetesCluster`, `SubnetType` and what lies under the
/// prefixes of Kubernetes and kOps, but for the mark of another cluster that shares the resource.
pub fn is_foreign_tag(key: &str) -> bool {
    const OURS: [&str; 3] = ["Name", "KubernetesCluster", "SubnetType"];
    const PREFIXES: [&str; 5] =
        ["k8s.io/", "kops.k8s.io/", "kubernetes.io/role/", "aws-node-termination-handler/", "kcl.dev/"];
    !OURS.contains(&key) && !PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}
