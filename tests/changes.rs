//! Each change of a spec that its owner may make, there and back: exactly its own steps, and then nothing to do.
//!
//! One table for each cluster. Entries that have nothing to do with each other are applied together (an inner list is
//! one update), so that all of it takes minutes; updates are told with their fields, so that no entry hides another.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kcl_testkit::{World, example};
use serde_json::Value;

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

/// A change of the spec, and what has to be done for it.
struct Entry {
    what: &'static str,
    /// Each the text that is replaced once, and the new one, in which `&&` is the old one.
    edits: &'static [(&'static str, &'static str)],
    /// A step a line, see [`steps`]; `$` is the cluster's name.
    on: &'static str,
    /// The same for the way back. [`MIRROR`]: the opposite of each.
    off: &'static str,
}

const MIRROR: &str = "mirror";

struct Sweep {
    world: World,
    cluster: &'static str,
    base: String,
    /// What stands for identifiers that are not known beforehand, in the rows.
    given: BTreeMap<&'static str, String>,
    wrong: String,
}

impl Sweep {
    /// Makes the cluster of `base`.
    #[track_caller]
    fn of(world: World, cluster: &'static str, base: String) -> Self {
        let path = world.spec(&base);
        world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
        let mut sweep = Self { world, cluster, base, given: BTreeMap::new(), wrong: String::new() };
        sweep.in_step("creation");
        sweep
    }

    fn vpc(&self) -> String {
        let audit = kcl_testkit::audit(&self.world.aws, self.world.aws.region()).unwrap();
        let ours = audit.list("vpcs").iter().find(|vpc| vpc["IsDefault"] != true).unwrap();
        ours["VpcId"].as_str().unwrap().to_owned()
    }

    /// A security group in the cluster's VPC that is not the cluster's, and goes with it.
    fn foreign_group(&mut self) {
        let audit = kcl_testkit::audit(&self.world.aws, self.world.aws.region()).unwrap();
        let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
        let vpc = self.vpc();
        let groups = audit.list("security_groups").iter();
        let mut default =
            groups.filter(|group| text(group, "VpcId") == vpc && text(group, "GroupName") == "default");
        self.given.insert("FOREIGN_GROUP", text(default.next().unwrap(), "GroupId"));
    }

    /// What an owner may have made beside the cluster: a target group, a transit gateway, an address.
    fn foreign_things(&mut self) {
        let make = |service: &str, action: &str, params: &[(&str, &str)], path: &str| {
            let made = self.world.aws.direct(service, action, params).unwrap();
            made.value(path).to_owned()
        };
        let params = [("Name", "mine"), ("Protocol", "TCP"), ("Port", "80"), ("VpcId", &self.vpc())];
        let targets = make(
            "elasticloadbalancing",
            "CreateTargetGroup",
            &params,
            "CreateTargetGroupResult/TargetGroups/member/TargetGroupArn",
        );
        let gateway = make("ec2", "CreateTransitGateway", &[], "transitGateway/transitGatewayId");
        let address = make("ec2", "AllocateAddress", &[("Domain", "vpc")], "allocationId");
        self.given.extend([
            ("FOREIGN_TARGETS", targets),
            ("FOREIGN_GATEWAY", gateway),
            ("FOREIGN_ADDRESS", address),
        ]);
    }

    /// There, and back again.
    fn round(&mut self, entries: &[&Entry]) {
        let names: Vec<&str> = entries.iter().map(|entry| entry.what).collect();
        let names = names.join(" + ");
        let mut spec = self.base.clone();
        for (from, to) in entries.iter().flat_map(|entry| entry.edits) {
            assert!(spec.contains(from), "{names}: {from:?} is not in the spec");
            spec = spec.replacen(from, &to.replace("&&", from), 1);
        }
        for (name, value) in &self.given {
            spec = spec.replace(name, value);
        }
        let there = entries.iter().flat_map(|entry| entry.on.lines().map(str::to_owned));
        let there = self.spelled(there);
        let back = entries.iter().flat_map(|entry| match entry.off {
            MIRROR => entry.on.lines().map(mirrored).collect(),
            off => off.lines().map(str::to_owned).collect::<Vec<_>>(),
        });
        let back = self.spelled(back);
        self.change(&format!("{names}, on"), &spec, &there);
        let base = self.base.clone();
        self.change(&format!("{names}, off"), &base, &back);
    }

    fn spelled(&self, lines: impl Iterator<Item = String>) -> BTreeMap<String, BTreeSet<String>> {
        let mut steps: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in lines
            .map(|line| line.trim().replace('$', self.cluster).replace("ACCOUNT", self.world.aws.account()))
            .filter(|line| !line.is_empty())
        {
            let (step, fields) = line.split_once(": ").unwrap_or((&line, ""));
            steps
                .entry(step.to_owned())
                .or_default()
                .extend(fields.split(' ').filter(|f| !f.is_empty()).map(str::to_owned));
        }
        steps
    }

    /// Previews `spec`, applies it, and previews once more.
    fn change(&mut self, what: &str, spec: &str, expected: &BTreeMap<String, BTreeSet<String>>) {
        let path = self.world.spec(spec);
        let preview = self.world.kcl(&["update", "-f", &path, "--prune", "-o", "json"]);
        if preview.code != 0 {
            write!(self.wrong, "\n{what}: no preview\n{}\n", preview.all()).unwrap();
            return;
        }
        let found = self.spelled(steps(&preview.stdout).into_iter());
        if found != *expected {
            let line = |(step, fields): (&String, &BTreeSet<String>)| {
                let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                let step = step.replace(self.cluster, "$");
                if fields.is_empty() { step } else { format!("{step}: {}", fields.join(" ")) }
            };
            let lines = |of: &BTreeMap<String, BTreeSet<String>>,
                         other: &BTreeMap<String, BTreeSet<String>>| {
                let differs = of.iter().filter(|(step, fields)| other.get(*step) != Some(fields));
                differs.map(line).collect::<Vec<_>>().join("\n    ")
            };
            let (missing, more) = (lines(expected, &found), lines(&found, expected));
            write!(self.wrong, "\n{what}:\n  missing\n    {missing}\n  found\n    {more}\n").unwrap();
        }
        let applied = self.world.kcl(&["update", "-f", &path, "--prune", "--yes"]);
        if applied.code != 0 {
            write!(self.wrong, "\n{what}: not applied\n{}\n", applied.all()).unwrap();
        }
        self.in_step(what);
    }

    fn in_step(&mut self, what: &str) {
        let path = self.world.folder.path().join("cluster.yaml").display().to_string();
        let run = self.world.kcl(&["update", "-f", &path, "--prune", "--deep", "--detailed-exitcode"]);
        if run.code != 0 || !run.stdout.is_empty() {
            write!(self.wrong, "\n{what}: not in step\n{}\n", run.all()).unwrap();
        }
    }

    /// What AWS cannot do is not begun, and said.
    fn refused(&mut self, what: &str, edits: &[(&str, &str)], says: &str) {
        let mut spec = self.base.clone();
        for (from, to) in edits {
            assert!(spec.contains(from), "{what}: {from:?} is not in the spec");
            spec = spec.replacen(from, to, 1);
        }
        let path = self.world.spec(&spec);
        self.world.aws.take_calls();
        let run = self.world.kcl(&["update", "-f", &path, "--prune", "--yes"]);
        let all = run.all().split_whitespace().collect::<Vec<_>>().join(" ");
        let calls: Vec<String> =
            self.world.aws.mutating_calls().iter().map(kcl_testkit::Call::name).collect();
        let changed = calls.iter().any(|call| !call.starts_with("s3"));
        if run.code == 0 || !all.contains(says) || changed {
            write!(self.wrong, "\n{what}: not refused with {says:?}; calls {calls:?}\n{}\n", run.all())
                .unwrap();
        }
        self.world.spec(&self.base);
        self.in_step(what);
    }

    /// Takes the cluster away, and gives up with all that was wrong.
    fn end(mut self) {
        let run = self.world.kcl(&["delete", "cluster", self.cluster, "--yes"]);
        if run.code != 0 {
            write!(self.wrong, "\ndeletion\n{}\n", run.all()).unwrap();
        }
        let account = self.world.aws.account();
        // Zones, buckets and what was made beside the cluster stay.
        let stays = |left: &String| {
            left.starts_with("hosted zone")
                || left.starts_with("bucket") && left.contains(account)
                || left == "target group mine"
                || self.given.values().any(|given| left.contains(given))
        };
        let left: Vec<String> = self.world.left().into_iter().filter(|left| !stays(left)).collect();
        assert_eq!(self.world.aws.unsupported(), Vec::<String>::new());
        assert!(self.wrong.is_empty(), "{}", self.wrong);
        assert_eq!(left, Vec::<String>::new());
    }
}

