//! Each fault, one at a time, and no process is killed: a run succeeds, or it stops with the right cause and the
//! next one succeeds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::audit::Auditor;
use crate::call::Call;
use crate::error::Error;
use crate::faults::{Fault, Point, When};
use crate::kubernetes::free_port;

use super::Extent;
use super::ground::{Ground, SHORT_LEASE, Stage, command};
use super::jobs::{Plan, Told};
use super::process::Running;
use super::row::Fate;

/// Longer than kcl waits for an answer.
const STALL: Duration = Duration::from_secs(35);
/// A run that can never succeed waits no longer than this before it says so.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A fault, and what a run that stops because of it has to say: one of these.
struct Case {
    fault: Fault,
    causes: &'static [&'static str],
    scope: Scope,
    /// In which stages there is something for it to strike.
    stages: &'static [Stage],
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

impl Case {
    /// Whether it stays, so that a run has to stop, and soon.
    fn is_permanent(&self) -> bool {
        matches!(self.scope, Scope::Action | Scope::Rest)
    }
}

const SERVER: &[&str] = &["InternalError", "InternalFailure", "ServiceUnavailable", "HTTP status 50"];
/// Whatever the reason, kcl says that it had no answer to that call: see [`names_the_call`].
const LOST: &[&str] = &["run the same command again"];
/// The last one is of what kcl looks at as AWS does, without credentials.
const DENIED: &[&str] = &["UnauthorizedOperation", "AccessDenied", "HTTP status 403", HIDDEN];
/// That takes a while to be believed: S3 allows what its policies say some seconds after they were set.
const HIDDEN: &str = "without credentials, and that is refused";
/// So long, and what kcl waits besides.
const PATIENCE_HIDDEN: Duration = Duration::from_secs(20);

const fn case(fault: Fault, scope: Scope, causes: &'static [&'static str]) -> Case {
    Case { fault, causes, scope, stages: &Stage::ALL }
}

/// A fault of certain things, wherever kcl meets them in these stages.
const fn in_stages(fault: Fault, stages: &'static [Stage]) -> Case {
    Case { fault, causes: &[], scope: Scope::All, stages }
}

/// Where something is made.
const MAKING: &[Stage] = &[Stage::Create, Stage::Update];
/// Where something is taken away, or was there before.
const REMOVING: &[Stage] = &[Stage::Update, Stage::Delete];

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
    case(Fault::Denied, Scope::Action, DENIED),
    case(
        Fault::Refused,
        Scope::Action,
        &["InvalidParameterValue", "InvalidRequest", "ValidationError", "HTTP status 400"],
    ),
    case(Fault::CredentialsExpired, Scope::Rest, &["have expired"]),
    in_stages(Fault::NotSeenYet { reads: 5 }, MAKING),
    in_stages(Fault::NotUsableYet { uses: 4 }, MAKING),
    // The update makes none.
    in_stages(Fault::ProfileUnknown { tries: 3 }, &[Stage::Create]),
    in_stages(Fault::RoleUnknown { tries: 3 }, MAKING),
    in_stages(Fault::RoleUnassumed { tries: 3 }, MAKING),
    in_stages(Fault::InUse { tries: 4 }, REMOVING),
    case(Fault::ClockSkew(Duration::from_mins(20)), Scope::All, &["clock"]),
];

/// What keeps the API server from coming though each call succeeds, and what a run has to say of it that waits in vain.
const WAITED_FOR: [(Fault, &str); 2] = [
    (Fault::NoSpotCapacity, "machines run: Could not launch Spot Instances"),
    (Fault::Provisioning, " is provisioning"),
];
/// As kcl's arguments take it: longer than it takes to see that.
const WAITED: &str = "5s";
/// kcl's exit code where the API server cannot be reached.
const UNREACHABLE: i32 = 4;

/// What AWS says while something else is in the way.
const IN_USE: [&str; 4] =
    ["DependencyViolation", "DeleteConflict", "ResourceInUse", "ResourceInUseException"];

pub(super) fn plans(ground: &Ground, extent: Extent) -> Vec<Plan<'_>> {
    let of_case = |case: &'static Case| {
        case.stages.iter().map(move |stage| plan(ground, extent, *stage, case)).collect::<Vec<_>>()
    };
    let waiting = WAITED_FOR.iter().flat_map(|(fault, cause)| {
        MAKING.iter().map(move |stage| {
            let name = format!("{fault}: {}", stage.name());
            Plan::of_seeds(name, extent, move |auditor, seed| {
                Ok(waiting(ground, *stage, *fault, cause, seed, auditor)?.into())
            })
        })
    });
    CASES.iter().flat_map(of_case).chain(waiting).collect()
}

