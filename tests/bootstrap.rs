//! From an API server that answers to a cluster that serves: the real kcl, kube-apiserver, controller manager and
//! scheduler with the cluster's own keys. Only the machines are stand-ins: no container is run.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use kcl_testkit::kubernetes::{ApiProxy, ApiServerConfig, BIND_ADMINS, Cluster, Machine};
use kcl_testkit::{Fault, IngressStandIn, Moment, Point, Redactor, Run, TargetState, When, World, example};
use serde_json::Value;

const KCL: &str = env!("CARGO_BIN_EXE_kcl");
const CLUSTER: &str = "k8s.karlaru.com";

/// More documents for the spec: what a user brings.
const OBJECTS: &str = "
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: prices
  namespace: shop
data:
  tea: \"3\"
---
apiVersion: v1
kind: Secret
metadata:
  name: till
  namespace: shop
stringData:
  pin: hunter2
";

/// The reference cluster, and what stands in for the world around it.
struct Stage {
    world: World,
    spec: String,
    ingress: IngressStandIn,
}

impl Stage {
    fn new(more: &str) -> Self {
        let world = World::new(KCL);
        world.make_zone("karlaru.com");
        let bucket = format!("oidc-{}", world.aws.account());
        let spec = example("karlaru.yaml").replace("karlaru-kcl-oidc", &bucket) + more;
        Self { world, spec, ingress: IngressStandIn::start().unwrap() }
    }

    fn path(&self) -> String {
        self.world.spec(&self.spec)
    }

    /// AWS and keys are there, and nothing of Kubernetes.
    fn without_kubernetes(&self) {
        self.world.kcl(&["create", "cluster", "-f", &self.path(), "--yes"]).expect(0);
    }

    /// What kubeadm and the machines would do: the control plane starts, and the machines of AWS join.
    fn start(&self) -> Cluster {
        let pki = self.world.pki(CLUSTER);
        let account = self.world.aws.account();
        let issuer = format!("https://oidc-{account}.s3.eu-north-1.amazonaws.com/{CLUSTER}");
        let config = ApiServerConfig::control_plane(&pki, issuer).unwrap();
        let machines = self.world.machines(CLUSTER);
        assert_eq!(machines.len(), 3);
        let cluster = Cluster::start(config, pki, &machines).unwrap();
        cluster.kubectl(&BIND_ADMINS).unwrap().expect(0);
        cluster
    }

    /// Runs kcl, which reaches this cluster and this ingress.
    fn kcl(&self, cluster: &Cluster, args: &[&str]) -> Run {
        let output = self.command(&cluster.server.url(), args).output().unwrap();
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn command(&self, url: &str, args: &[&str]) -> std::process::Command {
        let mut command = self.world.command(args);
        command.env_remove("KCL_SKIP_BOOTSTRAP");
        command
            .env("KCL_API_SERVER", url)
            .env("KCL_CONNECT_TO", format!("::127.0.0.1:{}", self.ingress.port()));
        command
    }
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.expect(0).stdout).unwrap()
}

