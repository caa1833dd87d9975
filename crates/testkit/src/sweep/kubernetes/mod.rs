//! The way to the API server: the real kcl brings Kubernetes in step, in a cluster whose AWS side is there, and each
//! fault comes between. A run succeeds, or it stops with the right cause and the next one succeeds; killed, it goes
//! on. In the end the API server holds what it holds after an undisturbed run, and nothing twice.
//!
//! Each of several benches has an API server of its own, the real one, and stand-ins for whatever would work in the
//! cluster; what a run made is taken away before the next.

mod bench;
mod disturbed;
mod objects;

use std::path::Path;
use std::sync::Mutex;

use crate::error::Error;
use crate::faults::Point;
use crate::front::locked;
use crate::kubernetes::programs;

use self::bench::{Bench, Undisturbed, Work};
use self::disturbed::{CASES, Case};
use super::Extent;
use super::jobs::{self, Plan, Wanted};
use super::row::Row;

/// Each has an API server of 400 MB, and most of a run is waiting.
const MOST_BENCHES: usize = 12;

/// Whether the programs are there that an API server with machines takes; the error says why not.
pub fn kubernetes_programs() -> Result<(), Error> {
    // A folder of KUBEBUILDER_ASSETS has no more than an API server, to which no machine would ever come.
    programs()?.path("kubelet-stand-in").map(drop)
}

/// Runs the sweep with the binary `kcl`, of it what is wanted; `tell` is given each row once it is done.
pub fn kubernetes(
    kcl: &Path,
    extent: Extent,
    wanted: &Wanted,
    mut tell: impl FnMut(&Row) + Send,
) -> Result<Vec<Row>, Error> {
    // Worlds want it as long as the process lives; there is one.
    let binary: &'static str = Box::leak(kcl.display().to_string().into_boxed_str());
    let account = bench::account(binary)?;
    let first = Bench::start(&account)?;
    let applied = Undisturbed::run(&first, Work::Apply)?;
    let pruned = Undisturbed::run(&first, Work::Prune)?;
    let of_case = |case: &Case| [&applied, &pruned].map(|undisturbed| plan(*case, undisturbed, extent));
    let plans = wanted.of(CASES.iter().flat_map(of_case));
    let first = Mutex::new(Some(first));
    // Not within one expression: the others would wait for each other's start.
    let start = || {
        let first = locked(&first).take();
        first.map_or_else(|| Bench::start(&account), Ok)
    };
    jobs::run(&plans, extent.workers.min(MOST_BENCHES), start, &mut tell)
}

fn plan(case: Case, undisturbed: &Undisturbed, extent: Extent) -> Plan<'_, Bench> {
    let name = format!("{}: {}", case.name(), undisturbed.work.name());
    if case.is_everywhere() {
        return Plan::of_seeds(name, extent, move |bench, seed| case.run(bench, undisturbed, None, seed));
    }
    let fitting: Vec<Point> = undisturbed.points.iter().filter(|point| case.fits(point)).cloned().collect();
    let mut plan = Plan::of_points(name, &fitting, extent, move |bench, point| {
        case.run(bench, undisturbed, Some(point), extent.seed)
    });
    if case.is_lasting() {
        plan.note = Some(Box::new(|slowest| format!("stopped after {slowest:.1} s at most")));
    }
    plan
}
