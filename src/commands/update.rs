//! `kcl update`: brings a cluster in step with its spec, the registered one or a file's.

use super::Done;
use super::reconcile::{Mode, reconcile};
use crate::cli::Update;
use crate::error::{CommandError, Failure};
use crate::output::Printer;
use crate::session::{Input, cluster_name};
use crate::settings::Settings;

/// Where there is no store to look in, a file will do.
fn or_a_file(error: CommandError) -> CommandError {
    match error.failure {
        Failure::Usage if error.diagnostics.is_none() => error.hint("or give the spec with -f FILE"),
        Failure::Usage | Failure::Failed | Failure::Unhealthy | Failure::Unreachable => error,
    }
}

/// Runs the command.
pub(super) async fn run(args: Update, settings: &Settings, printer: &Printer) -> Result<Done, CommandError> {
    let name = cluster_name(args.cluster, args.named)?;
    let input = if args.files.is_empty() {
        Input::registered(name, settings).await.map_err(or_a_file)?
    } else {
        Input::read(&args.files)?.expect_cluster(name.as_deref())
    };
    let mode = Mode { command: "kcl update", prune: args.prune, run: args.run };
    Box::pin(reconcile(input, settings, printer, &mode)).await
}
