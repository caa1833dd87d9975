//! One writer per cluster: of any number of runs at once exactly one goes on, and the others say who has the lock.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use kcl_testkit::{Call, Decision, Moment, Point, Reply, Request, Response, World, example};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "minimal.example.com";
/// How many runs at once.
const RUNS: usize = 20;

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Many runs of `update --yes` while the one that got the lock is held at its first read of the cloud.
fn one_of_many_proceeds(world: &World) {
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let more = "    - 203.0.113.0/24\n    - 198.51.100.0/24\n";
    let changed = world.spec(&example("minimal.yaml").replace("    - 203.0.113.0/24\n", more));

    let gate = world.aws.hold("ec2", "DescribeVpcs");
    let runs: Vec<Child> =
        (0..RUNS).map(|_| start(world.command(&["update", "-f", &changed, "--yes"]))).collect();
    assert!(gate.is_reached(), "no run went on");
    let (mut waiting, mut ended) = (runs, Vec::new());
    // All but one end while that one is held, whichever it is.
    while ended.len() < RUNS - 1 {
        let mut still = Vec::new();
        for mut run in waiting {
            match run.try_wait().unwrap() {
                Some(_) => ended.push(finish(run)),
                None => still.push(run),
            }
        }
        waiting = still;
        std::thread::yield_now();
    }
    assert_eq!(gate.arrived(), 1, "only the holder of the lock reads the cloud");
    for (code, stderr) in &ended {
        assert_eq!(*code, 1, "{stderr}");
        assert!(stderr.contains("/lock is held by"), "{stderr}");
        assert!(stderr.contains("kcl update"), "{stderr}");
        assert!(stderr.contains("--lock-timeout"), "{stderr}");
    }
    gate.open();
    let (code, stderr) = finish(waiting.pop().unwrap());
    assert_eq!(code, 0, "{stderr}");
    // Nothing of the lock is left, and the change was made once.
    world.kcl(&["update", "-f", &changed, "--detailed-exitcode"]).expect(0);
    let unlock = world.kcl(&["unlock", CLUSTER]).expect(0);
    assert!(unlock.stderr.contains("nobody holds the lock"), "{}", unlock.stderr);
}

#[test]
fn one_of_twenty_proceeds_with_s3() {
    one_of_many_proceeds(&World::with_bucket(KCL));
}

#[test]
fn one_of_twenty_proceeds_with_files() {
    one_of_many_proceeds(&World::new(KCL));
}

#[test]
fn who_may_wait_goes_on_as_soon_as_the_lock_is_free() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let gate = world.aws.hold("ec2", "DescribeVpcs");
    let first = start(world.command(&["update", "-f", &path, "--yes"]));
    assert!(gate.is_reached());
    // A preview takes no lock, and so is not kept from anything but this test's own gate.
    let mut second = world.command(&["update", "-f", &path, "--yes", "--lock-timeout", "2m"]);
    let mut second = start({
        second.env_remove("KCL_LOCK_TIMEOUT");
        second
    });
    let mut said = String::new();
    let mut stderr = std::io::BufReader::new(second.stderr.take().unwrap());
    while !said.contains("waiting for the lock") {
        assert!(std::io::BufRead::read_line(&mut stderr, &mut said).unwrap() > 0, "{said}");
    }
    gate.open();
    assert_eq!(finish(first).0, 0);
    assert_eq!(second.wait().unwrap().code(), Some(0), "{said}");
}

#[test]
fn ctrl_c_gives_the_lock_back() {
    for state in [World::with_bucket(KCL), World::new(KCL)] {
        let path = state.spec(&example("minimal.yaml"));
        state.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
        let gate = state.aws.hold("ec2", "DescribeVpcs");
        let run = start(state.command(&["update", "-f", &path, "--yes"]));
        assert!(gate.is_reached());
        let kill = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let (code, stderr) = finish(run);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("stopped before anything was changed"), "{stderr}");
        gate.open();
        let unlock = state.kcl(&["unlock", CLUSTER]).expect(0);
        assert!(unlock.stderr.contains("nobody holds the lock"), "{}", unlock.stderr);
    }
}

/// Without the state store's bucket there is no lock: it is made before, and whoever stops then is told.
#[test]
fn ctrl_c_after_the_bucket_was_made_says_so() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    // Looked at once for the plan, and once more under the lock.
    let again = Point { service: "ec2".to_owned(), action: "DescribeVpcs".to_owned(), nth: 2 };
    let halt = world.aws.halt(again, Moment::BeforeForwarding);
    let run = start(world.command(&["create", "cluster", "-f", &path, "--yes"]));
    assert!(halt.is_reached(Duration::from_mins(2)), "it is looked at again");
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    let (code, stderr) = finish(run);
    assert_eq!(code, 1, "{stderr}");
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let bucket = world.bucket();
    assert!(said.contains(&format!("stopped after the bucket {bucket} was made; nothing else")), "{stderr}");
    assert_eq!(world.aws.count("s3", "CreateBucket"), 1);
    world.aws.clear_rules();
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
}

