//! A crowded account, and a large cluster: what a preview asks, receives, and takes hardly changes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kcl_testkit::{Reply, World, example};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

/// Foreign things in the account.
const GROUPS: usize = 1000;
const ROLES: usize = 500;
const INSTANCES: usize = 5000;

/// What one preview cost.
#[derive(Debug)]
struct Cost {
    calls: usize,
    /// Bytes of all answers.
    bytes: usize,
    took: Duration,
    /// The largest resident size, in MiB.
    memory: u64,
}

/// Runs kcl, and looks at what it costs.
fn cost(world: &World, args: &[&str], code: i32) -> Cost {
    world.aws.take_calls();
    let bytes = Arc::new(AtomicUsize::new(0));
    let received = Arc::clone(&bytes);
    world.aws.after(move |_, response| {
        received.fetch_add(response.body.len(), Ordering::Relaxed);
        Reply::Send(response)
    });
    let mut command = world.command(args);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut memory = 0;
    let ended = loop {
        // A process that is just ending has no size any more.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let size = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        memory = memory.max(size.unwrap_or_default() / 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        thread::sleep(Duration::from_millis(5));
    };
    let took = begun.elapsed();
    assert_eq!(ended.code(), Some(code));
    world.aws.clear_rules();
    Cost { calls: world.aws.take_calls().len(), bytes: bytes.load(Ordering::Relaxed), took, memory }
}

/// Security groups and roles of others, for real; and machines, of which the local AWS cannot bear so many: where a
/// read does not say whose machines it wants, its answer is as large as theirs would make it.
fn crowd(world: &World) {
    let aws = &world.aws;
    let vpc = aws.direct("ec2", "CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).unwrap();
    let vpc = vpc.value("vpc/vpcId");
    for number in 0..GROUPS {
        let name = format!("foreign-{number}");
        let params = [("GroupName", name.as_str()), ("GroupDescription", "theirs"), ("VpcId", vpc)];
        aws.direct("ec2", "CreateSecurityGroup", &params).unwrap();
    }
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    for number in 0..ROLES {
        let name = format!("foreign-{number}");
        aws.direct("iam", "CreateRole", &[("RoleName", &name), ("AssumeRolePolicyDocument", trust)]).unwrap();
    }
}

/// Says of each read of machines that does not filter by the cluster's mark that it reads everybody's.
fn count_unfiltered(world: &World) -> Arc<AtomicUsize> {
    let unfiltered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&unfiltered);
    world.aws.after(move |call, response| {
        let lists_machines = matches!(
            call.action.as_str(),
            "DescribeInstances"
                | "DescribeInstanceStatus"
                | "DescribeAutoScalingInstances"
                | "DescribeVolumes"
        );
        let is_filtered =
            call.params.keys().any(|name| name.starts_with("Filter") || name.starts_with("InstanceId"));
        if lists_machines && !is_filtered {
            count.fetch_add(INSTANCES, Ordering::Relaxed);
        }
        Reply::Send(response)
    });
    unfiltered
}

#[test]
fn a_crowded_account_costs_hardly_more() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let preview = ["update", "-f", &path];
    // The first one pays for what the local AWS loads late.
    cost(&world, &preview, 0);
    let before = cost(&world, &preview, 0);
    crowd(&world);
    let theirs = count_unfiltered(&world);
    world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(0);
    world.kcl(&["get", "instances"]).expect(0);
    assert_eq!(theirs.load(Ordering::Relaxed), 0, "no read of machines is without a filter");
    world.aws.clear_rules();
    let after = cost(&world, &preview, 0);
    assert_eq!(after.calls, before.calls);
    // All roles come in one answer, with their policies; nothing else of theirs does.
    assert!(after.bytes < before.bytes + ROLES * 1500, "{before:?}, {after:?}");
    assert!(after.memory < before.memory + 64, "{before:?}, {after:?}");
    // The local AWS filters by looking at everything, which is not kcl's time.
    assert!(after.took < before.took + Duration::from_secs(20), "{before:?}, {after:?}");
}

/// So many of each in one spec.
const MANY_GROUPS: usize = 50;
const MANY_ROLES: usize = 500;

/// The reference cluster with many instance groups and roles for pods.
fn large(world: &World) -> String {
    let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()));
    let mut roles = String::new();
    for number in 0..MANY_ROLES {
        write!(
            roles,
            "      - name: account-{number}\n        namespace: default\n        aws:\n          inlinePolicy: |\n            \
             [{{\"Effect\": \"Allow\", \"Action\": [\"s3:GetObject\"], \"Resource\": [\"arn:aws:s3:::b/{number}/*\"]}}]\n"
        )
        .unwrap();
    }
    let mut spec = spec.replacen(
        "    serviceAccountExternalPermissions:\n",
        &format!("    serviceAccountExternalPermissions:\n{roles}"),
        1,
    );
    let group = spec.split("---\n").find(|document| document.contains("name: nodes\n")).unwrap().to_owned();
    for number in 0..MANY_GROUPS {
        let another = group.replace("name: nodes\n", &format!("name: nodes-{number}\n"));
        spec.push_str(&format!("\n---\n{}", another.replace("Size: 2", "Size: 0")));
    }
    spec
}

#[test]
fn a_large_cluster_is_previewed_in_as_many_calls() {
    let world = World::with_bucket(KCL);
    world.make_zone("karlaru.com");
    let small = example("karlaru.yaml").replace("karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()));
    let path = world.spec(&small);
    let few = cost(&world, &["create", "cluster", "-f", &path], 0);
    let path = world.spec(&large(&world));
    let many = cost(&world, &["create", "cluster", "-f", &path], 0);
    assert_eq!(many.calls, few.calls);
    assert!(many.took < few.took + Duration::from_mins(1), "{few:?}, {many:?}");
    assert!(many.memory < few.memory + 256, "{few:?}, {many:?}");
}