/// The resource version of everything that kcl applied, by what it is.
fn versions(cluster: &Cluster) -> Vec<(String, String)> {
    let kinds = "namespaces,serviceaccounts,configmaps,secrets,daemonsets,deployments,clusterroles,clusterrolebindings,\
                 roles,rolebindings,ingressclasses,limitranges,mutatingadmissionpolicies,\
                 mutatingadmissionpolicybindings";
    let selector = "-l=applyset.kubernetes.io/part-of";
    let list = json(cluster.kubectl(&["get", kinds, "-A", selector, "-o", "json"]).unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().unwrap().iter().map(|item| {
        let meta = &item["metadata"];
        let name = format!("{} {}/{}", text(&item["kind"]), text(&meta["namespace"]), text(&meta["name"]));
        // A workload's status changes by itself; its generation does not.
        let version =
            if meta["generation"].is_null() { &meta["resourceVersion"] } else { &meta["generation"] };
        (name, version.to_string())
    });
    items.collect()
}

#[test]
fn from_aws_to_a_cluster_that_serves() {
    let stage = Stage::new(OBJECTS);
    stage.without_kubernetes();
    let cluster = stage.start();

    // Nothing is there, and a preview changes nothing.
    let preview = stage.kcl(&cluster, &["update", "-f", &stage.path(), "--detailed-exitcode"]).expect(2);
    insta::assert_snapshot!("first_preview", redacted(&stage, &preview.stdout));
    assert!(cluster.kubectl(&["get", "namespace", "nginx-ingress"]).unwrap().code != 0);

    let applied = stage.kcl(&cluster, &["update", "-f", &stage.path(), "--yes"]).expect(0);
    assert!(applied.stderr.contains("k8s.karlaru.com is healthy: 3 nodes ready"), "{}", applied.stderr);
    assert!(!applied.all().contains("hunter2"));
    let daemon_set =
        json(cluster.kubectl(&["-n", "nginx-ingress", "get", "ds", "nginx-ingress", "-o", "json"]).unwrap());
    assert_eq!(daemon_set["status"]["numberReady"], 2);
    let secret = json(cluster.kubectl(&["-n", "shop", "get", "secret", "till", "-o", "json"]).unwrap());
    assert_eq!(secret["data"]["pin"], "aHVudGVyMg==");

    // Pods of the service account get the role.
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: default}
spec:
  serviceAccountName: iam-account
  containers: [{name: main, image: example.com/job:1}]
";
    cluster.kubectl_reads(&["create", "-f", "-"], pod).unwrap().expect(0);
    let pod = json(cluster.kubectl(&["get", "pod", "job", "-o", "json"]).unwrap());
    let role = format!("arn:aws:iam::{}:role/iam-account.default.sa.{CLUSTER}", stage.world.aws.account());
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let variable = env.iter().find(|variable| variable["name"] == "AWS_ROLE_ARN").unwrap();
    assert_eq!(variable["value"], role.as_str());
    cluster.kubectl(&["delete", "pod", "job"]).unwrap().expect(0);

    // Again: nothing to do, with the file, without it, and with --yes, after which every object is as it was.
    for args in [
        &["update", "-f", &stage.path(), "--detailed-exitcode"][..],
        &["update", "--detailed-exitcode"],
        &["update", "--yes", "--detailed-exitcode"],
    ] {
        let before = versions(&cluster);
        let run = stage.kcl(&cluster, args).expect(0);
        assert_eq!(run.stdout, "", "{args:?}");
        assert_eq!(before, versions(&cluster));
    }

    // One call more than without Kubernetes: the key that signs the way into the API server.
    stage.world.aws.take_calls();
    stage.kcl(&cluster, &["update", "-f", &stage.path(), "--detailed-exitcode"]).expect(0);
    let calls = stage.world.aws.counts();
    assert!(calls.values().sum::<usize>() <= 36, "{calls:#?}");
    assert_eq!(stage.world.aws.mutating_calls().len(), 0);

    let run = stage.kcl(&cluster, &["validate"]).expect(0);
    insta::assert_snapshot!("validate_healthy", run.stdout);
}

fn redacted(stage: &Stage, text: &str) -> String {
    let text = text.replace(stage.world.aws.account(), "<account>");
    Redactor::default().redact(&text)
}

