//! What each concern makes of a cluster.

use std::collections::BTreeMap;

use kcl_engine::{Ref, Resource, Wanted};
use kcl_node_config::NodeConfig;
use kcl_spec::cluster::*;
use serde_json::json;

use super::fixture::{self, NAME, cluster, facts, model, nets, private_cluster, shared_cluster};
use crate::resource::{
    AutoScalingGroup, DhcpOptions, DnsRecord, IamRole, KeyPair, LaunchTemplate, Listener, LoadBalancer,
    NodeConfiguration, OidcProvider, Queue, Route, RouteTable, SecurityGroupRule, Subnet, TargetGroup,
    Volume, Vpc,
};
use crate::{Documents, Facts, HostedZone, ModelError, NewBucket, add_state, build, names, needed};

/// A stand-in for authorities.
const CA: &str = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";

fn names_of<R: Resource>(wanted: &Wanted) -> Vec<String> {
    let nodes = wanted.nodes().filter(|(id, _)| id.kind.as_str() == R::SCHEMA.kind);
    nodes.map(|(id, _)| id.name.replace(NAME, "N")).collect()
}

fn warnings(cluster: &Cluster) -> Vec<String> {
    model(cluster).warnings.into_iter().map(|warning| warning.title).collect()
}

#[test]
fn the_network_of_public_subnets() {
    let wanted = model(&cluster()).wanted;
    assert_eq!(names_of::<Route>(&wanted), ["N 0.0.0.0/0", "N ::/0"]);
    let subnet: Subnet = wanted.get(&format!("a.{NAME}")).unwrap();
    assert_eq!(subnet.tags["SubnetType"], "Public");
    assert_eq!(subnet.tags["kubernetes.io/role/internal-elb"], "1");
    let table: RouteTable = wanted.get(NAME).unwrap();
    assert_eq!(table.tags["kubernetes.io/kops/role"], "public");
    let options: DhcpOptions = wanted.get(NAME).unwrap();
    assert_eq!(options.domain_name, "eu-north-1.compute.internal");
}

#[test]
fn private_subnets_have_a_gateway_in_each_zone() {
    let wanted = model(&private_cluster()).wanted;
    assert_eq!(
        names_of::<Route>(&wanted),
        [
            "N 0.0.0.0/0",
            "N ::/0",
            "private-eu-north-1a.N 0.0.0.0/0",
            "private-eu-north-1b.N 0.0.0.0/0",
            "private-eu-north-1c.N 0.0.0.0/0",
        ]
    );
    let subnet: Subnet = wanted.get(&format!("utility-eu-north-1a.{NAME}")).unwrap();
    assert!(!subnet.tags.contains_key("kubernetes.io/role/internal-elb"));
}

#[test]
fn a_nat_gateway_may_be_somebody_elses() {
    let mut cluster = private_cluster();
    let egress = |cluster: &mut Cluster, egress: Egress| cluster.network.subnets[0].egress = egress;
    let route = |cluster: &Cluster, facts: &Facts| -> Route {
        let name = format!("private-eu-north-1a.{NAME} 0.0.0.0/0");
        build(cluster, facts).unwrap().wanted.get(&name).unwrap()
    };
    egress(&mut cluster, Egress::ExistingNatGateway { id: "nat-1".to_owned() });
    assert_eq!(route(&cluster, &facts()).target.target, Ref::id("nat-gateway", "id", "nat-1"));
    egress(&mut cluster, Egress::TransitGateway { id: "tgw-1".to_owned() });
    assert_eq!(route(&cluster, &facts()).target.target_type, "transit-gateway");

    let address = "198.51.100.7".parse().unwrap();
    egress(&mut cluster, Egress::NatGateway { address: NatAddress::ExistingAddress { address } });
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::MissingFact { .. })));
    let facts = Facts { addresses: BTreeMap::from([(address, "eipalloc-1".to_owned())]), ..facts() };
    assert_eq!(route(&cluster, &facts).target.target_type, "nat-gateway");
    assert!(needed(&cluster).addresses.contains(&address));
}

