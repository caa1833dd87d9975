//! Everything that is printed: data on stdout, everything else on stderr, legible without colour.

mod names;
mod plan_view;
mod printer;
mod progress;
mod table;

pub(crate) use names::Names;
pub(crate) use plan_view::PlanView;
pub(crate) use printer::Printer;
pub(crate) use progress::Progress;
pub(crate) use table::Table;
