//! The way to the API server: the real kcl brings Kubernetes in step, in a cluster whose AWS side is there, and each
//! fault comes between. A run succeeds, or it stops with the right cause and the next one succeeds; killed, it goes
//! on. In the end the API server holds what it holds after an undisturbed run, and nothing twice.
//!
//! Each of several benches has an API server of its own, the real one, and stand-ins for whatever would work in the
//! cluster; what a run made is taken away before the next.

mod bench;
mod disturbed;
mod objects;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::faults::Point;
use crate::front::locked;
use crate::kubernetes::programs;

use self::bench::Bench;
use self::disturbed::{CASES, Case, Told};
use self::objects::Made;
use super::Extent;
use super::jobs::sampled;
use super::process::Running;
use super::row::{Fate, Row};

/// Each has an API server of 400 MB, and half of a run is waiting.
const MOST_BENCHES: usize = 3;

/// How many requests are tried in a sample until one comes: how often a state is asked for differs.
const SPARE: usize = 4;

/// One run to be made.
struct Job {
    row: usize,
    case: Case,
    /// The first of them that comes.
    points: Vec<Point>,
    seed: u64,
}

/// Whether the programs are there that an API server with machines takes; the error says why not.
pub fn kubernetes_programs() -> Result<(), Error> {
    // A folder of KUBEBUILDER_ASSETS has no more than an API server, to which no machine would ever come.
    programs()?.path("kubelet-stand-in").map(drop)
}

/// Runs the sweep with the binary `kcl`; `tell` is given each row once it is done.
pub fn kubernetes(kcl: &Path, extent: Extent, mut tell: impl FnMut(&Row)) -> Result<Vec<Row>, Error> {
    // Worlds want it as long as the process lives; there is one.
    let binary: &'static str = Box::leak(kcl.display().to_string().into_boxed_str());
    let account = bench::account(binary)?;
    let count = extent.workers.clamp(1, MOST_BENCHES);
    let mut benches: Vec<Bench> = thread::scope(|scope| {
        let starts: Vec<_> = (0..count).map(|_| scope.spawn(|| Bench::start(&account))).collect();
        let started = starts.into_iter().map(|start| start.join().unwrap_or_else(|_| Err(lost())));
        started.collect::<Result<_, Error>>()
    })?;
    let (points, wanted) = undisturbed(&benches[0])?;
    let (mut counts, jobs) = jobs(&points, extent);
    let queue = Mutex::new(jobs);
    thread::scope(|scope| {
        let (told, hears) = mpsc::channel();
        for bench in &mut benches {
            let (told, queue, wanted) = (told.clone(), &queue, &wanted);
            scope.spawn(move || work(bench, queue, wanted, &told));
        }
        drop(told);
        for (row, result) in hears {
            if counts[row].hear(result?) {
                tell(&counts[row].row);
            }
        }
        Ok(counts.into_iter().map(|count| count.row).collect())
    })
}

/// A row, and what is still to come for it.
struct Count {
    row: Row,
    left: usize,
    missed: usize,
    slowest: Option<Duration>,
}

impl Count {
    /// Counts a run; whether it was the last one.
    fn hear(&mut self, told: Told) -> bool {
        match told {
            Told::Missed => self.missed += 1,
            Told::Fate(fate, took) => {
                self.slowest = self.slowest.max(took);
                self.row.count(fate);
            }
        }
        let slowest = self.slowest.map(|took| format!("stopped after {:.1} s at most", took.as_secs_f64()));
        let missed = (self.missed > 0).then(|| format!("{} requests did not come", self.missed));
        self.row.note = slowest.into_iter().chain(missed).collect::<Vec<_>>().join(", ");
        self.left -= 1;
        self.left == 0
    }
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

/// A row for each fault, and the runs that belong to it.
fn jobs(points: &[Point], extent: Extent) -> (Vec<Count>, VecDeque<Job>) {
    let mut counts = Vec::new();
    let mut jobs = VecDeque::new();
    for case in CASES {
        let row = counts.len();
        let name = case.name();
        let fitting: Vec<Point> = points.iter().filter(|point| case.fits(point)).cloned().collect();
        let chosen: Vec<Vec<Point>> = match extent.sample {
            _ if case.is_everywhere() => {
                let seeds = extent.sample.unwrap_or(SPARE);
                fitting.first().map(|point| vec![vec![point.clone()]; seeds]).unwrap_or_default()
            }
            None => fitting.into_iter().map(|point| vec![point]).collect(),
            Some(sample) => {
                let some = Extent { sample: Some(sample * SPARE), ..extent };
                let some = sampled(&fitting, some, &name);
                some.chunks(SPARE).map(<[Point]>::to_vec).collect()
            }
        };
        counts.push(Count { row: Row::new(name), left: chosen.len(), missed: 0, slowest: None });
        let runs = chosen.into_iter().zip(extent.seed..);
        jobs.extend(runs.map(|(points, seed)| Job { row, case, points, seed }));
    }
    (counts, jobs)
}

/// Does jobs until there are none.
fn work(
    bench: &mut Bench,
    queue: &Mutex<VecDeque<Job>>,
    wanted: &Made,
    told: &mpsc::Sender<(usize, Result<Told, Error>)>,
) {
    loop {
        let Some(job) = locked(queue).pop_front() else { return };
        let result = done(bench, &job, wanted);
        if result.is_err() {
            // Nobody waits for the others any more.
            locked(queue).clear();
        }
        if told.send((job.row, result)).is_err() {
            return;
        }
    }
}

fn done(bench: &mut Bench, job: &Job, wanted: &Made) -> Result<Told, Error> {
    for point in &job.points {
        match job.case.run(bench, wanted, point, job.seed)? {
            Told::Missed => {}
            Told::Fate(Fate::Failed(why), took) => {
                return Ok(Told::Fate(Fate::Failed(format!("{point}: {why}")), took));
            }
            told @ Told::Fate(..) => return Ok(told),
        }
    }
    Ok(Told::Missed)
}