/// The opposite of a step.
fn mirrored(step: &str) -> String {
    let step = step.trim();
    match step.split_once(' ') {
        Some(("+", rest)) => format!("- {rest}"),
        Some(("-", rest)) => format!("+ {rest}"),
        _ => step.to_owned(),
    }
}

/// The plan's steps, as `+ kind name`, `- kind name`, `~ kind name: fields`; `-+` for each half of a replacement. The
/// spec's own registration is left out.
fn steps(plan: &str) -> Vec<String> {
    let plan: Value = serde_json::from_str(plan).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let steps = plan["steps"].as_array().unwrap().iter();
    let steps = steps.filter(|step| step["id"]["kind"] != "registered-spec").map(|step| {
        let sign = match (step["replacement"] == true, text(&step["action"]).as_str()) {
            (true, _) => "-+",
            (false, "create") => "+",
            (false, "update") => "~",
            (false, _) => "-",
        };
        let changes = step["changes"].as_array().unwrap().iter();
        let fields: BTreeSet<String> = changes.map(|change| text(&change["field"])).collect();
        let fields: Vec<String> = fields.into_iter().collect();
        let fields = if fields.is_empty() { String::new() } else { format!(": {}", fields.join(" ")) };
        format!("{sign} {} {}{fields}", text(&step["id"]["kind"]), text(&step["id"]["name"]))
    });
    let unwanted = plan["unwanted"].as_array().unwrap().iter();
    let unwanted =
        unwanted.map(|left| format!("? {} {}", text(&left["id"]["kind"]), text(&left["id"]["name"])));
    steps.chain(unwanted).collect()
}

#[test]
fn small() {
    let world = World::new(KCL);
    let mut sweep = Sweep::of(world, "minimal.example.com", example("minimal.yaml"));
    sweep.foreign_group();
    for entries in SMALL {
        sweep.round(entries);
    }
    sweep.refused(
        "a moved subnet",
        &[("cidr: 172.20.32.0/19", "cidr: 172.20.64.0/19"), (NODE, "  role: Node\n  maxSize: 3\n")],
        "machines run in it",
    );
    sweep.refused(
        "another zone",
        &[("      zone: eu-north-1a\n", "      zone: eu-north-1b\n")],
        "machines run in it",
    );
    sweep.refused(
        "another network",
        &[(SPEC, "  networkCIDR: 172.20.0.0/17\n  networking:\n")],
        "everything of the cluster is in it",
    );
    sweep.end();
}

const NODE: &str = "  role: Node\n";
/// The first group begins so.
const GROUP: &str = "kind: InstanceGroup\nmetadata:\n";
const MASTER: &str = "  role: ControlPlane\n";
const SPEC: &str = "  networking:\n";

