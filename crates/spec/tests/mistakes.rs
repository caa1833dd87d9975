//! Every mistake is found, shown where it stands, and comes with a way out.
//!
//! Each case is a sound spec with one edit; the snapshots hold what a user sees.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;

use kcl_spec::{Source, load};

/// A sound spec, with something of everything.
const SOUND: &str = r#"apiVersion: kops.k8s.io/v1alpha2
kind: Cluster
metadata:
  name: k8s.example.com
spec:
  kubernetesVersion: 1.36.4
  networkCIDR: 172.20.0.0/16
  networking:
    cni: {}
  subnets:
  - name: public-a
    zone: eu-north-1a
    type: Public
    cidr: 172.20.32.0/19
  - name: private-b
    zone: eu-north-1b
    type: Private
    cidr: 172.20.64.0/19
  - name: utility-b
    zone: eu-north-1b
    type: Utility
    cidr: 172.20.4.0/22
  kubernetesApiAccess:
  - 203.0.113.0/24
  api:
    loadBalancer:
      class: Network
      type: Public
  etcdClusters:
  - name: main
    etcdMembers:
    - name: a
      instanceGroup: control-plane
  serviceAccountIssuerDiscovery:
    discoveryStore: s3://example-oidc/k8s
    enableAWSOIDCProvider: true
  iam:
    serviceAccountExternalPermissions:
    - name: app
      namespace: default
      aws:
        inlinePolicy: |
          [
            {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
          ]
---
apiVersion: kops.k8s.io/v1alpha2
kind: InstanceGroup
metadata:
  name: control-plane
  labels:
    kops.k8s.io/cluster: k8s.example.com
spec:
  role: ControlPlane
  machineType: t3.medium
  subnets: [public-a]
---
apiVersion: kops.k8s.io/v1alpha2
kind: InstanceGroup
metadata:
  name: nodes
spec:
  role: Node
  machineType: t3.medium
  minSize: 2
  maxSize: 4
  subnets: [public-a]
  image: ami-0123456789abcdef0
---
apiVersion: kops.k8s.io/v1alpha2
kind: SSHCredential
metadata:
  name: admin
spec:
  publicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz
---
apiVersion: kcl.dev/v1alpha1
kind: IngressController
metadata:
  name: nginx-ingress
spec:
  loadBalancer:
    shareWithApi: true
  hosts: [www.example.com]
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
"#;

/// The sound spec with one piece of text replaced; the piece stands in it at least once.
fn edited(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "not in the spec: {from}");
    SOUND.replacen(from, to, 1)
}

fn see(text: &str) -> String {
    match load(&[Source::new("cluster.yaml", text)]) {
        Ok(loaded) if loaded.warnings.is_empty() => "sound".to_owned(),
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
        Err(errors) => errors.to_string(),
    }
}

/// What is as sound as the sound spec: what kOps does by default, and what stands at a limit.
#[test]
fn what_is_just_possible() {
    let cases = [
        // The API's load balancer is a public one by default.
        ("      type: Public\n", ""),
        ("image: ami-0123456789abcdef0", "image: aws-marketplace/suse-sles-15"),
        ("networkCIDR:", "nonMasqueradeCIDR: 10.0.0.0/9\n  networkCIDR:"),
        ("networkCIDR:", "additionalSans: [k8s.example.com, '*.example.com', 192.0.2.1]\n  networkCIDR:"),
        ("networkCIDR:", "networkID: vpc-12345678\n  topology: {dns: {type: Private}}\n  networkCIDR:"),
        ("networkCIDR:", "cloudLabels: {\"é/_.:=+-@ 9\": \"\"}\n  networkCIDR:"),
        (
            "networkCIDR:",
            "serviceClusterIPRange: 10.0.0.0/28\n  podCIDR: 10.1.0.0/21\n  clusterDNSDomain: k8s.local\n  networkCIDR:",
        ),
    ];
    for (from, to) in cases {
        assert_eq!(see(&edited(from, to)), "sound", "{to}");
    }
    for fields in [
        "rootVolumeSize: 10\n  rootVolumeIops: 5000",
        // Any size has the least.
        "rootVolumeSize: 1",
        "volumes: [{device: /dev/xvdd, size: 4, type: io1, iops: 200}, {device: /dev/xvde, size: 16384, type: st1}]",
        // Tags of EC2 alone.
        "cloudLabels: {\"what?\": \"a, b\", team: a, Team: b, name: c}",
        "mixedInstancesPolicy: {spotAllocationStrategy: capacity-optimized-prioritized, onDemandAllocationStrategy: prioritized}",
    ] {
        assert_eq!(see(&edited("role: Node\n", &format!("role: Node\n  {fields}\n"))), "sound", "{fields}");
    }
}

/// What a user sees for each edit of the sound spec.
fn table(cases: &[(&str, &str, &str)]) -> String {
    let mut table = String::new();
    for (name, from, to) in cases {
        let seen = see(&edited(from, to));
        assert!(seen.lines().all(|line| line.chars().count() <= 80), "{name}: wider than 80 columns\n{seen}");
        assert_ne!(seen, "sound", "{name}");
        write!(table, "== {name}\n{seen}\n\n").unwrap();
    }
    table
}

/// A snapshot without the expression that made it: the cases stand in this file.
macro_rules! snapshot {
    ($text:expr) => {
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!($text) })
    };
}

const NODES: &str = "  minSize: 2\n  maxSize: 4\n";

#[test]
fn the_sound_spec_is_sound() {
    assert_eq!(see(SOUND), "sound");
}

#[test]
fn yaml() {
    snapshot!(table(&[
        ("broken YAML", "  networking:\n", "  networking: [\n"),
        ("bad indentation", "  networkCIDR:", " networkCIDR:"),
        ("tab", "  networkCIDR:", "\tnetworkCIDR:"),
        ("duplicate key", "  networking:\n", "  networkCIDR: 10.0.0.0/8\n  networking:\n"),
        ("unknown anchor", "172.20.0.0/16", "*cidr"),
        ("unknown tag", "172.20.0.0/16", "!cidr 172.20.0.0/16"),
        (
            "mistakes in two documents",
            "kind: Namespace\nmetadata:\n  name: shop",
            "kind: [Namespace\n---\nkind: x: y"
        ),
    ]));
}

