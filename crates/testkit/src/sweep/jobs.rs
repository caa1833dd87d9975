//! Several runs at once.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::Point;
use crate::front::locked;

use super::Extent;

/// Does each of `jobs` on one of several threads, each of which has an auditor. Gives what came of them, in the
/// jobs' order.
pub(super) fn each<J: Send, T: Send>(
    jobs: Vec<J>,
    workers: usize,
    work: impl Fn(&J, &mut Auditor) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let count = jobs.len();
    let queue: Mutex<VecDeque<(usize, J)>> = Mutex::new(jobs.into_iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Result<T, Error>)>> = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, count.max(1)) {
            scope.spawn(|| {
                let mut auditor = Auditor::start();
                loop {
                    let Some((index, job)) = locked(&queue).pop_front() else { return };
                    let result = match &mut auditor {
                        Ok(auditor) => work(&job, auditor),
                        Err(_) => match Auditor::start() {
                            Ok(mut auditor) => work(&job, &mut auditor),
                            Err(error) => Err(error),
                        },
                    };
                    locked(&done).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The points of a sample: always the same ones for a seed; all of them without a limit.
pub(super) fn sampled(points: &[Point], extent: Extent, salt: &str) -> Vec<Point> {
    let mut points = points.to_vec();
    let Some(sample) = extent.sample else { return points };
    points.sort_by_key(|point| crate::faults::draw(extent.seed, &format!("{salt} {point}"), 0, u64::MAX));
    points.truncate(sample);
    points
}