const SMALL: &[&[&Entry]] = &[
    &[
        &Entry {
            what: "no queue",
            edits: &[(SPEC, "  nodeTerminationHandler: {enableSQSTerminationDraining: false}\n&&")],
            on: "
                ~ iam-role masters.$: inline_policies
                ~ launch-template control-plane.masters.$: machine_tags tags
                ~ launch-template nodes.$: machine_tags tags
                ~ auto-scaling-group control-plane.masters.$: lifecycle_hooks tags
                ~ auto-scaling-group nodes.$: lifecycle_hooks tags
                - queue minimal-example-com-nth
                - event-rule $-ASGLifecycle
                - event-rule $-InstanceScheduledChange
                - event-rule $-InstanceStateChange
                - event-rule $-SpotInterruption
            ",
            off: MIRROR,
        },
        &Entry {
            what: "smaller range of nodes",
            edits: &[(NODE, "&&  minSize: 1\n  maxSize: 4\n")],
            on: "
                ~ auto-scaling-group nodes.$: max_size min_size
            ",
            off: MIRROR,
        },
        &Entry {
            what: "SSH from somewhere",
            edits: &[(SPEC, "  sshAccess: [198.51.100.0/24, \"2001:db8::/32\"]\n&&")],
            on: "
                + security-group-rule masters.$ in tcp 22 from 198.51.100.0/24
                + security-group-rule masters.$ in tcp 22 from 2001:db8::/32
                + security-group-rule nodes.$ in tcp 22 from 198.51.100.0/24
                + security-group-rule nodes.$ in tcp 22 from 2001:db8::/32
            ",
            off: MIRROR,
        },
        &Entry {
            what: "an SSH key",
            edits: &[(
                GROUP,
                "kind: SSHCredential\nmetadata: {name: admin}\nspec:\n  publicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz ops\n---\napiVersion: kops.k8s.io/v1alpha2\n&&",
            )],
            on: "
                + key-pair kubernetes.$-2b:69:ab:2f:5f:24:0e:ac:a6:17:83:ad:77:80:ed:03
                ~ launch-template control-plane.masters.$: key_pair
                ~ launch-template nodes.$: key_pair
            ",
            off: MIRROR,
        },
        &Entry {
            what: "a permissions boundary",
            edits: &[(SPEC, "  iam: {permissionsBoundary: \"arn:aws:iam::aws:policy/PowerUserAccess\"}\n&&")],
            on: "
                ~ iam-role masters.$: permissions_boundary
                ~ iam-role nodes.$: permissions_boundary
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "rebalance events",
            edits: &[(SPEC, "  nodeTerminationHandler: {enableRebalanceDraining: true}\n&&")],
            on: "
                + event-rule $-RebalanceRecommendation
            ",
            off: MIRROR,
        },
        &Entry {
            what: "node ports",
            edits: &[(SPEC, "  nodePortAccess: [198.51.100.0/24]\n&&")],
            on: "
                + security-group-rule nodes.$ in tcp 30000-32767 from 198.51.100.0/24
                + security-group-rule nodes.$ in udp 30000-32767 from 198.51.100.0/24
            ",
            off: MIRROR,
        },
        &Entry {
            what: "another way to the API",
            edits: &[("    - 203.0.113.0/24\n", "    - 203.0.112.0/24\n    - 198.51.100.0/24\n")],
            on: "
                + security-group-rule masters.$ in tcp 443 from 198.51.100.0/24
                + security-group-rule masters.$ in tcp 443 from 203.0.112.0/24
                - security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
            ",
            off: MIRROR,
        },
        &Entry {
            what: "policies of one's own",
            edits: &[(
                SPEC,
                "  additionalPolicies: {node: '[{\"Effect\": \"Allow\", \"Action\": \"s3:GetObject\", \"Resource\": \"*\"}]', control-plane: '[{\"Effect\": \"Allow\", \"Action\": \"s3:PutObject\", \"Resource\": \"*\"}]'}\n  externalPolicies: {node: [\"arn:aws:iam::aws:policy/ReadOnlyAccess\"]}\n&&",
            )],
            on: "
                ~ iam-role masters.$: inline_policies
                ~ iam-role nodes.$: attached_policies inline_policies
            ",
            off: MIRROR,
        },
        &Entry {
            what: "another image, type and disk",
            edits: &[(
                NODE,
                "&&  image: ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64\n  machineType: t4g.medium\n  rootVolumeSize: 20\n  rootVolumeType: io2\n  rootVolumeIops: 1000\n",
            )],
            on: "
                ~ launch-template nodes.$: block_devices image instance_type
            ",
            off: MIRROR,
        },
        &Entry {
            what: "metadata, monitoring and credits",
            edits: &[(
                MASTER,
                "&&  instanceMetadata: {httpTokens: optional, httpPutResponseHopLimit: 3}\n  detailedInstanceMonitoring: true\n  cpuCredits: standard\n  additionalSecurityGroups: [FOREIGN_GROUP]\n",
            )],
            on: "
                ~ launch-template control-plane.masters.$: cpu_credits imds_hop_limit imds_tokens_required monitoring security_groups
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "further disks",
            edits: &[(
                NODE,
                "&&  volumes:\n  - {device: /dev/xvdd, size: 20}\n  - {device: /dev/xvde, size: 30, type: gp3, iops: 4000, throughput: 200, deleteOnTermination: false}\n",
            )],
            on: "
                ~ launch-template nodes.$: block_devices
            ",
            off: MIRROR,
        },
        &Entry {
            what: "labels and taints",
            edits: &[(
                NODE,
                "&&  cloudLabels: {team: web}\n  nodeLabels: {tier: web}\n  taints: [\"a=b:NoSchedule\"]\n",
            )],
            on: "
                ~ launch-template nodes.$: machine_tags tags
                ~ auto-scaling-group nodes.$: tags
            ",
            off: MIRROR,
        },
        &Entry {
            what: "user data",
            edits: &[(
                MASTER,
                "&&  additionalUserData:\n  - {name: my.sh, type: text/x-shellscript, content: \"#!/bin/sh\"}\n",
            )],
            on: "~ launch-template control-plane.masters.$: user_data",
            off: MIRROR,
        },
        &Entry {
            what: "suspended processes and protection",
            edits: &[(MASTER, "&&  suspendProcesses: [AZRebalance, ReplaceUnhealthy]\n  instanceProtection: true\n")],
            on: "
                ~ auto-scaling-group control-plane.masters.$: protect_from_scale_in suspended_processes
            ",
            off: MIRROR,
        },
        &Entry {
            what: "a zone with a group",
            edits: &[
                (
                    "      cidr: 172.20.32.0/19\n",
                    "&&    - {name: eu-north-1b, zone: eu-north-1b, type: Public, cidr: 172.20.64.0/19}\n",
                ),
                (
                    GROUP,
                    "kind: InstanceGroup\nmetadata: {name: more}\nspec: {role: Node, subnets: [eu-north-1b]}\n---\napiVersion: kops.k8s.io/v1alpha2\n&&",
                ),
                (MASTER, "&&  subnets: [eu-north-1a]\n"),
                (
                    "kind: InstanceGroup\nmetadata:\n  name: nodes\nspec:\n",
                    "&&  subnets: [eu-north-1a]\n",
                )
            ],
            on: "
                + subnet eu-north-1b.$
                + route-table-association eu-north-1b.$
                + launch-template more.$
                + auto-scaling-group more.$
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "spot",
            edits: &[(NODE, "&&  maxPrice: \"0.05\"\n  instanceInterruptionBehavior: terminate\n")],
            on: "
                ~ launch-template nodes.$: spot
            ",
            off: MIRROR,
        },
        &Entry {
            what: "the API's load balancer",
            edits: &[(SPEC, "  api: {loadBalancer: {class: Network, type: Public}}\n&&")],
            on: "
                + security-group api-elb.$
                + security-group-rule api-elb.$ in icmp 3/4 from 203.0.113.0/24
                + security-group-rule api-elb.$ in icmp 3/4 from masters.$
                + security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule api-elb.$ out all to 0.0.0.0/0
                + security-group-rule api-elb.$ out all to ::/0
                + security-group-rule masters.$ in icmp 3/4 from api-elb.$
                - security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule masters.$ in tcp 443 from api-elb.$
                + security-group-rule api-elb.$ in all from nodes.$
                + security-group-rule masters.$ in tcp 3988 from api-elb.$
                + load-balancer api.$
                + target-group kops-controller-minimal-e-uvauf3
                + target-group tcp-minimal-example-com-5905t8
                + listener api.$ 3988
                + listener api.$ 443
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
            off: "
                - security-group api-elb.$
                - security-group-rule masters.$ in icmp 3/4 from api-elb.$
                + security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule masters.$ in tcp 443 from api-elb.$
                - security-group-rule masters.$ in tcp 3988 from api-elb.$
                - load-balancer api.$
                - target-group kops-controller-minimal-e-uvauf3
                - target-group tcp-minimal-example-com-5905t8
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
        },
    ],
    &[
        &Entry {
            what: "a mix",
            edits: &[(NODE, "&&  mixedInstancesPolicy: {instances: [t3.medium, t3a.medium], onDemandBase: 1, onDemandAboveBase: 10}\n")],
            on: "
                ~ auto-scaling-group nodes.$: mixed_instances
            ",
            off: MIRROR,
        },
        &Entry {
            what: "the API's internal load balancer",
            edits: &[(SPEC, "  api: {loadBalancer: {class: Network, type: Internal}}\n&&")],
            on: "
                + security-group api-elb.$
                + security-group-rule api-elb.$ in icmp 3/4 from 203.0.113.0/24
                + security-group-rule api-elb.$ in icmp 3/4 from masters.$
                + security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule api-elb.$ out all to 0.0.0.0/0
                + security-group-rule api-elb.$ out all to ::/0
                + security-group-rule masters.$ in icmp 3/4 from api-elb.$
                - security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule masters.$ in tcp 443 from api-elb.$
                + security-group-rule api-elb.$ in all from nodes.$
                + security-group-rule masters.$ in tcp 3988 from api-elb.$
                + load-balancer api.$
                + target-group kops-controller-minimal-e-uvauf3
                + target-group tcp-minimal-example-com-5905t8
                + listener api.$ 3988
                + listener api.$ 443
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
            off: "
                - security-group api-elb.$
                - security-group-rule masters.$ in icmp 3/4 from api-elb.$
                + security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule masters.$ in tcp 443 from api-elb.$
                - security-group-rule masters.$ in tcp 3988 from api-elb.$
                - load-balancer api.$
                - target-group kops-controller-minimal-e-uvauf3
                - target-group tcp-minimal-example-com-5905t8
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
        },
    ],
    &[
        &Entry {
            what: "hardware of its own",
            edits: &[(MASTER, "&&  tenancy: dedicated\n  associatePublicIp: false\n  rootVolumeEncryption: false\n  rootVolumeOptimization: true\n")],
            on: "~ launch-template control-plane.masters.$: block_devices ebs_optimized public_ip tenancy",
            off: MIRROR,
        },
        &Entry {
            what: "another name for a group",
            edits: &[("  name: nodes\n", "  name: workers\n")],
            on: "
                - launch-template nodes.$
                + launch-template workers.$
                - auto-scaling-group nodes.$
                + auto-scaling-group workers.$
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "another range of the VPC, with a subnet and a group in it",
            edits: &[
                (SPEC, "  additionalNetworkCIDRs: [10.1.0.0/16]\n&&"),
                (
                    "      cidr: 172.20.32.0/19\n",
                    "&&    - {name: far, zone: eu-north-1c, type: Public, cidr: 10.1.0.0/19}\n",
                ),
                ("kind: InstanceGroup\nmetadata:\n  name: control-plane\nspec:\n", "&&  subnets: [eu-north-1a]\n"),
                (NODE, "&&  subnets: [far]\n"),
            ],
            on: "
                ~ vpc $: additional_cidrs
                + subnet far.$
                + route-table-association far.$
                ~ auto-scaling-group nodes.$: subnets
            ",
            off: MIRROR,
        },
    ],
];

#[test]
fn reference() {
    let world = World::with_bucket(KCL);
    // Records are made in the first one.
    world.make_zone("k8s.karlaru.com");
    world.make_zone("karlaru.com");
    // Bucket names are one namespace for all accounts of the local AWS.
    let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()));
    let mut sweep = Sweep::of(world, "k8s.karlaru.com", spec);
    // A machine keeps the name that no load balancer has, until one gets it.
    kcl_testkit::make_record(&sweep.world.aws, "api.internal.k8s.karlaru.com", "172.20.32.7").unwrap();
    sweep.foreign_group();
    for entries in REFERENCE {
        sweep.round(entries);
    }
    let size = "          volumeSize: 6\n";
    sweep.refused(
        "a smaller etcd volume",
        &[(size, "          volumeSize: 4\n"), ("  maxSize: 2\n", "  maxSize: 3\n")],
        "a volume cannot shrink",
    );
    sweep.refused(
        "an open etcd volume",
        &[(size, "          volumeSize: 6\n          encryptedVolume: false\n")],
        "it holds data that is nowhere else",
    );
    sweep.end();
}

#[test]
fn large() {
    let world = World::new(KCL);
    world.make_zone("example.com");
    let spec = example("private-ha.yaml").replace("kcl.dev/protect: \"true\"", "example.com/a: b");
    let mut sweep = Sweep::of(world, "prod.example.com", spec);
    sweep.foreign_group();
    sweep.foreign_things();
    for entries in LARGE {
        sweep.round(entries);
    }
    sweep.end();
}

#[test]
fn network() {
    let world = World::new(KCL);
    let mut sweep = Sweep::of(world, "prod.example.com", two_zones());
    sweep.foreign_things();
    for entries in NETWORK {
        sweep.round(entries);
    }
    sweep.end();
}

/// The large cluster without its third zone, and with the control plane in the first one.
fn two_zones() -> String {
    let spec = example("private-ha.yaml").replace("kcl.dev/protect: \"true\"", "example.com/a: b");
    let only = |document: &&str| {
        !document.contains("name: control-plane-b\n") && !document.contains("name: control-plane-c\n")
    };
    let mut spec = spec.split("---\n").filter(only).collect::<Vec<_>>().join("---\n");
    for gone in [
        "    - name: eu-north-1c\n      zone: eu-north-1c\n      type: Private\n      cidr: 10.20.96.0/19\n",
        "    - name: utility-eu-north-1c\n      zone: eu-north-1c\n      type: Utility\n      cidr: 10.20.8.0/22\n",
        "        - name: b\n          instanceGroup: control-plane-b\n",
        "        - name: c\n          instanceGroup: control-plane-c\n",
        "    - eu-north-1c\n",
        "    - utility-eu-north-1c\n",
    ] {
        assert!(spec.contains(gone), "{gone}");
        spec = spec.replace(gone, "");
    }
    spec
}