#[test]
fn each_change_is_that_change_and_no_other() {
    let mut stage = Stage::new(OBJECTS);
    stage.without_kubernetes();
    let cluster = stage.start();
    stage.kcl(&cluster, &["update", "-f", &stage.path(), "--yes"]).expect(0);

    // A field of an object in the spec.
    stage.spec = stage.spec.replace("tea: \"3\"", "tea: \"4\"").replace("hunter2", "hunter3");
    let before = versions(&cluster);
    let preview = stage.kcl(&cluster, &["update", "-f", &stage.path()]).expect(0);
    insta::assert_snapshot!("changes", redacted(&stage, &preview.stdout));
    assert!(!preview.all().contains("hunter"), "{}", preview.all());
    let data = stage.kcl(&cluster, &["update", "-f", &stage.path(), "-o", "json"]).expect(0);
    assert!(!data.all().contains("hunter"));
    // Nor does anything secret show in the most that can be logged while it is applied.
    let mut loud = stage.command(&cluster.server.url(), &["update", "-f", &stage.path(), "--yes", "-vvv"]);
    let loud = loud.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").output().unwrap();
    let log = String::from_utf8(loud.stderr).unwrap();
    assert!(loud.status.success() && log.lines().count() > 100, "{log}");
    let keys = stage.world.folder.path().join("state").join(CLUSTER).join("pki/private");
    let mut secrets = ["hunter", "aHVudGVyMw", "PRIVATE KEY"].map(str::to_owned).to_vec();
    for keyset in std::fs::read_dir(keys).unwrap() {
        for key in std::fs::read_dir(keyset.unwrap().path()).unwrap() {
            let pem = std::fs::read_to_string(key.unwrap().path()).unwrap();
            let lines = pem.lines().filter(|line| line.len() > 40 && !line.contains([':', ' ']));
            secrets.extend(lines.map(str::to_owned));
        }
    }
    assert!(secrets.len() > 20, "keys of several lines");
    let found: Vec<_> = secrets.iter().filter(|secret| log.contains(secret.as_str())).collect();
    assert!(found.is_empty(), "the log holds {found:?}");
    let changed: Vec<String> = before
        .iter()
        .zip(versions(&cluster))
        .filter(|(before, after)| before.1 != after.1)
        .map(|(before, _)| before.0.clone())
        .collect();
    assert_eq!(changed, ["ConfigMap shop/prices", "Secret shop/till"]);

    // Somebody else manages a field: it is named, and nothing is changed, in AWS neither.
    let other = [
        "patch",
        "-n",
        "shop",
        "configmap",
        "prices",
        "--field-manager=boss",
        "--patch",
        "{\"data\":{\"tea\":\"9\"}}",
    ];
    cluster.kubectl(&other).unwrap().expect(0);
    stage.world.aws.take_calls();
    let conflict = stage.kcl(&cluster, &["update", "--yes"]);
    assert_eq!(conflict.code, 1, "{}", conflict.all());
    assert!(conflict.stderr.contains("boss") && conflict.stderr.contains(".data.tea"), "{}", conflict.stderr);
    let mutating: Vec<String> =
        stage.world.aws.mutating_calls().iter().map(kcl_testkit::Call::name).collect();
    assert_eq!(mutating, Vec::<String>::new());
    cluster.kubectl(&[&other[..7], &["{\"data\":{\"tea\":\"4\"}}"]].concat()).unwrap().expect(0);

    // What is no longer wanted stays until it is pruned, and a namespace that holds somebody else's objects always.
    cluster.kubectl(&["-n", "shop", "create", "configmap", "theirs"]).unwrap().expect(0);
    stage.spec =
        stage.spec.replace(OBJECTS.replace("\"3\"", "\"4\"").replace("hunter2", "hunter3").as_str(), "");
    let kept = stage.kcl(&cluster, &["update", "-f", &stage.path(), "--detailed-exitcode"]).expect(2);
    insta::assert_snapshot!("no_longer_wanted", redacted(&stage, &kept.stdout));
    stage.kcl(&cluster, &["update", "-f", &stage.path(), "--yes", "--prune"]).expect(0);
    let left = cluster.kubectl(&["-n", "shop", "get", "configmaps,secrets", "-o", "name"]).unwrap().expect(0);
    assert_eq!(left.stdout, "configmap/kube-root-ca.crt\nconfigmap/theirs\n");

    // What somebody put there since the plan was made is seen, and told.
    let without = stage.spec.clone();
    stage.spec += OBJECTS;
    stage.kcl(&cluster, &["update", "-f", &stage.path(), "--yes"]).expect(0);
    cluster.kubectl(&["-n", "shop", "delete", "configmap", "theirs"]).unwrap().expect(0);
    stage.spec = without;
    let proxy = ApiProxy::start(&cluster.pki, cluster.server.port()).unwrap();
    let first = Point { service: "configmaps".to_owned(), action: "delete".to_owned(), nth: 1 };
    let halt = proxy.halt(first, Moment::BeforeForwarding);
    let mut command = stage.command(&proxy.url(), &["update", "-f", &stage.path(), "--yes", "--prune"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(halt.is_reached(Duration::from_mins(2)), "something is deleted");
    cluster.kubectl(&["-n", "shop", "create", "configmap", "late"]).unwrap().expect(0);
    halt.let_go();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let kept = "Namespace shop was not deleted: it still holds what kcl did not apply, or what is wanted: ConfigMap shop/late";
    assert!(said.contains(kept), "{said}");
    assert!(said.contains("1 more left alone"), "{said}");
    assert!(!said.contains("left alone without --prune"), "{said}");

    // One document on stdout, whenever the API server comes.
    stage.spec += OBJECTS;
    proxy.close();
    let mut command = stage.command(&proxy.url(), &["update", "-f", &stage.path(), "--yes", "-o", "json"]);
    let printed = stage.world.folder.path().join("printed");
    let stdout = std::fs::File::create(&printed).unwrap();
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let said = lines_until(child, "waiting for the API server", || proxy.open_with_server().unwrap());
    assert!(said.contains("Kubernetes: 2 to create; "), "what nobody could see before is told: {said}");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(printed).unwrap()).unwrap();
    assert!(document["kubernetes"]["pending"].is_u64(), "{document}");
}

#[test]
fn what_is_wrong_is_said_and_has_its_exit_code() {
    let stage = Stage::new("");
    stage.without_kubernetes();
    let mut cluster = stage.start();
    stage.kcl(&cluster, &["update", "--yes"]).expect(0);

    // By a kubeconfig, which asks for no proxy whatever the environment does.
    let mut command = stage.command("", &["validate", "--kubeconfig", cluster.admin.to_str().unwrap()]);
    let by_file =
        command.env_remove("KCL_API_SERVER").env("HTTPS_PROXY", "http://127.0.0.1:1").output().unwrap();
    let said = String::from_utf8(by_file.stderr).unwrap();
    assert_eq!(by_file.status.code(), Some(0), "{said}");

    // A machine is lost to Kubernetes.
    let mut machines = stage.world.machines(CLUSTER);
    let worker = machines.iter().position(|machine| machine.taints.is_empty()).unwrap();
    machines[worker] = machines[worker].clone().not_ready("container runtime is down");
    cluster.machines.set(&machines).unwrap();
    cluster
        .until(&["get", "nodes", "-o", "json"], |run| run.stdout.contains("container runtime is down"))
        .unwrap();
    let run = stage.kcl(&cluster, &["validate"]);
    assert_eq!(run.code, 3, "{}", run.all());
    assert!(run.stdout.contains("container runtime is down"), "{}", run.stdout);

    // A machine that is no node any more, and targets that answer no health check.
    machines.remove(worker);
    cluster.machines.set(&machines).unwrap();
    stage.world.aws.set_target_health("http-", TargetState::Unhealthy);
    let worker_lost =
        |run: &Run| run.stdout.split_whitespace().all(|counts| ["1/1", "2/2"].contains(&counts));
    let counts =
        "jsonpath={range .items[*]}{.status.desiredNumberScheduled}/{.status.numberAvailable}{\"\\n\"}{end}";
    cluster.until(&["get", "daemonsets", "-A", "-o", counts], worker_lost).unwrap();
    let run = stage.kcl(&cluster, &["validate"]);
    assert_eq!(run.code, 3, "{}", run.all());
    let machines = stage.world.machines(CLUSTER);
    insta::assert_snapshot!("validate_unhealthy", without_machines(&machines, &run.stdout));
    let data = stage.kcl(&cluster, &["validate", "-o", "json"]);
    assert_eq!(data.code, 3);
    insta::assert_snapshot!("validate_unhealthy_as_data", without_machines(&machines, &data.stdout));

    // A workload that does not work: why stands in the error.
    cluster.machines.set(&stage.world.machines(CLUSTER)).unwrap();
    stage.world.aws.set_target_health("http-", TargetState::Healthy);
    let broken = stage.spec.clone()
        + "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: example.com/does-not-exist:1}]
";
    let path = stage.world.spec(&broken);
    let run = stage.kcl(&cluster, &["update", "-f", &path, "--yes", "--timeout", "15s"]);
    assert_eq!(run.code, 3, "{}", run.all());
    assert!(run.stderr.contains("Deployment default/web is not ready"), "{}", run.stderr);
    assert!(run.stderr.contains("ImagePullBackOff"), "{}", run.stderr);

    // Nobody answers.
    cluster.server.kill_api_server();
    let run = stage.kcl(&cluster, &["validate"]);
    assert_eq!(run.code, 4, "{}", run.all());
    assert!(run.stderr.contains("cannot be reached"), "{}", run.stderr);
    let run = stage.kcl(&cluster, &["update", "--detailed-exitcode"]).expect(2);
    assert!(run.stdout.contains("objects to apply once the API server answers"), "{}", run.stdout);
    let run = stage.kcl(&cluster, &["update", "--yes", "--timeout", "2s"]);
    assert_eq!(run.code, 4, "{}", run.all());
    let run = stage.kcl(&cluster, &["validate", "--wait", "2s"]);
    assert_eq!(run.code, 4, "{}", run.all());
}

/// Which machine has which name and address differs from run to run.
fn without_machines(machines: &[Machine], text: &str) -> String {
    machines.iter().fold(text.to_owned(), |text, machine| {
        let id = machine.provider_id.rsplit('/').next().unwrap();
        text.replace(&machine.name, "<node>").replace(id, "<instance>")
    })
}

/// One command from nothing: it makes AWS, waits for the API server that its machines would start, and goes on.
#[test]
fn one_command_waits_for_the_api_server() {
    let stage = Stage::new("");
    let port = free_port();
    let url = format!("https://127.0.0.1:{port}");
    let path = stage.path();
    let mut command = stage.command(&url, &["create", "cluster", "-f", &path, "--yes"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let output = lines_until(child, "waiting for the API server", || {
        let pki = stage.world.pki(CLUSTER);
        let account = stage.world.aws.account();
        let issuer = format!("https://oidc-{account}.s3.eu-north-1.amazonaws.com/{CLUSTER}");
        let mut config = ApiServerConfig::control_plane(&pki, issuer).unwrap();
        config.port = port;
        let cluster = Cluster::start(config, pki, &stage.world.machines(CLUSTER)).unwrap();
        cluster.kubectl(&BIND_ADMINS).unwrap().expect(0);
        cluster
    });
    assert!(output.contains("k8s.karlaru.com is healthy: 3 nodes ready"), "{output}");
}

/// Nobody could be answered by machines that AWS has not got: why is said at once, and again in the end.
#[test]
fn machines_that_are_not_to_be_had_are_said() {
    let stage = Stage::new("");
    stage.without_kubernetes();
    let strikes = stage.world.aws.inject(Fault::NoSpotCapacity, When::Always, 0);
    let url = format!("https://127.0.0.1:{}", free_port());
    let mut command = stage.command(&url, &["update", "--yes", "--timeout", "5s"]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(strikes.first().is_some());
    let why = "control-plane: 0 of 1 machines run: Could not launch Spot Instances. UnfulfillableCapacity";
    let lines = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(lines.matches(why).count(), 2, "{said}");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What `child` says until its end; when it says `sign`, `then` happens, and what that gives lives as long.
fn lines_until<T>(mut child: Child, sign: &str, then: impl FnOnce() -> T) -> String {
    use std::io::BufRead as _;
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        said += &format!("{line}\n");
        if line.contains(sign) {
            break;
        }
    }
    assert!(said.contains(sign), "{said}");
    let meanwhile = then();
    for line in lines {
        said += &format!("{}\n", line.unwrap());
    }
    assert!(child.wait().unwrap().success(), "{said}");
    drop(meanwhile);
    said
}

#[test]
fn without_a_way_in_nothing_is_lost() {
    let stage = Stage::new("");
    stage.without_kubernetes();
    // A kubeconfig that is not there.
    let url = format!("https://127.0.0.1:{}", free_port());
    let mut command = stage.command(&url, &["update", "--kubeconfig", "/nowhere/config"]);
    let output = command.env_remove("KCL_API_SERVER").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nowhere/config"), "{said}");
    assert!(!Path::new("/nowhere").exists());
}