#[test]
fn documents() {
    snapshot!(table(&[
        ("unknown kind", "kind: InstanceGroup", "kind: InstanceGroups"),
        ("unknown kind of kcl", "kind: IngressController", "kind: Ingress"),
        ("unsupported version", "kops.k8s.io/v1alpha2", "kops.k8s.io/v1alpha3"),
        ("unsupported version of kcl", "kcl.dev/v1alpha1", "kcl.dev/v1"),
        ("no kind", "kind: Namespace\n", ""),
        ("no apiVersion", "apiVersion: v1\n", ""),
        ("no mapping", "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n", "- a\n- b\n"),
        ("object without a name", "  name: shop\n", "  labels: {a: b}\n"),
        (
            "object given twice",
            "  name: shop\n",
            "  name: shop\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
        ),
        ("second cluster", "kind: InstanceGroup\n", "kind: Cluster\n"),
        ("another cluster's group", "cluster: k8s.example.com", "cluster: k9s.example.com"),
        ("no cluster", "kind: Cluster\n", "kind: SSHCredential\n"),
        ("kind is not text", "kind: Cluster\n", "kind: {}\n"),
    ]));
}

#[test]
fn fields() {
    snapshot!(table(&[
        ("unknown field", "machineType: t3.medium", "machinetype: t3.medium"),
        ("unknown field, nothing near", "machineType: t3.medium", "flavour: t3.medium"),
        (
            "several at once",
            NODES,
            "  minSize: two\n  maxsize: 4\n  rootVolumeSize: \"20\"\n  subnet: [public-a]\n  associatePublicIp: maybe\n",
        ),
        ("unknown role", "role: ControlPlane", "role: Controlplane"),
        ("list expected", "subnets: [public-a]", "subnets: public-a"),
        ("mapping expected", "    cni: {}", "    cni"),
        ("number with a fraction", "minSize: 2", "minSize: 2.5"),
        (
            "numbers that are none",
            NODES,
            "  minSize: -99999999999999999999\n  maxSize: 99999999999999999999\n  autoscalePriority: 99999999999999999999\n  maxPrice: 1\n  spotDurationInMinutes: 99999999999999999999\n  rootVolumeSize: 9223372036854775807\n",
        ),
        (
            "boolean where text is expected",
            "  networking:\n",
            "  cloudLabels: {backup: true}\n  networking:\n"
        ),
        (
            "a very long line",
            "machineType: t3.medium",
            "machineType: t3.medium-which-is-a-very-very-long-name-for-an-instance-type-and-goes-on-and-on-and-on",
        ),
        (
            "far to the right",
            "spec:\n  loadBalancer:\n    shareWithApi: true\n  hosts: [www.example.com]",
            "spec: {namespace: nginx-ingress-controller, ingressClass: nginx-external, loadBalancer: {sharewithapi: true}, hosts: [www.example.com]}",
        ),
    ]));
}

#[test]
fn cluster() {
    snapshot!(table(&[
        ("no name", "  name: k8s.example.com\n", "  labels: {}\n"),
        ("name without a dot", "name: k8s.example.com", "name: k8s"),
        ("name that is no DNS name", "name: k8s.example.com", "name: K8s_example.com"),
        (
            "name too long",
            "name: k8s.example.com",
            "name: a-cluster-with-a-rather-long-name.department.example.com",
        ),
        ("another cloud", "  networking:\n", "  cloudProvider: gce\n  networking:\n"),
        ("no version at all", "kubernetesVersion: 1.36.4", "kubernetesVersion: stable"),
        ("no patch", "kubernetesVersion: 1.36.4", "kubernetesVersion: 1.30"),
        ("old version", "kubernetesVersion: 1.36.4", "kubernetesVersion: v1.19.2"),
        ("new version", "kubernetesVersion: 1.36.4", "kubernetesVersion: 1.99.0"),
        ("reserved tag", "  networking:\n", "  cloudLabels: {Name: x, \"aws:cost\": y}\n  networking:\n"),
        (
            "tags that IAM refuses",
            "  networking:\n",
            "  cloudLabels: {name: x, Team: a, team: b, \"what?\": \"a, b\", tab: \"\\t\"}\n  networking:\n"
        ),
        ("domain of services", "  networking:\n", "  clusterDNSDomain: Cluster_local\n  networking:\n"),
    ]));
}

#[test]
fn network() {
    snapshot!(table(&[
        ("host bits", "172.20.0.0/16", "172.20.0.1/16"),
        ("address in place of a range", "203.0.113.0/24", "203.0.113.7"),
        ("prefix list", "203.0.113.0/24", "pl-12345678"),
        ("not a range", "203.0.113.0/24", "office"),
        ("range given twice", "  - 203.0.113.0/24\n", "  - 203.0.113.0/24\n  - 203.0.113.0/24\n"),
        ("IPv6", "172.20.0.0/16", "fd00::/56"),
        ("VPC too large", "172.20.0.0/16", "172.16.0.0/12"),
        ("subnet too small", "172.20.64.0/19", "172.20.64.0/29"),
        ("overlapping subnets", "172.20.64.0/19", "172.20.0.0/18"),
        ("subnet outside the VPC", "172.20.64.0/19", "10.0.0.0/19"),
        (
            "VPC overlaps pods",
            "networkCIDR: 172.20.0.0/16",
            "networkCIDR: 172.20.0.0/16\n  podCIDR: 172.20.128.0/17"
        ),
        (
            "pods overlap services",
            "networkCIDR: 172.20.0.0/16",
            "networkCIDR: 172.20.0.0/16\n  podCIDR: 10.0.0.0/16\n  serviceClusterIPRange: 10.0.128.0/20",
        ),
        ("no room for pods", "networkCIDR:", "nonMasqueradeCIDR: 100.64.0.0/24\n  networkCIDR:"),
        ("no room at all", "networkCIDR:", "nonMasqueradeCIDR: 100.64.0.0/32\n  networkCIDR:"),
        ("too much room", "networkCIDR:", "nonMasqueradeCIDR: 0.0.0.0/5\n  networkCIDR:"),
        (
            "too many services",
            "networkCIDR:",
            "serviceClusterIPRange: 10.0.0.0/11\n  podCIDR: 10.128.0.0/25\n  networkCIDR:"
        ),
        ("too few services", "networkCIDR:", "serviceClusterIPRange: 10.0.0.0/30\n  networkCIDR:"),
        (
            "too few services in a VPC",
            "    cni: {}\n",
            "    amazonvpc: {}\n  serviceClusterIPRange: 10.0.0.0/29\n"
        ),
        ("too few pods for the nodes", "networkCIDR:", "podCIDR: 10.0.0.0/22\n  networkCIDR:"),
        (
            "additional range too large",
            "  networking:\n",
            "  additionalNetworkCIDRs: [10.0.0.0/8]\n  networking:\n"
        ),
        (
            "additional range overlaps",
            "  networking:\n",
            "  additionalNetworkCIDRs: [172.20.128.0/17]\n  networking:\n",
        ),
        ("no networking", "  networking:\n    cni: {}\n", ""),
        ("networking without a choice", "    cni: {}\n", "    cni:\n"),
        ("two pod networks", "    cni: {}\n", "    cni: {}\n    calico: {}\n"),
        ("pod network that is gone", "    cni: {}\n", "    weave: {}\n"),
        ("topology that is none", "  networking:\n", "  topology: {masters: sideways}\n  networking:\n"),
        (
            "private zone in a VPC of kcl's",
            "  networking:\n",
            "  topology: {dns: {type: Private}}\n  networking:\n"
        ),
        ("VPC's id", "  networking:\n", "  networkID: my-vpc\n  networking:\n"),
        ("shared VPC without its range", "networkCIDR: 172.20.0.0/16", "networkID: vpc-12345678"),
    ]));
}

