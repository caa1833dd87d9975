//! Ctrl-C at a call: once, and everything that is under way is finished; twice, and kcl is gone. Either way the
//! next run goes on.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::call::Call;
use crate::error::Error;
use crate::faults::{Halt, Moment, Point};
use crate::world::Run;

use super::Extent;
use super::ground::{Ground, SHORT_LEASE, Stage, command};
use super::jobs::Plan;
use super::process::Running;
use super::row::Fate;

/// Two signals at the same moment are one.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(700);
/// "At once", beside other processes.
const AT_ONCE: Duration = Duration::from_secs(3);
/// The shell's code for what Ctrl-C has ended.
const INTERRUPTED: i32 = 130;
/// What [`Run`] says of a process that a signal has ended.
const BY_SIGNAL: i32 = -1;

pub(super) fn plans(ground: &Ground, extent: Extent) -> Vec<Plan<'_>> {
    let mut plans = Vec::new();
    for stage in Stage::ALL {
        for (twice, what) in [(false, "Ctrl-C"), (true, "Ctrl-C twice")] {
            let name = format!("{what}: {}", stage.name());
            let points = &ground.undisturbed(stage).points;
            plans.push(Plan::of_points(name, points, extent, move |auditor, point| {
                Ok(interrupted(ground, stage, point, twice, auditor)?.into())
            }));
        }
    }
    plans
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
    let mut run = command(&world, stage)?;
    run.env("KCL_LOCK_LEASE", if twice { SHORT_LEASE } else { "1m" });
    let mut run = Running::start(run)?;
    if !run.reaches(&halt)? {
        return ground.missed(&world, stage, &run.wait()?, point, auditor);
    }
    let trouble = signalled(run, &halt, twice, point, || world.aws.calls())?;
    if let Some(trouble) = trouble {
        return Ok(Fate::Failed(format!("{point}: {trouble}")));
    }
    let trouble = ground.again(&world, stage, auditor)?;
    Ok(trouble.map_or(Fate::Stopped, |trouble| Fate::Failed(format!("{point}: {trouble}"))))
}

/// Sends the signal to a run that waits for the answer to the call at `point`, which `halt` holds; what is wrong with how
/// it ended, if anything is. `calls`: all of its calls so far.
pub(super) fn signalled(
    run: Running,
    halt: &Halt,
    twice: bool,
    point: &Point,
    calls: impl Fn() -> Vec<Call>,
) -> Result<Option<String>, Error> {
    run.interrupt()?;
    thread::sleep(BETWEEN_SIGNALS);
    // What it does from here on, it does knowing.
    let before = calls().len();
    let (ended, trouble) = if twice {
        run.interrupt()?;
        let begun = Instant::now();
        let ended = run.wait()?;
        halt.cut();
        let trouble = gone_at_once(&ended, begun.elapsed());
        (ended, trouble)
    } else {
        halt.let_go();
        let ended = run.wait()?;
        let trouble = finished(&calls(), before, point, &ended);
        (ended, trouble)
    };
    Ok(trouble.or_else(|| unheard(&calls(), before, &ended)))
}

/// What is wrong with how it ended after the second signal. Before there is a lock, the first one ends it.
fn gone_at_once(ended: &Run, took: Duration) -> Option<String> {
    let is_gone = matches!(ended.code, INTERRUPTED | BY_SIGNAL | 1) && took < AT_ONCE;
    (!is_gone).then(|| format!("not gone {} s after the second signal: {}", took.as_secs(), ended.end()))
}

/// What is wrong with how it ended after one signal, that came after the first `before` of its calls: a change was cut,
/// or begun all the same, or nobody was told.
fn finished(calls: &[Call], before: usize, held: &Point, ended: &Run) -> Option<String> {
    let cut = calls.iter().find(|call| call.mutating && call.status == 0);
    if let Some(cut) = cut {
        return Some(format!("{} was cut", cut.name()));
    }
    match ended.code {
        BY_SIGNAL => None,
        // The last step was under way, and may take more calls: like the one that was held, or of the same thing. Giving
        // the lock back is no change.
        0 => {
            let says_so = ended.stderr.contains("stopping");
            // Where one step is left, what it does in the store is its own: a spec is several objects.
            let is_last = ended.stderr.contains("stopping: 1 running step ");
            let is_stored = |call: &Call| is_last && held.service == "s3" && call.service == "s3";
            let is_of_step = |call: &Call| says_so && (is_stored(call) || is_of_step(calls, held, call));
            let mut after = calls.iter().skip(before).filter(|call| call.mutating && !is_of_step(call));
            let change = after.find(|call| !call.path.ends_with("/lock"))?;
            let (name, path) = (change.name(), &change.path);
            Some(format!("{name} ({path}) was begun after the signal, and it went on to the end"))
        }
        _ if ended.stderr.contains("before anything was changed") => {
            let is_change = |call: &&Call| call.mutating && !call.path.ends_with("/lock");
            let change = calls.iter().find(is_change)?;
            Some(format!("it says that nothing was changed, after {}", change.name()))
        }
        _ if ended.stderr.contains("stopped") => None,
        _ => Some(format!("it does not say that it was stopped: {}", ended.end())),
    }
}

