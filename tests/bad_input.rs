//! What is wrong is said once and clearly, with the right exit code, and nothing is created: bad specs, bad
//! files, bad command lines, and an AWS that does not let us.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use kcl_testkit::{Call, Decision, Redactor, Response, Run, World, example};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");

const CREATE: [&str; 4] = ["create", "cluster", "-f", "cluster.yaml"];

/// A world with the minimal cluster's spec in it.
fn world() -> World {
    let world = World::with_bucket(KCL);
    world.spec(&example("minimal.yaml"));
    world
}

/// `kcl` in the world's folder, with more variables; an empty value takes one away.
fn kcl_with(world: &World, args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = world.command(args);
    for (name, value) in variables {
        if value.is_empty() {
            command.env_remove(name);
        } else {
            command.env(name, value);
        }
    }
    let output = command.current_dir(world.folder.path()).output().unwrap();
    let run = Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    let wide =
        run.stderr.lines().find(|line| line.chars().count() > 80 && line.split_whitespace().count() > 3);
    assert_eq!(wide, None);
    run
}

fn kcl(world: &World, args: &[&str]) -> Run {
    kcl_with(world, args, &[])
}

/// What was said, without the warnings before the error.
fn error(world: &World, run: &Run) -> String {
    let start = run.stderr.find("error:").unwrap_or(0);
    let folder = world.folder.path().display().to_string();
    let mut redactor = Redactor::new().with(folder, "[folder]").with(world.aws.account(), "[account]");
    format!("exit code {}\n{}", run.code, redactor.redact(&run.stderr[start..]))
}

#[track_caller]
fn assert_nothing_was_made(world: &World) {
    // The lock comes and goes.
    let calls = world.aws.mutating_calls();
    let made = calls.iter().filter(|call| !call.bucket_and_key().1.ends_with("/lock")).map(Call::name);
    assert_eq!(made.collect::<Vec<_>>(), [""; 0]);
    assert_eq!(world.left(), [""; 0]);
}

/// Lets AWS answer calls that `is` picks with this error.
fn refuse(world: &World, code: &'static str, is: impl Fn(&Call) -> bool + Send + Sync + 'static) {
    world.aws.before(move |call| {
        if is(call) {
            let message = "You are not authorized to perform this operation.";
            Decision::Respond(Response::error(call.protocol, 403, code, message))
        } else {
            Decision::Forward
        }
    });
}