#[test]
fn subnets() {
    let a = "    zone: eu-north-1a\n    type: Public\n    cidr: 172.20.32.0/19\n";
    snapshot!(table(&[
        ("unknown zone", "zone: eu-north-1a", "zone: stockholm"),
        ("region in place of a zone", "zone: eu-north-1a", "zone: eu-north-1"),
        ("region that is none", "zone: eu-north-1a", "zone: eu-nroth-1a"),
        ("zones of two regions", "zone: eu-north-1a", "zone: eu-west-1a"),
        ("no zone", "    zone: eu-north-1a\n", ""),
        ("no type", "    type: Public\n", ""),
        ("unknown type", "type: Utility", "type: Util"),
        ("no range", "    cidr: 172.20.32.0/19\n", ""),
        ("no name", "  - name: public-a\n    zone", "  - zone"),
        ("name given twice", "name: utility-b", "name: private-b"),
        ("no way out", "zone: eu-north-1b\n    type: Utility", "zone: eu-north-1a\n    type: Utility"),
        ("unknown egress", "type: Private", "type: Private\n    egress: igw-12345678"),
        (
            "egress of a public subnet",
            a,
            "    zone: eu-north-1a\n    type: Public\n    cidr: 172.20.32.0/19\n    egress: nat-1\n"
        ),
        ("egress and publicIP", "type: Private", "type: Private\n    egress: nat-1\n    publicIP: 192.0.2.1"),
        ("publicIP that is none", "type: Private", "type: Private\n    publicIP: eip-1"),
        (
            "two ways out of a zone",
            "  - name: utility-b\n",
            "  - {name: private-c, zone: eu-north-1b, type: Private, cidr: 172.20.96.0/19, egress: tgw-1}\n  - name: utility-b\n",
        ),
        (
            "routes",
            "type: Private",
            "type: Private\n    additionalRoutes: [{cidr: 10.0.0.1/8, target: pcx-1}, {cidr: 192.0.2.0/24, target: vpn-1}, {cidr: 192.0.2.0/24}]",
        ),
        ("own and other subnets", a, "    zone: eu-north-1a\n    type: Public\n    id: subnet-12345678\n"),
        ("none", "  subnets:\n", "  subnets: []\n  unknown:\n"),
    ]));
}

#[test]
fn groups() {
    snapshot!(table(&[
        ("name given twice", "  name: nodes\n", "  name: control-plane\n"),
        ("name that is none", "  name: nodes\n", "  name: Worker Nodes\n"),
        ("missing subnet", "subnets: [public-a]", "subnets: [pubilc-a]"),
        ("impossible sizes", NODES, "  minSize: 5\n  maxSize: 4\n"),
        ("negative size", NODES, "  minSize: -1\n  maxSize: 4\n"),
        ("large control plane", "role: ControlPlane", "role: ControlPlane\n  minSize: 3\n  maxSize: 3"),
        ("control plane in two zones", "subnets: [public-a]", "subnets: [public-a, private-b]"),
        ("no control plane", "role: ControlPlane", "role: Node"),
        ("even control plane", "role: Node\n", "role: ControlPlane\n"),
        ("no role", "  role: Node\n", ""),
        ("role of kOps that is not made", "role: Node\n", "role: APIServer\n"),
        (
            "no spec",
            "spec:\n  role: Node\n  machineType: t3.medium\n  minSize: 2\n  maxSize: 4\n  subnets: [public-a]\n  image: ami-0123456789abcdef0\n",
            ""
        ),
        ("instance type", "machineType: t3.medium", "machineType: small"),
        ("list of instance types", "machineType: t3.medium", "machineType: \"t3.small,t3.medium\""),
        ("image without an owner", "image: ami-0123456789abcdef0", "image: ubuntu-24.04"),
        ("image of an unknown owner", "image: ami-0123456789abcdef0", "image: ubnutu/images/x"),
        ("SSM path", "image: ami-0123456789abcdef0", "image: \"ssm:aws/x\""),
        ("image id", "image: ami-0123456789abcdef0", "image: ami-"),
        ("Karpenter", "role: Node\n", "role: Node\n  manager: Karpenter\n"),
        ("lifetime", "role: Node\n", "role: Node\n  maxInstanceLifetime: 2h\n"),
        ("lifetime without a unit", "role: Node\n", "role: Node\n  maxInstanceLifetime: 86400\n"),
        ("security groups", "role: Node\n", "role: Node\n  additionalSecurityGroups: [sg-1, sg-1, web]\n"),
        ("unknown process", "role: Node\n", "role: Node\n  suspendProcesses: [AZRebalanc]\n"),
        ("taints", "role: Node\n", "role: Node\n  taints: [\"a=b\", \"a=b:NoSchedul\", \"a b:NoExecute\"]\n"),
        ("labels", "role: Node\n", "role: Node\n  nodeLabels: {\"a b\": c, d: \"e f\"}\n"),
        (
            "hop limit",
            "role: Node\n",
            "role: Node\n  instanceMetadata: {httpPutResponseHopLimit: 65, httpTokens: never}\n"
        ),
        ("instance profile", "role: Node\n", "role: Node\n  iam: {profile: my-profile}\n"),
        (
            "external load balancers",
            "role: Node\n",
            "role: Node\n  externalLoadBalancers: [{loadBalancerName: x}, {targetGroupArn: arn:aws:s3:::x}, {}]\n",
        ),
        (
            "user data",
            "role: Node\n",
            "role: Node\n  additionalUserData:\n  - {name: a.sh, type: text/x-shelscript, content: x}\n  - {name: a.sh, content: \"\"}\n",
        ),
        (
            "private and public subnets",
            "maxSize: 4\n  subnets: [public-a]",
            "maxSize: 4\n  subnets: [public-a, private-b]"
        ),
    ]));
}

