//! What whole-binary tests share: the real `kcl`, against a local AWS of its own.
//!
//! These are test helpers: they stop the test at the first thing that is wrong.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]
#![expect(
    clippy::missing_panics_doc,
    clippy::return_self_not_must_use,
    reason = "a test stops at the first thing that is wrong"
)]

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kcl_pki::KeysetName;

use crate::audit::audit;
use crate::kubernetes::pki::{self, Pki};
use crate::kubernetes::{ApiServerConfig, Cluster, Machine, cluster_machines};
use crate::local_aws::{FrontConfig, LocalAws};
use crate::releases::{node_agent_stand_ins, release_server};

/// How long a run of kcl may take to make a cluster's machines, beside compilers.
const PATIENCE: Duration = Duration::from_mins(5);

/// A look at the machines is a call of the local AWS, which has others to answer.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// How a run of `kcl` ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// What it printed as data.
    pub stdout: String,
    /// What else it said.
    pub stderr: String,
}

impl Run {
    /// The run, which must have ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// How it ended, and what it said of that.
    pub fn end(&self) -> String {
        let start = self.stderr.find("error:").unwrap_or_default();
        format!(
            "exit code {}: {}",
            self.code,
            self.stderr[start..].split_whitespace().collect::<Vec<_>>().join(" ")
        )
    }

    /// Everything it printed, for snapshots.
    pub fn all(&self) -> String {
        format!("exit code {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// One AWS account, and a folder with the state store.
pub struct World {
    /// The binary: `env!("CARGO_BIN_EXE_kcl")` of the test.
    pub binary: &'static str,
    /// The account.
    pub aws: LocalAws,
    /// A folder for this test.
    pub folder: tempfile::TempDir,
    /// `--state` of every run; empty: none.
    pub state: String,
    /// Whether runs wait for an API server and bootstrap Kubernetes. Most tests have none.
    pub bootstrap: bool,
}

impl World {
    /// An account in the process's shared moto, with a file store.
    pub fn new(binary: &'static str) -> Self {
        Self::with(binary, FrontConfig::default())
    }

    /// Likewise, with a front of this kind.
    pub fn with(binary: &'static str, config: FrontConfig) -> Self {
        let aws = LocalAws::shared_with(config).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state = format!("file://{}", folder.path().join("state").display());
        Self { binary, aws, folder, state, bootstrap: false }
    }

    /// The same, with an S3 store in a bucket of its own, which is not there yet.
    pub fn with_bucket(binary: &'static str) -> Self {
        let mut world = Self::new(binary);
        world.state = format!("s3://{}/clusters", world.bucket());
        world
    }

    /// An account that is there already, with an S3 store in a bucket of its own.
    pub fn of(binary: &'static str, aws: LocalAws) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self { binary, aws, folder, state: String::new(), bootstrap: false };
        world.state = format!("s3://{}/clusters", world.bucket());
        world
    }

    /// The same, whose runs bootstrap Kubernetes: they will look for an API server.
    pub fn with_bootstrap(mut self) -> Self {
        self.bootstrap = true;
        self
    }

    /// The files that a control-plane machine of `cluster` has for kubeadm, with the cluster's keys from the file
    /// store, in the world's folder. They are there once the cluster has been registered.
    pub fn pki(&self, cluster: &str) -> Pki {
        let folder = self.folder.path();
        pki::write(&folder.join("state").join(cluster), &folder.join("pki").join(cluster)).unwrap()
    }

    /// The machines that `cluster` has in the account now, as they would join.
    pub fn machines(&self, cluster: &str) -> Vec<Machine> {
        cluster_machines(&self.aws, cluster).unwrap()
    }

    /// Starts what the machines of `cluster` would start, once its keys are in the file store and that many machines
    /// run: a control plane on `port`, and their Nodes. Called beside a run of kcl that makes them, it is what kcl
    /// waits for.
    pub fn boot(&self, cluster: &str, issuer: &str, port: u16, machines: usize) -> Cluster {
        let state = self.folder.path().join("state").join(cluster);
        let begun = Instant::now();
        let is_there = || KeysetName::ALL.iter().all(|name| state.join(name.index_path()).is_file());
        while !is_there() || self.machines(cluster).len() < machines {
            assert!(begun.elapsed() < PATIENCE, "{cluster} has no keys, or less than {machines} machines");
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let pki = self.pki(cluster);
        let mut config = ApiServerConfig::control_plane(&pki, issuer).unwrap();
        config.port = port;
        config.api_audiences = vec!["amazonaws.com".to_owned()];
        Cluster::start(config, pki, &self.machines(cluster)).unwrap()
    }

    /// The name of the bucket of [`World::with_bucket`].
    pub fn bucket(&self) -> String {
        format!("kcl-state-{}", self.aws.account())
    }

    /// `kcl` with `args` in this world, ready to be run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("KCL_"))
        {
            command.env_remove(name);
        }
        command.args(args).envs(self.aws.env()).env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command.env("KCL_FILE_REPOSITORY", release_server().unwrap());
        let builds = node_agent_stand_ins(self.folder.path()).unwrap();
        command.env(
            "KCL_NODE_BINARY",
            builds.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(","),
        );
        if !self.state.is_empty() {
            command.env("KCL_STATE_STORE", &self.state);
        }
        if !self.bootstrap {
            command.env("KCL_SKIP_BOOTSTRAP", "true");
        }
        command
    }

    /// Runs `kcl` with `args`.
    pub fn kcl(&self, args: &[&str]) -> Run {
        finish(&self.command(args).output().unwrap())
    }

    /// Runs `kcl` with `args` and `input` on its standard input.
    pub fn kcl_reads(&self, args: &[&str], input: &str) -> Run {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        finish(&child.wait_with_output().unwrap())
    }

    /// Writes a spec into the world's folder, and gives its path.
    pub fn spec(&self, text: &str) -> String {
        let path = self.folder.path().join("cluster.yaml");
        // Another run may be reading it.
        if std::fs::read_to_string(&path).ok().as_deref() != Some(text) {
            std::fs::write(&path, text).unwrap();
        }
        path.display().to_string()
    }

    /// Makes a public hosted zone in the account.
    pub fn make_zone(&self, name: &str) {
        make_zone(&self.aws, name).unwrap();
    }

    /// Everything in the account that a fresh one does not have, but for the state store's bucket: listed with
    /// plain SDK calls, not with kcl's own.
    pub fn left(&self) -> Vec<String> {
        let audit = audit(&self.aws, self.aws.region()).unwrap();
        let bucket = self.bucket();
        audit.leftovers().into_iter().filter(|left| !left.contains(&bucket)).collect()
    }
}

/// Makes a public hosted zone, past the front's rules and recording. Gives its id.
pub fn make_zone(aws: &LocalAws, name: &str) -> std::io::Result<String> {
    let body = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}</Name>\
         <CallerReference>{name}-{}</CallerReference></CreateHostedZoneRequest>",
        aws.account()
    );
    let answer = route53(aws, "POST", "hostedzone", &body)?;
    Ok(between(&answer, "<Id>/hostedzone/", "</Id>").to_owned())
}

/// Makes an A record in the first zone of the list, likewise.
pub fn make_record(aws: &LocalAws, name: &str, address: &str) -> std::io::Result<()> {
    let zones = route53(aws, "GET", "hostedzone", "")?;
    let zone = between(&zones, "<Id>/hostedzone/", "</Id>");
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch>\
         <Changes><Change><Action>CREATE</Action><ResourceRecordSet><Name>{name}</Name><Type>A</Type><TTL>60</TTL>\
         <ResourceRecords><ResourceRecord><Value>{address}</Value></ResourceRecord></ResourceRecords>\
         </ResourceRecordSet></Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    );
    route53(aws, "POST", &format!("hostedzone/{zone}/rrset"), &body).map(|_| ())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).map_or("", |(_, rest)| rest);
    rest.split_once(after).map_or("", |(value, _)| value)
}

