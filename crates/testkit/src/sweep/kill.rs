//! kcl is killed at a call, before AWS has seen it or after AWS has done what it asks for, and the same command is
//! run again.

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Moment, Point};

use super::Extent;
use super::ground::{Ground, SHORT_LEASE, Stage, command};
use super::jobs::{each, sampled};
use super::process::Running;
use super::row::{Fate, Row};

pub(super) fn sweep(ground: &Ground, extent: Extent, done: &mut impl FnMut(Row)) -> Result<(), Error> {
    for stage in Stage::ALL {
        for (moment, what) in
            [(Moment::BeforeForwarding, "before the call"), (Moment::ResponseLost, "after the call")]
        {
            let name = format!("killed {what}: {}", stage.name());
            let points = sampled(&ground.undisturbed(stage).points, extent, &name);
            let fates =
                each(points, extent.workers, |point, auditor| killed(ground, stage, point, moment, auditor))?;
            done(Row::of(name, fates));
        }
    }
    Ok(())
}

fn killed(
    ground: &Ground,
    stage: Stage,
    point: &Point,
    moment: Moment,
    auditor: &mut Auditor,
) -> Result<Fate, Error> {
    let world = ground.world(stage)?;
    let halt = world.aws.halt(point.clone(), moment);
    let mut first = command(&world, stage);
    first.env("KCL_LOCK_LEASE", SHORT_LEASE);
    let mut first = Running::start(first)?;
    if first.reaches(&halt)? {
        first.kill()?;
        halt.cut();
    } else {
        // How often a state is asked for differs: this run had no such call.
        let ended = first.wait()?;
        if ended.code != 0 {
            return Ok(Fate::Failed(format!("{point}: {}", ended.end())));
        }
    }
    let trouble = ground.again(&world, stage, auditor)?;
    Ok(trouble.map_or(Fate::Converged, |trouble| Fate::Failed(format!("{point}: {trouble}"))))
}
