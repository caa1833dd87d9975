//! Everything that is printed: data on stdout, everything else on stderr, legible without colour.

mod health_view;
mod kubernetes_progress;
mod kubernetes_view;
mod lines;
mod names;
mod plan_view;
mod printer;
mod progress;
mod table;

pub(crate) use health_view::health_text;
pub(crate) use kubernetes_progress::KubernetesProgress;
pub(crate) use kubernetes_view::KubernetesView;
pub(crate) use names::Names;
pub(crate) use plan_view::PlanView;
pub(crate) use printer::Printer;
pub(crate) use progress::Progress;
pub(crate) use table::Table;
