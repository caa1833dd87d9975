//! The life of clusters in the local AWS: create, nothing to do, each kind of change and only that change,
//! drift and its repair, delete, and an independent listing that finds nothing.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use kcl_testkit::{Decision, Response, World, example};
use serde_json::{Value, json};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

/// The reference cluster in a world of its own, with the account's zone for its names.
fn reference() -> (World, String) {
    let world = World::with_bucket(KCL);
    world.make_zone("karlaru.com");
    // Bucket names are one namespace for all accounts of the local AWS.
    let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()));
    (world, spec)
}

/// What is left of the cluster in the account. Buckets stay, as the state store's does.
fn left(world: &World) -> Vec<String> {
    let discovery = format!("bucket oidc-{}", world.aws.account());
    let stays = |left: &String| left.starts_with("hosted zone") || *left == discovery;
    world.left().into_iter().filter(|left| !stays(left)).collect()
}

/// The plan's steps as `action kind name`, without the spec's own registration.
fn steps(plan: &str) -> Vec<String> {
    let plan: Value = serde_json::from_str(plan).unwrap();
    let text = |step: &Value, field: &str| step[field].as_str().unwrap().to_owned();
    let steps = plan["steps"].as_array().unwrap().iter();
    let steps = steps.filter(|step| step["id"]["kind"] != "registered-spec");
    steps
        .map(|step| {
            format!("{} {} {}", text(step, "action"), text(&step["id"], "kind"), text(&step["id"], "name"))
        })
        .collect()
}

/// Previews `spec` and applies it; gives the steps of the preview.
#[track_caller]
fn change(world: &World, spec: &str, more: &[&str]) -> Vec<String> {
    let path = world.spec(spec);
    let preview = [&["update", "-f", &path, "-o", "json"], more].concat();
    let planned = world.kcl(&preview).expect(0).stdout;
    world.kcl(&[&["update", "-f", &path, "--yes"], more].concat()).expect(0);
    assert_in_step(world, &path);
    steps(&planned)
}

#[track_caller]
fn assert_in_step(world: &World, path: &str) {
    let run = world.kcl(&["update", "-f", path, "--detailed-exitcode", "--deep"]);
    assert_eq!(run.code, 0, "stdout:\n{}\nstderr:\n{}", run.stdout, run.stderr);
    assert_eq!(run.stdout, "");
}

