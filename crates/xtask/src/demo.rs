//! The demo: the real kcl binary, the reference cluster, and a local AWS.
//!
//! It creates, finds nothing to do, changes, finds and repairs what was tampered with, deletes, and has an
//! independent listing confirm that nothing is left. All of it happens on this machine, in a folder that goes
//! with it. Kubernetes' control plane is the real one, with the cluster's own keys; the kubelets of its machines are
//! stand-ins, and so is what answers at the ingress, because no container is run.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kcl_testkit::kubernetes::{ApiServerConfig, Cluster, Machine, cluster_machines, pki, programs};
use kcl_testkit::{IngressStandIn, LocalAws, audit, http, make_zone, release_server};

use crate::kcl::{self, say};

const CLUSTER: &str = "k8s.karlaru.com";
const STATE_BUCKET: &str = "karlaru-kcl-state";
/// What `kubeadm init` binds to cluster-admin.
const ADMINS: &str = "kubeadm:cluster-admins";

fn heading(text: &str) {
    say(&format!("\n=== {text}\n\n"));
}

/// Runs the demo.
pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    let kcl = kcl::build()?;
    say("Starting a local AWS (its first start installs moto, which takes a minute)...\n");
    let aws = LocalAws::start().context("the local AWS does not start")?;
    make_zone(&aws, "karlaru.com").context("the hosted zone karlaru.com cannot be made")?;
    let built = begun.elapsed().as_secs();

    let folder = tempfile::tempdir().context("no temporary folder")?;
    let spec = std::fs::read_to_string(kcl::root().join("examples/karlaru.yaml"))
        .context("examples/karlaru.yaml")?;
    let ingress = IngressStandIn::start().context("no port on loopback")?;
    let api_port = api_port();
    let mut demo = Demo { kcl, aws, folder, begun: Instant::now(), ingress, api_port, machines: None };
    demo.show(spec)?;
    let took = demo.begun.elapsed().as_secs();
    say(&format!("\nDone: {took} s, after {built} s of building and starting.\n"));
    Ok(())
}

/// Where the API server is to listen. Without the programs there is none, and the demo shows AWS alone.
fn api_port() -> Option<u16> {
    say(
        "Finding Kubernetes' programs (the first time they are built, which takes a quarter of an hour)...\n",
    );
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
    // A folder of KUBEBUILDER_ASSETS has no more than an API server, to which no machine would ever come.
    let all = || -> Result<()> {
        let programs = programs()?;
        for name in ["kube-controller-manager", "kube-scheduler", "kubelet-stand-in"] {
            programs.path(name)?;
        }
        Ok(())
    };
    match all().and_then(|()| Ok(free()?.port())) {
        Ok(port) => {
            say(
                "(KCL_API_SERVER leads kcl to that API server, KCL_CONNECT_TO to what stands in for the ingress.)\n",
            );
            Some(port)
        }
        Err(error) => {
            say(&format!("There is no API server here, so all of Kubernetes is left out: {error:#}\n"));
            None
        }
    }
}

struct Demo {
    kcl: std::path::PathBuf,
    aws: LocalAws,
    folder: tempfile::TempDir,
    begun: Instant,
    ingress: IngressStandIn,
    /// Where the API server will be; `None` where there can be none.
    api_port: Option<u16>,
    /// What the cluster's machines would run, once they are there.
    machines: Option<Running>,
}

/// The control plane of the demo's cluster.
struct Running {
    cluster: Cluster,
    /// The machines that have joined it.
    joined: Vec<Machine>,
}

