//! `kcl version`.

use super::Done;
use crate::output::Printer;

/// Prints the version.
pub(super) fn run(printer: &Printer) -> Done {
    printer.data(concat!("kcl ", env!("CARGO_PKG_VERSION")));
    Done::Clean
}
