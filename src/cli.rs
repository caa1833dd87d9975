//! The command line: what can be typed, and nothing else.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kcl_aws::store::lock;
use kcl_pki::{KeyId, KeysetName};

use crate::commands;
use crate::error::CommandError;
use crate::error::exit_code;
use crate::output::Printer;
use crate::settings::Settings;

const EXIT_CODES: &str = "\
Exit codes: 0 success (changes may be pending), 1 failure, 2 wrong usage or a
bad spec, 3 the cluster is not healthy, 4 its API server cannot be reached.
With --detailed-exitcode: 0 nothing to do, 1 any error, 2 changes pending.";

/// One YAML file to a running Kubernetes cluster on AWS, kept in step with the file, and taken away again.
#[derive(Debug, Parser)]
#[command(name = "kcl", version, about, after_help = EXIT_CODES, max_term_width = 80)]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// State store: s3://bucket/prefix or file:///directory [default: the spec's configBase]
    #[arg(long, global = true, env = "KCL_STATE_STORE", value_name = "URL")]
    pub(crate) state: Option<String>,
    /// AWS region [default: the spec's, else the environment's]
    #[arg(long, global = true, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// AWS profile
    #[arg(long, global = true, value_name = "PROFILE")]
    pub(crate) profile: Option<String>,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Log retries and waits (-v), every call as well (-vv), and what the AWS SDK says (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The cluster's name as kOps takes it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Named {
    /// The cluster's name
    #[arg(long, value_name = "CLUSTER", hide = true)]
    pub(crate) name: Option<String>,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a cluster from a spec, or a key
    #[command(subcommand)]
    Create(Create),
    /// Bring a cluster in step with its spec
    Update(Update),
    /// Delete a cluster and everything it owns
    Delete(Delete),
    /// Replace a cluster's registered spec, without changing the cluster
    Replace(Replace),
    /// Take a cluster's etcd back to a backup
    Restore(Restore),
    /// Show clusters, instance groups, instances, keys, backups or resources
    Get(Get),
    /// Write what clients need to reach a cluster
    #[command(subcommand)]
    Export(Export),
    /// Sign with another key
    #[command(subcommand)]
    Promote(Promote),
    /// Stop believing what a key signed
    #[command(subcommand)]
    Distrust(Distrust),
    /// Show who is changing a cluster, and remove a lock that was left behind
    Unlock(Unlock),
    /// Tell whether a cluster is healthy: machines, nodes, system pods, load balancers, ingress, identity
    Validate(Validate),
    /// Print the IAM policy that creating, updating and deleting a cluster needs
    Policy(Policy),
    /// Print the JSON Schema of cluster specs, for editors
    Schema,
    /// Print a shell completion script
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Create {
    /// Create a cluster: preview everything, or with --yes register the spec and build it
    Cluster(CreateCluster),
    /// Add a key to a keyset. It is trusted, and signs nothing until it is promoted
    Keypair(CreateKeypair),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Write a cluster's address into a kubeconfig file, and with --admin a fresh client certificate
    Kubeconfig(ExportKubeconfig),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Promote {
    /// Make a key its keyset's primary one: from now on it signs
    Keypair(PromoteKeypair),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Distrust {
    /// Distrust keys: what they signed is not believed any more. There is no way back
    Keypair(DistrustKeypair),
}

/// Options of a command that changes a cluster.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct LockOptions {
    /// How long to wait while somebody else changes the cluster: 90s, 5m [default: not at all]
    #[arg(long, env = "KCL_LOCK_TIMEOUT", value_name = "DURATION", value_parser = wait)]
    lock_timeout: Option<Duration>,
    /// For how long the lock is good without a renewal: after a run that was killed, the next one waits this long
    /// [default: 60s]
    #[arg(long, env = "KCL_LOCK_LEASE", value_name = "DURATION", value_parser = lease)]
    lock_lease: Option<Duration>,
}

impl LockOptions {
    /// How the lock is taken.
    pub(crate) fn options(self) -> lock::Options {
        let default = lock::Options::default();
        lock::Options {
            wait: self.lock_timeout.unwrap_or_default(),
            lease: self.lock_lease.unwrap_or(default.lease),
            ..default
        }
    }
}

/// A lease is renewed at every third of it, and S3 tells how old it is in whole seconds.
const SHORTEST_LEASE: Duration = Duration::from_secs(5);
/// Nobody wants to wait longer for a run that was killed.
const LONGEST_LEASE: Duration = Duration::from_hours(1);

/// For how long a lock is good.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if lease < SHORTEST_LEASE || lease > LONGEST_LEASE {
        return Err("from 5s to 1h".to_owned());
    }
    Ok(lease)
}

