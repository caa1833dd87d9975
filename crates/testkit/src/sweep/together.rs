//! Many runs of the same update at once: one works at a time, and all end in the same state.

use crate::audit::Auditor;
use crate::call::Call;
use crate::error::Error;

use super::Extent;
use super::ground::{Ground, Stage, command};
use super::jobs::{Plan, Told};
use super::process::Running;
use super::row::Fate;

const STAGE: Stage = Stage::Update;
/// How many at once.
const RUNS: usize = 20;
/// How many in a sample.
const FEW: usize = 5;
/// Longer than all of them take, one after the other.
const WAIT: &str = "20m";
/// The SDK puts it into its user agent: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html>.
const APP: &str = "AWS_SDK_UA_APP_ID";

pub(super) fn plans(ground: &Ground, extent: Extent) -> Vec<Plan<'_>> {
    let count = if extent.sample.is_some() { FEW } else { RUNS };
    let name = format!("{count} at once: {}", STAGE.name());
    vec![Plan::of_one(name, move |auditor| together(ground, count, auditor))]
}

fn together(ground: &Ground, count: usize, auditor: &mut Auditor) -> Result<Told, Error> {
    let world = ground.world(STAGE)?;
    let started = |index: usize| {
        let mut run = command(&world, STAGE)?;
        run.env("KCL_LOCK_TIMEOUT", WAIT).env(APP, format!("run-{index}"));
        Running::start(run)
    };
    let runs: Vec<Running> = (0..count).map(started).collect::<Result<_, _>>()?;
    let mut fates = Vec::new();
    for run in runs {
        let run = run.wait()?;
        fates.push(if run.code == 0 { Fate::Converged } else { Fate::Failed(run.end()) });
    }
    // What is wrong with all of them together makes the whole row fail.
    let calls = world.aws.take_calls();
    let troubles = [mixed(&calls), ground.difference(&world, STAGE, auditor)?];
    for trouble in troubles.into_iter().flatten() {
        fates.pop();
        fates.insert(0, Fate::Failed(trouble));
    }
    Ok(Told { fates, measured: None })
}

/// What is wrong with the order of the runs' changes: one that changed something while another was at it, or that
/// nobody can tell. Taking the lock is how they keep apart, and no change.
fn mixed(calls: &[Call]) -> Option<String> {
    let changes = calls.iter().filter(|call| call.mutating && !call.path.ends_with("/lock"));
    let mut order = Vec::new();
    for change in changes {
        let Some(run) = app(change) else {
            return Some(format!("{} does not say which run made it", change.name()));
        };
        order.push(run);
    }
    order.dedup();
    if order.is_empty() {
        return Some("no run changed anything".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    let again = order.iter().find(|run| !seen.insert(**run))?;
    Some(format!("{again} changed something while another run had the lock: {}", order.join(", ")))
}

/// Which run made a call.
fn app(call: &Call) -> Option<&str> {
    let agent =
        call.headers.get("x-amz-user-agent").or_else(|| call.headers.get("user-agent"))?.to_str().ok()?;
    agent.split(' ').find_map(|part| part.strip_prefix("app/"))
}