#[test]
fn the_whole_life_of_the_reference_cluster() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    assert_eq!(world.aws.unsupported(), Vec::<String>::new());
    assert_in_step(&world, &path);
    // The registered spec is all that is needed from here on.
    let run = world.kcl(&["update", "--detailed-exitcode"]).expect(0);
    assert!(run.stderr.contains("k8s.karlaru.com is in step with its spec"), "{}", run.stderr);

    world.kcl(&["delete", "cluster", "k8s.karlaru.com", "--yes"]).expect(0);
    assert_eq!(left(&world), Vec::<String>::new());
    let run =
        world.kcl(&["delete", "cluster", "k8s.karlaru.com", "--region", "eu-north-1", "--detailed-exitcode"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn each_change_is_that_change_and_no_other() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);

    let mut now = spec;
    let mut edit = |from: &str, to: &str| {
        assert!(now.contains(from), "{from}");
        now = now.replacen(from, to, 1);
        now.clone()
    };
    let n = "k8s.karlaru.com";
    let spec = edit("  minSize: 2\n  maxSize: 2\n", "  minSize: 2\n  maxSize: 3\n");
    assert_eq!(change(&world, &spec, &[]), [format!("update auto-scaling-group nodes.{n}")]);

    let spec = edit("\"s3:PutObject\",", "\"s3:GetObject\",\n                  \"s3:PutObject\",");
    assert_eq!(change(&world, &spec, &[]), [format!("update iam-role iam-account.default.sa.{n}")]);

    // A changed template is a new version of the same template; its group follows by itself. Machines with more memory
    // keep more of it from their pods, and are started with the hash of what tells them so.
    let spec = edit("machineType: t3.micro", "machineType: t3.small");
    let told = |action: &str| format!("{action} node-configuration nodes");
    let group = format!("update launch-template nodes.{n}");
    assert_eq!(change(&world, &spec, &[]), [told("delete"), told("create"), group]);
    let templates = world.aws.direct("ec2", "DescribeLaunchTemplates", &[]).unwrap();
    let templates = format!("{templates:?}");
    assert!(templates.contains("latestVersionNumber") && templates.contains("\"2\""), "{templates}");

    let spec = edit("volumeSize: 6", "volumeSize: 8");
    assert_eq!(change(&world, &spec, &[]), [format!("update volume a.etcd-main.{n}")]);

    let spec = edit("    - 203.0.113.0/24\n", "    - 203.0.113.0/24\n    - 198.51.100.0/24\n");
    let made = change(&world, &spec, &[]);
    let rule = format!("create security-group-rule api-elb.{n} in");
    assert_eq!(
        made,
        [format!("{rule} icmp 3/4 from 198.51.100.0/24"), format!("{rule} tcp 6443 from 198.51.100.0/24")]
    );

    let spec = edit("    - docs.karlaru.com\n", "    - docs.karlaru.com\n    - www.karlaru.com\n");
    assert_eq!(change(&world, &spec, &[]), ["create dns-record www.karlaru.com A"]);

    let spec = edit("  metricsServer:\n", "  cloudLabels:\n    team: web\n  metricsServer:\n");
    let changed = change(&world, &spec, &[]);
    assert!(changed.iter().all(|step| step.starts_with("update ")), "{changed:?}");
    assert!(changed.contains(&format!("update vpc {n}")));

    // Nothing goes without --prune.
    let spec = edit("    - www.karlaru.com\n", "");
    let path = world.spec(&spec);
    let run = world.kcl(&["update", "-f", &path, "--yes", "--detailed-exitcode"]);
    assert!(run.stdout.contains("? dns-record www.karlaru.com A"), "{}", run.stdout);
    assert_eq!(change(&world, &spec, &["--prune"]), ["delete dns-record www.karlaru.com A"]);
}

#[test]
fn drift_is_seen_whatever_it_is_and_repaired() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let resources = world.kcl(&["get", "resources", "-o", "json"]).expect(0).stdout;
    let resources: Vec<Value> = serde_json::from_str(&resources).unwrap();
    let attr = |kind: &str, name: &str, attr: &str| {
        let found = resources.iter().find(|r| r["id"]["kind"] == kind && r["id"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))["attrs"][attr].as_str().unwrap().to_owned()
    };
    let n = "k8s.karlaru.com";
    let nodes = attr("security-group", &format!("nodes.{n}"), "id");
    let vpc = attr("vpc", n, "id");
    let listener = attr("listener", &format!("api.{n} 80"), "arn");

    let tamper = |service: &str, action: &str, params: &[(&str, &str)]| {
        world.aws.direct(service, action, params).unwrap();
    };
    tamper(
        "ec2",
        "AuthorizeSecurityGroupIngress",
        &[
            ("GroupId", &nodes),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "31337"),
            ("IpPermissions.1.ToPort", "31337"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ],
    );
    tamper(
        "ec2",
        "CreateTags",
        &[
            ("ResourceId.1", &vpc),
            ("Tag.1.Key", "Name"),
            ("Tag.1.Value", "somebody-elses"),
            ("Tag.2.Key", "KubernetesCluster"),
            ("Tag.2.Value", n),
            ("Tag.3.Key", "k8s.io/odd"),
            ("Tag.3.Value", "1"),
        ],
    );
    tamper(
        "iam",
        "DeleteRolePolicy",
        &[
            ("RoleName", &format!("iam-account.default.sa.{n}")),
            ("PolicyName", &format!("iam-account.default.sa.{n}")),
        ],
    );
    tamper("elasticloadbalancing", "DeleteListener", &[("ListenerArn", &listener)]);
    tamper(
        "autoscaling",
        "UpdateAutoScalingGroup",
        &[("AutoScalingGroupName", &format!("nodes.{n}")), ("MaxSize", "7")],
    );

    let preview = world.kcl(&["update", "-f", &path, "--detailed-exitcode", "-o", "json"]).expect(2);
    let mut found = steps(&preview.stdout);
    found.sort();
    assert_eq!(
        found,
        [
            format!("create listener api.{n} 80"),
            format!("update auto-scaling-group nodes.{n}"),
            format!("update iam-role iam-account.default.sa.{n}"),
            format!("update vpc {n}"),
        ]
    );
    let plan: Value = serde_json::from_str(&preview.stdout).unwrap();
    assert_eq!(plan["unwanted"][0]["id"]["name"], json!(format!("nodes.{n} in tcp 31337 from 0.0.0.0/0")));

    world.kcl(&["update", "-f", &path, "--yes", "--prune"]).expect(0);
    assert_in_step(&world, &path);
}

