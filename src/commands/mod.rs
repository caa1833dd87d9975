//! The commands, one file each.

mod completion;
mod create;
mod delete;
mod failures;
mod get;
mod keypair;
mod kubeconfig;
mod policy;
mod reconcile;
mod replace;
mod restore;
mod schema;
mod unlock;
mod update;
mod validate;
mod version;

use std::process::ExitCode;

use crate::cli::{Command, Create, Distrust, Export, Promote};
use crate::error::CommandError;
use crate::output::Printer;
use crate::settings::Settings;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Nothing is left to do.
    Clean,
    /// Changes are pending: they were shown and not applied.
    Pending,
    /// The cluster is not healthy, as was shown.
    Unhealthy,
}

impl Done {
    /// The process's exit code.
    pub(crate) fn exit_code(self, detailed: bool) -> ExitCode {
        match self {
            Self::Pending if detailed => ExitCode::from(2),
            Self::Unhealthy => ExitCode::from(3),
            Self::Clean | Self::Pending => ExitCode::SUCCESS,
        }
    }
}

/// Runs one command.
pub(crate) fn run(command: Command, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    match command {
        Command::Create(Create::Cluster(args)) => block_on(create::run(args, settings, printer)),
        Command::Create(Create::Keypair(args)) => block_on(keypair::create(args, settings, printer)),
        Command::Promote(Promote::Keypair(args)) => block_on(keypair::promote(args, settings, printer)),
        Command::Distrust(Distrust::Keypair(args)) => block_on(keypair::distrust(args, settings, printer)),
        Command::Export(Export::Kubeconfig(args)) => block_on(kubeconfig::run(args, settings, printer)),
        Command::Unlock(args) => block_on(unlock::run(args, settings, printer)),
        Command::Update(args) => block_on(update::run(args, settings, printer)),
        Command::Delete(args) => block_on(delete::run(args, settings, printer)),
        Command::Replace(args) => block_on(replace::run(args, settings, printer)),
        Command::Restore(args) => block_on(restore::run(args, settings, printer)),
        Command::Get(args) => block_on(get::run(args, settings, printer)),
        Command::Validate(args) => block_on(validate::run(args, settings, printer)),
        Command::Policy(args) => block_on(policy::run(args, settings, printer)),
        Command::Schema => Ok(schema::run(printer)),
        Command::Completion { shell } => Ok(completion::run(shell, printer)),
        Command::Version => Ok(version::run(printer)),
    }
}

fn block_on<F>(command: F) -> Result<Done, CommandError>
where
    F: Future<Output = Result<Done, CommandError>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    let runtime =
        runtime.map_err(|error| CommandError::failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(command)
}
