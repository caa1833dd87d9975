//! Machines of the local AWS, as they would join a cluster.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::through;
use kcl_testkit::LocalAws;
use kcl_testkit::kubernetes::cluster_machines;

const CLUSTER: &str = "k8s.example.com";

/// A group of machines with these tags.
fn group(aws: &LocalAws, subnet: &str, name: &str, kind: &str, tags: &[(&str, &str)]) {
    let client = through(aws);
    let template = client.id(
        &format!(
            "ec2 CreateLaunchTemplate LaunchTemplateName={name} LaunchTemplateData.ImageId=ami-0a1b2c3d4e5f60001 \
             LaunchTemplateData.InstanceType={kind}"
        ),
        "launchTemplate/launchTemplateId",
    );
    let mut params: Vec<(String, String)> = [
        ("AutoScalingGroupName", name),
        ("MinSize", "1"),
        ("MaxSize", "2"),
        ("VPCZoneIdentifier", subnet),
        ("LaunchTemplate.LaunchTemplateId", template.as_str()),
        ("LaunchTemplate.Version", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (index, (key, value)) in tags.iter().enumerate() {
        let field = |field: &str| format!("Tags.member.{}.{field}", index + 1);
        params.push((field("Key"), (*key).to_owned()));
        params.push((field("Value"), (*value).to_owned()));
        params.push((field("PropagateAtLaunch"), "true".to_owned()));
        params.push((field("ResourceType"), "auto-scaling-group".to_owned()));
        params.push((field("ResourceId"), name.to_owned()));
    }
    let params: Vec<(&str, &str)> =
        params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    client.query("autoscaling", "CreateAutoScalingGroup", &params).ok();
}

#[test]
fn machines_join_as_their_tags_say() {
    let aws = LocalAws::shared().unwrap();
    let client = through(&aws);
    let vpc = client.vpc();
    let subnet = client.subnet(&vpc, 1);
    let of = |cluster| ("KubernetesCluster", cluster);
    let master = [of(CLUSTER), ("k8s.io/role/control-plane", "1"), ("kops.k8s.io/instancegroup", "main")];
    group(&aws, &subnet, "main", "t3.small", &master);
    let node = [
        of(CLUSTER),
        ("k8s.io/role/node", "1"),
        ("kops.k8s.io/instancegroup", "nodes"),
        ("k8s.io/cluster-autoscaler/node-template/label/team", "shop"),
        ("k8s.io/cluster-autoscaler/node-template/taint/spot", "true:NoSchedule"),
    ];
    group(&aws, &subnet, "nodes", "t3.micro", &node);
    group(&aws, &subnet, "bastions", "t3.micro", &[of(CLUSTER), ("k8s.io/role/bastion", "1")]);
    group(&aws, &subnet, "strangers", "t3.micro", &[of("other.example.com"), ("k8s.io/role/node", "1")]);

    let machines = cluster_machines(&aws, CLUSTER).unwrap();
    assert_eq!(machines.len(), 2, "{machines:#?}");
    let of_group = |name: &str| {
        machines.iter().find(|one| one.labels["kops.k8s.io/instancegroup"] == name).unwrap().clone()
    };
    let (main, nodes) = (of_group("main"), of_group("nodes"));
    assert_eq!(main.labels["node-role.kubernetes.io/control-plane"], "");
    assert_eq!(main.taints.len(), 1);
    assert_eq!(main.labels["node.kubernetes.io/instance-type"], "t3.small");
    assert!(main.name.starts_with("ip-10-0-1-") && main.name.ends_with(".internal"), "{}", main.name);
    assert!(main.provider_id.starts_with("aws:///eu-north-1b/i-"), "{}", main.provider_id);
    assert!(main.address.starts_with("10.0.1."), "{}", main.address);
    assert_eq!((nodes.cpus, nodes.memory), (2, 942));
    assert_eq!(nodes.labels["kubernetes.io/arch"], "amd64");
    assert_eq!(nodes.labels["topology.kubernetes.io/zone"], "eu-north-1b");
    assert_eq!(nodes.labels["team"], "shop");
    assert_eq!(nodes.taints, [("spot".to_owned(), "true".to_owned(), "NoSchedule".to_owned())]);
    assert_ne!(main.name, nodes.name);
}