const REFERENCE: &[&[&Entry]] = &[
    &[
        &Entry {
            what: "a host more",
            edits: &[("    - docs.karlaru.com\n", "&&    - www.karlaru.com\n")],
            on: "
                + dns-record www.karlaru.com A
            ",
            off: MIRROR,
        },
        &Entry {
            what: "the queue of the termination handler",
            edits: &[(
                "    enableSQSTerminationDraining: false\n",
                "    enableSQSTerminationDraining: true\n",
            )],
            on: "
                ~ iam-role masters.$: inline_policies
                ~ launch-template control-plane.masters.$: machine_tags tags
                ~ launch-template nodes.$: machine_tags tags
                ~ auto-scaling-group control-plane.masters.$: lifecycle_hooks tags
                ~ auto-scaling-group nodes.$: lifecycle_hooks tags
                + queue k8s-karlaru-com-nth
                + event-rule $-ASGLifecycle
                + event-rule $-InstanceScheduledChange
                + event-rule $-InstanceStateChange
                + event-rule $-SpotInterruption
            ",
            off: MIRROR,
        },
        &Entry {
            what: "spot without a mix",
            edits: &[(
                "  mixedInstancesPolicy:\n    instances:\n      - t3.micro\n    onDemandBase: 0\n    onDemandAboveBase: 0\n    spotAllocationStrategy: price-capacity-optimized\n",
                "  maxPrice: \"0.01\"\n",
            )],
            on: "
                ~ launch-template nodes.$: spot
                ~ auto-scaling-group nodes.$: mixed_instances
            ",
            off: MIRROR,
        },
        &Entry {
            what: "on demand",
            edits: &[(
                "  mixedInstancesPolicy:\n    instances:\n      - t3.small\n    onDemandBase: 0\n    onDemandAboveBase: 0\n    spotAllocationStrategy: price-capacity-optimized\n",
                "",
            )],
            on: "
                ~ auto-scaling-group control-plane.masters.$: mixed_instances
            ",
            off: MIRROR,
        },
        &Entry {
            what: "a second service account",
            edits: &[(
                "    serviceAccountExternalPermissions:\n",
                "&&      - name: other\n        namespace: \"test-*\"\n        aws: {policyARNs: [\"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess\"]}\n",
            )],
            on: "
                + iam-role other.test-wildcard.sa.$
            ",
            off: MIRROR,
        },
        &Entry {
            what: "certificate",
            edits: &[(
                "      type: Public\n\n",
                "      type: Public\n      sslCertificate: arn:aws:acm:eu-north-1:123456789012:certificate/11111111-2222-3333-4444-555555555555\n\n",
            )],
            on: "
                + security-group-rule api-elb.$ in tcp 8443 from 203.0.113.0/24
                + target-group tls-k8s-karlaru-com-ftahb8
                ~ listener api.$ 6443: certificate protocol ssl_policy target_group
                + listener api.$ 8443
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "a host less",
            edits: &[("    - docs.karlaru.com\n", "")],
            on: "
                - dns-record docs.karlaru.com A
            ",
            off: MIRROR,
        },
        &Entry {
            what: "no termination handler",
            edits: &[(
                "    enabled: true\n    enableSQSTerminationDraining: false\n",
                "    enabled: false\n",
            )],
            on: "",
            off: MIRROR,
        },
        &Entry {
            what: "a managed policy in place of statements",
            edits: &[(
                "          inlinePolicy: |\n            [\n              {\n                \"Effect\": \"Allow\",\n                \"Action\": [\n                  \"s3:PutObject\",\n                  \"dynamodb:PutItem\",\n                  \"dynamodb:DeleteItem\",\n                  \"dynamodb:GetItem\",\n                  \"dynamodb:Scan\"\n                ],\n                \"Resource\": [\n                  \"arn:aws:s3:::karlaru-mb/*\",\n                  \"arn:aws:dynamodb:eu-north-1:123456789012:table/messages\",\n                  \"arn:aws:dynamodb:eu-north-1:123456789012:table/users\"\n                ]\n              }\n            ]\n",
                "          policyARNs: [\"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess\"]\n",
            )],
            on: "
                ~ iam-role iam-account.default.sa.$: attached_policies inline_policies
            ",
            off: MIRROR,
        },
        &Entry {
            what: "another mix",
            edits: &[(
                "  mixedInstancesPolicy:\n    instances:\n      - t3.micro\n    onDemandBase: 0\n    onDemandAboveBase: 0\n    spotAllocationStrategy: price-capacity-optimized\n",
                "  mixedInstancesPolicy: {instances: [t3.micro, t3a.micro], onDemandBase: 1, onDemandAboveBase: 50, spotAllocationStrategy: lowest-price, spotInstancePools: 3}\n",
            )],
            on: "
                ~ auto-scaling-group nodes.$: mixed_instances
            ",
            off: MIRROR,
        },
        &Entry {
            what: "no proxy protocol",
            edits: &[("proxyProtocol: true", "proxyProtocol: false")],
            on: "
                ~ target-group http-k8s-karlaru-com-bf1mcs: proxy_protocol
                ~ target-group https-k8s-karlaru-com-f570ea: proxy_protocol
            ",
            off: MIRROR,
        },
        &Entry {
            what: "balancer settings",
            edits: &[(
                "      type: Public\n\n",
                "      type: Public\n      crossZoneLoadBalancing: true\n      additionalSecurityGroups: [FOREIGN_GROUP]\n      accessLog: {bucket: my-logs, bucketPrefix: api}\n\n",
            )],
            on: "
                ~ load-balancer api.$: access_log cross_zone security_groups
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "an audience more",
            edits: &[("      - sts.amazonaws.com\n", "&&      - vault.example.com\n")],
            on: "
                ~ oidc-provider oidc-ACCOUNT.s3.eu-north-1.amazonaws.com/$: audiences
                ~ iam-role iam-account.default.sa.$: trust_policy
            ",
            off: MIRROR,
        },
        &Entry {
            what: "a load balancer of its own for the ingress",
            edits: &[("shareWithApi: true", "shareWithApi: false")],
            on: "
                + security-group ingress-elb.$
                - security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                - security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                - security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in icmp 3/4 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in icmp 3/4 from nodes.$
                + security-group-rule ingress-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ out all to 0.0.0.0/0
                + security-group-rule ingress-elb.$ out all to ::/0
                - security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                + security-group-rule nodes.$ in icmp 3/4 from ingress-elb.$
                - security-group-rule nodes.$ in tcp 443 from api-elb.$
                + security-group-rule nodes.$ in tcp 443 from ingress-elb.$
                - security-group-rule nodes.$ in tcp 80 from api-elb.$
                + security-group-rule nodes.$ in tcp 80 from ingress-elb.$
                + load-balancer ingress.$
                ~ listener api.$ 443: target_group
                - listener api.$ 6443
                - listener api.$ 80
                + listener ingress.$ 443
                + listener ingress.$ 80
                ~ dns-record docs.karlaru.com A: alias alias_zone
                ~ dns-record karlaru.com A: alias alias_zone
            ",
            off: "
                - security-group ingress-elb.$
                + security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                + security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                + security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                - security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                + security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                - security-group-rule nodes.$ in icmp 3/4 from ingress-elb.$
                + security-group-rule nodes.$ in tcp 443 from api-elb.$
                - security-group-rule nodes.$ in tcp 443 from ingress-elb.$
                + security-group-rule nodes.$ in tcp 80 from api-elb.$
                - security-group-rule nodes.$ in tcp 80 from ingress-elb.$
                - load-balancer ingress.$
                ~ listener api.$ 443: target_group
                + listener api.$ 6443
                + listener api.$ 80
                ~ dns-record docs.karlaru.com A: alias
                ~ dns-record karlaru.com A: alias
            ",
        },
        &Entry {
            what: "any type with enough memory",
            edits: &[(
                "  mixedInstancesPolicy:\n    instances:\n      - t3.micro\n    onDemandBase: 0\n    onDemandAboveBase: 0\n    spotAllocationStrategy: price-capacity-optimized\n",
                "  mixedInstancesPolicy: {instanceRequirements: {cpu: {min: 2, max: 4}, memory: {min: 2Gi}}, onDemandBase: 0, onDemandAboveBase: 0}\n",
            )],
            on: "
                ~ auto-scaling-group nodes.$: mixed_instances
            ",
            off: MIRROR,
        },
        &Entry {
            what: "etcd throughput",
            edits: &[("          volumeSize: 6\n", "&&          volumeThroughput: 250\n")],
            on: "
                ~ volume a.etcd-main.$: throughput
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "a load balancer made by a service",
            edits: &[
                ("    managedBy: kcl\n", "    managedBy: service\n"),
                ("shareWithApi: true", "shareWithApi: false"),
            ],
            on: "
                - security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                - security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                - security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                - security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                - security-group-rule nodes.$ in tcp 443 from api-elb.$
                - security-group-rule nodes.$ in tcp 80 from api-elb.$
                - target-group http-k8s-karlaru-com-bf1mcs
                - target-group https-k8s-karlaru-com-f570ea
                ~ listener api.$ 443: target_group
                - listener api.$ 6443
                - listener api.$ 80
                - dns-record docs.karlaru.com A
                - dns-record karlaru.com A
                ~ auto-scaling-group nodes.$: target_groups
            ",
            off: MIRROR,
        },
        &Entry {
            what: "etcd type",
            edits: &[(
                "          volumeSize: 6\n",
                "&&          volumeType: io2\n          volumeIops: 200\n",
            )],
            on: "
                ~ volume a.etcd-main.$: iops throughput volume_type
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "no service account",
            edits: &[(
                "  iam:\n    serviceAccountExternalPermissions:\n      - name: iam-account\n        namespace: default\n        aws:\n          inlinePolicy: |\n            [\n              {\n                \"Effect\": \"Allow\",\n                \"Action\": [\n                  \"s3:PutObject\",\n                  \"dynamodb:PutItem\",\n                  \"dynamodb:DeleteItem\",\n                  \"dynamodb:GetItem\",\n                  \"dynamodb:Scan\"\n                ],\n                \"Resource\": [\n                  \"arn:aws:s3:::karlaru-mb/*\",\n                  \"arn:aws:dynamodb:eu-north-1:123456789012:table/messages\",\n                  \"arn:aws:dynamodb:eu-north-1:123456789012:table/users\"\n                ]\n              }\n            ]\n",
                "",
            )],
            on: "
                - iam-role iam-account.default.sa.$
            ",
            off: MIRROR,
        },
        &Entry {
            what: "no ingress controller",
            edits: &[(
                "---\n# NGINX on every worker. The hosts below get alias records that point to the load balancer.\napiVersion: kcl.dev/v1alpha1\nkind: IngressController\nmetadata:\n  name: nginx-ingress\nspec:\n  namespace: nginx-ingress\n  ingressClass: nginx\n  loadBalancer:\n    managedBy: kcl\n    proxyProtocol: true\n    # One load balancer for everything; the API then listens on port 6443.\n    shareWithApi: true\n  hosts:\n    - karlaru.com\n    - docs.karlaru.com\n",
                "",
            )],
            on: "
                - security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                - security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                - security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                - security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                - security-group-rule nodes.$ in tcp 443 from api-elb.$
                - security-group-rule nodes.$ in tcp 80 from api-elb.$
                - target-group http-k8s-karlaru-com-bf1mcs
                - target-group https-k8s-karlaru-com-f570ea
                ~ listener api.$ 443: target_group
                - listener api.$ 6443
                - listener api.$ 80
                - dns-record docs.karlaru.com A
                - dns-record karlaru.com A
                ~ auto-scaling-group nodes.$: target_groups
            ",
            off: MIRROR,
        },
        &Entry {
            what: "machines use the load balancer too",
            edits: &[("      type: Public\n\n", "      type: Public\n      useForInternalApi: true\n\n")],
            on: "
                + security-group-rule api-elb.$ in all from nodes.$
                + security-group-rule masters.$ in tcp 3988 from api-elb.$
                + listener api.$ 3988
                + target-group kops-controller-k8s-karla-h7lart
                ~ dns-record api.internal.$ A: alias alias_zone
                + dns-record api.internal.$ AAAA
                -+ node-configuration control-plane: document
                ~ launch-template control-plane.masters.$: node_configuration
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
            off: "
                - security-group-rule api-elb.$ in all from nodes.$
                - security-group-rule masters.$ in tcp 3988 from api-elb.$
                - listener api.$ 3988
                - target-group kops-controller-k8s-karla-h7lart
                - dns-record api.internal.$ A
                - dns-record api.internal.$ AAAA
                -+ node-configuration control-plane: document
                ~ launch-template control-plane.masters.$: node_configuration
                ~ auto-scaling-group control-plane.masters.$: target_groups
            ",
        },
    ],
    &[&Entry {
        what: "an internal API",
        edits: &[
            ("      type: Public\n\n", "      type: Internal\n\n"),
            ("shareWithApi: true", "shareWithApi: false"),
        ],
        on: "
                + security-group ingress-elb.$
                - security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                - security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                - security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                - security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in icmp 3/4 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in icmp 3/4 from nodes.$
                + security-group-rule ingress-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ out all to 0.0.0.0/0
                + security-group-rule ingress-elb.$ out all to ::/0
                - security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                + security-group-rule nodes.$ in icmp 3/4 from ingress-elb.$
                - security-group-rule nodes.$ in tcp 443 from api-elb.$
                + security-group-rule nodes.$ in tcp 443 from ingress-elb.$
                - security-group-rule nodes.$ in tcp 80 from api-elb.$
                + security-group-rule nodes.$ in tcp 80 from ingress-elb.$
                -+ load-balancer api.$: internal
                + load-balancer ingress.$
                -+ listener api.$ 443: load_balancer target_group
                + listener ingress.$ 443
                + listener ingress.$ 80
                ~ dns-record api.$ A: alias alias_zone
                ~ dns-record api.$ AAAA: alias alias_zone
                ~ dns-record docs.karlaru.com A: alias alias_zone
                ~ dns-record karlaru.com A: alias alias_zone
            ",
        off: "
                - security-group ingress-elb.$
                + security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                + security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                + security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                - security-group-rule api-elb.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                + security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                - security-group-rule nodes.$ in icmp 3/4 from ingress-elb.$
                + security-group-rule nodes.$ in tcp 443 from api-elb.$
                - security-group-rule nodes.$ in tcp 443 from ingress-elb.$
                + security-group-rule nodes.$ in tcp 80 from api-elb.$
                - security-group-rule nodes.$ in tcp 80 from ingress-elb.$
                -+ load-balancer api.$: internal
                - load-balancer ingress.$
                -+ listener api.$ 443: load_balancer target_group
                + listener api.$ 6443
                + listener api.$ 80
                ~ dns-record api.$ A: alias alias_zone
                ~ dns-record api.$ AAAA: alias alias_zone
                ~ dns-record docs.karlaru.com A: alias alias_zone
                ~ dns-record karlaru.com A: alias alias_zone
            ",
    }],
    &[&Entry {
        what: "no load balancer of the API",
        edits: &[
            ("  api:\n    loadBalancer:\n      class: Network\n      type: Public\n\n", "  api: {dns: {}}\n"),
            ("shareWithApi: true", "shareWithApi: false"),
        ],
        on: "
                - security-group api-elb.$
                + security-group ingress-elb.$
                + security-group-rule ingress-elb.$ in icmp 3/4 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in icmp 3/4 from nodes.$
                + security-group-rule ingress-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule ingress-elb.$ out all to 0.0.0.0/0
                + security-group-rule ingress-elb.$ out all to ::/0
                - security-group-rule masters.$ in icmp 3/4 from api-elb.$
                + security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
                - security-group-rule masters.$ in tcp 443 from api-elb.$
                - security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                + security-group-rule nodes.$ in icmp 3/4 from ingress-elb.$
                - security-group-rule nodes.$ in tcp 443 from api-elb.$
                + security-group-rule nodes.$ in tcp 443 from ingress-elb.$
                - security-group-rule nodes.$ in tcp 80 from api-elb.$
                + security-group-rule nodes.$ in tcp 80 from ingress-elb.$
                - load-balancer api.$
                + load-balancer ingress.$
                - target-group tcp-k8s-karlaru-com-9g7dnv
                + listener ingress.$ 443
                + listener ingress.$ 80
                - dns-record api.$ A
                - dns-record api.$ AAAA
                ~ dns-record docs.karlaru.com A: alias alias_zone
                ~ dns-record karlaru.com A: alias alias_zone
                ~ auto-scaling-group control-plane.masters.$: target_groups
                -+ node-configuration control-plane: document
                ~ launch-template control-plane.masters.$: node_configuration
            ",
        off: "
                + security-group api-elb.$
                - security-group ingress-elb.$
                + security-group-rule api-elb.$ in icmp 3/4 from 0.0.0.0/0
                + security-group-rule api-elb.$ in icmp 3/4 from 203.0.113.0/24
                + security-group-rule api-elb.$ in icmp 3/4 from masters.$
                + security-group-rule api-elb.$ in icmp 3/4 from nodes.$
                + security-group-rule api-elb.$ in tcp 443 from 0.0.0.0/0
                + security-group-rule api-elb.$ in tcp 6443 from 203.0.113.0/24
                + security-group-rule api-elb.$ in tcp 80 from 0.0.0.0/0
                + security-group-rule api-elb.$ out all to 0.0.0.0/0
                + security-group-rule api-elb.$ out all to ::/0
                + security-group-rule masters.$ in icmp 3/4 from api-elb.$
                - security-group-rule masters.$ in tcp 443 from 203.0.113.0/24
                + security-group-rule masters.$ in tcp 443 from api-elb.$
                + security-group-rule nodes.$ in icmp 3/4 from api-elb.$
                - security-group-rule nodes.$ in icmp 3/4 from ingress-elb.$
                + security-group-rule nodes.$ in tcp 443 from api-elb.$
                - security-group-rule nodes.$ in tcp 443 from ingress-elb.$
                + security-group-rule nodes.$ in tcp 80 from api-elb.$
                - security-group-rule nodes.$ in tcp 80 from ingress-elb.$
                + load-balancer api.$
                - load-balancer ingress.$
                + target-group tcp-k8s-karlaru-com-9g7dnv
                + listener api.$ 443
                + listener api.$ 6443
                + listener api.$ 80
                + dns-record api.$ A
                + dns-record api.$ AAAA
                ~ dns-record docs.karlaru.com A: alias alias_zone
                ~ dns-record karlaru.com A: alias alias_zone
                ~ auto-scaling-group control-plane.masters.$: target_groups
                -+ node-configuration control-plane: document
                ~ launch-template control-plane.masters.$: node_configuration
            ",
    }],
    &[&Entry {
        what: "another zone",
        edits: &[("  networkCIDR", "  dnsZone: karlaru.com\n&&")],
        on: "
                ~ iam-role masters.$: inline_policies
                -+ dns-record api.$ A: zone
                -+ dns-record api.$ AAAA: zone
                -+ node-configuration control-plane: document
                ~ launch-template control-plane.masters.$: node_configuration
            ",
        off: MIRROR,
    }],
    &[&Entry {
        what: "no DNS",
        edits: &[("  networkCIDR", "  topology: {dns: {type: None}}\n&&")],
        on: "
                + security-group-rule api-elb.$ in all from nodes.$
                + security-group-rule masters.$ in tcp 3988 from api-elb.$
                ~ iam-role masters.$: inline_policies
                ~ load-balancer api.$: cross_zone
                + target-group kops-controller-k8s-karla-h7lart
                + listener api.$ 3988
                - dns-record api.$ A
                - dns-record api.$ AAAA
                ~ auto-scaling-group control-plane.masters.$: target_groups
                + security-group-rule masters.$ in tcp 6443 from api-elb.$
                - security-group-rule masters.$ in tcp 443 from api-elb.$
                + target-group tcp-6443-k8s-karlaru-com-3la57r
                - target-group tcp-k8s-karlaru-com-9g7dnv
                ~ listener api.$ 6443: target_group
                -+ node-configuration control-plane: document endpoint
                -+ node-configuration nodes: document endpoint
                ~ launch-template control-plane.masters.$: node_configuration
                ~ launch-template nodes.$: node_configuration
            ",
        off: "
                - security-group-rule api-elb.$ in all from nodes.$
                - security-group-rule masters.$ in tcp 3988 from api-elb.$
                ~ iam-role masters.$: inline_policies
                ~ load-balancer api.$: cross_zone
                - target-group kops-controller-k8s-karla-h7lart
                - listener api.$ 3988
                + dns-record api.$ A
                + dns-record api.$ AAAA
                ~ auto-scaling-group control-plane.masters.$: target_groups
                - security-group-rule masters.$ in tcp 6443 from api-elb.$
                + security-group-rule masters.$ in tcp 443 from api-elb.$
                - target-group tcp-6443-k8s-karlaru-com-3la57r
                + target-group tcp-k8s-karlaru-com-9g7dnv
                ~ listener api.$ 6443: target_group
                -+ node-configuration control-plane: document
                -+ node-configuration nodes: document
                ~ launch-template control-plane.masters.$: node_configuration
                ~ launch-template nodes.$: node_configuration
            ",
    }],
    &[&Entry {
        what: "private DNS in a VPC that kcl makes",
        edits: &[("  networkCIDR", "  topology: {dns: {type: Private}}\n&&")],
        on: "
                ~ iam-role masters.$: inline_policies
                ~ load-balancer api.$: cross_zone
                - dns-record api.$ A
                - dns-record api.$ AAAA
                + listener api.$ 3988
                + security-group-rule api-elb.$ in all from nodes.$
                + security-group-rule masters.$ in tcp 3988 from api-elb.$
                + target-group kops-controller-k8s-karla-h7lart
                ~ auto-scaling-group control-plane.masters.$: target_groups
                + security-group-rule masters.$ in tcp 6443 from api-elb.$
                - security-group-rule masters.$ in tcp 443 from api-elb.$
                + target-group tcp-6443-k8s-karlaru-com-3la57r
                - target-group tcp-k8s-karlaru-com-9g7dnv
                ~ listener api.$ 6443: target_group
                -+ node-configuration control-plane: document endpoint
                -+ node-configuration nodes: document endpoint
                ~ launch-template control-plane.masters.$: node_configuration
                ~ launch-template nodes.$: node_configuration
            ",
        off: "
                ~ iam-role masters.$: inline_policies
                ~ load-balancer api.$: cross_zone
                + dns-record api.$ A
                + dns-record api.$ AAAA
                - listener api.$ 3988
                - security-group-rule api-elb.$ in all from nodes.$
                - security-group-rule masters.$ in tcp 3988 from api-elb.$
                - target-group kops-controller-k8s-karla-h7lart
                ~ auto-scaling-group control-plane.masters.$: target_groups
                - security-group-rule masters.$ in tcp 6443 from api-elb.$
                + security-group-rule masters.$ in tcp 443 from api-elb.$
                - target-group tcp-6443-k8s-karlaru-com-3la57r
                + target-group tcp-k8s-karlaru-com-9g7dnv
                ~ listener api.$ 6443: target_group
                -+ node-configuration control-plane: document
                -+ node-configuration nodes: document
                ~ launch-template control-plane.masters.$: node_configuration
                ~ launch-template nodes.$: node_configuration
            ",
    }],
    &[&Entry {
        what: "another name of the API",
        edits: &[("  networkCIDR", "  masterPublicName: kube.karlaru.com\n&&")],
        on: "
                ~ iam-role masters.$: inline_policies
                - dns-record api.$ A
                - dns-record api.$ AAAA
                + dns-record kube.karlaru.com A
                + dns-record kube.karlaru.com AAAA
                -+ node-configuration control-plane: document
                ~ launch-template control-plane.masters.$: node_configuration
            ",
        off: MIRROR,
    }],
];

