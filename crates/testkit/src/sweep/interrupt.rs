//! Ctrl-C at a call: once, and everything that is under way is finished; twice, and kcl is gone. Either way the
//! next run goes on.

use std::thread;
use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Moment, Point};
use crate::world::{Run, World};

use super::Extent;
use super::ground::{Ground, SHORT_LEASE, Stage, command};
use super::jobs::{each, sampled};
use super::process::Running;
use super::row::{Fate, Row};

/// Two signals at the same moment are one.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(700);
/// "At once", beside other processes.
const AT_ONCE: Duration = Duration::from_secs(3);
/// The shell's code for what Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

pub(super) fn sweep(ground: &Ground, extent: Extent, done: &mut impl FnMut(Row)) -> Result<(), Error> {
    for stage in Stage::ALL {
        for (twice, what) in [(false, "Ctrl-C"), (true, "Ctrl-C twice")] {
            let name = format!("{what}: {}", stage.name());
            let points = sampled(&ground.undisturbed(stage).points, extent, &name);
            let fates = each(points, extent.workers, |point, auditor| {
                interrupted(ground, stage, point, twice, auditor)
            })?;
            done(Row::of(name, fates));
        }
    }
    Ok(())
}

fn interrupted(
    ground: &Ground,
    stage: Stage,
    point: &Point,
    twice: bool,
    auditor: &mut Auditor,
) -> Result<Fate, Error> {
    let world = ground.world(stage)?;
    let halt = world.aws.halt(point.clone(), Moment::BeforeForwarding);
    let mut run = command(&world, stage);
    run.env("KCL_LOCK_LEASE", if twice { SHORT_LEASE } else { "1m" });
    let mut run = Running::start(run)?;
    if !run.reaches(&halt)? {
        let ended = run.wait()?;
        let failed = || Fate::Failed(format!("{point}: {}", ended.end()));
        return Ok(if ended.code == 0 { Fate::Converged } else { failed() });
    }
    run.interrupt()?;
    thread::sleep(BETWEEN_SIGNALS);
    let trouble = if twice {
        run.interrupt()?;
        let begun = Instant::now();
        let ended = run.wait()?;
        halt.cut();
        gone_at_once(&ended, begun.elapsed())
    } else {
        halt.let_go();
        finished(&world, &run.wait()?)
    };
    if let Some(trouble) = trouble {
        return Ok(Fate::Failed(format!("{point}: {trouble}")));
    }
    let trouble = ground.again(&world, stage, auditor)?;
    Ok(trouble.map_or(Fate::Stopped, |trouble| Fate::Failed(format!("{point}: {trouble}"))))
}

/// What is wrong with how it ended after the second signal. Before there is a lock, the first one ends it.
fn gone_at_once(ended: &Run, took: Duration) -> Option<String> {
    let is_gone = matches!(ended.code, INTERRUPTED | -1 | 1) && took < AT_ONCE;
    (!is_gone).then(|| format!("not gone {} s after the second signal: {}", took.as_secs(), ended.end()))
}

/// What is wrong with how it ended after one signal: a change was cut, or nobody was told.
fn finished(world: &World, ended: &Run) -> Option<String> {
    let calls = world.aws.calls();
    let cut = calls.iter().find(|call| call.mutating && call.status == 0);
    if let Some(cut) = cut {
        return Some(format!("{} was cut", cut.name()));
    }
    match ended.code {
        // The last step was under way, or nothing had been changed and nobody listened yet.
        0 | -1 => None,
        _ if ended.stderr.contains("stopped") => None,
        _ => Some(format!("it does not say that it was stopped: {}", ended.end())),
    }
}