#[test]
fn spot_and_volumes() {
    snapshot!(table(&[
        ("price", "role: Node\n", "role: Node\n  maxPrice: cheap\n"),
        ("spot block", "role: Node\n", "role: Node\n  maxPrice: \"0.1\"\n  spotDurationInMinutes: 90\n"),
        (
            "percentage and base",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy: {onDemandBase: 9, onDemandAboveBase: 101}\n",
        ),
        (
            "pools with another strategy",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy: {spotInstancePools: 2, spotAllocationStrategy: capacity-optimized}\n",
        ),
        (
            "unknown strategy",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy: {spotAllocationStrategy: lowest-prize}\n",
        ),
        (
            "strategy of spot fleets",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy: {spotAllocationStrategy: diversified, spotInstancePools: 2}\n",
        ),
        (
            "strategies by an order that there is not",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy:\n    instanceRequirements: {cpu: {min: 2}, memory: {min: 4Gi}}\n    onDemandAllocationStrategy: prioritized\n    spotAllocationStrategy: capacity-optimized-prioritized\n",
        ),
        (
            "two architectures, one type twice",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy: {instances: [t3.medium, t4g.medium, t3.medium]}\n",
        ),
        (
            "types and requirements",
            "role: Node\n",
            "role: Node\n  mixedInstancesPolicy: {instances: [t3.medium], instanceRequirements: {cpu: {min: 4, max: 2}, memory: {min: much}}}\n",
        ),
        (
            "two spellings of the root disk",
            "role: Node\n",
            "role: Node\n  rootVolumeSize: 20\n  rootVolume: {size: 30}\n"
        ),
        ("root disk of no size", "role: Node\n", "role: Node\n  rootVolumeSize: 0\n"),
        ("too few IOPS", "role: Node\n", "role: Node\n  rootVolumeIops: 100\n  rootVolumeThroughput: 0\n"),
        (
            "too few IOPS of a further disk",
            "role: Node\n",
            "role: Node\n  volumes: [{device: /dev/xvdd, size: 10, iops: 100}]\n"
        ),
        (
            "too many IOPS for the size",
            "role: Node\n",
            "role: Node\n  rootVolumeSize: 10\n  rootVolumeIops: 5001\n  volumes: [{device: /dev/xvdd, size: 10, type: io1, iops: 501}, {device: /dev/xvde, type: io2, size: 10, iops: 10001}]\n"
        ),
        (
            "sizes that the type does not have",
            "role: Node\n",
            "role: Node\n  rootVolume: {size: 2000, type: standard}\n  volumes: [{device: /dev/xvdd, size: 3, type: io1}, {device: /dev/xvde, size: 100, type: st1}, {device: /dev/xvdf, size: 20000, type: gp2}]\n"
        ),
        ("throughput without IOPS", "role: Node\n", "role: Node\n  rootVolumeThroughput: 1000\n"),
        ("boot from a cold disk", "role: Node\n", "role: Node\n  rootVolumeType: sc1\n"),
        (
            "disks",
            "role: Node\n",
            "role: Node\n  volumes: [{device: xvdd, size: 10}, {device: /dev/xvde}, {device: /dev/xvde, size: 1, type: gp4}]\n",
        ),
    ]));
}

#[test]
fn api_and_ssh() {
    snapshot!(table(&[
        ("classic load balancer", "class: Network", "class: Classic"),
        ("no class", "      class: Network\n", ""),
        (
            "DNS without DNS",
            "  api:\n    loadBalancer:\n      class: Network\n      type: Public\n",
            "  topology: {dns: {type: None}}\n  api: {dns: {}}\n"
        ),
        ("override", "      type: Public\n", "      type: Public\n      securityGroupOverride: sg-1\n"),
        (
            "internal for itself",
            "type: Public\n  etcd",
            "type: Internal\n      useForInternalApi: true\n  etcd"
        ),
        ("policy without certificate", "      type: Public\n", "      type: Public\n      sslPolicy: x\n"),
        ("certificate", "      type: Public\n", "      type: Public\n      sslCertificate: x\n"),
        ("logs without a bucket", "      type: Public\n", "      type: Public\n      accessLog: {}\n"),
        (
            "subnets of the load balancer",
            "      type: Public\n",
            "      type: Public\n      subnets: [{name: public-b}, {name: public-a, privateIPv4Address: 10.0.0.1}, {allocationId: eip-1}]\n",
        ),
        (
            "two subnets of a zone",
            "      type: Public\n",
            "      type: Public\n      subnets: [{name: private-b}, {name: public-a}, {name: utility-b}]\n",
        ),
        ("name", "  networking:\n", "  masterPublicName: https://api\n  networking:\n"),
        (
            "names of the certificate",
            "  networking:\n",
            "  additionalSans: [k8s.example.com, '*.example.com', 192.0.2.1, '2001:db8::1', API.example.com, '*', 192.0.2.0/24, '']\n  networking:\n"
        ),
        (
            "key of another kind",
            "publicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz",
            "publicKey: ecdsa-sha2-nistp256 AAAAE2VjZHNh"
        ),
        (
            "private key",
            "publicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz",
            "publicKey: |\n    -----BEGIN OPENSSH PRIVATE KEY-----\n    b3Blb"
        ),
        (
            "no key",
            "  publicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz\n",
            "  publicKey:\n"
        ),
        ("damaged key", "AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz", "AAA%"),
    ]));
}

#[test]
fn etcd() {
    let member = "    - name: a\n      instanceGroup: control-plane\n";
    snapshot!(table(&[
        ("unknown cluster", "  - name: main\n", "  - name: mian\n"),
        ("no main", "  - name: main\n", "  - name: events\n"),
        (
            "given twice",
            "  serviceAccountIssuer",
            "  - {name: main, etcdMembers: [{name: a, instanceGroup: control-plane}]}\n  serviceAccountIssuer"
        ),
        ("no members", member, ""),
        ("unknown group", "instanceGroup: control-plane", "instanceGroup: controlplane"),
        ("group of nodes", "instanceGroup: control-plane", "instanceGroup: nodes"),
        (
            "even",
            member,
            "    - {name: a, instanceGroup: control-plane}\n    - {name: a, instanceGroup: control-plane}\n"
        ),
        ("member without a group", "      instanceGroup: control-plane\n", ""),
        (
            "cold volume",
            "      instanceGroup: control-plane\n",
            "      instanceGroup: control-plane\n      volumeSize: 125\n      volumeType: sc1\n"
        ),
        (
            "volume",
            "      instanceGroup: control-plane\n",
            "      instanceGroup: control-plane\n      volumeSize: 0\n      volumeType: gp1\n"
        ),
    ]));
}