#[test]
fn what_others_made_is_left_alone_until_the_cluster_goes() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let n = "k8s.karlaru.com";
    let owned = format!("kubernetes.io/cluster/{n}");
    // As the cloud controller and the CSI driver make them.
    let resources = world.kcl(&["get", "resources", "-o", "json"]).expect(0).stdout;
    let resources: Vec<Value> = serde_json::from_str(&resources).unwrap();
    let id = |kind: &str| {
        let found = resources.iter().find(|r| r["id"]["kind"] == kind).unwrap();
        found["attrs"]["id"].as_str().unwrap().to_owned()
    };
    world
        .aws
        .direct(
            "ec2",
            "CreateVolume",
            &[
                ("AvailabilityZone", "eu-north-1a"),
                ("Size", "1"),
                ("TagSpecification.1.ResourceType", "volume"),
                ("TagSpecification.1.Tag.1.Key", &owned),
                ("TagSpecification.1.Tag.1.Value", "owned"),
                ("TagSpecification.1.Tag.2.Key", "kubernetes.io/created-for/pvc/name"),
                ("TagSpecification.1.Tag.2.Value", "data"),
            ],
        )
        .unwrap();
    world
        .aws
        .direct(
            "elasticloadbalancing",
            "CreateLoadBalancer",
            &[
                ("Name", "a1b2c3d4e5"),
                ("Type", "network"),
                ("Subnets.member.1", &id("subnet")),
                ("Tags.member.1.Key", &owned),
                ("Tags.member.1.Value", "owned"),
                ("Tags.member.2.Key", "kubernetes.io/service-name"),
                ("Tags.member.2.Value", "default/web"),
            ],
        )
        .unwrap();
    // As the cloud controller makes them without further annotations.
    world
        .aws
        .direct(
            "classic-elb",
            "CreateLoadBalancer",
            &[
                ("LoadBalancerName", "c1b2c3d4e5"),
                ("Subnets.member.1", &id("subnet")),
                ("SecurityGroups.member.1", &id("security-group")),
                ("Listeners.member.1.Protocol", "TCP"),
                ("Listeners.member.1.LoadBalancerPort", "80"),
                ("Listeners.member.1.InstancePort", "30080"),
                ("Tags.member.1.Key", &owned),
                ("Tags.member.1.Value", "owned"),
                ("Tags.member.2.Key", "kubernetes.io/service-name"),
                ("Tags.member.2.Value", "default/classic"),
            ],
        )
        .unwrap();
    assert!(world.left().contains(&"classic load balancer c1b2c3d4e5".to_owned()));
    world
        .aws
        .direct(
            "ec2",
            "CreateSecurityGroup",
            &[
                ("GroupName", "k8s-elb-a1b2c3d4e5"),
                ("GroupDescription", "Security group for Kubernetes ELB"),
                ("VpcId", &id("vpc")),
                ("TagSpecification.1.ResourceType", "security-group"),
                ("TagSpecification.1.Tag.1.Key", &owned),
                ("TagSpecification.1.Tag.1.Value", "owned"),
            ],
        )
        .unwrap();
    assert_in_step(&world, &path);
    let run = world.kcl(&["update", "-f", &path, "--prune", "--detailed-exitcode"]);
    assert_eq!(run.code, 0, "{}", run.stdout);

    // The spec is lost; name and region are enough.
    let command = &["delete", "cluster", n, "--region", "eu-north-1", "--yes"];
    let output = world.command(command).env_remove("KCL_STATE_STORE").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(left(&world), Vec::<String>::new());
}