/// A run that goes on to wait for the API server, where none answers.
fn waiting(
    ground: &Ground,
    stage: Stage,
    fault: Fault,
    cause: &str,
    seed: u64,
    auditor: &mut Auditor,
) -> Result<Fate, Error> {
    let world = ground.world(stage)?;
    let strikes = world.aws.inject(fault, When::Always, seed);
    let mut run = command(&world, stage)?;
    run.args(["--timeout", WAITED]).env_remove("KCL_SKIP_BOOTSTRAP");
    run.env("KCL_API_SERVER", format!("https://127.0.0.1:{}", free_port()?));
    let run = Running::start(run)?.wait()?;
    let trouble = if strikes.count() == 0 {
        Some(format!("the fault was missed: {}", run.end()))
    } else if run.code != UNREACHABLE || !run.end().contains(cause) {
        Some(format!("not the right cause: {}", run.end()))
    } else {
        ground.again(&world, stage, auditor)?
    };
    Ok(trouble.map_or(Fate::Stopped, |trouble| Fate::Failed(format!("seed {seed}: {trouble}"))))
}

fn plan<'g>(ground: &'g Ground, extent: Extent, stage: Stage, case: &'static Case) -> Plan<'g> {
    let name = format!("{}: {}", case.fault, stage.name());
    let points = &ground.undisturbed(stage).points;
    let Scope::All = case.scope else {
        let mut plan = Plan::of_points(name, points, extent, move |auditor, point| {
            disturbed(ground, stage, case, Some(point), extent.seed, auditor)
        });
        if case.is_permanent() {
            plan.note = Some(Box::new(|slowest| format!("stopped after {slowest:.1} s at most")));
        }
        return plan;
    };
    Plan::of_seeds(name, extent, move |auditor, seed| disturbed(ground, stage, case, None, seed, auditor))
}

/// `point`: where it strikes; without one, wherever it can.
fn disturbed(
    ground: &Ground,
    stage: Stage,
    case: &Case,
    point: Option<&Point>,
    seed: u64,
    auditor: &mut Auditor,
) -> Result<Told, Error> {
    let world = ground.world(stage)?;
    let when = match (case.scope, point.cloned()) {
        (Scope::Once, Some(point)) => When::At(point),
        (Scope::Action, Some(point)) => When::ActionFrom(point),
        (Scope::Rest, Some(point)) => When::From(point),
        (Scope::All, _) | (_, None) => When::Always,
    };
    let strikes = world.aws.inject(case.fault, when, seed);
    let mut run = command(&world, stage)?;
    if case.scope == Scope::Rest {
        // It cannot give its lock back.
        run.env("KCL_LOCK_LEASE", SHORT_LEASE);
    }
    let run = Running::start(run)?.wait()?;
    let (first, ended) = (strikes.first(), Instant::now());
    let took = first.map(|first| ended.saturating_duration_since(first));
    let told = |fate, took: Option<Duration>| {
        Ok(Told { fates: vec![fate], measured: took.map(|took| took.as_secs_f64()) })
    };
    let failed = |text: String| match point {
        Some(point) => told(Fate::Failed(format!("{point}: {text}")), took),
        None => told(Fate::Failed(format!("seed {seed}: {text}")), took),
    };
    if run.code == 0 && strikes.count() == 0 {
        let trouble = ground.difference(&world, stage, auditor)?;
        return trouble.map_or_else(|| told(Fate::Missed, None), failed);
    }
    if run.code == 0 {
        let trouble = match case.scope {
            Scope::Rest => ground.nothing_left(&world, stage, auditor)?,
            _ => ground.difference(&world, stage, auditor)?,
        };
        return trouble.map_or_else(|| told(Fate::Converged, None), failed);
    }
    if strikes.count() == 0 {
        return failed(format!("the fault was missed: {}", run.end()));
    }
    // A batch with a wrong parameter is split, so that what is right in it is done.
    if case.is_permanent() && !matches!(case.fault, Fault::Refused) {
        let repeated = repeated(&world.aws.calls(), &ground.undisturbed(stage).points);
        if !repeated.is_empty() {
            return failed(format!("tried again: {}: {}", repeated.join(", "), run.end()));
        }
    }
    let said = run.end().split_whitespace().collect::<Vec<_>>().join(" ");
    let is_named = point.is_none_or(|point| case.scope != Scope::Once || names_the_call(&said, point));
    if !is_named || !case.causes.iter().any(|cause| said.contains(cause)) {
        return failed(format!("not the right cause: {}", run.end()));
    }
    let waited = first.map(|first| idle(&world.aws.calls(), first, ended)).unwrap_or_default();
    let patience = if said.contains(HIDDEN) { PATIENCE_HIDDEN } else { PATIENCE };
    if case.is_permanent() && waited > patience {
        return failed(format!("waited {:.1} s before it stopped: {}", waited.as_secs_f64(), run.end()));
    }
    let trouble = ground.again(&world, stage, auditor)?;
    trouble.map_or_else(|| told(Fate::Stopped, took), failed)
}