/// A mistake: what it is called, and how it comes about by one edit of the minimal spec.
const MISTAKES: [(&str, &str, &str); 22] = [
    ("broken YAML", "  networking:\n    flannel: {}", "  networking:\n    flannel: {"),
    ("indentation", "    - name: eu-north-1a\n", "    - name: eu-north-1a\n   zones: x\n"),
    ("wrong kind", "kind: InstanceGroup", "kind: InstanceGruop"),
    ("wrong version", "apiVersion: kops.k8s.io/v1alpha2", "apiVersion: kops.k8s.io/v1alpha3"),
    ("no kind", "kind: Cluster\n", ""),
    (
        "two clusters",
        "kind: InstanceGroup\nmetadata:\n  name: control-plane\nspec:\n  role: ControlPlane",
        "kind: Cluster\nmetadata:\n  name: other.example.com\nspec: {}",
    ),
    ("two groups of one name", "name: nodes", "name: control-plane"),
    (
        "two subnets of one name",
        "      cidr: 172.20.32.0/19\n",
        "      cidr: 172.20.32.0/19\n    - name: eu-north-1a\n      zone: eu-north-1a\n      type: Public\n      cidr: 172.20.64.0/19\n",
    ),
    (
        "overlapping subnets",
        "      cidr: 172.20.32.0/19\n",
        "      cidr: 172.20.32.0/19\n    - name: b\n      zone: eu-north-1b\n      type: Public\n      cidr: 172.20.32.0/20\n",
    ),
    ("host bits", "cidr: 172.20.32.0/19", "cidr: 172.20.33.0/19"),
    ("a subnet outside of the network", "cidr: 172.20.32.0/19", "cidr: 10.0.0.0/19"),
    ("no CIDR", "cidr: 172.20.32.0/19", "cidr: 172.20.32.0/99"),
    ("missing subnet", "  role: Node\n", "  role: Node\n  subnets: [eu-north-1b]\n"),
    ("no zone", "zone: eu-north-1a", "zone: the-north"),
    (
        "zones of two regions",
        "      cidr: 172.20.32.0/19\n",
        "      cidr: 172.20.32.0/19\n    - name: b\n      zone: eu-west-1b\n      type: Public\n      cidr: 172.20.64.0/19\n",
    ),
    ("more at least than at most", "  role: Node\n", "  role: Node\n  minSize: 3\n  maxSize: 2\n"),
    ("a negative size", "  role: Node\n", "  role: Node\n  minSize: -1\n"),
    ("an enormous size", "  role: Node\n", "  role: Node\n  maxSize: 99999999999999999999\n"),
    ("a size that is a word", "  role: Node\n", "  role: Node\n  maxSize: many\n"),
    ("exclusive fields", "  role: Node\n", "  role: Node\n  rootVolume: {size: 20}\n  rootVolumeSize: 30\n"),
    ("an unknown field", "  role: Node\n", "  role: Node\n  machinetype: t3.small\n"),
    ("two control planes", "  role: Node\n", "  role: ControlPlane\n"),
];

#[test]
fn mistakes_in_a_spec() {
    let world = world();
    let mut text = String::new();
    for (name, from, to) in MISTAKES {
        let spec = example("minimal.yaml");
        assert!(spec.contains(from), "{name}");
        world.spec(&spec.replacen(from, to, 1));
        let run = kcl(&world, &CREATE);
        text.push_str(&format!("# {name}\n{}\n", error(&world, &run)));
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{name}: {}", run.stderr);
        assert!(run.stderr.contains("--> cluster.yaml:"), "{name}: {}", run.stderr);
        assert!(run.stderr.ends_with("nothing was changed\n"), "{name}: {}", run.stderr);
    }
    assert_snapshot!(text);
    // AWS is not even asked.
    assert!(world.aws.calls().is_empty());
    assert_nothing_was_made(&world);
}

/// It stands in the spec, so that it is told before anything is made.
#[test]
fn an_object_that_no_cluster_takes() {
    let world = world();
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: pin\nstringData:\n  pin: 8675\n";
    world.spec(&format!("{}{secret}", example("minimal.yaml")));
    let run = kcl_with(&world, &[&CREATE[..], &["--yes"]].concat(), &[("KCL_SKIP_BOOTSTRAP", "")]).expect(2);
    let said = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("`stringData.pin` is not a text; numbers and truth values need quotes"), "{said}");
    assert!(!said.contains("8675"), "{said}");
    assert_nothing_was_made(&world);
}

