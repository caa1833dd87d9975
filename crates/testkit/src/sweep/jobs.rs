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
type Make<'g, With> = Box<dyn Fn(&mut With) -> Result<Told, Error> + Send + Sync + 'g>;

/// A run to be.
pub(super) struct Job<'g, With = Auditor> {
    /// Which one of its row: the call that it is about, or its seed.
    name: String,
    make: Make<'g, With>,
}

impl<'g, With> Job<'g, With> {
    fn new(name: String, make: impl Fn(&mut With) -> Result<Told, Error> + Send + Sync + 'g) -> Self {
        Self { name, make: Box::new(make) }
    }
}

/// Which runs are wanted: those of rows whose names hold one of these texts, at calls that hold one of those. Where there
/// are no texts, all are.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of the names of rows.
    pub rows: Vec<String>,
    /// Of what a row says of a run that failed: `ec2:CreateVpc 1`, `seed 6`.
    pub runs: Vec<String>,
}

impl Wanted {
    fn has_row(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|text| name.contains(text.as_str()))
    }

    /// The first call of an action is not its eleventh.
    fn has_run(&self, name: &str) -> bool {
        self.runs.is_empty() || self.runs.iter().any(|text| format!("{name} ").contains(&format!("{text} ")))
    }

    /// What of these is wanted.
    pub(super) fn of<'g, With>(&self, plans: impl Iterator<Item = Plan<'g, With>>) -> Vec<Plan<'g, With>> {
        let plans = plans.filter(|plan| self.has_row(&plan.name)).map(|mut plan| {
            plan.jobs.retain(|job| self.has_run(&job.name));
            plan
        });
        plans.filter(|plan| !plan.jobs.is_empty()).collect()
    }
}

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
    /// One job.
    pub(super) fn of_one(
        name: String,
        make: impl Fn(&mut With) -> Result<Told, Error> + Send + Sync + 'g,
    ) -> Self {
        Self { jobs: vec![Job::new(name.clone(), make)], wanted: None, name, note: None }
    }

    /// One run for each seed of the extent.
    pub(super) fn of_seeds(
        name: String,
        extent: Extent,
        make: impl Fn(&mut With, u64) -> Result<Told, Error> + Copy + Send + Sync + 'g,
    ) -> Self {
        let job = |seed| Job::new(format!("seed {seed}"), move |with| make(with, seed));
        Self { jobs: extent.seeds().map(job).collect(), wanted: None, name, note: None }
    }

    /// One run for each point of the extent: all, or the first ones that the fault meets of an order that is always the
    /// same one for a seed.
    pub(super) fn of_points(
        name: String,
        points: &[Point],
        extent: Extent,
        make: impl Fn(&mut With, &Point) -> Result<Told, Error> + Copy + Send + Sync + 'g,
    ) -> Self {
        let mut points = points.to_vec();
        if let Some(sample) = extent.sample {
            points.sort_by_key(|point| draw(extent.seed, &format!("{name} {point}"), 0, u64::MAX));
            points.truncate(sample + MORE);
        }
        let job = |point: Point| Job::new(point.to_string(), move |with| make(with, &point));
        Self { jobs: points.into_iter().map(job).collect(), wanted: extent.sample, name, note: None }
    }
}

/// Where a row stands.
struct Progress {
    row: Row,
    /// The next job.
    next: usize,
    under_way: usize,
    /// The largest measure, and the run's name.
    most: Option<(f64, String)>,
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

    /// Counts what the run `name` of a row came to.
    fn count(&mut self, number: usize, name: &str, told: Result<Told, Error>) {
        let progress = &mut self.rows[number];
        progress.under_way -= 1;
        match told {
            Ok(Told { fates, measured }) => {
                for fate in fates {
                    progress.row.count(fate);
                }
                let is_most = |measured: &f64| progress.most.as_ref().is_none_or(|(most, _)| measured > most);
                if let Some(measured) = measured.filter(is_most) {
                    progress.most = Some((measured, name.to_owned()));
                }
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
            if let (Some(note), Some((most, name))) = (&plan.note, &progress.most) {
                progress.row.note = format!("{} ({name})", note(*most));
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
                    board.count(number, &plans[number].jobs[job].name, told);
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
    (job.make)(with.insert(there))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_wanted() {
        let all = Wanted::default();
        assert!(all.has_row("killed: create") && all.has_run("seed 6"));
        let wanted = Wanted {
            rows: vec!["update".to_owned(), "killed".to_owned()],
            runs: vec!["s3:PutObject 1".to_owned(), "CreateVpc".to_owned()],
        };
        assert!(wanted.has_row("killed: create") && !wanted.has_row("throttled: create"));
        assert!(wanted.has_run("s3:PutObject 1") && wanted.has_run("ec2:CreateVpc 12"));
        assert!(!wanted.has_run("s3:PutObject 12") && !wanted.has_run("seed 6"));
    }
}