const LARGE: &[&[&Entry]] = &[
    &[
        &Entry {
            what: "no bastion",
            edits: &[
                ("    bastion:\n      bastionPublicName: bastion.prod.example.com\n", ""),
                (
                    "---\napiVersion: kops.k8s.io/v1alpha2\nkind: InstanceGroup\nmetadata:\n  name: bastion\n  labels:\n    kops.k8s.io/cluster: prod.example.com\nspec:\n  role: Bastion\n  machineType: t3.micro\n  minSize: 1\n  maxSize: 1\n  subnets:\n    - utility-eu-north-1a\n    - utility-eu-north-1b\n    - utility-eu-north-1c\n",
                    "",
                ),
            ],
            on: "
                - security-group bastion-elb.$
                - security-group bastion.$
                - security-group-rule bastion-elb.$ in icmp 3/4 from bastion.$
                - security-group-rule bastion.$ in icmp 3/4 from bastion-elb.$
                - security-group-rule bastion.$ in tcp 22 from bastion-elb.$
                + security-group-rule masters.$ in tcp 22 from 203.0.113.0/24
                - security-group-rule masters.$ in tcp 22 from bastion.$
                + security-group-rule nodes.$ in tcp 22 from 203.0.113.0/24
                - security-group-rule nodes.$ in tcp 22 from bastion.$
                - iam-role bastions.$
                - instance-profile bastions.$
                - load-balancer bastion.$
                - target-group bastion-prod-example-com-gkm9q0
                - dns-record bastion.$ A
                - dns-record bastion.$ AAAA
                - launch-template bastion.$
                - auto-scaling-group bastion.$
            ",
            off: "
                + security-group bastion-elb.$
                + security-group bastion.$
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.0.0/22
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.4.0/22
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.8.0/22
                + security-group-rule bastion-elb.$ in icmp 3/4 from 203.0.113.0/24
                + security-group-rule bastion-elb.$ in icmp 3/4 from bastion.$
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.0.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.4.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.8.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 203.0.113.0/24
                + security-group-rule bastion-elb.$ out all to 0.0.0.0/0
                + security-group-rule bastion-elb.$ out all to ::/0
                + security-group-rule bastion.$ in icmp 3/4 from bastion-elb.$
                + security-group-rule bastion.$ in tcp 22 from bastion-elb.$
                + security-group-rule bastion.$ out all to 0.0.0.0/0
                + security-group-rule bastion.$ out all to ::/0
                - security-group-rule masters.$ in tcp 22 from 203.0.113.0/24
                + security-group-rule masters.$ in tcp 22 from bastion.$
                - security-group-rule nodes.$ in tcp 22 from 203.0.113.0/24
                + security-group-rule nodes.$ in tcp 22 from bastion.$
                + iam-role bastions.$
                + instance-profile bastions.$
                + load-balancer bastion.$
                + target-group bastion-prod-example-com-gkm9q0
                + listener bastion.$ 22
                + dns-record bastion.$ A
                + dns-record bastion.$ AAAA
                + launch-template bastion.$
                + auto-scaling-group bastion.$
            ",
        },
        &Entry {
            what: "a subnet less for a group",
            edits: &[(
                "    - eu-north-1c\n  nodeLabels:\n    example.com/tier: general\n",
                "  nodeLabels:\n    example.com/tier: general\n",
            )],
            on: "
                ~ auto-scaling-group nodes.$: subnets
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "an internal bastion",
            edits: &[(
                "    bastion:\n      bastionPublicName: bastion.prod.example.com\n",
                "&&      loadBalancer: {type: Internal, additionalSecurityGroups: [FOREIGN_GROUP]}\n",
            )],
            on: "
                - security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.0.0/22
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.32.0/19
                - security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.4.0/22
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.64.0/19
                - security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.8.0/22
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.96.0/19
                - security-group-rule bastion-elb.$ in tcp 22 from 10.20.0.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.32.0/19
                - security-group-rule bastion-elb.$ in tcp 22 from 10.20.4.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.64.0/19
                - security-group-rule bastion-elb.$ in tcp 22 from 10.20.8.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.96.0/19
                -+ load-balancer bastion.$: internal security_groups subnets
                -+ listener bastion.$ 22: load_balancer
                ~ dns-record bastion.$ A: alias alias_zone
                ~ dns-record bastion.$ AAAA: alias alias_zone
            ",
            off: MIRROR,
        },
        &Entry {
            what: "no key",
            edits: &[(
                "---\n# The key of the machines' first user. Nobody has the private half of this one: put in your own.\napiVersion: kops.k8s.io/v1alpha2\nkind: SSHCredential\nmetadata:\n  name: admin\n  labels:\n    kops.k8s.io/cluster: prod.example.com\nspec:\n  publicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz ops@example.com\n",
                "",
            )],
            on: "
                - key-pair kubernetes.$-2b:69:ab:2f:5f:24:0e:ac:a6:17:83:ad:77:80:ed:03
                ~ launch-template bastion.$: key_pair
                ~ launch-template control-plane-a.masters.$: key_pair
                ~ launch-template control-plane-b.masters.$: key_pair
                ~ launch-template control-plane-c.masters.$: key_pair
                ~ launch-template nodes.$: key_pair
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "another key",
            edits: &[(
                "AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QIMCz",
                "AAAAC3NzaC1lZDI1NTE5AAAAINqJrhebOX/5mvxrW6mxKBswCCmstYDUh/uB0o8QMCA1",
            )],
            on: "
                - key-pair kubernetes.$-2b:69:ab:2f:5f:24:0e:ac:a6:17:83:ad:77:80:ed:03
                + key-pair kubernetes.$-ed:0f:f8:c8:90:b3:d8:66:e4:64:68:ba:4a:f2:34:99
                ~ launch-template bastion.$: key_pair
                ~ launch-template control-plane-a.masters.$: key_pair
                ~ launch-template control-plane-b.masters.$: key_pair
                ~ launch-template control-plane-c.masters.$: key_pair
                ~ launch-template nodes.$: key_pair
            ",
            off: MIRROR,
        },
        &Entry {
            what: "an internal API",
            edits: &[("      type: Public\n      cross", "      type: Internal\n      cross")],
            on: "
                -+ load-balancer api.$: internal subnets
                -+ listener api.$ 443: load_balancer
                ~ dns-record api.$ A: alias alias_zone
                ~ dns-record api.$ AAAA: alias alias_zone
            ",
            off: MIRROR,
        },
        &Entry {
            what: "target groups of ones own",
            edits: &[(
                "  nodeLabels:\n    example.com/tier: general\n",
                "&&  externalLoadBalancers: [{targetGroupArn: FOREIGN_TARGETS}]\n",
            )],
            on: "
                ~ auto-scaling-group nodes.$: target_groups
            ",
            off: MIRROR,
        },
        &Entry {
            what: "a bastion by another name",
            edits: &[("bastionPublicName: bastion.", "bastionPublicName: ssh.")],
            on: "
                - dns-record bastion.$ A
                - dns-record bastion.$ AAAA
                + dns-record ssh.$ A
                + dns-record ssh.$ AAAA
            ",
            off: MIRROR,
        },
    ],
    &[
        &Entry {
            what: "other balancer settings",
            edits: &[(
                "      crossZoneLoadBalancing: true\n",
                "      additionalSecurityGroups: [FOREIGN_GROUP]\n      sslCertificate: arn:aws:acm:eu-north-1:123456789012:certificate/11111111-2222-3333-4444-555555555555\n      sslPolicy: ELBSecurityPolicy-TLS13-1-2-2021-06\n      accessLog: {bucket: my-logs}\n",
            )],
            on: "
                + security-group-rule api-elb.$ in tcp 8443 from 203.0.113.0/24
                ~ load-balancer api.$: access_log cross_zone security_groups
                + target-group tls-prod-example-com-od2f7u
                ~ listener api.$ 443: certificate protocol ssl_policy target_group
                + listener api.$ 8443
                ~ auto-scaling-group control-plane-a.masters.$: target_groups
                ~ auto-scaling-group control-plane-b.masters.$: target_groups
                ~ auto-scaling-group control-plane-c.masters.$: target_groups
            ",
            off: MIRROR,
        },
        &Entry {
            what: "lifetime",
            edits: &[("  nodeLabels:\n    example.com/tier: general\n", "&&  maxInstanceLifetime: 48h\n")],
            on: "
                ~ auto-scaling-group nodes.$: max_instance_lifetime
            ",
            off: MIRROR,
        },
    ],
    &[&Entry {
        what: "no DNS",
        edits: &[("      type: Public\n    bastion", "      type: None\n    bastion")],
        on: "
                + security-group-rule api-elb.$ in all from nodes.$
                + security-group-rule masters.$ in tcp 3988 from api-elb.$
                ~ iam-role masters.$: inline_policies
                + target-group kops-controller-prod-exam-qrerdr
                + listener api.$ 3988
                - dns-record api.$ A
                - dns-record api.$ AAAA
                - dns-record bastion.$ A
                - dns-record bastion.$ AAAA
                ~ auto-scaling-group control-plane-a.masters.$: target_groups
                ~ auto-scaling-group control-plane-b.masters.$: target_groups
                ~ auto-scaling-group control-plane-c.masters.$: target_groups
            ",
        off: MIRROR,
    }],
    &[&Entry {
        what: "no SSH",
        edits: &[("  sshAccess:\n    - 203.0.113.0/24\n", "")],
        on: "
                - security-group-rule bastion-elb.$ in icmp 3/4 from 203.0.113.0/24
                - security-group-rule bastion-elb.$ in tcp 22 from 203.0.113.0/24
            ",
        off: MIRROR,
    }],
    &[&Entry {
        what: "tags",
        edits: &[("    team: platform\n", "    team: web\n    env: prod\n")],
        on: "
                ~ vpc $: tags
                ~ dhcp-options $: tags
                ~ internet-gateway $: tags
                ~ subnet eu-north-1a.$: tags
                ~ subnet eu-north-1b.$: tags
                ~ subnet eu-north-1c.$: tags
                ~ subnet utility-eu-north-1a.$: tags
                ~ subnet utility-eu-north-1b.$: tags
                ~ subnet utility-eu-north-1c.$: tags
                ~ elastic-ip eu-north-1a.$: tags
                ~ elastic-ip eu-north-1b.$: tags
                ~ elastic-ip eu-north-1c.$: tags
                ~ nat-gateway eu-north-1a.$: tags
                ~ nat-gateway eu-north-1b.$: tags
                ~ nat-gateway eu-north-1c.$: tags
                ~ route-table private-eu-north-1a.$: tags
                ~ route-table private-eu-north-1b.$: tags
                ~ route-table private-eu-north-1c.$: tags
                ~ route-table $: tags
                ~ security-group api-elb.$: tags
                ~ security-group bastion-elb.$: tags
                ~ security-group bastion.$: tags
                ~ security-group masters.$: tags
                ~ security-group nodes.$: tags
                ~ iam-role bastions.$: tags
                ~ iam-role masters.$: tags
                ~ iam-role nodes.$: tags
                ~ instance-profile bastions.$: tags
                ~ instance-profile masters.$: tags
                ~ instance-profile nodes.$: tags
                ~ volume a.etcd-main.$: tags
                ~ volume b.etcd-main.$: tags
                ~ volume c.etcd-main.$: tags
                ~ load-balancer api.$: tags
                ~ load-balancer bastion.$: tags
                ~ target-group bastion-prod-example-com-gkm9q0: tags
                ~ target-group tcp-prod-example-com-585okf: tags
                ~ listener api.$ 443: tags
                ~ listener bastion.$ 22: tags
                ~ key-pair kubernetes.$-2b:69:ab:2f:5f:24:0e:ac:a6:17:83:ad:77:80:ed:03: tags
                ~ launch-template bastion.$: machine_tags tags
                ~ launch-template control-plane-a.masters.$: machine_tags tags
                ~ launch-template control-plane-b.masters.$: machine_tags tags
                ~ launch-template control-plane-c.masters.$: machine_tags tags
                ~ launch-template nodes.$: machine_tags tags
                ~ auto-scaling-group bastion.$: tags
                ~ auto-scaling-group control-plane-a.masters.$: tags
                ~ auto-scaling-group control-plane-b.masters.$: tags
                ~ auto-scaling-group control-plane-c.masters.$: tags
                ~ auto-scaling-group nodes.$: tags
                ~ queue prod-example-com-nth: tags
                ~ event-rule $-ASGLifecycle: tags
                ~ event-rule $-InstanceScheduledChange: tags
                ~ event-rule $-InstanceStateChange: tags
                ~ event-rule $-SpotInterruption: tags
            ",
        off: MIRROR,
    }],
];