#[test]
fn a_mistake_in_color() {
    let world = world();
    world.spec(&example("minimal.yaml").replacen("cidr: 172.20.32.0/19", "cidr: 172.20.33.0/19", 1));
    let plain = kcl(&world, &CREATE).expect(2).stderr;
    let colored = kcl(&world, &[&CREATE[..], &["--color", "always"]].concat()).expect(2).stderr;
    assert!(colored.contains("\u{1b}[1m\u{1b}[31merror\u{1b}[0m: "), "{colored:?}");
    assert!(plain.starts_with("error: ") && !plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn bad_files() {
    let world = world();
    let folder = world.folder.path();
    std::fs::write(folder.join("huge.yaml"), vec![b'#'; 5 * 1024 * 1024]).unwrap();
    std::fs::write(folder.join("latin1.yaml"), b"name: K\xf6ln\n").unwrap();
    std::fs::write(folder.join("empty.yaml"), "").unwrap();
    std::fs::write(folder.join("comment.yaml"), "# nothing\n---\n").unwrap();
    std::fs::write(folder.join("binary.yaml"), b"\x00\x01\x02").unwrap();
    std::fs::write(folder.join("bomb.yaml"), bomb()).unwrap();
    std::fs::write(folder.join("deep.yaml"), "[".repeat(100_000)).unwrap();
    let files = [
        "none.yaml",
        ".",
        "huge.yaml",
        "latin1.yaml",
        "empty.yaml",
        "comment.yaml",
        "binary.yaml",
        "bomb.yaml",
        "deep.yaml",
    ];
    let mut text = String::new();
    for file in files {
        let run = kcl(&world, &["create", "cluster", "-f", file, "--yes"]);
        text.push_str(&format!("# {file}\n{}\n", error(&world, &run)));
        assert_eq!(run.code, 2, "{file}");
    }
    let run = world.kcl_reads(&["update", "-f", "-", "--yes"], "").expect(2);
    text.push_str(&format!("# empty standard input\n{}\n", error(&world, &run)));
    assert_snapshot!(text);
    assert!(world.aws.calls().is_empty());
}

/// A few lines that stand for billions of values.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

#[test]
fn bad_state_stores() {
    let world = world();
    let mut text = String::new();
    for state in ["nonsense", "s3://", "s3://UPPER/x", "file://relative", "gs://bucket", "memfs://x"] {
        for args in [&CREATE[..], &["get", "clusters"]] {
            let run = kcl(&world, &[args, &["--state", state]].concat());
            text.push_str(&format!("# --state {state}\n{}\n", error(&world, &run)));
            assert_eq!(run.code, 2, "{state}");
        }
    }
    // A file is no directory.
    let file = format!("file://{}/cluster.yaml/state", world.folder.path().display());
    let run = kcl(&world, &[&CREATE[..], &["--yes", "--state", &file]].concat()).expect(1);
    assert!(run.stderr.contains("cluster.yaml/state"), "{}", run.stderr);
    assert_snapshot!(text);
    assert_nothing_was_made(&world);
}

#[test]
fn a_store_that_cannot_be_written() {
    let world = world();
    let run = kcl(&world, &[&CREATE[..], &["--yes", "--state", "file:///proc/kcl-state"]].concat()).expect(1);
    assert_snapshot!(error(&world, &run));
    assert_nothing_was_made(&world);
}

#[test]
fn a_bucket_of_somebody_else() {
    let world = world();
    refuse(&world, "AccessDenied", |call| call.service == "s3");
    let mut text = String::new();
    for args in
        [&[&CREATE[..], &["--yes"]].concat()[..], &["get", "clusters"], &["update", "minimal.example.com"]]
    {
        let run = kcl(&world, args).expect(1);
        text.push_str(&format!("$ kcl {}\n{}\n", args.join(" "), error(&world, &run)));
    }
    assert_snapshot!(text);
    assert_nothing_was_made(&world);
}

#[test]
fn credentials() {
    let world = world();
    let mut text = String::new();
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    for args in
        [&CREATE[..], &["get", "clusters"], &["delete", "minimal.example.com", "--region", "eu-north-1"]]
    {
        let run = kcl_with(&world, args, &none).expect(1);
        text.push_str(&format!("# none: kcl {}\n{}\n", args.join(" "), error(&world, &run)));
    }
    let run = kcl(&world, &[&CREATE[..], &["--profile", "nobody"]].concat()).expect(1);
    text.push_str(&format!("# a profile that is not there\n{}\n", error(&world, &run)));
    for code in ["InvalidClientTokenId", "ExpiredToken", "SignatureDoesNotMatch"] {
        refuse(&world, code, |_| true);
        let started = Instant::now();
        let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(1);
        assert!(started.elapsed() < Duration::from_secs(10), "{code}");
        text.push_str(&format!("# {code}\n{}\n", error(&world, &run)));
        world.aws.clear_rules();
    }
    assert_snapshot!(text);
    assert_nothing_was_made(&world);
}

#[test]
fn regions_and_zones() {
    let world = world();
    let mut text = String::new();
    let run = kcl(&world, &[&CREATE[..], &["--yes", "--region", "eu-west-1"]].concat()).expect(2);
    text.push_str(&format!("# --region is not the zones'\n{}\n", error(&world, &run)));
    let run =
        kcl(&world, &["get", "instances", "--name", "minimal.example.com", "--state", "file:///nowhere"])
            .expect(1);
    text.push_str(&format!("# no region\n{}\n", error(&world, &run)));
    world.spec(&example("minimal.yaml").replace("eu-north-1a", "eu-north-1f"));
    let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(1);
    text.push_str(&format!("# a zone that the account does not have\n{}\n", error(&world, &run)));
    assert_snapshot!(text);
    assert_nothing_was_made(&world);
}

#[test]
fn what_a_spec_names_and_the_account_does_not_have() {
    let world = world();
    let mut text = String::new();
    world.spec(&example("shared-vpc.yaml"));
    let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(1);
    text.push_str(&format!("# a VPC and subnets\n{}\n", error(&world, &run)));
    for image in ["ami-00000000000000000", "amazon/no-such-image-*", "ssm:/no/such/parameter"] {
        let spec = example("minimal.yaml").replace("role: Node", &format!("role: Node\n  image: {image}"));
        world.spec(&spec);
        let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(1);
        text.push_str(&format!("# {image}\n{}\n", error(&world, &run)));
    }
    assert_snapshot!(text);
    assert_nothing_was_made(&world);
}

#[test]
fn no_permission_to_look() {
    let mut text = String::new();
    for (service, action, code) in [
        ("sts", "GetCallerIdentity", "AccessDenied"),
        ("ec2", "DescribeVpcs", "UnauthorizedOperation"),
        ("iam", "GetAccountAuthorizationDetails", "AccessDenied"),
        ("iam", "GetInstanceProfile", "AccessDenied"),
        ("route53", "ListHostedZones", "AccessDenied"),
        ("tag", "GetResources", "AccessDeniedException"),
        ("ssm", "GetParameters", "AccessDeniedException"),
        ("autoscaling", "DescribeAutoScalingGroups", "AccessDenied"),
    ] {
        let world = world();
        refuse(&world, code, move |call| call.is(service, action));
        let started = Instant::now();
        let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat());
        text.push_str(&format!("# {service}:{action}\n{}\n", error(&world, &run)));
        assert_eq!(run.code, 1, "{service}:{action}: {}", run.stderr);
        assert!(started.elapsed() < Duration::from_secs(10), "{service}:{action}");
        assert_nothing_was_made(&world);
    }
    assert_snapshot!(text);
}

#[test]
fn a_log_holds_no_secret_and_no_colour() {
    let world = world();
    let path = world.folder.path().join("cluster.yaml").display().to_string();
    let log = world.kcl(&["create", "cluster", "-f", &path, "-vvv"]).expect(0).stderr;
    assert!(log.lines().count() > 100);
    for secret in ["local-aws-secret", "Signature=", "\u{1b}", "BEGIN"] {
        assert!(!log.contains(secret), "holds {secret:?}");
    }
}

#[test]
fn no_permission_to_make() {
    let world = world();
    refuse(&world, "UnauthorizedOperation", |call| call.is("ec2", "CreateVpc"));
    let started = Instant::now();
    let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(1);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(world.aws.count("ec2", "CreateVpc"), 1, "it is tried once");
    assert_snapshot!(error(&world, &run));
    // Once that is mended, the same command goes on.
    world.aws.clear_rules();
    kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(0);
}

#[test]
fn no_permission_for_many() {
    let world = world();
    refuse(&world, "UnauthorizedOperation", |call| call.is("ec2", "AuthorizeSecurityGroupIngress"));
    let run = kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(1);
    let groups = world.aws.count("ec2", "AuthorizeSecurityGroupIngress");
    assert!(groups <= 3, "once for each security group, not for each rule: {groups}");
    // Which rules are named is chance; that all of them are told once is not.
    let said = error(&world, &run).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(said.matches("failed to create").count(), 1, "{said}");
    assert!(said.contains(" others: ec2:AuthorizeSecurityGroupIngress: UnauthorizedOperation"), "{said}");
}

#[test]
fn no_permission_to_delete() {
    let world = world();
    kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(0);
    world.aws.take_calls();
    refuse(&world, "AccessDenied", |call| call.is("autoscaling", "DeleteAutoScalingGroup"));
    let run = kcl(&world, &["delete", "cluster", "minimal.example.com", "--yes"]).expect(1);
    // Machines stay, so that the gateway is in use: nobody waits for what nobody removes.
    let tries = world.aws.count("ec2", "DetachInternetGateway");
    assert!((1..20).contains(&tries), "{tries}");
    let said = error(&world, &run).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("autoscaling:DeleteAutoScalingGroup: AccessDenied"), "{said}");
    assert!(said.contains("is still used by"), "{said}");
    // Once that is mended, the same command goes on.
    world.aws.clear_rules();
    kcl(&world, &["delete", "cluster", "minimal.example.com", "--yes"]).expect(0);
}