/// A network plugin leaves interfaces behind when its machine goes, which keep their subnet from going.
#[test]
fn what_appears_while_it_is_deleted_goes_too() {
    let (world, _, resources) = minimal();
    let gate = world.aws.hold("ec2", "DeleteSubnet");
    let mut delete = world.command(&["delete", "minimal.example.com", "--yes"]);
    let delete = delete.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(gate.is_reached());
    let late = [
        ("SubnetId", id_of(&resources, "subnet")),
        ("TagSpecification.1.ResourceType", "network-interface".to_owned()),
        ("TagSpecification.1.Tag.1.Key", "kubernetes.io/cluster/minimal.example.com".to_owned()),
        ("TagSpecification.1.Tag.1.Value", "owned".to_owned()),
    ];
    let late = late.each_ref().map(|(name, value)| (*name, value.as_str()));
    world.aws.direct("ec2", "CreateNetworkInterface", &late).unwrap();
    gate.open();
    let output = delete.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("1 more appeared meanwhile"), "{stderr}");
    assert_eq!(left(&world), Vec::<String>::new());
}

/// Somebody makes a volume again whenever it is deleted, or AWS says that it was and keeps it: that ends, and is told.
#[test]
fn what_is_there_again_and_again_is_told() {
    let (world, ..) = minimal();
    let volume = [
        ("AvailabilityZone", "eu-north-1a"),
        ("Size", "1"),
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "kubernetes.io/cluster/minimal.example.com"),
        ("TagSpecification.1.Tag.1.Value", "owned"),
        ("TagSpecification.1.Tag.2.Key", "kubernetes.io/created-for/pvc/name"),
        ("TagSpecification.1.Tag.2.Value", "data"),
    ];
    let made = world.aws.direct("ec2", "CreateVolume", &volume).unwrap();
    let theirs = made.value("volumeId").to_owned();
    world.aws.before(move |call| {
        if !(call.is("ec2", "DeleteVolume") && call.param("VolumeId") == theirs) {
            return Decision::Forward;
        }
        let deleted = "<DeleteVolumeResponse><return>true</return></DeleteVolumeResponse>";
        Decision::Respond(Response::xml(deleted))
    });
    let run = world.kcl(&["delete", "minimal.example.com", "--yes"]).expect(1);
    assert_eq!(run.stderr.matches("1 still there").count(), 4, "after each pause: {}", run.stderr);
    let said = run.end();
    assert!(said.contains("not all of minimal.example.com went; left: volume/vol-"), "{said}");
    assert!(said.contains("something in the account makes them again"), "{said}");
    assert!(said.contains("run the same command again (with --region eu-north-1, "), "{said}");
    world.aws.clear_rules();
    world.kcl(&["delete", "minimal.example.com", "--region", "eu-north-1", "--yes"]).expect(0);
    assert_eq!(left(&world), Vec::<String>::new());
}

#[test]
fn a_preview_of_the_reference_cluster_makes_at_most_39_calls() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    world.aws.take_calls();
    world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(0);
    let counts = world.aws.counts();
    let calls: usize = counts.values().sum();
    assert!(calls <= 39, "{calls} calls: {counts:#?}");
    assert_eq!(world.aws.mutating_calls().len(), 0);
}

#[test]
fn more_groups_and_rules_need_no_more_calls() {
    let count = |groups: usize| {
        let world = World::with_bucket(KCL);
        let base = example("minimal.yaml");
        let (head, _) = base.split_once("---\n").unwrap();
        let mut spec = base.clone();
        let group = base.split("---\n").find(|document| document.contains("role: Node")).unwrap();
        for extra in 1..groups {
            spec.push_str("\n---\n");
            spec.push_str(&group.replace("name: nodes", &format!("name: nodes-{extra}")));
        }
        let more: Vec<String> = (0..groups).map(|n| format!("    - 198.51.{n}.0/24\n")).collect();
        spec = spec.replacen(
            "  kubernetesApiAccess:\n",
            &format!("  kubernetesApiAccess:\n{}", more.concat()),
            1,
        );
        assert!(head.contains("kubernetesApiAccess"));
        let path = world.spec(&spec);
        world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
        world.aws.take_calls();
        world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(0);
        // Further pages of one answer aside.
        let calls = world.aws.calls().into_iter();
        let first_pages =
            calls.filter(|call| call.param("NextToken").is_empty() && call.param("Marker").is_empty());
        first_pages.fold(BTreeMap::<String, usize>::new(), |mut counts, call| {
            *counts.entry(call.name()).or_default() += 1;
            counts
        })
    };
    assert_eq!(count(1), count(20));
}