const NETWORK: &[&[&Entry]] = &[
    &[&Entry {
        what: "a third zone",
        edits: &[
            (
                "    # NAT gate",
                "    - {name: eu-north-1c, zone: eu-north-1c, type: Private, cidr: 10.20.96.0/19}\n    - {name: utility-eu-north-1c, zone: eu-north-1c, type: Utility, cidr: 10.20.8.0/22}\n&&",
            ),
            (
                "    - eu-north-1b\n  nodeLabels:\n    example.com/tier: general\n",
                "    - eu-north-1b\n    - eu-north-1c\n  nodeLabels:\n    example.com/tier: general\n",
            ),
            ("    - utility-eu-north-1b\n---", "    - utility-eu-north-1b\n    - utility-eu-north-1c\n---"),
        ],
        on: "
                + subnet eu-north-1c.$
                + subnet utility-eu-north-1c.$
                + elastic-ip eu-north-1c.$
                + nat-gateway eu-north-1c.$
                + route-table private-eu-north-1c.$
                + route private-eu-north-1c.$ 0.0.0.0/0
                + route-table-association eu-north-1c.$
                + route-table-association utility-eu-north-1c.$
                + security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.8.0/22
                + security-group-rule bastion-elb.$ in tcp 22 from 10.20.8.0/22
                ~ load-balancer api.$: subnets
                ~ load-balancer bastion.$: subnets
                ~ auto-scaling-group bastion.$: subnets
                ~ auto-scaling-group nodes.$: subnets
            ",
        off: "
                - subnet eu-north-1c.$
                - subnet utility-eu-north-1c.$
                - elastic-ip eu-north-1c.$
                - nat-gateway eu-north-1c.$
                - route-table private-eu-north-1c.$
                - route-table-association eu-north-1c.$
                - route-table-association utility-eu-north-1c.$
                - security-group-rule bastion-elb.$ in icmp 3/4 from 10.20.8.0/22
                - security-group-rule bastion-elb.$ in tcp 22 from 10.20.8.0/22
                ~ load-balancer api.$: subnets
                ~ load-balancer bastion.$: subnets
                ~ auto-scaling-group bastion.$: subnets
                ~ auto-scaling-group nodes.$: subnets
            ",
    }],
    &[&Entry {
        what: "a way out of somebody else",
        edits: &[("      cidr: 10.20.64.0/19\n", "&&      egress: External\n")],
        on: "
                - elastic-ip eu-north-1b.$
                - nat-gateway eu-north-1b.$
                - route-table private-eu-north-1b.$
                - route-table-association eu-north-1b.$
            ",
        off: "
                + elastic-ip eu-north-1b.$
                + nat-gateway eu-north-1b.$
                + route-table private-eu-north-1b.$
                + route private-eu-north-1b.$ 0.0.0.0/0
                + route-table-association eu-north-1b.$
            ",
    }],
    &[&Entry {
        what: "a transit gateway",
        edits: &[("      cidr: 10.20.64.0/19\n", "&&      egress: FOREIGN_GATEWAY\n")],
        on: "
                - elastic-ip eu-north-1b.$
                - nat-gateway eu-north-1b.$
                ~ route private-eu-north-1b.$ 0.0.0.0/0: target
            ",
        off: MIRROR,
    }],
    &[&Entry {
        what: "an address of ones own",
        edits: &[("      cidr: 10.20.64.0/19\n", "&&      egress: FOREIGN_ADDRESS\n")],
        on: "
                - elastic-ip eu-north-1b.$
                -+ nat-gateway eu-north-1b.$: elastic_ip
                ~ route private-eu-north-1b.$ 0.0.0.0/0: target
            ",
        off: MIRROR,
    }],
    &[
        &Entry {
            what: "a route more",
            edits: &[(
                "      cidr: 10.20.64.0/19\n",
                "&&      additionalRoutes: [{cidr: 10.99.0.0/16, target: FOREIGN_GATEWAY}]\n",
            )],
            on: "
                + route private-eu-north-1b.$ 10.99.0.0/16
            ",
            off: MIRROR,
        },
        &Entry {
            what: "no tags of subnets",
            edits: &[("  networking:\n", "  tagSubnets: false\n&&")],
            on: "
                ~ subnet eu-north-1a.$: tags
                ~ subnet eu-north-1b.$: tags
                ~ subnet utility-eu-north-1a.$: tags
                ~ subnet utility-eu-north-1b.$: tags
            ",
            off: MIRROR,
        },
    ],
    &[&Entry {
        what: "a public subnet",
        edits: &[
            ("    - eu-north-1b\n  nodeLabels", "  nodeLabels"),
            (
                "      type: Private\n      cidr: 10.20.64.0/19\n",
                "      type: Public\n      cidr: 10.20.64.0/19\n",
            ),
        ],
        on: "
                ~ subnet eu-north-1b.$: tags
                - elastic-ip eu-north-1b.$
                - nat-gateway eu-north-1b.$
                - route-table private-eu-north-1b.$
                ~ route-table-association eu-north-1b.$: route_table
                ~ auto-scaling-group nodes.$: subnets
            ",
        off: "
                ~ subnet eu-north-1b.$: tags
                + elastic-ip eu-north-1b.$
                + nat-gateway eu-north-1b.$
                + route-table private-eu-north-1b.$
                + route private-eu-north-1b.$ 0.0.0.0/0
                ~ route-table-association eu-north-1b.$: route_table
                ~ auto-scaling-group nodes.$: subnets
            ",
    }],
    &[&Entry {
        what: "another range, with a subnet and a group in it",
        edits: &[
            ("  networking:\n", "  additionalNetworkCIDRs: [10.30.0.0/16]\n&&"),
            ("    # NAT gate", "    - {name: far, zone: eu-north-1b, type: Private, cidr: 10.30.0.0/19}\n&&"),
            (
                "    - eu-north-1b\n  nodeLabels:\n    example.com/tier: general\n",
                "    - eu-north-1b\n    - far\n  nodeLabels:\n    example.com/tier: general\n",
            ),
        ],
        on: "
                ~ vpc $: additional_cidrs
                + subnet far.$
                + route-table-association far.$
                ~ auto-scaling-group nodes.$: subnets
            ",
        off: MIRROR,
    }],
];
