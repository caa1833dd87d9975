//! The program: reads its command line, does what it says, prints what happens.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use kcl_node::bootstrap::{self, BootstrapError, ConfigUrl, Event, Settings};
use kcl_node::download::Outcome;
use kcl_node::imds;
use kcl_node::retry::Patience;
use kcl_node::system::{Commands, System};

/// Makes a machine part of its cluster
#[derive(Parser)]
#[command(name = "kcl-node", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this machine ready for kubeadm; may be run again at any time
    Bootstrap(Box<Bootstrap>),
}

#[derive(Args)]
struct Bootstrap {
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
    /// How often is tried what may pass
    #[arg(long, value_name = "N", default_value_t = Patience::default().attempts,
        value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// What loads kernel modules
    #[arg(long, value_name = "PROGRAM", default_value = "modprobe")]
    modprobe: PathBuf,
    /// What sets kernel parameters
    #[arg(long, value_name = "PROGRAM", default_value = "sysctl")]
    sysctl: PathBuf,
    /// What turns swap off
    #[arg(long, value_name = "PROGRAM", default_value = "swapoff")]
    swapoff: PathBuf,
    /// What talks with systemd
    #[arg(long, value_name = "PROGRAM", default_value = "systemctl")]
    systemctl: PathBuf,
}

fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("it is not 64 hexadecimal digits".to_owned())
}

impl Bootstrap {
    fn settings(self) -> Result<Settings, BootstrapError> {
        let Self { modprobe, sysctl, swapoff, systemctl, .. } = self;
        let commands = Commands { modprobe, sysctl, swapoff, systemctl };
        Ok(Settings {
            config: ConfigUrl::parse(&self.config)?,
            sha256: self.sha256,
            imds: self.imds,
            s3_endpoint: self.s3_endpoint,
            system: System { commands, ..System::new(self.root) },
            patience: Patience { attempts: self.attempts, ..Patience::default() },
            imds_timeout: None,
        })
    }
}

fn main() -> ExitCode {
    let Command::Bootstrap(arguments) = Cli::parse().command;
    // One thread: it waits for the network most of the time, and a small machine has little memory.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("failed to start: {error}")),
    };
    let settings = match arguments.settings() {
        Ok(settings) => settings,
        Err(error) => return failed(&error.to_string()),
    };
    match runtime.block_on(Box::pin(bootstrap::run(settings, &tell))) {
        Ok(ready) => {
            say(&format!("{} is ready for kubeadm", ready.identity.instance_id));
            ExitCode::SUCCESS
        }
        Err(stopped) => failed(&stopped.to_string()),
    }
}

fn tell(event: &Event<'_>) {
    match event {
        Event::Begins(step) => say(&format!("step {step}")),
        Event::Program(name, Outcome::Kept) => say(&format!("{name} is there already")),
        Event::Program(name, Outcome::Installed) => say(&format!("{name} installed")),
        Event::StatusNotWritten(why) => say(&format!("warning: the status was not written: {why}")),
        _ => {}
    }
}

/// The journal keeps standard error.
fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn failed(text: &str) -> ExitCode {
    say(&format!("error: {text}"));
    ExitCode::FAILURE
}
