//! `kcl schema`: the JSON Schema of cluster specs.

use super::Done;
use crate::output::Printer;

/// Prints the schema.
pub(super) fn run(printer: &Printer) -> Done {
    printer.json(&kcl_spec::json_schema());
    Done::Clean
}
