//! `kcl create cluster`: like an update from a file. A cluster that is there already is brought in step, so
//! that a run that was interrupted is simply run again.

use super::Done;
use super::reconcile::{Mode, reconcile};
use crate::cli::CreateCluster;
use crate::error::CommandError;
use crate::output::Printer;
use crate::session::Input;
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(
    args: CreateCluster,
    settings: &Settings,
    printer: &Printer,
) -> Result<Done, CommandError> {
    let input = Input::read(&args.files)?;
    let mode = Mode { command: "kcl create cluster", prune: false, run: args.run };
    Box::pin(reconcile(input, settings, printer, &mode)).await
}
