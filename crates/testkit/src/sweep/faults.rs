//! Each fault, one at a time, and no process is killed: a run succeeds, or it stops with the right cause and the
//! next one succeeds.

use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::error::Error;
use crate::faults::{Fault, Point, When};

use super::Extent;
use super::ground::{Ground, SHORT_LEASE, Stage, command};
use super::jobs::{each, sampled};
use super::process::Running;
use super::row::{Fate, Row};

/// Longer than kcl waits for an answer.
const STALL: Duration = Duration::from_secs(35);

/// A fault, and what a run that stops because of it has to say: one of these.
pub(super) struct Case {
    pub(super) fault: Fault,
    pub(super) causes: &'static [&'static str],
    scope: Scope,
}

/// Which calls a fault strikes in one run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// One.
    Once,
    /// One, and each later one of its action.
    Action,
    /// One, and everything after it.
    Rest,
    /// All that the fault is about. Runs differ by their seed.
    All,
}

const SERVER: &[&str] = &["InternalError", "InternalFailure", "ServiceUnavailable", "HTTP status 50"];
const LOST: &[&str] = &["run the same command again"];

const fn case(fault: Fault, scope: Scope, causes: &'static [&'static str]) -> Case {
    Case { fault, causes, scope }
}

const CASES: [Case; 20] = [
    case(Fault::Throttled, Scope::Once, &["RequestLimitExceeded", "Throttling", "SlowDown"]),
    case(Fault::ServerError(500), Scope::Once, SERVER),
    case(Fault::ServerError(502), Scope::Once, SERVER),
    case(Fault::ServerError(503), Scope::Once, SERVER),
    case(Fault::ServerError(504), Scope::Once, SERVER),
    case(Fault::ConnectionReset, Scope::Once, LOST),
    case(Fault::ResponseLost, Scope::Once, LOST),
    case(Fault::ResponseCut, Scope::Once, LOST),
    case(Fault::Stall(STALL), Scope::Once, LOST),
    case(
        Fault::Latency { least: Duration::from_millis(50), jitter: Duration::from_millis(450) },
        Scope::All,
        &[],
    ),
    case(Fault::Denied, Scope::Action, &["UnauthorizedOperation", "AccessDenied", "HTTP status 403"]),
    case(
        Fault::Refused,
        Scope::Action,
        &["InvalidParameterValue", "InvalidRequest", "ValidationError", "HTTP status 400"],
    ),
    case(Fault::CredentialsExpired, Scope::Rest, &["have expired"]),
    case(Fault::NotSeenYet { reads: 5 }, Scope::All, &[]),
    case(Fault::NotUsableYet { uses: 4 }, Scope::All, &[]),
    case(Fault::ProfileUnknown { tries: 3 }, Scope::All, &[]),
    case(Fault::RoleUnknown { tries: 3 }, Scope::All, &[]),
    case(Fault::InUse { tries: 4 }, Scope::All, &[]),
    case(Fault::Provisioning { looks: 8 }, Scope::All, &[]),
    case(Fault::ClockSkew(Duration::from_mins(20)), Scope::All, &["clock"]),
];

pub(super) fn sweep(ground: &Ground, extent: Extent, done: &mut impl FnMut(Row)) -> Result<(), Error> {
    for case in &CASES {
        for stage in Stage::ALL {
            let name = format!("{}: {}", case.fault, stage.name());
            let points = match case.scope {
                // The point says nothing here but which seed.
                Scope::All => ground.undisturbed(stage).points.iter().take(seeds(extent)).cloned().collect(),
                _ => sampled(&ground.undisturbed(stage).points, extent, &name),
            };
            let jobs: Vec<(usize, Point)> = points.into_iter().enumerate().collect();
            let fates = each(jobs, extent.workers, |(index, point), auditor| {
                let seed = extent.seed + *index as u64;
                disturbed(ground, stage, case, point, seed, auditor)
            })?;
            let slowest = fates.iter().filter_map(|(_, took)| *took).max();
            let mut row = Row::of(name, fates.into_iter().map(|(fate, _)| fate));
            if let (Scope::Action | Scope::Rest, Some(slowest)) = (case.scope, slowest) {
                row.note = format!("stopped after {:.1} s at most", slowest.as_secs_f64());
            }
            done(row);
        }
    }
    Ok(())
}

/// How often a fault that strikes all calls is tried, each time with another seed.
fn seeds(extent: Extent) -> usize {
    if extent.sample.is_some() { 1 } else { 5 }
}

/// What became of a run, and how long after the fault it stopped, if it did.
type Told = (Fate, Option<Duration>);

fn disturbed(
    ground: &Ground,
    stage: Stage,
    case: &Case,
    point: &Point,
    seed: u64,
    auditor: &mut Auditor,
) -> Result<Told, Error> {
    let world = ground.world(stage)?;
    let point_of = || point.clone();
    let when = match case.scope {
        Scope::Once => When::At(point_of()),
        Scope::Action => When::ActionFrom(point_of()),
        Scope::Rest => When::From(point_of()),
        Scope::All => When::Always,
    };
    let strikes = world.aws.inject(case.fault, when, seed);
    let mut run = command(&world, stage);
    if case.scope == Scope::Rest {
        // It cannot give its lock back.
        run.env("KCL_LOCK_LEASE", SHORT_LEASE);
    }
    let run = Running::start(run)?.wait()?;
    let took = strikes.first().map(|first| Instant::now().saturating_duration_since(first));
    let told = |text: String| match case.scope {
        Scope::All => format!("seed {seed}: {text}"),
        _ => format!("{point}: {text}"),
    };
    if run.code == 0 {
        let trouble = ground.difference(&world, stage, auditor)?;
        let fate = trouble.map_or(Fate::Converged, |trouble| Fate::Failed(told(trouble)));
        return Ok((fate, None));
    }
    let said = run.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    if !case.causes.iter().any(|cause| said.contains(cause)) {
        return Ok((Fate::Failed(told(format!("not the right cause: {}", run.end()))), took));
    }
    let trouble = ground.again(&world, stage, auditor)?;
    Ok((trouble.map_or(Fate::Stopped, |trouble| Fate::Failed(told(trouble))), took))
}