#[test]
fn a_shared_vpc_is_used_and_not_made() {
    let wanted = model(&shared_cluster(false)).wanted;
    assert!(names_of::<Vpc>(&wanted).is_empty());
    assert!(names_of::<DhcpOptions>(&wanted).is_empty());
    assert_eq!(names_of::<Subnet>(&wanted), ["a.N"]);
    assert_eq!(wanted.shared().count(), 2);

    let wanted = model(&shared_cluster(true)).wanted;
    assert!(names_of::<Subnet>(&wanted).is_empty());
    assert!(names_of::<RouteTable>(&wanted).is_empty());
    assert_eq!(needed(&shared_cluster(true)).subnets.len(), 1);
}

#[test]
fn a_shared_vpc_must_fit() {
    let mut wrong = facts();
    wrong.vpc.as_mut().unwrap().internet_gateway = None;
    let error = build(&shared_cluster(false), &wrong).unwrap_err();
    assert!(matches!(error, ModelError::NoInternetGateway { .. }));
    assert!(error.hint().is_some());

    let mut wrong = facts();
    wrong.subnets.get_mut("subnet-0123").unwrap().zone = "eu-north-1b".to_owned();
    assert!(matches!(build(&shared_cluster(true), &wrong), Err(ModelError::SubnetMismatch { .. })));
}

#[test]
fn rules_without_a_load_balancer() {
    let mut cluster = cluster();
    cluster.node_port_access = nets(&["10.0.0.1/8"]);
    assert_eq!(
        names_of::<SecurityGroupRule>(&model(&cluster).wanted),
        [
            "masters.N in all from masters.N",
            "masters.N in tcp 1-2379 from nodes.N",
            "masters.N in tcp 22 from 192.0.2.0/24",
            "masters.N in tcp 2382-4000 from nodes.N",
            "masters.N in tcp 4003-65535 from nodes.N",
            "masters.N in tcp 443 from 0.0.0.0/0",
            "masters.N in udp 1-65535 from nodes.N",
            "masters.N out all to 0.0.0.0/0",
            "masters.N out all to ::/0",
            "nodes.N in all from masters.N",
            "nodes.N in all from nodes.N",
            "nodes.N in tcp 22 from 192.0.2.0/24",
            "nodes.N in tcp 30000-32767 from 10.0.0.0/8",
            "nodes.N in udp 30000-32767 from 10.0.0.0/8",
            "nodes.N out all to 0.0.0.0/0",
            "nodes.N out all to ::/0",
        ]
    );
}

/// Of some pod networks the packets between pods are more than TCP and UDP.
#[test]
fn masters_let_in_what_pods_send() {
    let from_nodes = |network| {
        let mut cluster = cluster();
        cluster.network.pod_network = network;
        let mut rules = names_of::<SecurityGroupRule>(&model(&cluster).wanted);
        rules.retain(|rule| rule.starts_with("masters.N in ") && rule.ends_with(" from nodes.N"));
        rules.retain(|rule| !rule.contains(" tcp ") && !rule.contains(" udp "));
        rules
    };
    assert_eq!(from_nodes(PodNetwork::Flannel), [""; 0]);
    assert_eq!(from_nodes(PodNetwork::Calico), ["masters.N in 4 from nodes.N"]);
    assert_eq!(from_nodes(PodNetwork::KubeRouter), ["masters.N in 4 from nodes.N"]);
    assert_eq!(from_nodes(PodNetwork::AmazonVpc), ["masters.N in all from nodes.N"]);
}

fn with_load_balancer() -> Cluster {
    let mut cluster = cluster();
    cluster.api.load_balancer = Some(fixture::api_load_balancer(&["a"]));
    cluster
}

#[test]
fn the_load_balancer_of_the_api() {
    let mut cluster = with_load_balancer();
    cluster.api.access = nets(&["198.51.100.0/24", "2001:db8::/32"]);
    let wanted = model(&cluster).wanted;
    let rules = names_of::<SecurityGroupRule>(&wanted);
    let api: Vec<&str> = rules.iter().map(String::as_str).filter(|rule| rule.contains("api-elb")).collect();
    assert_eq!(
        api,
        [
            "api-elb.N in icmp 3/4 from 198.51.100.0/24",
            "api-elb.N in icmp 3/4 from masters.N",
            "api-elb.N in icmpv6 from 2001:db8::/32",
            "api-elb.N in tcp 443 from 198.51.100.0/24",
            "api-elb.N in tcp 443 from 2001:db8::/32",
            "api-elb.N out all to 0.0.0.0/0",
            "api-elb.N out all to ::/0",
            "masters.N in icmp 3/4 from api-elb.N",
            "masters.N in tcp 443 from api-elb.N",
        ]
    );
    assert_eq!(names_of::<Listener>(&wanted), ["api.N 443"]);
    assert_eq!(names_of::<DnsRecord>(&wanted), ["api.N A", "api.N AAAA"]);
    let group: AutoScalingGroup = wanted.get(&format!("control-plane.masters.{NAME}")).unwrap();
    assert_eq!(group.target_groups.len(), 1);
}