#[test]
fn a_lock_that_was_left_behind_is_removed_by_hand() {
    let world = World::new(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let gate = world.aws.hold("ec2", "DescribeVpcs");
    let mut run = start(world.command(&["update", "-f", &path, "--yes"]));
    assert!(gate.is_reached());
    run.kill().unwrap();
    run.wait().unwrap();
    gate.open();

    let refused = world.kcl(&["update", "-f", &path, "--yes"]).expect(1);
    assert!(refused.stderr.contains("is held by"), "{}", refused.stderr);
    // Previews take no lock.
    world.kcl(&["update", "-f", &path]).expect(0);
    let refused = world.kcl(&["unlock"]).expect(1);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    let removed = world.kcl(&["unlock", CLUSTER, "--force"]).expect(0);
    assert!(removed.stderr.contains("removed the lock"), "{}", removed.stderr);
    world.kcl(&["update", "-f", &path, "--yes"]).expect(0);

    // Half an object is no lock, and nobody goes on over it.
    let lock = world.folder.path().join("state").join(CLUSTER).join("lock");
    std::fs::write(&lock, "{\"id\": \"a").unwrap();
    let refused = world.kcl(&["update", "-f", &path, "--yes"]).expect(1);
    assert!(refused.stderr.contains("it ends in the middle"), "{}", refused.stderr);
    world.kcl(&["unlock", "--force"]).expect(0);
    world.kcl(&["update", "-f", &path, "--yes"]).expect(0);
}

/// Nobody knows of a holder that was killed that it will never go on: the lock is its own until it would have run out, and
/// then one of those who wait after the other has it.
#[test]
fn a_holder_that_was_killed_is_taken_over_after_its_lease() {
    const LEASE: Duration = Duration::from_secs(10);
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    let update = |path: &str| {
        let mut command = world.command(&["update", "-f", path, "--yes"]);
        command.env("KCL_LOCK_LEASE", format!("{}s", LEASE.as_secs())).env("KCL_LOCK_TIMEOUT", "2m");
        command
    };
    let gate = world.aws.hold("ec2", "DescribeVpcs");
    let mut killed = start(update(&path));
    assert!(gate.is_reached());
    killed.kill().unwrap();
    killed.wait().unwrap();
    gate.open();
    let is_lock = |call: &&Call| call.mutating && call.path.ends_with("/lock");
    let renewed = world.aws.take_calls().iter().filter(is_lock).map(|call| call.begun).max();
    let renewed = renewed.expect("it had the lock");

    let changed = world.spec(&example("minimal.yaml").replace("role: Node", "role: Node\n  maxSize: 3"));
    let waiting: Vec<Child> = (0..3).map(|_| start(update(&changed))).collect();
    for run in waiting {
        let (code, stderr) = finish(run);
        assert_eq!(code, 0, "{stderr}");
    }
    let calls = world.aws.calls();
    let cloud: Vec<_> = calls.iter().filter(|call| call.action == "DescribeVpcs").collect();
    let first = cloud.iter().map(|call| call.begun).min().expect("they went on");
    assert!(first >= renewed + LEASE, "after {:?}", first - renewed);
    let updates = calls.iter().filter(|call| call.action == "UpdateAutoScalingGroup").count();
    assert_eq!(updates, 1, "the others found it done");
    world.kcl(&["update", "--detailed-exitcode"]).expect(0);
}

#[test]
fn ctrl_c_while_applying_finishes_what_runs_and_gives_the_lock_back() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    let gate = world.aws.hold("ec2", "CreateVpc");
    let run = start(world.command(&["create", "cluster", "-f", &path, "--yes"]));
    assert!(gate.is_reached());
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap().success());
    gate.open();
    let (code, stderr) = finish(run);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("stopped after"), "{stderr}");
    assert_eq!(world.aws.count("ec2", "CreateVpc"), 1, "what was under way is finished");
    let unlock = world.kcl(&["unlock", CLUSTER]).expect(0);
    assert!(unlock.stderr.contains("nobody holds the lock"), "{}", unlock.stderr);
    world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
    assert_eq!(world.aws.count("ec2", "CreateVpc"), 1);
}