/// Whether a call is of the step whose call was held: like that one, or about the same thing.
fn is_of_step(calls: &[Call], held: &Point, call: &Call) -> bool {
    if call.is(&held.service, &held.action) {
        return true;
    }
    let mut like_it = calls.iter().filter(|call| call.is(&held.service, &held.action));
    let Some(held) = like_it.nth(held.nth.saturating_sub(1)).filter(|held| held.service == call.service)
    else {
        return false;
    };
    // A group is called `AutoScalingGroupName` by one call and `ResourceId` by another.
    let things = |call: &Call| {
        let of_things = |name: &str| ["Name", "Id", "Arn", "Url"].iter().any(|end| name.ends_with(end));
        let things = call.params.iter().filter(|(name, _)| of_things(name.as_str()));
        things.map(|(_, value)| value.clone()).collect::<BTreeSet<_>>()
    };
    !things(held).is_disjoint(&things(call))
}

/// Ended by the signal itself, as if nobody listened, although something had been changed by then.
fn unheard(calls: &[Call], before: usize, ended: &Run) -> Option<String> {
    let change = calls.iter().take(before).find(|call| call.mutating)?;
    (ended.code == BY_SIGNAL).then(|| format!("nobody listened to the signal after {}", change.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(action: &str, mutating: bool, path: &str) -> Call {
        let service = "ec2".to_owned();
        Call { service, status: 200, path: path.to_owned(), ..Call::named(action, mutating) }
    }

    #[test]
    fn a_signal_that_nobody_heeds_is_noticed() {
        let run = |code, stderr: &str| Run { code, stdout: String::new(), stderr: stderr.to_owned() };
        let calls =
            [call("DescribeVpcs", false, "/"), call("CreateVpc", true, "/"), call("CreateSubnet", true, "/")];
        let held_of = |calls: &[Call]| Point::of(calls).remove(0);
        let held = |at: usize| held_of(&calls[at..=at]);
        let finished = |calls: &[Call], before, at, run: &Run| super::finished(calls, before, &held(at), run);
        assert!(finished(&calls, 2, 1, &run(0, "applied")).is_some());
        assert!(finished(&calls, 3, 1, &run(0, "applied")).is_none());
        let stopping = "stopping: 1 running step is finished first";
        assert!(finished(&calls, 2, 1, &run(0, stopping)).is_some(), "another step was begun");
        assert!(finished(&calls, 2, 2, &run(0, stopping)).is_none(), "the last one was finished");
        assert!(finished(&calls, 2, 1, &run(1, "error: stopped after 1 of 2 steps")).is_none());
        assert!(finished(&calls, 2, 1, &run(1, "error: something else")).is_some());
        let of_group = |action: &str, name: &str, group: &str| Call {
            params: [(name.to_owned(), group.to_owned())].into_iter().collect(),
            ..call(action, true, "/")
        };
        let follows = |group| {
            let hook = of_group("PutLifecycleHook", "AutoScalingGroupName", "a");
            [hook, of_group("CreateOrUpdateTags", "Tags.member.1.ResourceId", group)]
        };
        assert!(super::finished(&follows("a"), 1, &held_of(&follows("a")), &run(0, stopping)).is_none());
        assert!(super::finished(&follows("b"), 1, &held_of(&follows("b")), &run(0, stopping)).is_some());
        let unlocked = [call("DeleteObject", true, "/bucket/k8s.karlaru.com/lock")];
        assert!(finished(&unlocked, 0, 1, &run(0, "applied")).is_none());
        assert!(unheard(&calls, 1, &run(BY_SIGNAL, "")).is_none());
        assert!(unheard(&calls, 2, &run(BY_SIGNAL, "")).is_some());
        assert!(unheard(&calls, 2, &run(INTERRUPTED, "")).is_none());
    }
}