#[test]
fn without_dns_nodes_join_through_the_load_balancer() {
    let mut cluster = with_load_balancer();
    cluster.network.dns = DnsType::None;
    let wanted = model(&cluster).wanted;
    assert_eq!(names_of::<Listener>(&wanted), ["api.N 3988", "api.N 443"]);
    assert!(names_of::<DnsRecord>(&wanted).is_empty());
    let rules = names_of::<SecurityGroupRule>(&wanted);
    assert!(rules.contains(&"api-elb.N in all from nodes.N".to_owned()));
    assert!(rules.contains(&"masters.N in tcp 3988 from api-elb.N".to_owned()));
    let join: TargetGroup = wanted.get(&names::load_balancer_in_aws("kops-controller", NAME)).unwrap();
    assert_eq!(join.health_check.path.as_deref(), Some("/healthz"));
}

#[test]
fn each_name_of_the_api_is_kept_in_its_own_zone() {
    let mut cluster = cluster();
    cluster.api.public_name = "api.example.com".to_owned();
    let zone = |id: &str, name: &str| HostedZone { id: id.into(), name: name.into(), private: false };
    let facts = Facts { zones: vec![zone("Z1", "example.com"), zone("Z2", NAME)], ..facts() };
    let wanted = build(&cluster, &facts).unwrap().wanted;
    let told: NodeConfiguration = wanted.get("control-plane").unwrap();
    let told = NodeConfig::from_template(&told.document.text, None, CA).unwrap().control_plane.unwrap();
    let names: Vec<(&str, &str)> = told
        .dns
        .iter()
        .flat_map(|dns| dns.names.iter().map(|name| (dns.zone.as_str(), name.name.as_str())))
        .collect();
    assert_eq!(names, [("Z1", "api.example.com"), ("Z2", "api.internal.k8s.example.com")]);
    let masters: IamRole = wanted.get(&format!("masters.{NAME}")).unwrap();
    let policy = format!("{:?}", masters.inline_policies);
    for zone in ["hostedzone/Z1", "hostedzone/Z2"] {
        assert!(policy.contains(zone), "{policy}");
    }
}

#[test]
fn tls_may_end_at_the_load_balancer() {
    let mut cluster = with_load_balancer();
    let balancer = cluster.api.load_balancer.as_mut().unwrap();
    balancer.ssl_certificate = Some("arn:aws:acm:eu-north-1:123456789012:certificate/1".to_owned());
    let wanted = model(&cluster).wanted;
    let tls: Listener = wanted.get(&format!("api.{NAME} 443")).unwrap();
    assert_eq!(tls.protocol, "TLS");
    let plain: Listener = wanted.get(&format!("api.{NAME} 8443")).unwrap();
    assert_eq!(plain.protocol, "TCP");
}

#[test]
fn one_load_balancer_for_api_and_ingress() {
    let mut cluster = with_load_balancer();
    cluster.api.port = 6443;
    cluster.api.access = nets(&["192.0.2.0/24"]);
    let mut ingress = fixture::ingress("nginx");
    ingress.load_balancer.share_with_api = true;
    cluster.ingress_controllers.push(ingress);
    let wanted = model(&cluster).wanted;
    assert_eq!(names_of::<LoadBalancer>(&wanted), ["api.N"]);
    assert_eq!(names_of::<Listener>(&wanted), ["api.N 443", "api.N 6443", "api.N 80"]);
    let to = |port: u16| wanted.get::<Listener>(&format!("api.{NAME} {port}")).unwrap().target_group;
    assert_eq!(to(6443), Some(crate::load_balancing::target_ref("tcp", NAME)));
    assert_eq!(to(443), Some(crate::load_balancing::target_ref("https", NAME)));
    let rules = names_of::<SecurityGroupRule>(&wanted);
    let open: Vec<&str> = rules.iter().map(String::as_str).filter(|rule| rule.contains("N in tcp")).collect();
    assert!(open.contains(&"api-elb.N in tcp 6443 from 192.0.2.0/24"));
    assert!(open.contains(&"api-elb.N in tcp 443 from 0.0.0.0/0"));
    assert!(!open.contains(&"api-elb.N in tcp 6443 from 0.0.0.0/0"));
    assert!(open.contains(&"masters.N in tcp 443 from api-elb.N"));
    assert!(open.contains(&"nodes.N in tcp 443 from api-elb.N"));
}