/// Nobody waits longer, and clocks can be added to.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// How long to wait: at most a day.
fn wait(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        longer if longer > LONGEST_WAIT => Err("at most 24h".to_owned()),
        wait => Ok(wait),
    }
}

/// `90s`, `5m`, `18h`.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a duration: 90s, 5m, 18h".to_owned())
}

/// Which cluster's keys.
#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// The cluster; may be left out where the state store has only one
    #[arg(long = "name", value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CreateKeypair {
    /// kubernetes-ca, etcd-ca, front-proxy-ca, service-account, or all
    #[arg(value_name = "KEYSET", value_parser = keysets)]
    pub(crate) keysets: Keysets,
    /// Promote the new key at once: only where nothing runs yet that would have to trust it first
    #[arg(long)]
    pub(crate) primary: bool,
    #[command(flatten)]
    pub(crate) options: KeyOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PromoteKeypair {
    /// kubernetes-ca, etcd-ca, front-proxy-ca, service-account, or all
    #[arg(value_name = "KEYSET", value_parser = keysets)]
    pub(crate) keysets: Keysets,
    /// The key [default: the newest trusted one]
    #[arg(value_name = "ID", value_parser = key_id)]
    pub(crate) id: Option<KeyId>,
    #[command(flatten)]
    pub(crate) options: KeyOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DistrustKeypair {
    /// kubernetes-ca, etcd-ca, front-proxy-ca, service-account, or all
    #[arg(value_name = "KEYSET", value_parser = keysets)]
    pub(crate) keysets: Keysets,
    /// The keys [default: all that are older than the primary one]
    #[arg(value_name = "ID", value_parser = key_id)]
    pub(crate) ids: Vec<KeyId>,
    #[command(flatten)]
    pub(crate) options: KeyOptions,
}

/// One keyset, or all of them.
#[derive(Debug, Clone)]
pub(crate) struct Keysets(pub(crate) Vec<KeysetName>);

fn keysets(text: &str) -> Result<Keysets, String> {
    if text == "all" {
        return Ok(Keysets(KeysetName::ALL.to_vec()));
    }
    text.parse().map(|name| Keysets(vec![name])).map_err(|_| {
        let known: Vec<&str> = KeysetName::ALL.iter().map(|name| name.as_str()).collect();
        format!("the keysets are {}, and all", known.join(", "))
    })
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).ok_or_else(|| "no key has such an id; `kcl get keypairs` shows them".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct ExportKubeconfig {
    /// The cluster; may be left out where the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Sign a client certificate for an administrator, good for as long as this says
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "18h",
          value_parser = duration)]
    pub(crate) admin: Option<Duration>,
    /// The certificate's group is system:masters, which no RBAC rule can take anything away from: for the day on
    /// which RBAC itself is broken
    #[arg(long, requires = "admin")]
    pub(crate) break_glass: bool,
    /// The file [default: the first one in KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The cluster; may be left out where the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// The backup, as `kcl get backups` names it, or `latest`
    #[arg(long, value_name = "BACKUP")]
    pub(crate) backup: String,
    /// Restore it; without it is only shown what would become of that
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// How long to wait for the control plane
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = wait)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// The cluster; may be left out where the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Remove the lock even if its holder may still be at work
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CreateCluster {
    /// Spec file; may be given several times; - reads standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Debug, Args)]
#[command(override_usage = "kcl update [OPTIONS] [cluster] [NAME]")]
pub(crate) struct Update {
    /// The cluster's name; may be left out where the spec or the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Vec<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Spec file to take instead of the registered one; - reads standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Remove what is the cluster's and not in the spec
    #[arg(long)]
    pub(crate) prune: bool,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// Options of a run that may change the cloud.
#[derive(Debug, Clone, Args)]
pub(crate) struct Run {
    /// Apply the changes; without it they are only shown
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Exit with 2 when changes are pending, 0 when there are none
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Stop after AWS; neither compare nor touch Kubernetes
    #[arg(long, env = "KCL_SKIP_BOOTSTRAP", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) skip_bootstrap: bool,
    /// Take over objects in Kubernetes that others made, with the fields that they manage
    #[arg(long)]
    pub(crate) force_conflicts: bool,
    /// Do not wait until the cluster is healthy in the end
    #[arg(long)]
    pub(crate) no_validate: bool,
    /// How long to wait for the API server, for what was applied to work, and for the cluster to be healthy: each
    /// in its turn
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = wait)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) ways: Ways,
    #[command(flatten)]
    pub(crate) machines: Machines,
    /// Read also what AWS tells one resource at a time (lifecycle hooks changed by hand)
    #[arg(long)]
    pub(crate) deep: bool,
    /// Show every field of what is created
    #[arg(long)]
    pub(crate) full: bool,
    /// How to print the plan
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Text, value_name = "FORMAT")]
    pub(crate) output: PlanFormat,
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

