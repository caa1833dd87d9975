//! A share of all calls is throttled: how many calls a run then takes.

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Fault, When};

use super::Extent;
use super::ground::{Ground, Stage, command};
use super::jobs::{Plan, Told};
use super::process::Running;
use super::row::Fate;

/// Shares in percent, and how many times the calls of an undisturbed run they may cost, in percent; without a limit
/// where most of the cost is the throttling itself.
const SHARES: [(u8, Option<usize>); 3] = [(5, Some(140)), (20, Some(140)), (50, None)];

pub(super) fn plans(ground: &Ground, extent: Extent) -> Vec<Plan<'_>> {
    let mut plans = Vec::new();
    for stage in Stage::ALL {
        for (share, limit) in SHARES {
            let name = format!("{share} % throttled: {}", stage.name());
            let mut plan = Plan::of_seeds(name, extent, move |auditor, seed| {
                throttled(ground, stage, share, limit, seed, auditor)
            });
            let clean = ground.undisturbed(stage).points.len();
            plan.note = Some(Box::new(move |most| format!("{most} calls at most, {clean} undisturbed")));
            plans.push(plan);
        }
    }
    plans
}

fn throttled(
    ground: &Ground,
    stage: Stage,
    share: u8,
    limit: Option<usize>,
    seed: u64,
    auditor: &mut Auditor,
) -> Result<Told, Error> {
    let world = ground.world(stage)?;
    let strikes = world.aws.inject(Fault::Throttled, When::Share(share), seed);
    let run = Running::start(command(&world, stage)?)?.wait()?;
    let calls = world.aws.calls().len();
    let clean = ground.undisturbed(stage).points.len();
    let measured = u32::try_from(calls).ok().map(f64::from);
    let told = |fate| Ok(Told { fates: vec![fate], measured });
    let failed = |why: String| told(Fate::Failed(format!("seed {seed}: {why}")));
    if run.code != 0 {
        // Who cannot renew the lock for all the refusals stops before anybody else may have it.
        let said = ["RequestLimitExceeded", "Throttling", "SlowDown", "could not be renewed in time"];
        let stderr = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        if limit.is_some() || !said.iter().any(|code| stderr.contains(code)) {
            return failed(run.end());
        }
        let trouble = ground.again(&world, stage, auditor)?;
        return trouble.map_or(told(Fate::Stopped), failed);
    }
    if limit.is_some_and(|limit| calls * 100 > clean * limit) {
        return failed(format!("{calls} calls, where an undisturbed run makes {clean}"));
    }
    if let Some(trouble) = ground.difference(&world, stage, auditor)? {
        return failed(trouble);
    }
    told(if strikes.count() == 0 { Fate::Missed } else { Fate::Converged })
}