#[test]
fn ingress_has_a_load_balancer_of_its_own() {
    let mut cluster = cluster();
    cluster.ingress_controllers.push(fixture::ingress("nginx"));
    let wanted = model(&cluster).wanted;
    assert_eq!(names_of::<Listener>(&wanted), ["ingress.N 443", "ingress.N 80"]);
    assert_eq!(names_of::<DnsRecord>(&wanted), ["docs.example.com A", "example.com A"]);
    let nodes: AutoScalingGroup = wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert_eq!(nodes.target_groups.len(), 2);
    let http: TargetGroup = wanted.get(&names::load_balancer_in_aws("http", NAME)).unwrap();
    assert!(http.proxy_protocol);

    cluster.ingress_controllers.push(fixture::ingress("other"));
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::TwoIngressControllers { .. })));
    cluster.ingress_controllers[1].load_balancer.managed_by = LoadBalancerManager::Service;
    assert_eq!(names_of::<Listener>(&model(&cluster).wanted).len(), 2);
}

#[test]
fn the_bastion_is_the_only_way_in() {
    let wanted = model(&private_cluster()).wanted;
    let rules = names_of::<SecurityGroupRule>(&wanted);
    let ssh: Vec<&str> = rules.iter().map(String::as_str).filter(|rule| rule.contains("tcp 22 ")).collect();
    assert_eq!(
        ssh,
        [
            "bastion-elb.N in tcp 22 from 172.20.0.0/22",
            "bastion-elb.N in tcp 22 from 172.20.4.0/22",
            "bastion-elb.N in tcp 22 from 172.20.8.0/22",
            "bastion-elb.N in tcp 22 from 192.0.2.0/24",
            "bastion.N in tcp 22 from bastion-elb.N",
            "masters.N in tcp 22 from bastion.N",
            "nodes.N in tcp 22 from bastion.N",
        ]
    );
    let balancer: LoadBalancer = wanted.get(&format!("bastion.{NAME}")).unwrap();
    assert!(balancer.security_groups.contains(&Ref::id("security-group", "id", "sg-0123")));
}

#[test]
fn one_etcd() {
    let cluster = private_cluster();
    let wanted = model(&cluster).wanted;
    assert_eq!(names_of::<Volume>(&wanted).len(), 3);
    let volume: Volume = wanted.get(&format!("eu-north-1b.etcd-main.{NAME}")).unwrap();
    assert_eq!(volume.tags["k8s.io/etcd/main"], "eu-north-1b/eu-north-1a,eu-north-1b,eu-north-1c");
    assert!(warnings(&cluster).iter().any(|title| title.contains("`events` is folded")));
}