#[test]
fn iam() {
    let policy = "        inlinePolicy: |\n          [\n            {\"Effect\": \"Allow\", \"Action\": \"s3:GetObject\", \"Resource\": \"*\"}\n          ]\n";
    snapshot!(table(&[
        ("no issuer", "    enableAWSOIDCProvider: true\n", ""),
        ("no store", "    discoveryStore: s3://example-oidc/k8s\n", ""),
        ("bucket with a dot", "s3://example-oidc/k8s", "s3://oidc.example.com/k8s"),
        ("bucket that is none", "s3://example-oidc/k8s", "s3://Example_OIDC"),
        ("another store", "s3://example-oidc/k8s", "https://example.com"),
        ("wildcard in the name", "    - name: app\n", "    - name: app-*\n"),
        ("no namespace", "      namespace: default\n", ""),
        ("broken JSON", "\"Action\": \"s3:GetObject\",", "\"Action\" \"s3:GetObject\","),
        ("broken JSON in one line", policy, "        inlinePolicy: '[{\"Effect\" \"Allow\"}]'\n"),
        ("no list", policy, "        inlinePolicy: '{\"Version\": \"2012-10-17\", \"Statement\": []}'\n"),
        ("no effect", "\"Effect\": \"Allow\", ", ""),
        ("wrong effect", "\"Allow\"", "\"allow\""),
        ("unknown key", "\"Action\":", "\"Actoin\": 1, \"Action\":"),
        (
            "both",
            policy,
            "        policyARNs: [\"arn:aws:iam::aws:policy/ReadOnlyAccess\"]\n        inlinePolicy: '[{\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"*\"}]'\n"
        ),
        ("neither", policy, "        policyARNs: []\n"),
        ("ARN", policy, "        policyARNs: [ReadOnlyAccess]\n"),
        (
            "nothing for AWS",
            "      aws:\n        inlinePolicy: |\n          [\n            {\"Effect\": \"Allow\", \"Action\": \"s3:GetObject\", \"Resource\": \"*\"}\n          ]\n",
            ""
        ),
        (
            "given twice",
            "    - name: app\n",
            "    - {name: app, namespace: default, aws: {policyARNs: [\"arn:aws:iam::aws:policy/X\"]}}\n    - name: app\n"
        ),
        ("boundary", "  iam:\n", "  iam:\n    permissionsBoundary: Boundary\n"),
        (
            "roles of policies",
            "  networking:\n",
            "  additionalPolicies: {nodes: '[]'}\n  externalPolicies: {masters: [x]}\n  networking:\n"
        ),
    ]));
}

#[test]
fn ingress() {
    snapshot!(table(&[
        (
            "host",
            "hosts: [www.example.com]",
            "hosts: [\"https://www.example.com\", localhost, www.example.com, www.example.com]"
        ),
        ("the API's own name", "hosts: [www.example.com]", "hosts: [api.k8s.example.com]"),
        ("unknown manager", "    shareWithApi: true\n", "    managedBy: services\n"),
        (
            "shared and by a Service",
            "    shareWithApi: true\n",
            "    shareWithApi: true\n    managedBy: service\n"
        ),
        ("nothing to share", "  api:\n    loadBalancer:\n      class: Network\n      type: Public\n", ""),
        ("internal", "      type: Public\n", "      type: Internal\n"),
        (
            "given twice",
            "  hosts: [www.example.com]\n",
            "  hosts: [www.example.com]\n---\napiVersion: kcl.dev/v1alpha1\nkind: IngressController\nmetadata: {name: nginx-ingress}\nspec: {loadBalancer: {shareWithApi: true}}\n",
        ),
    ]));
}

#[test]
fn warnings() {
    snapshot!(table(&[
        (
            "read but not acted on",
            "  networking:\n",
            "  certManager: {enabled: true}\n  kubelet: {maxPods: 20}\n  packages: [nfs-common]\n  networking:\n"
        ),
        ("weak control plane", "machineType: t3.medium", "machineType: t3.micro"),
        ("control plane with one CPU", "machineType: t3.medium", "machineType: m3.medium"),
        ("open API", "203.0.113.0/24", "0.0.0.0/0"),
        ("closed API", "  kubernetesApiAccess:\n  - 203.0.113.0/24\n", ""),
        (
            "open API and SSH",
            "  kubernetesApiAccess:\n",
            "  sshAccess: [\"::/0\"]\n  kubernetesApiAccess:\n  - \"::/0\"\n"
        ),
        (
            "etcd in the clear",
            "      instanceGroup: control-plane\n",
            "      instanceGroup: control-plane\n      encryptedVolume: false\n"
        ),
        ("VPC CNI", "    cni: {}\n", "    amazonvpc: {}\n"),
        ("no nodes", "role: Node\n", "role: Bastion\n"),
        ("billed bursts", "role: Node\n", "role: Node\n  maxPrice: \"0.05\"\n"),
        (
            "a price for nothing",
            "role: Node\n",
            "role: Node\n  maxPrice: \"0.05\"\n  mixedInstancesPolicy: {}\n"
        ),
        (
            "credits of another type",
            "machineType: t3.medium",
            "machineType: m5.large\n  cpuCredits: standard"
        ),
        (
            "IOPS of gp2",
            "role: Node\n",
            "role: Node\n  rootVolumeType: gp2\n  rootVolumeIops: 4000\n  rootVolumeThroughput: 200\n"
        ),
        (
            "key without encryption",
            "role: Node\n",
            "role: Node\n  rootVolumeEncryption: false\n  rootVolumeEncryptionKey: x\n"
        ),
        ("spot options without spot", "role: Node\n", "role: Node\n  instanceInterruptionBehavior: stop\n"),
        (
            "metadata without a token",
            "role: Node\n",
            "role: Node\n  instanceMetadata: {httpTokens: optional}\n"
        ),
        ("two keys", "  networking:\n", "  sshKeyName: ops\n  networking:\n"),
        (
            "bastion without bastions",
            "  networking:\n",
            "  topology: {bastion: {bastionPublicName: x.example.com}}\n  networking:\n"
        ),
        (
            "topology that is not",
            "  networking:\n",
            "  topology: {masters: private, nodes: public}\n  networking:\n"
        ),
        (
            "public address in private",
            "maxSize: 4\n  subnets: [public-a]",
            "maxSize: 4\n  associatePublicIp: true\n  subnets: [private-b]"
        ),
    ]));
}