#[test]
fn purging_takes_the_state_and_its_bucket() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let buckets = || {
        let audit = kcl_testkit::audit(&world.aws, world.aws.region()).unwrap();
        audit
            .list("buckets")
            .iter()
            .map(|bucket| bucket["Name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(buckets().contains(&world.bucket()));
    world.kcl(&["delete", "-f", &path, "--yes"]).expect(0);
    assert!(buckets().contains(&world.bucket()), "buckets are kept");
    world.kcl(&["delete", "-f", &path, "--yes", "--purge-state"]).expect(0);
    assert!(!buckets().contains(&world.bucket()));
}

/// Wherever it is killed, the same command goes on, also once nothing is registered any more.
#[test]
fn killed_while_purging_it_goes_on() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes", "--skip-bootstrap"]).expect(0);
    let region = world.aws.region().to_owned();
    let delete = ["delete", "minimal.example.com", "--yes", "--purge-state", "--region", &region];
    for action in ["ListObjectVersions", "DeleteObjects", "DeleteObject", "GetBucketTagging", "DeleteBucket"]
    {
        for is_carried_out in [false, true] {
            let process = Arc::new(OnceLock::<u32>::new());
            let pid = Arc::clone(&process);
            world.aws.before(move |call| {
                // Single objects go with the cluster's resources, too.
                let is_meant =
                    call.action == action && (action != "DeleteObject" || call.path.contains("/lock"));
                if !is_meant {
                    return Decision::Forward;
                }
                let killed = Command::new("kill").args(["-KILL", &pid.wait().to_string()]).status();
                assert!(killed.unwrap().success());
                if is_carried_out {
                    return Decision::Forward;
                }
                Decision::Respond(Response::error(call.protocol, 503, "ServiceUnavailable", "never seen"))
            });
            let run = world.command(&delete).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            process.set(run.id()).unwrap();
            let output = run.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), None, "{action}: it was to be killed\n{stderr}");
            world.aws.clear_rules();
            world.kcl(&["unlock", "minimal.example.com", "--force"]).expect(0);
        }
    }
    world.kcl(&delete).expect(0);
    let audit = kcl_testkit::audit(&world.aws, &region).unwrap();
    let buckets: Vec<_> = audit.list("buckets").iter().map(|bucket| bucket["Name"].clone()).collect();
    assert!(!buckets.contains(&json!(world.bucket())), "{buckets:?}");
    assert_eq!(world.left(), Vec::<String>::new());
}

#[test]
fn the_states_bucket_is_private_versioned_and_encrypted() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let made = world.aws.mutating_calls();
    let names: Vec<String> =
        made.iter().filter(|call| call.service == "s3").map(|call| call.action.clone()).collect();
    for action in
        ["CreateBucket", "PutPublicAccessBlock", "PutBucketVersioning", "PutBucketEncryption", "PutObject"]
    {
        assert!(names.iter().any(|name| name == action), "{action} is not among {names:?}");
    }
}

