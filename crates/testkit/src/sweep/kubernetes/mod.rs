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
use std::thread;

use crate::error::Error;
use crate::faults::Point;
use crate::front::locked;
use crate::kubernetes::programs;

use self::bench::Bench;
use self::disturbed::{CASES, Case};
use self::objects::Made;
use super::Extent;
use super::jobs::{self, Job, Plan};
use super::process::Running;
use super::row::Row;

/// Each has an API server of 400 MB, and half of a run is waiting.
const MOST_BENCHES: usize = 3;

/// Whether the programs are there that an API server with machines takes; the error says why not.
pub fn kubernetes_programs() -> Result<(), Error> {
    // A folder of KUBEBUILDER_ASSETS has no more than an API server, to which no machine would ever come.
    programs()?.path("kubelet-stand-in").map(drop)
}

/// Runs the sweep with the binary `kcl`; `tell` is given each row once it is done.
pub fn kubernetes(kcl: &Path, extent: Extent, mut tell: impl FnMut(&Row) + Send) -> Result<Vec<Row>, Error> {
    // Worlds want it as long as the process lives; there is one.
    let binary: &'static str = Box::leak(kcl.display().to_string().into_boxed_str());
    let account = bench::account(binary)?;
    let count = extent.workers.clamp(1, MOST_BENCHES);
    let benches: Vec<Bench> = thread::scope(|scope| {
        let starts: Vec<_> = (0..count).map(|_| scope.spawn(|| Bench::start(&account))).collect();
        let started = starts.into_iter().map(|start| start.join().unwrap_or_else(|_| Err(lost())));
        started.collect::<Result<_, Error>>()
    })?;
    let (points, wanted) = undisturbed(&benches[0])?;
    let plans: Vec<_> = CASES.iter().map(|case| plan(*case, &points, &wanted, extent)).collect();
    let benches = Mutex::new(benches);
    jobs::run(&plans, count, || locked(&benches).pop().ok_or_else(lost), &mut tell)
}

fn lost() -> Error {
    Error::Run { source: std::io::Error::other("an API server for tests could not be set up") }
}

/// What is done when nothing is in the way: its requests, and what it makes.
fn undisturbed(bench: &Bench) -> Result<(Vec<Point>, Made), Error> {
    let ended = Running::start(bench.command())?.wait()?;
    if ended.code != 0 {
        return Err(Error::Undisturbed { stage: "update", said: ended.all() });
    }
    let calls = bench.proxy.take_calls();
    Ok((Point::of(&calls), bench.made()?))
}

fn plan<'g>(case: Case, points: &[Point], wanted: &'g Made, extent: Extent) -> Plan<'g, Bench> {
    let name = case.name();
    if case.is_everywhere() {
        let jobs = (0..extent.seeds()).map(|index| -> Job<'g, Bench> {
            let seed = extent.seed + index;
            Box::new(move |bench| case.run(bench, wanted, None, seed))
        });
        return Plan { name, jobs: jobs.collect(), wanted: None, note: None };
    }
    let fitting: Vec<Point> = points.iter().filter(|point| case.fits(point)).cloned().collect();
    let mut plan = Plan::of_points(name, &fitting, extent, |point| -> Job<'g, Bench> {
        Box::new(move |bench| case.run(bench, wanted, Some(&point), extent.seed))
    });
    if case.is_lasting() {
        plan.note = Some(Box::new(|slowest| format!("stopped after {slowest:.1} s at most")));
    }
    plan
}