#[test]
fn what_needs_no_warning_gets_none() {
    let inert = "  channel: stable\n  authorization: {rbac: {}}\n  kubelet: {anonymousAuth: false}\n  metricsServer: {enabled: false}\n  podIdentityWebhook: {enabled: true}\n  cloudConfig: {awsEBSCSIDriver: {enabled: true}, manageStorageClasses: true}\n  cloudControllerManager: {cloudProvider: aws, useServiceAccountCredentials: true}\n  externalDns: {provider: none}\n  nodeTerminationHandler: {enableSpotInterruptionDraining: false, prometheusEnable: true}\n  networking:\n";
    assert_eq!(see(&edited("  networking:\n", inert)), "sound");
    assert_eq!(
        see(&edited("  iam:\n", "  iam:\n    legacy: false\n    allowContainerRegistry: true\n")),
        "sound"
    );
}

#[test]
fn the_vpc_cni_on_small_machines() {
    let text = edited("    cni: {}\n", "    amazonvpc: {}\n");
    let (before, after) = text.rsplit_once("machineType: t3.medium").unwrap();
    snapshot!(see(&format!("{before}machineType: t3.micro{after}")));
}

#[test]
fn mistakes_of_several_files_are_told_apart() {
    let (cluster, rest) = SOUND.split_once("---\n").unwrap();
    let rest = rest
        .replace("maxSize: 4", "maxSize: 1")
        .replace("subnets: [public-a]\n  image", "subnets: [public]\n  image");
    let sources = [
        Source::new("cluster.yaml", cluster.replace("/16", "/33")),
        Source::new("groups.yaml", rest.clone() + "---\n" + &rest),
    ];
    snapshot!(load(&sources).unwrap_err().to_string());
}

#[test]
fn nothing_at_all() {
    snapshot!(load(&[]).unwrap_err().to_string());
    assert_eq!(see("# nothing\n---\n"), load(&[]).unwrap_err().to_string());
}

#[test]
fn issuer_and_state() {
    const ISSUER: &str = "  serviceAccountIssuerDiscovery:\n    discoveryStore: s3://example-oidc/k8s\n";
    let stores = |base: &str, store: &str| {
        format!("  configBase: {base}\n  serviceAccountIssuerDiscovery:\n    discoveryStore: {store}\n")
    };
    let cases = [
        ("a dot in the bucket's name", "s3://state", "s3://oidc.example.com/k8s"),
        ("the state store's bucket", "s3://state/kcl", "s3://state/oidc"),
        ("the root of the state store's bucket", "s3://state", "s3://state"),
        ("beside the cluster's folder", "s3://state/kcl", "s3://state/kcl/k8s.example.com-oidc"),
        ("the cluster's folder", "s3://state/kcl", "s3://state/kcl/k8s.example.com"),
        ("inside the cluster's folder", "s3://state", "s3://state/k8s.example.com/oidc/"),
        ("inside kOps' configBase", "s3://state/k8s.example.com", "s3://state//k8s.example.com/oidc"),
    ];
    let texts = cases.map(|(name, base, store)| (name, stores(base, store)));
    let cases: Vec<(&str, &str, &str)> =
        texts.iter().map(|(name, text)| (*name, ISSUER, text.as_str())).collect();
    snapshot!(table(&cases));
    for (base, store) in [
        ("s3://state", "s3://oidc/k8s.example.com"),
        ("file:///state", "s3://state/k8s.example.com"),
        ("s3://state", "file:///state/k8s.example.com"),
    ] {
        assert_eq!(see(&edited(ISSUER, &stores(base, store))), "sound", "{base} {store}");
    }
}

#[test]
fn state_store() {
    const LAST: &str = "kind: Namespace\nmetadata:\n  name: shop\n";
    let document = |spec: &str| {
        format!("{LAST}---\napiVersion: kcl.dev/v1alpha1\nkind: StateStore\nmetadata:\n  name: state\n{spec}")
    };
    for key in [
        "alias/kcl-state",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
        "arn:aws:kms:eu-north-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab",
        "arn:aws:kms:eu-north-1:123456789012:alias/kcl-state",
    ] {
        let text = edited(LAST, &document(&format!("spec: {{kmsKeyID: '{key}'}}\n")));
        let loaded = load(&[Source::new("cluster.yaml", text)]).unwrap();
        assert_eq!(loaded.cluster.state_store.kms_key.as_deref(), Some(key));
        assert!(loaded.warnings.is_empty());
        let completed = load(&[Source::new("completed.yaml", kcl_spec::complete(&loaded))]).unwrap();
        assert_eq!(completed.cluster.state_store, loaded.cluster.state_store);
    }
    let key = "spec: {kmsKeyID: alias/kcl-state}\n";
    let cases = [
        ("no spec", document("")),
        ("no key", document("spec: {}\n")),
        ("a field of another spelling", document("spec: {kmsKeyId: alias/kcl-state}\n")),
        ("an alias without its prefix", document("spec: {kmsKeyID: kcl-state}\n")),
        ("an empty key", document("spec: {kmsKeyID: ''}\n")),
        ("an id that is cut off", document("spec: {kmsKeyID: 1234abcd-12ab-34cd-56ef}\n")),
        ("an ARN of something else", document("spec: {kmsKeyID: 'arn:aws:s3:::bucket'}\n")),
        ("an ARN without an account", document("spec: {kmsKeyID: 'arn:aws:kms:eu-north-1::alias/x'}\n")),
        ("a key that is no text", document("spec: {kmsKeyID: [alias/x]}\n")),
        ("two", format!("{}{}", document(key), document(key).replace(LAST, ""))),
        (
            "of another cluster",
            document(key).replace("  name: state", "  labels: {kops.k8s.io/cluster: other.example.com}"),
        ),
        ("kind misspelled", document(key).replace("kind: StateStore", "kind: Statestore")),
    ];
    let mut cases: Vec<(&str, &str, &str)> =
        cases.iter().map(|(name, to)| (*name, LAST, to.as_str())).collect();
    let folder = format!(
        "  configBase: file:///state\n  networking:{}",
        edited(LAST, &document(key)).split_once("  networking:").unwrap().1
    );
    let rest = format!("  networking:{}", SOUND.split_once("  networking:").unwrap().1);
    cases.push(("a state store that is a folder", &rest, &folder));
    snapshot!(table(&cases));
}

