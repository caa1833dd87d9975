//! A share of all calls is throttled: how many calls a run then takes.

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Fault, When};

use super::Extent;
use super::ground::{Ground, Stage, command};
use super::jobs::each;
use super::process::Running;
use super::row::{Fate, Row};

/// Shares in percent, and how many times the calls of an undisturbed run they may cost, in percent; without a limit
/// where most of the cost is the throttling itself.
const SHARES: [(u8, Option<usize>); 3] = [(5, Some(140)), (20, Some(140)), (50, None)];

pub(super) fn sweep(ground: &Ground, extent: Extent, done: &mut impl FnMut(Row)) -> Result<(), Error> {
    for stage in Stage::ALL {
        for (share, limit) in SHARES {
            let seeds: Vec<u64> = (0..seeds(extent)).map(|index| extent.seed + index).collect();
            let told = each(seeds, extent.workers, |seed, auditor| {
                throttled(ground, stage, share, limit, *seed, auditor)
            })?;
            let clean = ground.undisturbed(stage).points.len();
            let most = told.iter().map(|(_, calls)| *calls).max().unwrap_or_default();
            let mut row = Row::of(
                format!("{share} % throttled: {}", stage.name()),
                told.into_iter().map(|(fate, _)| fate),
            );
            row.note = format!("{most} calls at most, {clean} undisturbed");
            done(row);
        }
    }
    Ok(())
}

fn seeds(extent: Extent) -> u64 {
    if extent.sample.is_some() { 1 } else { 5 }
}

fn throttled(
    ground: &Ground,
    stage: Stage,
    share: u8,
    limit: Option<usize>,
    seed: u64,
    auditor: &mut Auditor,
) -> Result<(Fate, usize), Error> {
    let world = ground.world(stage)?;
    world.aws.inject(Fault::Throttled, When::Share(share), seed);
    let run = Running::start(command(&world, stage))?.wait()?;
    let calls = world.aws.calls().len();
    let clean = ground.undisturbed(stage).points.len();
    let failed = |why: String| Ok((Fate::Failed(format!("seed {seed}: {why}")), calls));
    if run.code != 0 {
        let said = ["RequestLimitExceeded", "Throttling", "SlowDown"];
        if limit.is_some() || !said.iter().any(|code| run.stderr.contains(code)) {
            return failed(run.end());
        }
        let trouble = ground.again(&world, stage, auditor)?;
        return trouble.map_or(Ok((Fate::Stopped, calls)), failed);
    }
    if limit.is_some_and(|limit| calls * 100 > clean * limit) {
        return failed(format!("{calls} calls, where an undisturbed run makes {clean}"));
    }
    let trouble = ground.difference(&world, stage, auditor)?;
    trouble.map_or(Ok((Fate::Converged, calls)), failed)
}