/// What machines are given.
#[derive(Debug, Clone, Args)]
pub(crate) struct Machines {
    /// A build of kcl-node for the machines; once for each kind of processor [default: those beside kcl]
    #[arg(long, value_name = "FILE", env = "KCL_NODE_BINARY", value_delimiter = ',')]
    pub(crate) node_binary: Vec<PathBuf>,
    /// Where hashes of release files are looked up that kcl does not know [default: the spec's
    /// assets.fileRepository, else where Kubernetes is released]
    #[arg(long, value_name = "URL", env = "KCL_FILE_REPOSITORY", value_parser = WebServer)]
    pub(crate) file_repository: Option<String>,
}

/// The address of a web server. One that is none is not repeated: a password may stand in it.
#[derive(Clone)]
struct WebServer;

impl TypedValueParser for WebServer {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let server = value.to_str().and_then(kcl_spec::web_server).map(str::to_owned);
        server.ok_or_else(|| {
            let error = "invalid value for '--file-repository <URL>': expected the address of a web server, without a \
                         password: https://files.example.com/mirror\n";
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, error).with_cmd(command)
        })
    }
}

/// How the cluster is reached, where its own addresses are not the way.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ways {
    /// Reach the API server as the current context of this kubeconfig, and not by --api-server [default: by the
    /// cluster's own keys]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Reach the API server at this URL, by the cluster's own keys: a tunnel, a private network
    #[arg(long, value_name = "URL", env = "KCL_API_SERVER", value_parser = api_server)]
    pub(crate) api_server: Option<String>,
    /// Reach an ingress's HOST1:PORT1 at HOST2:PORT2, as curl has it; what is left empty stands for any, or the same
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2", env = "KCL_CONNECT_TO", value_parser = ConnectTo::parse)]
    pub(crate) connect_to: Option<ConnectTo>,
}

fn api_server(text: &str) -> Result<String, String> {
    match text.strip_prefix("https://") {
        Some(host) if !host.trim_end_matches('/').is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("expected an https:// URL: https://127.0.0.1:6443".to_owned()),
    }
}

/// Where to connect in place of a host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectTo {
    from: (String, Option<u16>),
    to: (String, Option<u16>),
}

impl ConnectTo {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected HOST1:PORT1:HOST2:PORT2, as in `::127.0.0.1:8080`".to_owned();
        let port = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| expected()),
        };
        let [from, from_port, to, to_port] =
            <[&str; 4]>::try_from(text.split(':').collect::<Vec<_>>()).map_err(|_| expected())?;
        Ok(Self { from: (from.to_owned(), port(from_port)?), to: (to.to_owned(), port(to_port)?) })
    }

    /// Where to connect for this host and port.
    pub(crate) fn place(&self, host: &str, port: u16) -> (String, u16) {
        let (from, to) = (&self.from, &self.to);
        let is_meant = (from.0.is_empty() || from.0 == host) && from.1.is_none_or(|it| it == port);
        if !is_meant {
            return (host.to_owned(), port);
        }
        let there = if to.0.is_empty() { host } else { &to.0 };
        (there.to_owned(), to.1.unwrap_or(port))
    }
}

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
#[command(override_usage = "kcl delete [OPTIONS] [cluster] [NAME]")]
pub(crate) struct Delete {
    /// The cluster's name; may be left out where the spec or the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Vec<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Spec file that names the cluster and its region; - reads standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Delete; without it what would go is only shown
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Also remove the cluster's objects from the state store, and its bucket if kcl made it and nothing else is in it
    #[arg(long)]
    pub(crate) purge_state: bool,
    /// Exit with 2 when there is something to delete, 0 when there is nothing
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// How to print the plan
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Text, value_name = "FORMAT")]
    pub(crate) output: PlanFormat,
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// Spec file; may be given several times; - reads standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) lock: LockOptions,
}

const VALIDATE_HELP: &str = "\
Exit codes: 0 healthy, 1 failure, 2 wrong usage, 3 unhealthy, 4 the API server
cannot be reached.";