#[test]
fn what_failed_is_said_though_nobody_may_look_what_is_left() {
    let world = world();
    kcl(&world, &[&CREATE[..], &["--yes"]].concat()).expect(0);
    let has_failed = AtomicBool::new(false);
    refuse(&world, "AccessDenied", move |call| {
        let is_delete = call.is("iam", "DeleteRole");
        has_failed.fetch_or(is_delete, Ordering::Relaxed);
        is_delete || has_failed.load(Ordering::Relaxed) && call.is("iam", "GetAccountAuthorizationDetails")
    });
    let run = kcl(&world, &["delete", "cluster", "minimal.example.com", "--yes"]).expect(1);
    let said = error(&world, &run).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("error: failed to delete iam-role/"), "{said}");
    let unknown = "error: what is left is not known: iam:GetAccountAuthorizationDetails: AccessDenied";
    assert!(said.contains(unknown), "{said}");
}

/// A run against an endpoint where nobody listens.
#[track_caller]
fn unreached(args: &[&str]) -> String {
    unreached_at("http://127.0.0.1:1", args)
}

#[track_caller]
fn unreached_at(endpoint: &str, args: &[&str]) -> String {
    let world = world();
    let started = Instant::now();
    let run = kcl_with(&world, args, &[("AWS_ENDPOINT_URL", endpoint)]).expect(1);
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    error(&world, &run)
}

/// Each system has its own number for a refused connection.
const OS_ERROR: (&str, &str) = (r"\(os\s+error \d+\)", "(os error)");

#[test]
fn an_endpoint_that_cannot_be_reached() {
    let said = unreached(&[&CREATE[..], &["--yes"]].concat());
    insta::with_settings!({filters => vec![OS_ERROR]}, { assert_snapshot!(said); });
}

#[test]
fn an_endpoint_that_is_spelled_wrongly() {
    for endpoint in ["127.0.0.1:1", "htp://127.0.0.1:1", "http://[bad"] {
        let said = unreached_at(endpoint, &[&CREATE[..], &["--yes"]].concat());
        assert!(said.contains("AWS_ENDPOINT_URL if it is set"), "{endpoint}: {said}");
    }
}

#[test]
fn a_store_that_cannot_be_reached() {
    let said = unreached(&["get", "clusters"]);
    insta::with_settings!({filters => vec![OS_ERROR]}, { assert_snapshot!(said); });
}