impl Demo {
    fn show(&mut self, mut spec: String) -> Result<()> {
        heading("1. Create the reference cluster: three spot machines, one load balancer, Kubernetes");
        self.write(&spec)?;
        self.kcl(&["create", "cluster", "-f", "cluster.yaml", "--yes"], 0)?;

        heading("2. Update: there is nothing to do");
        self.aws.take_calls();
        self.kcl(&["update", "-f", "cluster.yaml", "--detailed-exitcode"], 0)?;
        say(&format!("  ({} AWS calls, none of them a change)\n", self.aws.calls().len()));
        ensure!(self.aws.mutating_calls().is_empty(), "a preview changed something");
        self.look_inside()?;

        heading("3. Three workers in place of two, and one more action for the pods' role");
        replace(&mut spec, "  minSize: 2\n  maxSize: 2\n", "  minSize: 3\n  maxSize: 3\n")?;
        replace(
            &mut spec,
            "\"s3:PutObject\",\n",
            "\"s3:GetObject\",\n                  \"s3:PutObject\",\n",
        )?;
        self.write(&spec)?;
        self.kcl(&["update", "-f", "cluster.yaml", "--yes"], 0)?;
        self.kcl(&["get", "instances"], 0)?;

        heading("4. Somebody opens a port of the nodes to the world and closes the one for HTTP");
        self.tamper()?;
        self.kcl(&["update", "--detailed-exitcode"], 2)?;
        say("\nRepair it, and remove what the spec does not want:\n\n");
        self.kcl(&["update", "--yes", "--prune"], 0)?;
        self.kcl(&["update", "--detailed-exitcode"], 0)?;
        if self.api_port.is_some() {
            self.kcl(&["validate"], 0)?;
        }

        heading("5. Another key for the service accounts: trusted first, and then it signs");
        self.kcl(&["create", "keypair", "service-account"], 0)?;
        self.kcl(&["update", "--yes"], 0)?;
        self.published_keys()?;
        self.kcl(&["promote", "keypair", "service-account"], 0)?;
        self.kcl(&["get", "keypairs"], 0)?;
        self.kcl(&["export", "kubeconfig", "--admin=1h", "--kubeconfig", "kubeconfig"], 0)?;

        heading("6. Delete it, and its state");
        self.kcl(&["delete", "cluster", CLUSTER, "--yes", "--purge-state"], 0)?;

        heading("7. An independent listing of the account");
        let left = audit(&self.aws, self.aws.region())?.leftovers();
        let left: Vec<String> = left.into_iter().filter(|left| !left.starts_with("hosted zone")).collect();
        ensure!(left.is_empty(), "still there: {}", left.join(", "));
        say("nothing is left\n");
        Ok(())
    }

