//! Many runs of the same update at once: one works at a time, and all end in the same state.

use std::process::Command;

use crate::audit::Auditor;
use crate::call::Call;
use crate::error::Error;

use super::Extent;
use super::ground::{Ground, Stage, command};
use super::process::Running;
use super::row::{Fate, Row};

/// How many at once.
const RUNS: usize = 20;
/// How many in a sample.
const FEW: usize = 5;
/// Longer than all of them take, one after the other.
const WAIT: &str = "20m";
/// The SDK puts it into its user agent: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-appid.html>.
const APP: &str = "AWS_SDK_UA_APP_ID";

pub(super) fn sweep(ground: &Ground, extent: Extent, done: &mut impl FnMut(Row)) -> Result<(), Error> {
    let stage = Stage::Update;
    let world = ground.world(stage)?;
    let count = if extent.sample.is_some() { FEW } else { RUNS };
    let named = |index: usize| -> Command {
        let mut run = command(&world, stage);
        run.env("KCL_LOCK_TIMEOUT", WAIT).env(APP, format!("run-{index}"));
        run
    };
    let runs: Vec<Running> =
        (0..count).map(|index| Running::start(named(index))).collect::<Result<_, _>>()?;
    let mut row = Row::new(format!("{count} at once: {}", stage.name()));
    for run in runs {
        let run = run.wait()?;
        row.count(if run.code == 0 { Fate::Converged } else { Fate::Failed(run.end()) });
    }
    let calls = world.aws.take_calls();
    if let Some(mixed) = mixed(&calls) {
        row.failed.push(mixed);
        row.converged -= 1;
    }
    if let Some(trouble) = ground.difference(&world, stage, &mut Auditor::start()?)? {
        row.failed.push(trouble);
        row.converged = 0;
    }
    done(row);
    Ok(())
}

/// The first run that changed something while another was at it. Taking the lock is how they keep apart, and no
/// change.
fn mixed(calls: &[Call]) -> Option<String> {
    let changes = calls.iter().filter(|call| call.mutating && !call.path.ends_with("/lock"));
    let mut order: Vec<&str> = changes.filter_map(app).collect();
    order.dedup();
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
