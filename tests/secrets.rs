//! Nothing that a run says, at its highest log level, holds anything secret: every private key and token that it
//! made or was given is looked for in all that came out of it. Nor does a crash leave them on a disk.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use kcl_testkit::{Fault, Point, When, World, audit, example, http};

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "k8s.karlaru.com";

/// What the spec itself keeps secret, and how Kubernetes writes it.
const TOKEN: &str = "secret-of-the-spec-1c7f2a";
const ENCODED: &str = "c2VjcmV0LW9mLXRoZS1zcGVjLTFjN2YyY";
const SESSION: &str = "session-token-of-this-run-93b1";

/// All that came out of runs.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn run(&mut self, world: &World, args: &[&str], code: i32) {
        let mut command = world.command(&[args, &["-vvv"]].concat());
        command.env("AWS_SESSION_TOKEN", SESSION).env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace");
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.lines().count() > 10, "there is a log");
        self.0.push((format!("data of {args:?}"), text(&output.stdout)));
        self.0.push((format!("log of {args:?}"), stderr));
    }
}

/// The private keys in the state store, each line of them by itself.
fn keys(world: &World) -> BTreeSet<String> {
    let read =
        |path: &str| http(&world.aws.direct_endpoint(), "GET", path, Some("s3"), &[], "").unwrap().body;
    let bucket = world.bucket();
    let listing = read(&format!("/{bucket}?list-type=2&prefix=clusters/{CLUSTER}/pki/private/"));
    let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    let keys = keys.map(|(key, _)| key).filter(|key| key.rsplit('.').next() == Some("key"));
    let lines: BTreeSet<String> = keys
        .flat_map(|key| {
            let pem = read(&format!("/{bucket}/{key}"));
            assert!(pem.contains("PRIVATE KEY"), "{key}");
            pem.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|line| !line.starts_with("-----") && line.len() > 20)
        .collect();
    assert!(lines.len() >= 4, "at least a line for each keyset");
    // What Secrets are encrypted with in etcd.
    let encryption = read(&format!("/{bucket}/clusters/{CLUSTER}/secrets/encryption.json"));
    let key = encryption.split('"').find(|word| word.len() > 40).unwrap().to_owned();
    lines.into_iter().chain([key]).collect()
}

#[test]
fn nothing_secret_is_said() {
    let world = World::with_bucket(KCL);
    world.make_zone("karlaru.com");
    let secret = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: token, namespace: default}}\nstringData: {{token: {TOKEN}}}\n"
    );
    let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()));
    let path = world.spec(&format!("{spec}{secret}"));

    let mut said = Said::default();
    said.run(&world, &["create", "cluster", "-f", &path, "-o", "json"], 0);
    // One that fails, in the middle of what it makes.
    let point = Point { service: "iam".to_owned(), action: "CreateRole".to_owned(), nth: 1 };
    world.aws.inject(Fault::Denied, When::ActionFrom(point), 0);
    said.run(&world, &["create", "cluster", "-f", &path, "--yes"], 1);
    world.aws.clear_rules();
    said.run(&world, &["create", "cluster", "-f", &path, "--yes", "--full"], 0);
    said.run(&world, &["create", "keypair", "all"], 0);
    said.run(&world, &["update", "-f", &path, "--yes", "-o", "json", "--full"], 0);
    said.run(&world, &["get", "resources", "-o", "json"], 0);
    said.run(&world, &["get", "clusters", "-o", "yaml"], 0);
    said.run(&world, &["get", "keypairs", "-o", "json"], 0);
    said.run(&world, &["policy"], 0);
    // Its file holds a private key, which is the only place where it is.
    let file = world.folder.path().join("kubeconfig");
    said.run(
        &world,
        &["export", "kubeconfig", CLUSTER, "--admin", "--kubeconfig", file.to_str().unwrap()],
        0,
    );
    let kubeconfig = std::fs::read_to_string(file).unwrap();
    let key = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("client-key-data: ")).unwrap();
    assert!(key.len() > 100, "{key}");
    let mut secrets = keys(&world);
    secrets.insert(key.to_owned());
    secrets.extend([TOKEN, ENCODED, SESSION, "local-aws-secret", "PRIVATE KEY-----"].map(str::to_owned));

    // What anybody sees who may look at the account: templates with their user data, roles, documents.
    let audited = audit(&world.aws, world.aws.region()).unwrap();
    let mut document = audited.document().clone();
    let mut registered = 0;
    for bucket in document["buckets"].as_array_mut().unwrap() {
        let objects = bucket["objects"].as_array_mut().unwrap();
        let before = objects.len();
        // The one place where it belongs: the documents as they were given, in the state store.
        objects.retain(|object| !object["key"].as_str().unwrap().ends_with("/additional-objects"));
        registered += before - objects.len();
    }
    assert_eq!(registered, 1);
    said.0.push(("the account".to_owned(), document.to_string()));
    let data = audited.user_data();
    assert_eq!(data.len(), 2);
    said.0.extend(data.into_iter().map(|data| ("user data".to_owned(), data)));
    said.run(&world, &["delete", "cluster", CLUSTER, "--yes"], 0);

    let found: Vec<String> = said
        .0
        .iter()
        .flat_map(|(place, text)| {
            let held = secrets.iter().filter(|secret| text.contains(secret.as_str()));
            held.map(move |secret| format!("{place} holds {secret}"))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// A process that crashes leaves no picture of its memory, where keys are: not even where core files are wanted.
#[test]
fn a_crash_leaves_no_core_file() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let world = World::with_bucket(KCL);
    world.make_zone("karlaru.com");
    let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &format!("oidc-{}", world.aws.account()));
    let path = world.spec(&spec);
    // What this process may, those that it starts may.
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: maximum, maximum }).unwrap();
    let abort = |mut child: Child| {
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-ABRT", &id]).status().unwrap().success());
        child.wait().unwrap()
    };
    let folder = world.folder.path().join("cores");
    std::fs::create_dir(&folder).unwrap();

    let gate = world.aws.hold("autoscaling", "CreateAutoScalingGroup");
    let mut command = world.command(&["create", "cluster", "-f", &path, "--yes"]);
    let run = command.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(gate.is_reached());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", run.id())).unwrap();
    let of_core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(of_core.split_whitespace().filter(|word| *word == "0").count(), 2, "{of_core}");
    let ended = abort(run);
    assert_eq!(ended.signal(), Some(6));
    assert!(!ended.core_dumped());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    gate.open();

    // Where this machine keeps core files at all, another program leaves one.
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if maximum.is_none() && !pattern.starts_with('|') {
        let other = Command::new("sleep").arg("100").current_dir(&folder).spawn().unwrap();
        assert!(abort(other).core_dumped(), "the machine keeps none, and the test says nothing");
    }
}
