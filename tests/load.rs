//! A crowded account, and a large cluster: what a preview asks, receives, and takes hardly changes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]
#![expect(clippy::print_stderr, reason = "what is measured is told")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kcl_testkit::{Decision, Reply, Response, World, example};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

/// Foreign things in the account.
const GROUPS: usize = 1000;
const ROLES: usize = 500;
const INSTANCES: usize = 5000;
/// One that the local AWS has.
const IMAGE: &str = "ami-0a1b2c3d4e5f60001";

/// What one preview cost.
#[derive(Debug)]
#[expect(dead_code, reason = "the time is only told")]
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
    command.stdout(Stdio::null()).stderr(Stdio::null());
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

/// Machines, with their volumes and network interfaces, and security groups of others.
fn crowd(world: &World) {
    let aws = &world.aws;
    let vpc = aws.direct("ec2", "CreateVpc", &[("CidrBlock", "10.9.0.0/16")]).unwrap();
    let vpc = vpc.value("vpc/vpcId");
    let subnet = aws.direct("ec2", "CreateSubnet", &[("VpcId", vpc), ("CidrBlock", "10.9.0.0/16")]).unwrap();
    let subnet = subnet.value("subnet/subnetId");
    let count = INSTANCES.to_string();
    let machines = [
        ("ImageId", IMAGE),
        ("InstanceType", "t3.micro"),
        ("SubnetId", subnet),
        ("MinCount", count.as_str()),
        ("MaxCount", count.as_str()),
    ];
    let made = aws.direct("ec2", "RunInstances", &machines).unwrap();
    assert_eq!(made.all("instancesSet/item").len(), INSTANCES);
    for number in 0..GROUPS {
        let name = format!("foreign-{number}");
        let params = [("GroupName", name.as_str()), ("GroupDescription", "theirs"), ("VpcId", vpc)];
        aws.direct("ec2", "CreateSecurityGroup", &params).unwrap();
    }
}

/// Roles of others.
fn crowd_of_roles(world: &World) {
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    for number in 0..ROLES {
        let name = format!("foreign-{number}");
        let params = [("RoleName", name.as_str()), ("AssumeRolePolicyDocument", trust)];
        world.aws.direct("iam", "CreateRole", &params).unwrap();
    }
}

/// Times are told and not judged: a busy machine has others to serve, and the local AWS filters by looking at everything.
fn tell(what: &str, cost: &Cost) {
    eprintln!("{what}: {cost:?}");
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
    tell("alone", &before);
    let begun = Instant::now();
    crowd(&world);
    eprintln!("others came within {:?}", begun.elapsed());
    let after = cost(&world, &preview, 0);
    tell("beside machines and security groups", &after);
    assert_eq!(after.calls, before.calls);
    // Not by a tenth: what is theirs is not sent.
    assert!(after.bytes * 10 < before.bytes * 11, "{before:?}, {after:?}");
    assert!(after.memory * 2 < before.memory * 3, "{before:?}, {after:?}");
    crowd_of_roles(&world);
    let after = cost(&world, &preview, 0);
    tell("and roles", &after);
    assert_eq!(after.calls, before.calls);
    // All roles come in one answer, with their policies; nothing else of theirs does.
    assert!(after.bytes < before.bytes * 11 / 10 + ROLES * 1500, "{before:?}, {after:?}");
    assert!(after.memory * 2 < before.memory * 3 + 64, "{before:?}, {after:?}");
    world.kcl(&["update", "-f", &path, "--detailed-exitcode"]).expect(0);
    world.kcl(&["get", "instances"]).expect(0);
}

/// So many of each in one spec.
const MANY_GROUPS: usize = 50;
const MANY_ROLES: usize = 500;

/// `text` with `to` in the place of `from`, which it has.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the example has no {from:?}");
    text.replacen(from, to, 1)
}