#[derive(Debug, Args)]
#[command(override_usage = "kcl validate [OPTIONS] [cluster] [NAME]", after_help = VALIDATE_HELP)]
pub(crate) struct Validate {
    /// The cluster's name; may be left out where the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Vec<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Wait until it is healthy, for at most this long: 90s, 10m
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(crate) wait: Option<Duration>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = HealthFormat::Table, value_name = "FORMAT")]
    pub(crate) output: HealthFormat,
    #[command(flatten)]
    pub(crate) ways: Ways,
}

/// How `kcl validate` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HealthFormat {
    Table,
    Json,
}

const POLICY_HELP: &str = "\
Prints a JSON array of policy documents, each within the 6,144 characters that
IAM takes; all of them are needed. With -f nothing is asked of AWS: account
numbers, and ids that only AWS knows, stand as *.

What the spec names is what is allowed. Whoever takes something out of a spec
needs the policies of both, the spec before and after.";

#[derive(Debug, Args)]
#[command(after_help = POLICY_HELP)]
pub(crate) struct Policy {
    /// The cluster's name; may be left out where the spec or the state store has only one
    #[arg(value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    #[command(flatten)]
    pub(crate) named: Named,
    /// Spec file to take instead of the registered one; may be given several times; - reads standard input
    #[arg(short, long = "filename", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// What to show: the clusters of the state store, a cluster's instance groups, its machines, its keys, the backups
    /// of its etcd, or everything in AWS that belongs to it
    #[arg(value_enum)]
    pub(crate) what: What,
    /// Only these, by name
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The cluster; may be left out where the state store has only one
    #[arg(long = "name", value_name = "CLUSTER")]
    pub(crate) cluster: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// What `kcl get` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    #[value(alias = "cluster")]
    Clusters,
    #[value(aliases = ["instancegroup", "ig"])]
    Instancegroups,
    #[value(alias = "instance")]
    Instances,
    #[value(aliases = ["keypair", "keysets"])]
    Keypairs,
    #[value(alias = "backup")]
    Backups,
    #[value(alias = "resource")]
    Resources,
}

/// How `kcl get` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Yaml,
    Json,
}

/// Folds a line that is wider than a terminal at a comma: clap folds help, and no list of possible values.
fn fold(line: &str) -> String {
    const WIDTH: usize = 80;
    let visible = |text: &str| anstream::adapter::strip_str(text).to_string().chars().count();
    let (mut folded, mut width) = (String::new(), 0);
    for part in line.split_inclusive(", ") {
        if width > 0 && width + visible(part.trim_end()) > WIDTH {
            folded.truncate(folded.trim_end().len());
            folded.push_str("\n   ");
            width = 3;
        }
        width += visible(part);
        folded.push_str(part);
    }
    folded
}

/// Whether a command line that clap could not read has `--detailed-exitcode`: 2 then means "changes pending",
/// which a wrong usage must not be taken for.
fn asks_for_detail(mut args: impl Iterator<Item = OsString>) -> bool {
    args.any(|arg| arg == "--detailed-exitcode")
}

/// Runs the command line of this process.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed by clap too; only what is wrong is a failure.
            if error.use_stderr() {
                let text = error.render().ansi().to_string();
                // What begins with a dash is no name of a cluster, whatever clap thinks.
                let is_of_use = |line: &&str| !line.contains("to pass '");
                let folded: Vec<String> = text.lines().filter(is_of_use).map(fold).collect();
                let _ = writeln!(anstream::stderr(), "{}", folded.join("\n"));
            } else {
                let _ = error.print();
            }
            return ExitCode::from(match error.use_stderr() {
                true if asks_for_detail(std::env::args_os()) => 1,
                true => 2,
                false => 0,
            });
        }
    };
    let settings = Settings::resolve(&cli.global);
    let printer = Printer::new(&settings);
    let detailed = match &cli.command {
        Command::Create(Create::Cluster(create)) => create.run.detailed_exitcode,
        Command::Update(update) => update.run.detailed_exitcode,
        Command::Delete(delete) => delete.detailed_exitcode,
        _ => false,
    };
    let done = commands::run(cli.command, &settings, &printer).and_then(|done| match printer.unwritten() {
        Some(why) => Err(CommandError::failed(format!("the output could not be written: {why}"))),
        None => Ok(done),
    });
    match done {
        Ok(done) => done.exit_code(detailed),
        Err(error) => {
            printer.error(&error);
            exit_code(&error, detailed)
        }
    }
}