fn route53(aws: &LocalAws, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let path = format!("/2013-04-01/{path}");
    let address = aws.direct_endpoint();
    let answer = http(&address, method, &path, Some("route53"), &[("Content-Type", "text/xml")], body)?;
    if answer.status / 100 == 2 { Ok(answer.body) } else { Err(std::io::Error::other(answer.body)) }
}

/// What came back over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Content-Type`, empty if there is none.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// Asks `endpoint` over plain HTTP, without any SDK. `signed_for` is the service that the request says to be signed
/// for; `None`: nobody has signed it.
pub fn http(
    endpoint: &str,
    method: &str,
    path: &str,
    signed_for: Option<&str>,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let host = endpoint.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host)?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if let Some(service) = signed_for {
        // The service is picked by the credential's scope, and no signature is checked.
        request.push_str(&format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=TEST/20260101/eu-north-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        ));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    write!(stream, "{request}Content-Length: {}\r\n\r\n{body}", body.len())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let header = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
    };
    Ok(Answer { status, content_type: header("content-type").unwrap_or_default(), body: body.to_owned() })
}

/// Runs `binary` with `args` and without any cloud.
pub fn run_without_cloud(binary: &str, args: &[&str]) -> Run {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("KCL_"))
    {
        command.env_remove(name);
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("NO_COLOR", "1").stdin(Stdio::null());
    finish(&command.args(args).output().unwrap())
}

fn finish(output: &std::process::Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The folder `examples/` of the project.
pub fn examples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}

/// The text of a file in `examples/`.
pub fn example(name: &str) -> String {
    std::fs::read_to_string(examples().join(name)).unwrap()
}