/// A sound document of kcl's own in place of the last one, with edits of it.
fn of_kcl(document: &str, cases: &[(&str, &str, &str)]) -> String {
    const LAST: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";
    let with = |document: &str| format!("apiVersion: kcl.dev/v1alpha1\n{document}");
    assert_eq!(see(&edited(LAST, &with(document))), "sound");
    let texts: Vec<(&str, String)> = cases
        .iter()
        .map(|(name, from, to)| {
            assert!(document.contains(from), "not in the document: {from}");
            (*name, with(&document.replacen(from, to, 1)))
        })
        .collect();
    let cases: Vec<(&str, &str, &str)> =
        texts.iter().map(|(name, text)| (*name, LAST, text.as_str())).collect();
    table(&cases)
}

/// The sound spec with fields of the Cluster put in.
fn with_fields(cases: &[(&str, &str)]) -> String {
    let texts: Vec<(&str, String)> =
        cases.iter().map(|(name, fields)| (*name, format!("  {fields}\n  networking:\n"))).collect();
    let cases: Vec<(&str, &str, &str)> =
        texts.iter().map(|(name, text)| (*name, "  networking:\n", text.as_str())).collect();
    table(&cases)
}

#[test]
fn components() {
    snapshot!(with_fields(&[
        (
            "cloud controller manager",
            "cloudControllerManager: {image: 'https://x/y', logLevel: 11, controllers: ['*', route, -Route, route], cpuRequest: lots, configureCloudRoute: true}"
        ),
        (
            "controllers without an account",
            "cloudControllerManager: {controllers: [tagging, node-ipam, -tagging, -service-lb-controller]}",
        ),
        (
            "its options that nothing follows from",
            "cloudControllerManager: {leaderElection: {}, cloudProvider: external}"
        ),
        (
            "EBS CSI driver",
            "cloudConfig: {manageStorageClass: true, awsEBSCSIDriver: {enable: true, version: 'v1:2', volumeAttachLimit: 0, podAnnotations: {\"a b\": c}}}"
        ),
        ("a driver that is off is judged", "cloudConfig: {awsEBSCSIDriver: {enabled: false, version: ''}}"),
        (
            "cloud options that nothing follows from",
            "cloudConfig: {elbSecurityGroup: sg-1, disableSecurityGroupIngress: true}"
        ),
        ("metrics server", "metricsServer: {enabled: true, image: a b}"),
        (
            "autoscaler",
            "clusterAutoscaler: {enabled: true, expander: 'price,least-wast', scaleDownUtilizationThreshold: 50%, newPodScaleUpDelay: 10, scaleDownUnneededTime: -1m, memoryRequest: 300MB, awsUseStaticInstanceList: true}"
        ),
        (
            "threshold of more than all",
            "clusterAutoscaler: {enabled: true, scaleDownUtilizationThreshold: 1.5}"
        ),
        (
            "priorities",
            "clusterAutoscaler: {enabled: true, expander: priority, customPriorityExpanderConfig: {high: ['.*'], 10: ['']}}"
        ),
        (
            "priorities for nothing",
            "clusterAutoscaler: {enabled: true, customPriorityExpanderConfig: {10: ['.*']}}"
        ),
        (
            "termination handler",
            "nodeTerminationHandler: {version: '', cpuRequest: x, podTerminationGracePeriod: 9999999999, webhookURL: x}"
        ),
        ("external-dns", "externalDns: {provider: externaldns, watchNamespace: A}"),
        ("dns-controller", "externalDns: {provider: dns-controller}"),
        ("dns-controller by default", "externalDns: {watchIngress: true}"),
        (
            "external-dns without a zone",
            "topology: {dns: {type: None}}\n  externalDns: {provider: external-dns}"
        ),
        (
            "mirrors",
            "assets: {containerProxy: 'https://proxy.example.com', containerRegistry: 'x y', fileRepository: z}"
        ),
        ("manifests of kOps", "addons: [{manifest: 'https://example.com/a.yaml'}]"),
        ("pod identity webhook", "podIdentityWebhook: {enable: true}"),
    ]));
}

#[test]
fn authentication() {
    snapshot!(with_fields(&[
        ("kopeio", "authentication: {kopeio: {}}"),
        ("what is not there yet", "authentication: {aws: {}}"),
        (
            "options",
            "authentication: {aws: {backendMode: 'MountedFile,CDR', clusterID: 'a b', image: ':', cpuRequest: 2, cpuLimit: 1500m, memoryLimit: -1}}"
        ),
        (
            "mappings",
            "authentication: {aws: {identityMappings: [{arn: 'arn:aws:iam::123456789012:root', username: '', groups: ['', '']}, {arn: 'arn:aws:iam::123456789012:role/team/dev', username: a}, {username: b}, {arn: 'arn:aws:iam::123456789012:root'}]}}"
        ),
    ]));
}

#[test]
fn pod_networks() {
    const CNI: &str = "    cni: {}\n";
    snapshot!(table(&[
        ("not carried", CNI, "    calico: {}\n"),
        ("not carried, and set up", CNI, "    cilium: {ipam: eni}\n"),
        ("kubenet", CNI, "    kubenet: {}\n"),
        ("flannel", CNI, "    flannel: {backend: host-gw, iptablesResyncSeconds: 0, mtu: 1}\n"),
    ]));
    let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let manifest = |name: &str| {
        format!(
            "apiVersion: kcl.dev/v1alpha1\nkind: Manifest\nmetadata:\n  name: {name}\nspec:\n  url: https://example.com/{name}.yaml\n  sha256: {sum}\n---\n"
        )
    };
    let with =
        |network: &str| format!("{}{}", manifest(network), edited(CNI, &format!("    {network}: {{}}\n")));
    for network in ["calico", "cilium", "kindnet", "kuberouter", "canal", "amazonvpc"] {
        assert_eq!(see(&with(network)), "sound", "{network}");
    }
    // Pods have addresses of the VPC then, and services alone need a range.
    let few = with("amazonvpc").replace("  networkCIDR:", "  nonMasqueradeCIDR: 10.0.0.0/25\n  networkCIDR:");
    assert_eq!(see(&few), "sound");
    assert_eq!(see(&format!("{}{SOUND}", manifest("calico"))), "sound");
    assert_eq!(see(&edited(CNI, "    flannel: {backend: udp}\n")), "sound");
    snapshot!(see(&with("flannel")));
}