/// The minimal cluster, made, with the resources it has.
fn minimal() -> (World, String, Vec<Value>) {
    let world = World::new(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let resources = world.kcl(&["get", "resources", "-o", "json"]).expect(0).stdout;
    (world, path, serde_json::from_str(&resources).unwrap())
}

fn id_of(resources: &[Value], kind: &str) -> String {
    let found = resources.iter().find(|resource| resource["id"]["kind"] == kind).unwrap();
    found["attrs"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_lost_its_name_is_found_again_and_never_made_twice() {
    let (world, path, resources) = minimal();
    for kind in ["vpc", "subnet", "internet-gateway", "volume", "route-table"] {
        let id = id_of(&resources, kind);
        let rename = [("ResourceId.1", id.as_str()), ("Tag.1.Key", "Name"), ("Tag.1.Value", "renamed")];
        world.aws.direct("ec2", "CreateTags", &rename).unwrap();
    }
    let preview = world.kcl(&["update", "-f", &path, "-o", "json", "--prune"]).expect(0);
    let found = steps(&preview.stdout);
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found.iter().all(|step| step.starts_with("update ")), "{found:?}");
    world.kcl(&["update", "-f", &path, "--yes"]).expect(0);
    assert_in_step(&world, &path);
}

#[test]
fn what_would_break_the_cluster_is_refused_and_nothing_is_changed() {
    let (world, _, _) = minimal();
    world.aws.take_calls();
    let moved = example("minimal.yaml").replace("cidr: 172.20.32.0/19", "cidr: 172.20.64.0/19");
    let path = world.spec(&moved);
    let run = world.kcl(&["update", "-f", &path, "--yes"]).expect(1);
    assert!(run.stdout.contains("machines run in it"), "{}", run.stdout);
    assert!(run.stderr.contains("nothing was changed"), "{}", run.stderr);
    assert_eq!(world.aws.mutating_calls().len(), 0);
}

#[test]
fn no_pruning_deletes_a_volume_of_etcd() {
    let (world, _, _) = minimal();
    let renamed = example("minimal.yaml").replace("name: control-plane\n", "name: masters\n");
    let path = world.spec(&renamed);
    let preview = world.kcl(&["update", "-f", &path, "--prune", "-o", "json"]).expect(0).stdout;
    let gone = steps(&preview);
    assert!(gone.iter().any(|step| step.starts_with("delete auto-scaling-group control-plane")), "{gone:?}");
    assert!(!gone.iter().any(|step| step.starts_with("delete volume")), "{gone:?}");
}

#[test]
fn secrets_of_the_spec_stand_in_no_plan() {
    let (world, _, _) = minimal();
    let secret = |password: &str| {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData:\n  password: ";
        format!("{}\n---\n{secret}{password}\n", example("minimal.yaml"))
    };
    for password in ["HUNTER2", "HUNTER3"] {
        let path = world.spec(&secret(password));
        for more in [&["-o", "json"][..], &["--full"], &["-vvv"], &["--yes"]] {
            let run = world.kcl(&[&["update", "-f", &path], more].concat()).expect(0);
            assert!(!run.all().contains("HUNTER"), "{}", run.all());
        }
        assert_in_step(&world, &path);
    }
    let stored = world.folder.path().join("state/minimal.example.com/additional-objects");
    assert!(std::fs::read_to_string(stored).unwrap().contains("HUNTER3"));
}

#[test]
fn roles_are_not_taken_from_a_cluster_that_runs_in_another_region() {
    let (world, spec) = reference();
    world.kcl(&["create", "cluster", "-f", &world.spec(&spec), "--yes"]).expect(0);
    world.aws.take_calls();
    // The spec is lost.
    let delete = |more: &[&str], region: &str| {
        let mut command = world.command(&[&["delete", "k8s.karlaru.com"], more].concat());
        let output = command.env_remove("KCL_STATE_STORE").env("AWS_REGION", region).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for more in [&["--yes"][..], &[]] {
        let (code, said) = delete(more, "eu-west-1");
        assert_eq!(code, Some(1), "{said}");
        for words in ["is in eu-west-1", "iam-role/nodes.", "--region eu-west-1 removes"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(world.aws.mutating_calls().is_empty());
    }
    let (code, said) = delete(&["--yes"], "eu-north-1");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(left(&world), Vec::<String>::new());
}

#[test]
fn a_name_that_is_none_deletes_nothing() {
    let (world, _, _) = minimal();
    for name in ["..", "", ".", "/tmp", "a/b.c", "nodots"] {
        let command = ["delete", name, "--region", "eu-north-1", "--purge-state", "--yes"];
        let run = world.kcl(&command).expect(2);
        assert!(run.stderr.contains("is no cluster's name"), "{}", run.stderr);
    }
    assert!(world.folder.path().join("state/minimal.example.com/config").exists());
}

#[test]
fn a_dns_record_of_somebody_else_is_not_taken_over() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    kcl_testkit::make_record(&world.aws, "docs.karlaru.com", "198.51.100.7").unwrap();
    let run = world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(1);
    assert!(run.stderr.contains("docs.karlaru.com A is there already"), "{}", run.stderr);
    world.kcl(&["delete", "cluster", "k8s.karlaru.com", "--yes"]).expect(0);
    let zones = world.left();
    assert!(zones.iter().any(|left| left.contains("docs.karlaru.com")), "{zones:?}");
}

#[test]
fn names_that_machines_keep_go_with_the_cluster() {
    let (world, spec) = reference();
    let path = world.spec(&spec);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    for (name, address) in
        [("api.internal.k8s.karlaru.com", "172.20.32.7"), ("mail.karlaru.com", "198.51.100.7")]
    {
        kcl_testkit::make_record(&world.aws, name, address).unwrap();
    }
    // While it lives they are the machines' business.
    let run = world.kcl(&["update", "-f", &path, "--prune", "--detailed-exitcode"]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    // A run that comes so far that nothing is left but the network, and a machine that has its last word then.
    world.aws.before(|call| match call.action.as_str() {
        "DeleteVpc" => Decision::Respond(Response::error(call.protocol, 403, "UnauthorizedOperation", "no")),
        _ => Decision::Forward,
    });
    world.kcl(&["delete", "cluster", "k8s.karlaru.com", "--yes"]).expect(1);
    world.aws.clear_rules();
    let left = |name: &str| world.left().iter().any(|left| left.contains(name));
    assert!(left("api.internal"), "it goes when no machine can bring it back any more");
    world.kcl(&["delete", "cluster", "k8s.karlaru.com", "--yes"]).expect(0);
    assert!(!left("api.internal"), "{:?}", world.left());
    assert!(left("mail.karlaru.com"), "{:?}", world.left());
}

#[test]
fn a_protected_cluster_is_not_deleted_without_its_spec_either() {
    let world = World::new(KCL);
    let spec = example("minimal.yaml");
    let protected =
        spec.replacen("metadata:\n", "metadata:\n  annotations:\n    kcl.dev/protect: \"true\"\n", 1);
    let path = world.spec(&protected);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    world.aws.take_calls();
    let without_store = |region: &str| {
        let command = ["delete", "cluster", "minimal.example.com", "--region", region, "--yes"];
        world.command(&command).env_remove("KCL_STATE_STORE").output().unwrap()
    };
    // Its role is seen in the wrong region, too, and is not taken away there.
    let named = [
        ("eu-north-1", "security-group/masters.minimal.example.com (sg-"),
        ("eu-west-3", "=true is on iam-role/masters.minimal.example.com"),
    ];
    for (region, is_named) in named {
        let refused = without_store(region);
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{stderr}");
        let words = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let says = "minimal.example.com is protected: the tag kcl.dev/protect=true is on ";
        assert!(words.contains(says) && words.contains(is_named), "{stderr}");
        assert_eq!(world.aws.mutating_calls().len(), 0);
    }

    // Without the annotation the tags go, and nothing else changes.
    let mut change = change(&world, &spec, &[]);
    change.sort();
    let masters =
        ["iam-role", "security-group"].map(|kind| format!("update {kind} masters.minimal.example.com"));
    assert_eq!(change, masters);
    let deleted = without_store("eu-north-1");
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert_eq!(world.left(), Vec::<String>::new());
}

#[test]
fn a_mark_that_was_taken_away_by_hand_is_put_back() {
    let (world, path, resources) = minimal();
    for mark in ["KubernetesCluster", "kubernetes.io/cluster/minimal.example.com"] {
        for kind in ["vpc", "subnet", "volume", "route-table", "security-group"] {
            let id = id_of(&resources, kind);
            world.aws.direct("ec2", "DeleteTags", &[("ResourceId.1", &id), ("Tag.1.Key", mark)]).unwrap();
        }
        let preview = world.kcl(&["update", "-f", &path, "-o", "json", "--prune"]).expect(0);
        let found = steps(&preview.stdout);
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found.iter().all(|step| step.starts_with("update ")), "{found:?}");
        world.kcl(&["update", "-f", &path, "--yes"]).expect(0);
        assert_in_step(&world, &path);
    }
}