fn with_service_accounts() -> Cluster {
    let mut cluster = cluster();
    cluster.service_account_issuer = Some(fixture::issuer());
    let role = |namespace: &str, permissions| ServiceAccountRole {
        name: "app".to_owned(),
        namespace: namespace.to_owned(),
        permissions,
    };
    let managed = ServiceAccountPermissions::Managed(vec!["arn:aws:iam::aws:policy/X".to_owned()]);
    let statement = json!({ "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["*"] });
    cluster.iam.service_accounts =
        vec![role("default", ServiceAccountPermissions::Inline(vec![statement])), role("test-*", managed)];
    cluster
}

#[test]
fn pods_have_roles() {
    let wanted = model(&with_service_accounts()).wanted;
    let host = format!("discovery.s3.eu-north-1.amazonaws.com/{NAME}");
    let provider: OidcProvider = wanted.get(&host).unwrap();
    assert_eq!(provider.url, format!("https://{host}"));
    assert_eq!(provider.thumbprints.len(), 2);

    let role: IamRole = wanted.get(&format!("app.default.sa.{NAME}")).unwrap();
    let trust = &role.trust_policy.document["Statement"][0];
    assert_eq!(
        trust["Condition"]["StringEquals"],
        json!({
            format!("{host}:sub"): "system:serviceaccount:default:app",
            format!("{host}:aud"): ["amazonaws.com", "sts.amazonaws.com"],
        })
    );
    assert_eq!(
        trust["Principal"]["Federated"],
        json!(format!("arn:aws:iam::123456789012:oidc-provider/{host}"))
    );
    assert_eq!(role.inline_policies.len(), 1);

    let role: IamRole = wanted.get(&format!("app.test-wildcard.sa.{NAME}")).unwrap();
    let condition = &role.trust_policy.document["Statement"][0]["Condition"];
    assert_eq!(condition["StringLike"][format!("{host}:sub")], "system:serviceaccount:test-*:app");
    assert_eq!(role.tags["service-account.kops.k8s.io/namespace"], "test-wildcard");
    assert_eq!(role.attached_policies.len(), 1);
}

#[test]
fn roles_without_an_issuer_are_not_made() {
    let mut cluster = with_service_accounts();
    cluster.service_account_issuer = None;
    assert_eq!(names_of::<IamRole>(&model(&cluster).wanted), ["masters.N", "nodes.N"]);
    assert!(warnings(&cluster).iter().any(|title| title.contains("trusts no issuer")));
}

#[test]
fn machines_have_roles() {
    let mut cluster = cluster();
    cluster.iam.permissions_boundary = Some("arn:aws:iam::123456789012:policy/boundary".to_owned());
    let statement = json!({ "Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*" });
    cluster.iam.additional_policies.insert(Role::Node, vec![statement]);
    cluster.iam.external_policies.insert(Role::Node, vec!["arn:aws:iam::aws:policy/X".to_owned()]);
    let wanted = model(&cluster).wanted;
    let nodes: IamRole = wanted.get(&format!("nodes.{NAME}")).unwrap();
    let names: Vec<&String> = nodes.inline_policies.keys().collect();
    assert_eq!(names, [&format!("additional.nodes.{NAME}"), &format!("nodes.{NAME}")]);
    assert_eq!(nodes.attached_policies.len(), 1);
    assert!(nodes.permissions_boundary.is_some());
    let own = &nodes.inline_policies[&format!("nodes.{NAME}")].document["Statement"];
    assert_eq!(
        *own,
        json!([
            {
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": [
                    format!("arn:aws:s3:::state/kcl/{NAME}/control-plane/initialized.json"),
                    format!("arn:aws:s3:::state/kcl/{NAME}/kcl-node/*"),
                    format!("arn:aws:s3:::state/kcl/{NAME}/node/*"),
                ],
            },
            {
                "Effect": "Allow",
                "Action": "s3:PutObject",
                "Resource": format!("arn:aws:s3:::state/kcl/{NAME}/status/*"),
            },
        ])
    );

    cluster.instance_groups[1].iam_profile =
        Some("arn:aws:iam::123456789012:instance-profile/team/own".to_owned());
    let wanted = model(&cluster).wanted;
    assert_eq!(names_of::<IamRole>(&wanted), ["masters.N"]);
    let template: LaunchTemplate = wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert_eq!(template.instance_profile, Some(Ref::id("instance-profile", "name", "own")));
}

#[test]
fn permissions_follow_the_spec() {
    let policy = |cluster: &Cluster| {
        let role: IamRole = model(cluster).wanted.get(&format!("masters.{NAME}")).unwrap();
        role.inline_policies[&format!("masters.{NAME}")].document.to_string()
    };
    let mut cluster = cluster();
    let usual = policy(&cluster);
    assert!(usual.contains("hostedzone/Z0123") && usual.contains("sqs:ReceiveMessage"));
    assert!(!usual.contains("ecr:") && !usual.contains("AssignPrivateIpAddresses"));
    // IAM's limit for the inline policies of a role is 10,240 characters without white space.
    assert!(usual.len() < 10_240);

    cluster.network.dns = DnsType::None;
    cluster.node_termination_handler.sqs_termination_draining = false;
    cluster.iam.allow_container_registry = true;
    cluster.network.pod_network = PodNetwork::AmazonVpc;
    let other = policy(&cluster);
    assert!(!other.contains("route53:") && !other.contains("sqs:"));
    assert!(!other.contains("CompleteLifecycleAction"));
    assert!(other.contains("ecr:BatchGetImage") && other.contains("AssignPrivateIpAddresses"));
}

#[test]
fn the_termination_handler_hears_by_queue() {
    let mut cluster = cluster();
    cluster.node_termination_handler.rebalance = true;
    let wanted = model(&cluster).wanted;
    assert_eq!(
        names_of::<crate::resource::EventRule>(&wanted),
        [
            "N-ASGLifecycle",
            "N-InstanceScheduledChange",
            "N-InstanceStateChange",
            "N-RebalanceRecommendation",
            "N-SpotInterruption",
        ]
    );
    let group: AutoScalingGroup = wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert_eq!(group.lifecycle_hooks["nodes-NTHLifecycleHook"].heartbeat_timeout, 300);
    assert_eq!(group.tags["aws-node-termination-handler/managed"], "");

    cluster.node_termination_handler.sqs_termination_draining = false;
    let wanted = model(&cluster).wanted;
    assert!(names_of::<Queue>(&wanted).is_empty());
    let group: AutoScalingGroup = wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert!(group.lifecycle_hooks.is_empty());
    assert!(!group.tags.contains_key("aws-node-termination-handler/managed"));
}

/// A hook is of its own group, so that two names that differ in dots alone are no trouble.
#[test]
fn hooks_have_names_that_aws_takes() {
    let mut cluster = cluster();
    cluster.instance_groups[1].name = "nodes.eu-north-1a".to_owned();
    let group: AutoScalingGroup = model(&cluster).wanted.get(&format!("nodes.eu-north-1a.{NAME}")).unwrap();
    assert_eq!(group.lifecycle_hooks.keys().collect::<Vec<_>>(), ["nodes-eu-north-1a-NTHLifecycleHook"]);
}

#[test]
fn spot() {
    let mut cluster = cluster();
    let spot =
        SpotOptions { max_price: "0.01".to_owned(), duration_minutes: Some(60), interruption_behavior: None };
    cluster.instance_groups[1].purchase = Purchase::Spot(spot);
    let wanted = model(&cluster).wanted;
    let template: LaunchTemplate = wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert_eq!(template.spot.unwrap().max_price.as_deref(), Some("0.01"));
    assert!(warnings(&cluster).iter().any(|title| title.contains("no fixed duration")));

    let mixed = MixedInstances {
        instance_types: vec!["t3.small".to_owned(), "t3a.small".to_owned()],
        requirements: None,
        on_demand_base: None,
        on_demand_above_base: Some(0),
        on_demand_allocation_strategy: None,
        spot_allocation_strategy: Some(SpotAllocationStrategy::PriceCapacityOptimized),
        spot_instance_pools: None,
        max_price: None,
    };
    cluster.instance_groups[1].purchase = Purchase::Mixed(mixed);
    let wanted = model(&cluster).wanted;
    let template: LaunchTemplate = wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert_eq!(template.spot, None);
    let group: AutoScalingGroup = wanted.get(&format!("nodes.{NAME}")).unwrap();
    let mixed = group.mixed_instances.unwrap();
    assert_eq!((mixed.on_demand_base, mixed.on_demand_above_base, mixed.spot_pools), (0, 0, None));
}

#[test]
fn labels_and_taints_are_known_before_a_machine_is() {
    let mut cluster = cluster();
    cluster.cloud_labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let nodes = &mut cluster.instance_groups[1];
    nodes.cloud_labels = BTreeMap::from([("team".to_owned(), "b".to_owned())]);
    nodes.node_labels = BTreeMap::from([("disk".to_owned(), "fast".to_owned())]);
    let effect = "NoSchedule".to_owned();
    nodes.taints = vec![Taint { key: "only".to_owned(), value: "gpu".to_owned(), effect }];
    let template: LaunchTemplate = model(&cluster).wanted.get(&format!("nodes.{NAME}")).unwrap();
    let prefix = "k8s.io/cluster-autoscaler/node-template";
    assert_eq!(template.tags[&format!("{prefix}/label/disk")], "fast");
    assert_eq!(template.tags[&format!("{prefix}/taint/only")], "gpu:NoSchedule");
    assert_eq!(template.tags["team"], "b");
    assert_eq!(template.tags["Name"], format!("nodes.{NAME}"));
}

#[test]
fn disks() {
    let mut cluster = cluster();
    cluster.instance_groups[1].machine_type = "m3.medium".to_owned();
    let disk = BlockDevice {
        device: "/dev/xvdd".to_owned(),
        volume: fixture::volume(10),
        delete_on_termination: true,
    };
    cluster.instance_groups[1].volumes.push(disk);
    let template: LaunchTemplate = model(&cluster).wanted.get(&format!("nodes.{NAME}")).unwrap();
    let devices: Vec<&str> = template.block_devices.iter().map(|disk| disk.device.as_str()).collect();
    assert_eq!(devices, ["/dev/xvda", "/dev/xvdd", "/dev/sdc"]);
}

#[test]
fn an_image_must_fit_the_machine() {
    let mut cluster = cluster();
    cluster.instance_groups[0].architecture = Architecture::Arm64;
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::Architecture { .. })));
    cluster.instance_groups[0].image = Image::Id("ami-unknown".to_owned());
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::MissingFact { .. })));
    assert_eq!(needed(&cluster).images.len(), 2);
}