#[test]
fn roles_of_addons() {
    const IAM: &str = "  iam:\n";
    const ROLES: &str = "  iam:\n    useServiceAccountExternalPermissions: true\n";
    assert_eq!(see(&edited(IAM, ROLES)), "sound");
    let (before, after) = SOUND.split_once("  serviceAccountIssuerDiscovery").unwrap();
    let (_, after) = after.split_once("---\n").unwrap();
    let addon = "    - name: app\n      namespace: default\n";
    let of_addon = |name: &str| format!("    - name: {name}\n      namespace: kube-system\n");
    let mut table = table(&[
        ("an addon's", addon, &of_addon("aws-node-termination-handler")),
        ("another addon's", addon, &of_addon("ebs-csi-controller-sa")),
    ]);
    writeln!(table, "== no issuer\n{}", see(&format!("{before}{ROLES}---\n{after}"))).unwrap();
    snapshot!(table);
    // The service account of an addon that is not there is anybody's.
    assert_eq!(see(&edited(addon, &of_addon("cluster-autoscaler"))), "sound");
    assert_eq!(see(&edited(addon, &of_addon("external-dns"))), "sound");
}

#[test]
fn access_entries() {
    const ENTRY: &str =
        "kind: AccessEntry\nmetadata:\n  name: a\nspec:\n  principal:\n    group: ops\n  clusterRole: view\n";
    let iam = |arn: &str| format!("    iam: {arn}\n");
    snapshot!(of_kcl(
        ENTRY,
        &[
            ("no spec", "spec:\n  principal:\n    group: ops\n  clusterRole: view\n", ""),
            ("no name", "  name: a\n", "  labels: {}\n"),
            ("name that is none", "  name: a\n", "  name: A B\n"),
            ("nobody's", "  principal:\n    group: ops\n", ""),
            ("nobody's either", "    group: ops\n", "    groups: [ops]\n"),
            ("an empty principal", "  principal:\n    group: ops\n", "  principal: {}\n"),
            (
                "two principals",
                "    group: ops\n",
                "    group: ops\n    iam: arn:aws:iam::123456789012:role/a\n"
            ),
            ("group of Kubernetes", "group: ops", "group: system:masters"),
            ("group of kcl", "group: ops", "group: kcl:a"),
            ("group that is none", "group: ops", "group: ' '"),
            ("no authenticator", "    group: ops\n", &iam("arn:aws:iam::123456789012:role/a")),
            ("ARN of something else", "    group: ops\n", &iam("arn:aws:s3:::bucket")),
            ("ARN with a path", "    group: ops\n", &iam("arn:aws:iam::123456789012:role/team/dev")),
            ("no role", "  clusterRole: view\n", ""),
            ("two roles", "  clusterRole: view\n", "  clusterRole: view\n  role: x\n  namespaces: [a]\n"),
            ("a Role nowhere", "clusterRole: view", "role: x"),
            ("role that is none", "clusterRole: view", "clusterRole: a/b"),
            ("namespaces", "  clusterRole: view\n", "  clusterRole: view\n  namespaces: [a, A, a]\n"),
            ("field of another name", "clusterRole: view", "clusterrole: view"),
            (
                "given twice",
                "  clusterRole: view\n",
                "  clusterRole: view\n---\napiVersion: kcl.dev/v1alpha1\nkind: AccessEntry\nmetadata: {name: a}\nspec: {principal: {group: b}, clusterRole: edit}\n"
            ),
            (
                "of another cluster",
                "  name: a\n",
                "  name: a\n  labels: {kops.k8s.io/cluster: x.example.com}\n"
            ),
        ]
    ));
    let with_iam = format!(
        "{}---\napiVersion: kcl.dev/v1alpha1\n{}",
        edited("  networking:\n", "  authentication: {aws: {}}\n  networking:\n"),
        ENTRY.replace("    group: ops\n", &iam("arn:aws:iam::123456789012:user/team/alice"))
    );
    assert_eq!(
        see(&with_iam),
        see(&edited("  networking:\n", "  authentication: {aws: {}}\n  networking:\n"))
    );
}

#[test]
fn namespace_defaults() {
    const DEFAULTS: &str = "kind: NamespaceDefaults\nmetadata:\n  name: shop\nspec:\n  defaultDeny: [Ingress]\n  limitRange:\n    defaultRequests: {cpu: 100m}\n    defaultLimits: {cpu: 1, memory: 1Gi}\n";
    let mut table = of_kcl(
        DEFAULTS,
        &[
            ("namespace that is none", "name: shop", "name: a.b"),
            ("namespace of Kubernetes", "name: shop", "name: kube-system"),
            ("direction", "[Ingress]", "[ingress]"),
            ("no default", &DEFAULTS[DEFAULTS.find("spec:").unwrap()..], "spec: {}\n"),
            ("resource", "defaultRequests: {cpu", "defaultRequests: {cpus"),
            ("amount", "cpu: 100m", "cpu: 100mi"),
            ("more than the limit", "cpu: 100m", "cpu: 1500m"),
            (
                "given twice",
                "    defaultLimits: {cpu: 1, memory: 1Gi}\n",
                "---\napiVersion: kcl.dev/v1alpha1\nkind: NamespaceDefaults\nmetadata: {name: shop}\nspec: {defaultDeny: [Egress]}\n",
            ),
        ],
    );
    for network in ["flannel", "calico"] {
        let text = edited("    cni: {}\n", &format!("    {network}: {{}}\n"));
        let text = format!("{text}---\napiVersion: kcl.dev/v1alpha1\n{DEFAULTS}");
        writeln!(table, "== with {network}\n{}\n", see(&text)).unwrap();
    }
    snapshot!(table);
}

#[test]
fn manifests() {
    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let document = format!(
        "kind: Manifest\nmetadata:\n  name: x\nspec:\n  url: https://example.com/x.yaml\n  sha256: {SUM}\n"
    );
    let url = "https://example.com/x.yaml";
    snapshot!(of_kcl(
        &document,
        &[
            ("no spec", &document[document.find("spec:").unwrap()..], ""),
            ("no sum", &format!("  sha256: {SUM}\n"), ""),
            ("no address", &format!("  url: {url}\n"), ""),
            ("name", "name: x", "name: X"),
            ("in the clear", url, "http://example.com/x.yaml"),
            ("a file without its whole path", url, "file://x.yaml"),
            ("a bare path", url, "/x.yaml"),
            ("a password", url, "https://me:hunter2@example.com/x.yaml"),
            ("no host", url, "https:///x.yaml"),
            ("a short sum", SUM, "e3b0c442"),
            ("a sum with its kind", SUM, &format!("sha256:{SUM}")),
            (
                "given twice",
                SUM,
                &format!(
                    "{SUM}\n---\napiVersion: kcl.dev/v1alpha1\nkind: Manifest\nmetadata: {{name: x}}\nspec: {{url: {url}, sha256: {SUM}}}"
                )
            ),
        ]
    ));
}
