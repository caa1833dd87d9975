//! What bootstrap and the daemon are both told: what the machine is told, and everything outside it.

use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};
use kcl_node::bootstrap::{BootstrapError, ConfigUrl, Settings};
use kcl_node::imds;
use kcl_node::retry::Patience;
use kcl_node::system::{Commands, System};
use kcl_node::volume::Waiting;

/// How often is looked whether what is waited for has come.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Machine {
    /// Where the node configuration is: s3://BUCKET/CLUSTER/node/GROUP/SHA256.yaml
    #[arg(long, value_name = "URL")]
    config: String,
    /// The sha256 of the node configuration, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: String,
    /// The folder that all files are below
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The instance metadata service
    #[arg(long, value_name = "URL", env = "AWS_EC2_METADATA_SERVICE_ENDPOINT", default_value = imds::ENDPOINT)]
    imds: String,
    /// Another endpoint for S3 than AWS' own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_S3")]
    s3_endpoint: Option<String>,
    /// Another endpoint for EC2 than AWS' own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_EC2")]
    ec2_endpoint: Option<String>,
    /// Another endpoint for Route53 than AWS' own
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_ROUTE_53")]
    route53_endpoint: Option<String>,
    /// Where the join service is asked, instead of at the API's name
    #[arg(long, value_name = "URL")]
    join_service: Option<String>,
    /// How often is tried what may pass
    #[arg(long, value_name = "N", default_value_t = Patience::default().attempts,
        value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// How long is waited for another machine, in seconds: for one that has the volume, begins the cluster, or lets
    /// workers in
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1800")]
    wait: Duration,
    /// Where the devices are
    #[arg(long, value_name = "DIR", default_value = "/dev")]
    dev: PathBuf,
    /// Where the kernel tells of devices
    #[arg(long, value_name = "DIR", default_value = "/sys")]
    sys: PathBuf,
    /// The list of what is mounted
    #[arg(long, value_name = "FILE", default_value = "/proc/self/mounts")]
    mounts: PathBuf,
    /// What makes data of an etcd snapshot; without it, the one in etcd's image
    #[arg(long, value_name = "PROGRAM")]
    etcdutl: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

#[derive(Args)]
#[command(next_help_heading = "Programs that are run")]
struct Programs {
    /// Loads kernel modules
    #[arg(long, value_name = "PROGRAM", default_value = "modprobe")]
    modprobe: PathBuf,
    /// Sets kernel parameters
    #[arg(long, value_name = "PROGRAM", default_value = "sysctl")]
    sysctl: PathBuf,
    /// Turns swap off
    #[arg(long, value_name = "PROGRAM", default_value = "swapoff")]
    swapoff: PathBuf,
    /// Talks with systemd
    #[arg(long, value_name = "PROGRAM", default_value = "systemctl")]
    systemctl: PathBuf,
    /// Writes to the disks what is not there yet
    #[arg(long, value_name = "PROGRAM", default_value = "sync")]
    sync: PathBuf,
    /// Mounts a filesystem
    #[arg(long, value_name = "PROGRAM", default_value = "mount")]
    mount: PathBuf,
    /// Unmounts a folder
    #[arg(long, value_name = "PROGRAM", default_value = "umount")]
    umount: PathBuf,
    /// Tells what is on a device
    #[arg(long, value_name = "PROGRAM", default_value = "blkid")]
    blkid: PathBuf,
    /// Makes a filesystem of ext4
    #[arg(long, value_name = "PROGRAM", default_value = "mkfs.ext4")]
    mkfs: PathBuf,
    /// Checks a filesystem of ext4
    #[arg(long, value_name = "PROGRAM", default_value = "fsck.ext4")]
    fsck: PathBuf,
    /// Makes a machine part of a cluster
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/local/bin/kubeadm")]
    kubeadm: PathBuf,
    /// Asks the API server
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/local/bin/kubectl")]
    kubectl: PathBuf,
}

fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("it is not 64 hexadecimal digits".to_owned())
}

/// Some seconds, or a part of one.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "it is not a number of seconds".to_owned())?;
    let found = Duration::try_from_secs_f64(number).ok().filter(|found| !found.is_zero());
    found.ok_or_else(|| "it is not a time that can pass".to_owned())
}

impl Machine {
    /// The settings; nothing is known of this program itself yet.
    pub(crate) fn settings(self) -> Result<Settings, BootstrapError> {
        let Self { config, sha256, root, imds, s3_endpoint, ec2_endpoint, join_service, .. } = self;
        let Self { attempts, wait, dev, sys, mounts, etcdutl, programs, route53_endpoint, .. } = self;
        let Programs { modprobe, sysctl, swapoff, systemctl, sync, mount, umount, .. } = programs;
        let Programs { blkid, mkfs, fsck, kubeadm, kubectl, .. } = programs;
        let commands = Commands {
            modprobe,
            sysctl,
            swapoff,
            systemctl,
            sync,
            umount,
            mount,
            blkid,
            mkfs,
            fsck,
            kubeadm,
            kubectl,
        };
        Ok(Settings {
            config: ConfigUrl::parse(&config)?,
            sha256,
            imds,
            s3_endpoint,
            ec2_endpoint,
            route53_endpoint,
            join_service,
            system: System { commands, mounts, sys, dev, ..System::new(root) },
            patience: Patience { attempts, ..Patience::default() },
            imds_timeout: None,
            waiting: Waiting { longest: wait, pause: PAUSE.min(wait / 10) },
            program: PathBuf::new(),
            agent_arguments: Vec::new(),
            etcdutl,
        })
    }
}

/// What was given on the command line, or by the environment, in words that say it again.
pub(crate) fn given(command: &Command, matches: &ArgMatches) -> Vec<String> {
    let mut words = Vec::new();
    for argument in command.get_arguments() {
        let (id, Some(long)) = (argument.get_id().as_str(), argument.get_long()) else { continue };
        let source = matches.value_source(id);
        if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            continue;
        }
        for value in matches.get_raw(id).into_iter().flatten() {
            words.extend([format!("--{long}"), value.to_string_lossy().into_owned()]);
        }
    }
    words
}
