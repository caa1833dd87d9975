//! `kcl completion`: a shell completion script.

use clap::CommandFactory;

use super::Done;
use crate::cli::Cli;
use crate::output::Printer;

/// Prints the script for `shell`.
pub(super) fn run(shell: clap_complete::Shell, printer: &Printer) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kcl", &mut script);
    printer.data(&String::from_utf8_lossy(&script));
    Done::Clean
}