/// A run whose lock is gone does not register its spec over what somebody else may have registered since, not even by
/// trying again what it had begun.
#[test]
fn who_lost_the_lock_registers_nothing() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes", "--skip-bootstrap"]).expect(0);
    let changed = world.spec(&example("minimal.yaml").replace("role: Node", "role: Node\n  maxSize: 3"));
    world.aws.take_calls();
    let (tell, begun) = mpsc::channel();
    let known = Arc::new(OnceLock::new());
    let is_known = Arc::clone(&known);
    world.aws.before(move |call| {
        if call.action != "PutObject" || !call.path.contains("/config") {
            return Decision::Forward;
        }
        tell.send(()).unwrap();
        let () = is_known.wait();
        let busy = Response::error(call.protocol, 503, "ServiceUnavailable", "Reduce your request rate.");
        Decision::Respond(busy)
    });
    let run = start({
        let mut replace = world.command(&["replace", "-f", &changed]);
        replace.env("KCL_LOCK_LEASE", "10s");
        replace
    });
    begun.recv().unwrap();
    world.kcl(&["unlock", CLUSTER, "--force"]).expect(0);
    // The next renewal finds nothing to renew, and looks.
    world.aws.take_calls();
    while !world.aws.calls().iter().any(|call| call.action == "GetObject" && call.path.contains("/lock")) {
        std::thread::yield_now();
    }
    known.set(()).unwrap();
    let (code, stderr) = finish(run);
    assert_eq!(code, 1, "{stderr}");
    let said = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("the lock of the cluster is not held any more"), "{stderr}");
    // One may have been on its way when the run learned of it, but not all of the SDK's.
    assert!(begun.try_iter().count() < 2, "it went on trying");
    world.aws.clear_rules();
    world.kcl(&["update", CLUSTER, "--detailed-exitcode"]).expect(0);
}

/// What is purged cannot be made again: whoever stops in the last moment keeps it.
#[test]
fn ctrl_c_keeps_the_state_from_being_purged() {
    let world = World::with_bucket(KCL);
    let path = world.spec(&example("minimal.yaml"));
    world.kcl(&["create", "cluster", "-f", &path, "--yes", "--skip-bootstrap"]).expect(0);
    world.aws.take_calls();
    let (process, said) = (Arc::new(OnceLock::new()), Arc::new(AtomicBool::new(false)));
    let (pid, is_said) = (Arc::clone(&process), Arc::clone(&said));
    world.aws.after(move |call, response| {
        // With this one the last step ends.
        let is_last =
            call.mutating && format!("{}{}", call.path, call.body).contains("cluster-completed.spec");
        if is_last && !is_said.swap(true, Ordering::SeqCst) {
            let pid: &u32 = pid.wait();
            assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
        }
        Reply::Send(response)
    });
    let run = start(world.command(&["delete", CLUSTER, "--yes", "--purge-state"]));
    process.set(run.id()).unwrap();
    let (code, stderr) = finish(run);
    assert!(said.load(Ordering::SeqCst), "{stderr}");
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.replace('\n', " ").contains("are still there"), "{stderr}");
    assert_eq!(world.aws.count("s3", "ListObjectVersions"), 0, "nothing is purged");
    world.aws.clear_rules();
    world.kcl(&["delete", CLUSTER, "--region", "eu-north-1", "--yes", "--purge-state"]).expect(0);
}

#[test]
fn a_store_that_keeps_no_two_writers_apart_is_not_written_to() {
    let ignoring = |call: &Call| {
        let mut headers = call.headers.clone();
        headers.remove("if-none-match");
        headers.remove("if-match");
        let signature = "AWS4-HMAC-SHA256 Credential=TEST/20260101/eu-north-1/s3/aws4_request, SignedHeaders=host, \
                         Signature=0";
        headers.insert("authorization", signature.parse().unwrap());
        let uri = format!("{}?x-id={}", call.path, call.action).parse().unwrap();
        let body = call.body.clone().into();
        Decision::Rewrite(Box::new(Request { method: call.method.clone(), uri, headers, body }))
    };
    let refusing = |call: &Call| {
        let message = "A header you provided implies functionality that is not implemented";
        Decision::Respond(Response::error(call.protocol, 501, "NotImplemented", message))
    };
    let ways: [fn(&Call) -> Decision; 2] = [ignoring, refusing];
    for answer in ways {
        let world = World::with_bucket(KCL);
        let path = world.spec(&example("minimal.yaml"));
        world.kcl(&["create", "cluster", "-f", &path, "--yes"]).expect(0);
        let changed = world
            .spec(&example("minimal.yaml").replace("role: Node", "role: Node\n  minSize: 3\n  maxSize: 3"));
        let is_conditional =
            |call: &Call| ["if-none-match", "if-match"].iter().any(|name| call.headers.contains_key(*name));
        world.aws.before(move |call| if is_conditional(call) { answer(call) } else { Decision::Forward });
        let run = world.kcl(&["update", "-f", &changed, "--yes"]).expect(1);
        assert!(run.stderr.contains("does not support conditional writes"), "{}", run.stderr);
        world.aws.clear_rules();
        // Nothing was changed, and nothing of the attempt is left.
        world.kcl(&["update", "--detailed-exitcode"]).expect(0);
        world.kcl(&["update", "-f", &changed, "--yes"]).expect(0);
    }
}