#[test]
fn user_data() {
    let mut cluster = cluster();
    let of = |cluster: &Cluster| -> String {
        let template: LaunchTemplate = model(cluster).wanted.get(&format!("nodes.{NAME}")).unwrap();
        template.user_data.text
    };
    let plain = of(&cluster);
    assert!(plain.starts_with("#!/bin/sh\n"));
    assert!(plain.contains("/state/kcl/k8s.example.com/kcl-node/amd64/$agent"), "{plain}");
    assert!(plain.contains("--config s3://state/kcl/k8s.example.com/node/nodes/$configuration.yaml"));

    let part = UserData {
        name: "hello.sh".to_owned(),
        content_type: "text/x-shellscript".to_owned(),
        content: "#!/bin/sh\necho hello".to_owned(),
    };
    cluster.instance_groups[1].additional_user_data.push(part);
    let parts = of(&cluster);
    assert!(parts.starts_with("Content-Type: multipart/mixed; boundary=\"kcl-"));
    assert!(parts.contains("echo hello\n--kcl-"));
    assert_eq!(parts, of(&cluster));

    cluster.instance_groups[1].additional_user_data[0].content = "x".repeat(16 * 1024);
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::UserDataTooLong { .. })));
}

#[test]
fn the_key_pair_is_named_by_fingerprint() {
    let mut cluster = cluster();
    let wanted = model(&cluster).wanted;
    let name = format!("kubernetes.{NAME}-0f:a2:0a:d7:38:3e:65:45:08:6b:63:84:1c:ff:dc:ba");
    let key: KeyPair = wanted.get(&name).unwrap();
    assert!(key.public_key.starts_with("ssh-ed25519 AAAA") && !key.public_key.contains("somebody"));
    assert_eq!(key.tags["Name"], NAME);

    cluster.ssh.key = SshKey::Existing { name: "mine".to_owned() };
    let template: LaunchTemplate = model(&cluster).wanted.get(&format!("nodes.{NAME}")).unwrap();
    assert_eq!(template.key_pair, Some(Ref::id("key-pair", "name", "mine")));
    cluster.ssh.key = SshKey::Managed { public_key: "ssh-ed25519".to_owned() };
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::PublicKey { .. })));
}