/// The reference cluster, with a bucket of its own for the account.
fn karlaru(world: &World) -> String {
    replaced(&example("karlaru.yaml"), "karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()))
}

/// The reference cluster with many more roles for pods.
fn with_roles(world: &World, count: usize) -> String {
    let mut roles = String::new();
    for number in 0..count {
        write!(
            roles,
            "      - name: account-{number}\n        namespace: default\n        aws:\n          inlinePolicy: |\n            \
             [{{\"Effect\": \"Allow\", \"Action\": [\"s3:GetObject\"], \"Resource\": [\"arn:aws:s3:::b/{number}/*\"]}}]\n"
        )
        .unwrap();
    }
    let list = "    serviceAccountExternalPermissions:\n";
    replaced(&karlaru(world), list, &format!("{list}{roles}"))
}

/// The reference cluster with many instance groups and roles for pods.
fn large(world: &World) -> String {
    let mut spec = with_roles(world, MANY_ROLES);
    let group = spec.split("---\n").find(|document| document.contains("name: nodes\n")).unwrap().to_owned();
    for number in 0..MANY_GROUPS {
        let another = replaced(&group, "name: nodes\n", &format!("name: nodes-{number}\n"));
        let another = replaced(&replaced(&another, "minSize: 2", "minSize: 0"), "maxSize: 2", "maxSize: 0");
        spec.push_str(&format!("\n---\n{another}"));
    }
    spec
}

#[test]
fn a_large_cluster_takes_as_many_calls_to_see() {
    let world = World::with_bucket(KCL);
    world.make_zone("karlaru.com");
    let path = world.spec(&karlaru(&world));
    let few = cost(&world, &["create", "cluster", "-f", &path], 0);
    tell("the reference cluster", &few);
    let path = world.spec(&large(&world));
    let many = cost(&world, &["create", "cluster", "-f", &path], 0);
    tell("a large one", &many);
    assert_eq!(many.calls, few.calls);
    assert!(many.memory < few.memory + 256, "{few:?}, {many:?}");
    // And made, seen, and taken away.
    let made = cost(&world, &["create", "cluster", "-f", &path, "--yes"], 0);
    tell("made", &made);
    let roles = world.aws.direct("iam", "ListRoles", &[("MaxItems", "1000")]).unwrap();
    assert!(roles.all("ListRolesResult/Roles/member").len() > MANY_ROLES);
    let seen = cost(&world, &["update", "--detailed-exitcode"], 0);
    tell("seen", &seen);
    // Those of one group's machines and targets more.
    assert!(seen.calls < few.calls + 20, "{few:?}, {seen:?}");
    let gone = cost(&world, &["delete", "cluster", "k8s.karlaru.com", "--yes"], 0);
    tell("gone", &gone);
    assert!(gone.calls < made.calls + 200, "{made:?}, {gone:?}");
    let stays = |left: &String| left.starts_with("hosted zone") || left.starts_with("bucket oidc-");
    assert_eq!(
        world.left().into_iter().filter(|left| !stays(left)).collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}

/// Roles that are being made, and which of them IAM refused at first.
#[derive(Default)]
struct Making {
    under_way: BTreeSet<String>,
    seen: BTreeSet<String>,
    /// How many were under way, as each further one began.
    beside: Vec<usize>,
}

/// A service that says that there are too many calls is asked by half as many steps at a time.
#[test]
fn a_service_that_refuses_is_asked_less_at_a_time() {
    /// Steps that ask IAM at a time, at first.
    const WIDTH: usize = 6;
    let create = |refused: bool| {
        let world = World::with_bucket(KCL);
        world.make_zone("karlaru.com");
        let path = world.spec(&with_roles(&world, 5 * WIDTH));
        let making = Arc::new(Mutex::new(Making::default()));
        let begun = Arc::clone(&making);
        world.aws.before(move |call| {
            if !call.is("iam", "CreateRole") {
                return Decision::Forward;
            }
            let mut making = begun.lock().unwrap();
            making.under_way.insert(call.param("RoleName").to_owned());
            let is_new = making.seen.insert(call.param("RoleName").to_owned());
            if is_new && making.seen.len() > WIDTH {
                let count = making.under_way.len();
                making.beside.push(count);
            }
            if is_new && refused && making.seen.len() <= WIDTH {
                return Decision::Respond(Response::error(call.protocol, 400, "Throttling", "Rate exceeded"));
            }
            Decision::Forward
        });
        let done = Arc::clone(&making);
        world.aws.after(move |call, response| {
            if call.is("iam", "PutRolePolicy") {
                done.lock().unwrap().under_way.remove(call.param("RoleName"));
            }
            Reply::Send(response)
        });
        let gate = world.aws.hold("iam", "CreateRole");
        let command = &["create", "cluster", "-f", &path, "--yes"];
        let child = world.command(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // All that may begin has begun.
        assert!(gate.is_reached());
        while gate.arrived() < WIDTH {
            thread::yield_now();
        }
        gate.open();
        assert!(child.wait_with_output().unwrap().status.success());
        let making = making.lock().unwrap();
        assert!(making.seen.len() > 5 * WIDTH && making.under_way.is_empty());
        making.beside.clone()
    };
    let calm = create(false);
    assert!(calm.iter().all(|count| *count <= WIDTH), "{calm:?}");
    let refused = create(true);
    assert!(refused[..3].iter().all(|count| *count <= WIDTH / 2), "{refused:?}");
    eprintln!("beside: {calm:?}; refused: {refused:?}");
}
