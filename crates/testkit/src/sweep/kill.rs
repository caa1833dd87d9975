//! kcl is killed at a call, before AWS has seen it or after AWS has done what it asks for, and the same command is
//! run again.

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Moment, Point};

use super::Extent;
use super::ground::{Ground, SHORT_LEASE, Stage, command};
use super::jobs::Plan;
use super::process::Running;
use super::row::Fate;

pub(super) fn plans(ground: &Ground, extent: Extent) -> Vec<Plan<'_>> {
    let mut plans = Vec::new();
    for stage in Stage::ALL {
        for (moment, what) in
            [(Moment::BeforeForwarding, "before the call"), (Moment::ResponseLost, "after the call")]
        {
            let name = format!("killed {what}: {}", stage.name());
            let points = &ground.undisturbed(stage).points;
            plans.push(Plan::of_points(name, points, extent, move |auditor, point| {
                Ok(killed(ground, stage, point, moment, auditor)?.into())
            }));
        }
    }
    plans
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
    let mut first = command(&world, stage)?;
    first.env("KCL_LOCK_LEASE", SHORT_LEASE);
    let mut first = Running::start(first)?;
    if !first.reaches(&halt)? {
        // How often a state is asked for differs: this run had no such call.
        return ground.missed(&world, stage, &first.wait()?, point, auditor);
    }
    first.kill()?;
    halt.cut();
    let trouble = ground.again(&world, stage, auditor)?;
    Ok(trouble.map_or(Fate::Converged, |trouble| Fate::Failed(format!("{point}: {trouble}"))))
}
