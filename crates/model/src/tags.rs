//! Tags, as kOps has them.

use kcl_spec::cluster::{Cluster, InstanceGroup, Role, Subnet, SubnetType};

use crate::resource::Tags;

const TEMPLATE_LABEL: &str = "k8s.io/cluster-autoscaler/node-template/label/";
const TEMPLATE_TAINT: &str = "k8s.io/cluster-autoscaler/node-template/taint/";

/// The tags of a resource that the cluster owns.
pub(crate) fn owned(cluster: &Cluster, name: &str) -> Tags {
    let mut tags = cluster.cloud_labels.clone();
    tags.extend(ownership(&cluster.name, name));
    tags
}

/// The tags that nobody else may set: which cluster's, and which resource.
fn ownership(cluster: &str, name: &str) -> [(String, String); 3] {
    [
        ("KubernetesCluster".to_owned(), cluster.to_owned()),
        ("Name".to_owned(), name.to_owned()),
        (format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned()),
    ]
}

/// The tags of a subnet: load balancer controllers choose subnets by them.
pub(crate) fn subnet(cluster: &Cluster, subnet: &Subnet, name: &str) -> Tags {
    let mut tags = owned(cluster, name);
    if !cluster.network.tag_subnets {
        return tags;
    }
    let is_private = |subnet: &Subnet| subnet.kind == SubnetType::Private;
    let (kind, roles): (&str, &[&str]) = match subnet.kind {
        // Internal load balancers need a place too where there is no private subnet.
        SubnetType::Public if !cluster.network.subnets.iter().any(is_private) => {
            ("Public", &["elb", "internal-elb"])
        }
        SubnetType::Public => ("Public", &["elb"]),
        SubnetType::Private => ("Private", &["internal-elb"]),
        SubnetType::Utility => ("Utility", &["elb"]),
    };
    tags.insert("SubnetType".to_owned(), kind.to_owned());
    tags.extend(roles.iter().map(|role| (format!("kubernetes.io/role/{role}"), "1".to_owned())));
    tags
}

/// The tags of a route table; `role` is `public` or `private-<zone>`.
pub(crate) fn route_table(cluster: &Cluster, name: &str, role: &str) -> Tags {
    let mut tags = owned(cluster, name);
    tags.insert("kubernetes.io/kops/role".to_owned(), role.to_owned());
    tags
}

/// The tags by which machines and volumes of the control plane are known.
pub(crate) fn control_plane() -> impl Iterator<Item = (String, String)> {
    ["k8s.io/role/control-plane", "k8s.io/role/master"]
        .into_iter()
        .map(|key| (key.to_owned(), "1".to_owned()))
}

/// The tags of a group's launch template, of the group, and of its machines, disks and interfaces.
pub(crate) fn instance_group(cluster: &Cluster, group: &InstanceGroup, name: &str) -> Tags {
    let mut tags = cluster.cloud_labels.clone();
    tags.extend(group.cloud_labels.clone());
    let labels = labels(group).into_iter();
    tags.extend(labels.map(|(key, value)| (format!("{TEMPLATE_LABEL}{key}"), value)));
    let taints = group.taints.iter();
    tags.extend(taints.map(|taint| {
        (format!("{TEMPLATE_TAINT}{}", taint.key), format!("{}:{}", taint.value, taint.effect))
    }));
    match group.role {
        Role::ControlPlane => tags.extend(control_plane()),
        Role::Node => tags.extend([("k8s.io/role/node".to_owned(), "1".to_owned())]),
        Role::Bastion => tags.extend([("k8s.io/role/bastion".to_owned(), "1".to_owned())]),
    }
    let handler = &cluster.node_termination_handler;
    if handler.enabled && handler.sqs_termination_draining {
        tags.insert(handler.managed_asg_tag.clone(), String::new());
    }
    tags.insert("kops.k8s.io/instancegroup".to_owned(), group.name.clone());
    tags.extend(ownership(&cluster.name, name));
    tags
}

/// The labels of the group's nodes, for the cluster autoscaler to know them before a machine is there. From these tags
/// of an instance the node agents of the control plane take those labels that its kubelet may not give itself.
fn labels(group: &InstanceGroup) -> Tags {
    let of_role: &[&str] = match group.role {
        Role::ControlPlane => &[
            "kops.k8s.io/kops-controller-pki",
            "node-role.kubernetes.io/control-plane",
            "node.kubernetes.io/exclude-from-external-load-balancers",
        ],
        Role::Node => &["node-role.kubernetes.io/node"],
        Role::Bastion => &[],
    };
    let mut labels: Tags = of_role.iter().map(|key| ((*key).to_owned(), String::new())).collect();
    labels.extend(group.node_labels.clone());
    labels
}