/// Whether an error names the call that was struck: by the permission that it takes, which for buckets is called
/// otherwise.
fn names_the_call(said: &str, point: &Point) -> bool {
    let action = match point.action.as_str() {
        "HeadBucket" | "ListObjectsV2" => "ListBucket",
        "ListObjectVersions" => "ListBucketVersions",
        "HeadObject" => "GetObject",
        "DeleteObjects" => "DeleteObject",
        action => action,
    };
    said.split_whitespace().any(|word| word.trim_end_matches([':', ',']).ends_with(&format!(":{action}")))
}

/// What a run changed, or tried to, more often than an undisturbed one: where nothing that it is refused will ever be
/// allowed, that is once too often. What renews or gives back its lock is no change, nor is what waits for something else.
fn repeated(calls: &[Call], undisturbed: &[Point]) -> Vec<String> {
    let is_waiting = |call: &Call| call.error_code.as_deref().is_some_and(|code| IN_USE.contains(&code));
    let mut counts = BTreeMap::new();
    for call in
        calls.iter().filter(|call| call.mutating && !call.path.ends_with("/lock") && !is_waiting(call))
    {
        *counts.entry((call.service.as_str(), call.action.as_str())).or_insert(0_usize) += 1;
    }
    let usual = |service: &str, action: &str| {
        undisturbed.iter().filter(|point| point.service == service && point.action == action).count()
    };
    let more = counts.into_iter().filter(|((service, action), count)| *count > usual(service, action));
    more.map(|((service, action), count)| format!("{service}:{action} {count} times")).collect()
}

/// How long no call was under way between two moments. It is what kcl waited of its own will: how long the answers of a
/// busy local AWS take does not count.
pub(super) fn idle(calls: &[Call], from: Instant, to: Instant) -> Duration {
    let mut spans: Vec<_> = calls.iter().map(|call| (call.begun.min(to), call.ended.unwrap_or(to))).collect();
    spans.sort_unstable();
    let (mut idle, mut at) = (Duration::ZERO, from);
    for (begun, ended) in spans {
        idle += begun.saturating_duration_since(at);
        at = at.max(ended);
    }
    idle + to.saturating_duration_since(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_calls_is_waiting() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let call = |begun, ended: Option<u64>| Call {
            begun: at(begun),
            ended: ended.map(at),
            ..Call::named("CreateVpc", true)
        };
        let idle = |calls: &[Call]| super::idle(calls, at(10), at(30)).as_secs();
        assert_eq!(idle(&[]), 20);
        assert_eq!(idle(&[call(1, Some(5)), call(40, None)]), 20, "what came before or after is no matter");
        assert_eq!(idle(&[call(8, Some(12)), call(11, Some(15)), call(20, Some(24))]), 11);
        assert_eq!(idle(&[call(11, None), call(12, Some(13))]), 1, "it is under way still");
    }

    #[test]
    fn an_error_names_the_call_by_its_permission() {
        let point = |action: &str| Point::of(&[Call::named(action, false)]).remove(0);
        let said = "failed to create vpc/k: ec2:CreateVpc: no answer; s3:ListBucket: no answer";
        assert!(names_the_call(said, &point("CreateVpc")));
        assert!(names_the_call(said, &point("HeadBucket")));
        assert!(!names_the_call(said, &point("CreateSubnet")));
        assert!(!names_the_call(said, &point("Create")), "the whole name");
    }

    #[test]
    fn what_is_changed_more_often_than_usual_is_told() {
        let (change, look) = (Call::named("CreateVpc", true), Call::named("DescribeVpcs", false));
        let calls = [change.clone(), change, look.clone(), look];
        let usual = Point::of(&calls[1..3]);
        let repeated = |calls| super::repeated(calls, &usual);
        assert_eq!(repeated(&calls).len(), 1);
        assert!(repeated(&calls)[0].ends_with(":CreateVpc 2 times"), "{:?}", repeated(&calls));
        assert!(repeated(&calls[1..]).is_empty());
    }
}