    /// What the real API server says, by the real kubectl: the ingress controller, and a pod that is given its role.
    fn look_inside(&self) -> Result<()> {
        let Some(running) = &self.machines else { return Ok(()) };
        Self::kubectl(running, &["get", "nodes"], "")?;
        Self::kubectl(running, &["get", "daemonsets,deployments", "--all-namespaces"], "")?;
        say("\nA pod of the service account iam-account, as the API server keeps it:\n\n");
        let pod = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job"}, "spec": {
            "serviceAccountName": "iam-account", "containers": [{"name": "main", "image": "example.com/job:1"}]}}"#;
        Self::kubectl(running, &["create", "-f", "-"], pod)?;
        let env = "jsonpath={range .spec.containers[0].env[*]}{.name}={.value}{'\\n'}{end}";
        Self::kubectl(running, &["get", "pod", "job", "-o", env], "")?;
        Self::kubectl(running, &["delete", "pod", "job"], "")
    }

    fn kubectl(running: &Running, arguments: &[&str], input: &str) -> Result<()> {
        say(&format!("$ kubectl {}\n", arguments.join(" ")));
        let run = running.cluster.kubectl_reads(arguments, input)?;
        say(&format!("{}{}", run.stdout, run.stderr));
        ensure!(run.code == 0, "kubectl ended with {}", run.code);
        Ok(())
    }

    /// What the machines of the cluster would do by themselves: the control plane starts once its keys are in the
    /// state store, and each machine joins.
    fn attend(&mut self) -> Result<()> {
        let Some(port) = self.api_port else { return Ok(()) };
        let machines = cluster_machines(&self.aws, CLUSTER)?;
        match &mut self.machines {
            Some(running) if running.joined == machines => {}
            Some(running) => {
                running.cluster.machines.set(&machines)?;
                running.joined = machines;
            }
            None if machines.is_empty() => {}
            None => self.machines = Some(self.start(port, machines)?),
        }
        Ok(())
    }

    fn start(&self, port: u16, machines: Vec<Machine>) -> Result<Running> {
        let state = self.folder.path().join("state");
        self.fetch_keys(&state)?;
        let pki = pki::write(&state.join(CLUSTER), &self.folder.path().join("pki"))?;
        let issuer = format!("https://karlaru-kcl-oidc.s3.{}.amazonaws.com/{CLUSTER}", self.aws.region());
        let mut config = ApiServerConfig::control_plane(&pki, issuer)?;
        config.port = port;
        let cluster = Cluster::start(config, pki, &machines)?;
        let bind = ["create", "clusterrolebinding", ADMINS, "--clusterrole=cluster-admin"];
        let run = cluster.kubectl(&[&bind[..], &[&format!("--group={ADMINS}")]].concat())?;
        ensure!(run.code == 0, "{}", run.all());
        Ok(Running { cluster, joined: machines })
    }

    /// Reads the cluster's keys from the state store, as its control plane may.
    fn fetch_keys(&self, into: &Path) -> Result<()> {
        let read = |path: &str| {
            let answer = http(&self.aws.endpoint(), "GET", path, Some("s3"), &[], "")?;
            ensure!(answer.status == 200, "{path} cannot be read: {}", answer.body);
            Ok(answer.body)
        };
        let listing = read(&format!("/{STATE_BUCKET}?list-type=2&prefix={CLUSTER}/pki/"))?;
        for rest in listing.split("<Key>").skip(1) {
            let Some((key, _)) = rest.split_once("</Key>") else { continue };
            let path = into.join(key);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, read(&format!("/{STATE_BUCKET}/{key}"))?)?;
        }
        Ok(())
    }

    fn write(&self, spec: &str) -> Result<()> {
        std::fs::write(self.folder.path().join("cluster.yaml"), spec).context("the spec cannot be written")
    }

    /// Runs kcl as a person would, and shows what it says. Meanwhile the cluster's machines do their part.
    fn kcl(&mut self, arguments: &[&str], expected: i32) -> Result<()> {
        say(&format!("$ kcl {}\n", arguments.join(" ")));
        let mut command = Command::new(&self.kcl);
        let ours = |name: &str| name.starts_with("AWS_") || name.starts_with("KCL_");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        match self.api_port {
            Some(port) => command.env("KCL_API_SERVER", format!("https://127.0.0.1:{port}")),
            None => command.env("KCL_SKIP_BOOTSTRAP", "true"),
        };
        let mut child = command
            .args(arguments)
            .current_dir(self.folder.path())
            .envs(self.aws.env())
            .env("KCL_FILE_REPOSITORY", release_server().context("no port on loopback")?)
            .env("KCL_STATE_STORE", format!("s3://{STATE_BUCKET}"))
            .env("KCL_CONNECT_TO", format!("::127.0.0.1:{}", self.ingress.port()))
            .stdin(Stdio::null())
            .spawn()
            .context("kcl cannot be run")?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            self.attend()?;
            // How often machines look for something to do.
            std::thread::sleep(Duration::from_millis(200));
        };
        if status.code() != Some(expected) {
            bail!("kcl ended with {status}, not with the exit code {expected}");
        }
        Ok(())
    }

    /// What anybody can read, without credentials: AWS does just that when a pod shows it a token.
    fn published_keys(&self) -> Result<()> {
        let path = "/karlaru-kcl-oidc/k8s.karlaru.com/openid/v1/jwks";
        let answer = http(&self.aws.endpoint(), "GET", path, None, &[], "")?;
        ensure!(answer.status == 200, "the published keys cannot be read: {}", answer.body);
        let keys = answer.body.matches("\"kid\"").count();
        say(&format!("  (the published keys, read without credentials: {keys})\n"));
        ensure!(keys == 2, "both keys should be published");
        Ok(())
    }

    /// What a hurried colleague does in the console.
    fn tamper(&self) -> Result<()> {
        let name = "nodes.k8s.karlaru.com";
        let filter = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", name)];
        let groups = self.aws.direct("ec2", "DescribeSecurityGroups", &filter)?;
        let group = groups.value("securityGroupInfo/item/groupId").to_owned();
        ensure!(!group.is_empty(), "the nodes' security group is not there");
        let rules = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", group.as_str())];
        let rules = self.aws.direct("ec2", "DescribeSecurityGroupRules", &rules)?;
        let http =
            rules.all("securityGroupRuleSet/item").into_iter().find(|rule| rule.value("fromPort") == "80");
        let http = http.context("the nodes' rule for HTTP is not there")?.value("securityGroupRuleId");
        let open = [
            ("GroupId", group.as_str()),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "31337"),
            ("IpPermissions.1.ToPort", "31337"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ];
        self.aws.direct("ec2", "AuthorizeSecurityGroupIngress", &open)?;
        let close = [("GroupId", group.as_str()), ("SecurityGroupRuleId.1", http)];
        self.aws.direct("ec2", "RevokeSecurityGroupIngress", &close)?;
        Ok(())
    }
}

fn replace(spec: &mut String, from: &str, to: &str) -> Result<()> {
    ensure!(spec.contains(from), "examples/karlaru.yaml no longer has {from:?}");
    *spec = spec.replacen(from, to, 1);
    Ok(())
}