#[test]
fn names_without_a_zone_are_warned_about() {
    let mut cluster = with_load_balancer();
    cluster.ingress_controllers.push(fixture::ingress("nginx"));
    let facts = Facts { zones: Vec::new(), ..facts() };
    let model = build(&cluster, &facts).unwrap();
    assert!(names_of::<DnsRecord>(&model.wanted).is_empty());
    let titles: Vec<&str> = model.warnings.iter().map(|warning| warning.title.as_str()).collect();
    assert_eq!(titles.len(), 3);
    assert!(titles.iter().all(|title| title.contains("has no public hosted zone")));
    assert_eq!(needed(&cluster).dns_names.len(), 4);
}

#[test]
fn hosts_of_a_service_are_published_by_external_dns() {
    let mut cluster = with_load_balancer();
    let mut ingress = fixture::ingress("nginx");
    ingress.load_balancer.managed_by = LoadBalancerManager::Service;
    ingress.hosts.push("example.org".to_owned());
    cluster.ingress_controllers.push(ingress);
    let nobody = "the hosts of the ingress controller nginx get no DNS records";
    assert_eq!(warnings(&cluster), [nobody]);

    cluster.addons.external_dns = Some(ExternalDns { watch_ingress: false, watch_namespace: None });
    let no_zone = "the account has no public hosted zone for example.org: no record is made";
    assert_eq!(warnings(&cluster), [no_zone]);

    let watch = |cluster: &mut Cluster, namespace: &str| {
        cluster.addons.external_dns.as_mut().unwrap().watch_namespace = Some(namespace.to_owned());
    };
    watch(&mut cluster, "ingress");
    assert_eq!(warnings(&cluster), [no_zone]);
    watch(&mut cluster, "shop");
    assert_eq!(warnings(&cluster), [nobody]);
}

