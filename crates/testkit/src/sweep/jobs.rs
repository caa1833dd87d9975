//! The runs of all rows, several at once.
//!
//! Most of a run is waiting, and a sampled row has only one: so the runs of later rows begin while those of earlier
//! ones go on. Rows are told in their order all the same.

use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Point, draw};
use crate::front::locked;

use super::Extent;
use super::row::{Fate, Row};

/// How many more runs a sampled row may have because the fault did not meet those before.
const MORE: usize = 12;

/// What a run came to.
pub(super) struct Told {
    /// Its fate; those of all of its runs, where a job has several.
    pub(super) fates: Vec<Fate>,
    /// What was measured.
    pub(super) measured: Option<f64>,
}

impl From<Fate> for Told {
    fn from(fate: Fate) -> Self {
        Self { fates: vec![fate], measured: None }
    }
}

/// Makes one run, with what its thread has: one that looks at accounts, an API server...
pub(super) type Job<'g, With = Auditor> = Box<dyn Fn(&mut With) -> Result<Told, Error> + Send + Sync + 'g>;

/// A row to be.
pub(super) struct Plan<'g, With = Auditor> {
    pub(super) name: String,
    /// What may be run, in this order.
    pub(super) jobs: Vec<Job<'g, With>>,
    /// How many of them the fault has to meet: no more are run then. Without a number, all are run.
    pub(super) wanted: Option<usize>,
    /// The row's note, of the largest measure.
    pub(super) note: Option<Box<dyn Fn(f64) -> String + Send + Sync + 'g>>,
}

impl<'g, With> Plan<'g, With> {
    /// One run for each point of the extent: all, or the first ones that the fault meets of an order that is always the
    /// same one for a seed.
    pub(super) fn of_points(
        name: String,
        points: &[Point],
        extent: Extent,
        job: impl Fn(Point) -> Job<'g, With>,
    ) -> Self {
        let mut points = points.to_vec();
        if let Some(sample) = extent.sample {
            points.sort_by_key(|point| draw(extent.seed, &format!("{name} {point}"), 0, u64::MAX));
            points.truncate(sample + MORE);
        }
        Self { jobs: points.into_iter().map(job).collect(), wanted: extent.sample, name, note: None }
    }
}

/// Where a row stands.
struct Progress {
    row: Row,
    /// The next job.
    next: usize,
    under_way: usize,
    most: Option<f64>,
}

struct Board {
    rows: Vec<Progress>,
    /// How many rows have been told.
    told: usize,
    /// Why all of it ends.
    error: Option<Error>,
}

impl Board {
    /// The next job: its row's number and its own. `None` and whether there may be one later.
    fn take<With>(&mut self, plans: &[Plan<'_, With>]) -> Result<(usize, usize), bool> {
        if self.error.is_some() {
            return Err(false);
        }
        for (number, (progress, plan)) in self.rows.iter_mut().zip(plans).enumerate() {
            let met = progress.row.runs - progress.row.missed;
            let is_wanted = plan.wanted.is_none_or(|wanted| met + progress.under_way < wanted);
            if is_wanted && progress.next < plan.jobs.len() {
                let job = progress.next;
                progress.next += 1;
                progress.under_way += 1;
                return Ok((number, job));
            }
        }
        // One that is under way may be missed.
        Err(self.rows.iter().any(|progress| progress.under_way > 0))
    }

    fn count(&mut self, number: usize, told: Result<Told, Error>) {
        let progress = &mut self.rows[number];
        progress.under_way -= 1;
        match told {
            Ok(Told { fates, measured }) => {
                for fate in fates {
                    progress.row.count(fate);
                }
                progress.most = progress.most.into_iter().chain(measured).reduce(f64::max);
            }
            Err(error) => self.error = self.error.take().or(Some(error)),
        }
    }

    /// Tells the rows that are done, in their order.
    fn tell<With>(&mut self, plans: &[Plan<'_, With>], tell: &mut impl FnMut(&Row)) {
        while let Some((progress, plan)) = self.rows.get_mut(self.told).zip(plans.get(self.told)) {
            let met = progress.row.runs - progress.row.missed;
            let is_enough = plan.wanted.is_some_and(|wanted| met >= wanted);
            if progress.under_way > 0 || !(is_enough || progress.next == plan.jobs.len()) {
                return;
            }
            if let (Some(note), Some(most)) = (&plan.note, progress.most) {
                progress.row.note = note(most);
            }
            tell(&progress.row);
            self.told += 1;
        }
    }
}

/// Runs all of it on so many threads. Each has what `start` gives it, once it has something to do.
pub(super) fn run<With>(
    plans: &[Plan<'_, With>],
    workers: usize,
    start: impl Fn() -> Result<With, Error> + Sync,
    tell: &mut (impl FnMut(&Row) + Send),
) -> Result<Vec<Row>, Error> {
    let rows = plans.iter().map(|plan| Progress {
        row: Row::new(plan.name.as_str()),
        next: 0,
        under_way: 0,
        most: None,
    });
    let board = Mutex::new((Board { rows: rows.collect(), told: 0, error: None }, tell));
    let changed = Condvar::new();
    thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                let mut with = None;
                let mut guard = locked(&board);
                loop {
                    let (number, job) = match guard.0.take(plans) {
                        Ok(taken) => taken,
                        Err(true) => {
                            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                            continue;
                        }
                        Err(false) => return,
                    };
                    drop(guard);
                    let told = done(&mut with, &start, &plans[number].jobs[job]);
                    guard = locked(&board);
                    let (board, tell) = &mut *guard;
                    board.count(number, told);
                    board.tell(plans, tell);
                    changed.notify_all();
                }
            });
        }
    });
    let (board, _) = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    match board.error {
        Some(error) => Err(error),
        None => Ok(board.rows.into_iter().map(|progress| progress.row).collect()),
    }
}

/// Does a job with what the thread has, which is started for its first one.
fn done<With>(
    with: &mut Option<With>,
    start: impl Fn() -> Result<With, Error>,
    job: &Job<'_, With>,
) -> Result<Told, Error> {
    let there = match with.take() {
        Some(there) => there,
        None => start()?,
    };
    job(with.insert(there))
}