#[test]
fn a_name_is_given_once() {
    let mut cluster = cluster();
    let mut ingress = fixture::ingress("nginx");
    ingress.hosts.push("example.com.".to_owned());
    cluster.ingress_controllers.push(ingress);
    assert!(matches!(build(&cluster, &facts()), Err(ModelError::Conflict(_))));
}

#[test]
fn the_state_comes_first() {
    let mut wanted = model(&cluster()).wanted;
    let bucket =
        NewBucket { name: "state".to_owned(), region: "eu-north-1".to_owned(), ..NewBucket::default() };
    let documents = Documents { completed: "kind: Cluster\n", objects: "" };
    add_state(&mut wanted, NAME, Some(&bucket), &documents).unwrap();
    let registered = format!("registered-spec/{NAME}");
    for (id, node) in wanted.nodes().filter(|(id, _)| id.kind.as_str() != "bucket") {
        let first = if id.to_string() == registered { "bucket/state" } else { registered.as_str() };
        assert!(node.after.iter().any(|after| after.to_string() == first), "{id}");
    }
}

#[test]
fn a_protected_cluster_says_so_on_aws_and_nothing_else_changes() {
    for cluster in [cluster(), shared_cluster(true)] {
        let plain = model(&cluster).wanted;
        let wanted = model(&Cluster { protected: true, ..cluster.clone() }).wanted;
        let fields = |wanted: &Wanted| {
            wanted.nodes().map(|(id, node)| (id.to_string(), node.fields.clone())).collect::<BTreeMap<_, _>>()
        };
        let (plain, mut protected) = (fields(&plain), fields(&wanted));
        for kind in ["iam-role", "security-group"] {
            let masters = protected.get_mut(&format!("{kind}/masters.{NAME}")).unwrap();
            let tags = masters["tags"].as_object_mut().unwrap();
            assert_eq!(tags.remove("kcl.dev/protect"), Some(json!("true")), "{kind}");
        }
        assert_eq!(plain, protected);
    }
}

/// In a partition of its own all hosts are in its own domain. What services call themselves in policies is not a host.
#[test]
fn hosts_are_in_the_domain_of_the_partition() {
    let mut cluster = private_cluster();
    cluster.service_account_issuer = Some(fixture::issuer());
    for (partition, domain) in [("aws-cn", "amazonaws.com.cn"), ("aws-eusc", "amazonaws.eu")] {
        let facts = Facts { partition: partition.to_owned(), ..facts() };
        let wanted = build(&cluster, &facts).unwrap().wanted;
        let is_part = |c: char| c.is_ascii_alphanumeric() || ".-*$".contains(c);
        let mut hosts = 0;
        for (id, node) in wanted.nodes() {
            let text = node.fields.to_string();
            for host in text.split(|c| !is_part(c)).filter(|word| word.contains(".amazonaws.")) {
                let service = host.split_once(".amazonaws.").map_or(host, |(service, _)| service);
                if ["ec2", "eks", "events", "sqs", "sts"].contains(&service) {
                    continue;
                }
                assert!(host.trim_end_matches('.').ends_with(domain), "{id}: {host}");
                hosts += 1;
            }
        }
        assert!(hosts > 3, "{partition}: {hosts}");
        let provider = wanted.nodes().find(|(id, _)| id.kind.as_str() == "oidc-provider").unwrap();
        assert!(provider.1.fields.to_string().contains(&format!("discovery.s3.eu-north-1.{domain}/")));
    }
}
