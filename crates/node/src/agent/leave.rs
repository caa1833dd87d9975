//! Does what [`plan`] says, step by step, each within its time; what fails is told, and the next step begins.

use std::time::Duration;

use kcl_http::chain;
use kcl_node_config::rfc3339;
use time::OffsetDateTime;

use super::drain::{Progress, drain};
use super::members::{self, Presence};
use super::notice::Cause;
use super::plan::{self, Step};
use super::supervise::{Failure, Said};
use super::{Agent, snapshots, volume};
use crate::etcd;
use crate::manifests::{self, Place};

/// What a machine says that has nothing more to do.
const LEFT: &str = "left";

/// How soon a cordon is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the last status may take: nobody can wait for it much longer.
const LAST_STATUS: Duration = Duration::from_secs(5);

/// Leaves, for this cause, by `end`, which may come closer meanwhile.
pub(super) async fn leave(agent: &Agent, cause: &Cause, end: impl Fn() -> OffsetDateTime) {
    let because = format!("{cause}, by {}", rfc3339(end()));
    agent.report.tell(&format!("this machine leaves: {because}"));
    let role = agent.config.role;
    for step in plan::steps(role) {
        agent.report.leaves(step.as_str(), &because);
        let begun = OffsetDateTime::now_utc();
        let until = || plan::until(role, *step, end(), begun);
        let done = tokio::select! {
            done = Box::pin(one(agent, *step, &until)) => done,
            () = over(&until) => Err(Said(agent.report.late()).into()),
        };
        match done {
            Ok(()) => agent.report.works(step.as_str()),
            Err(error) => agent.report.trouble(step.as_str(), &chain(&*error)),
        }
    }
    agent.report.leaves(LEFT, &because);
    agent.report.flush(LAST_STATUS).await;
}

/// Waits until a time that may come closer.
async fn over(until: &impl Fn() -> OffsetDateTime) {
    loop {
        let left = until() - OffsetDateTime::now_utc();
        let Ok(left) = Duration::try_from(left) else { return };
        tokio::time::sleep(left.min(AGAIN)).await;
    }
}

async fn one(agent: &Agent, step: Step, until: &impl Fn() -> OffsetDateTime) -> Result<(), Failure> {
    match step {
        Step::Cordon => cordon(agent).await,
        Step::Drain => empty(agent, until).await,
        Step::Snapshot => snapshots::last(agent).await,
        Step::Withdraw => withdraw(agent).await,
        Step::StopEtcd => {
            // What is away otherwise would come back without its volume.
            Place::Renewing.put_back(&agent.settings.machine.system)?;
            Place::Leaving.take_away(&agent.settings.machine.system, manifests::ETCD)?;
            while etcd::listens(&agent.settings.etcd).await {
                tokio::time::sleep(agent.settings.intervals.pace).await;
            }
            Ok(())
        }
        Step::Unmount => Ok(volume::unmount(&agent.settings.machine.system).await?),
        Step::Detach => detach(agent).await,
    }
}

/// Until it works: a pod that is sent away must not come back.
async fn cordon(agent: &Agent) -> Result<(), Failure> {
    while let Err(error) = agent.cordon().await {
        agent.report.waits_for(Some(chain(&*error)));
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

async fn empty(agent: &Agent, until: &impl Fn() -> OffsetDateTime) -> Result<(), Failure> {
    let tell = |progress: &Progress| agent.report.waits_for(Some(in_words(progress)));
    let Progress { left, failed, .. } =
        drain(&agent.kubelet, until, agent.settings.intervals.pace, tell).await;
    match (left, failed) {
        (0, None) => Ok(()),
        (_, Some(why)) => Err(Said(why).into()),
        (left, None) => Err(Said(format!("{left} pods are still there")).into()),
    }
}

/// How far draining is.
fn in_words(progress: &Progress) -> String {
    let Progress { left, held, failed } = progress;
    let mut words = format!("{left} pods to go");
    for why in held.iter().chain(failed) {
        words += &format!("\n{why}");
    }
    words
}

async fn withdraw(agent: &Agent) -> Result<(), Failure> {
    let Some(control_plane) = &agent.control_plane else { return Ok(()) };
    let told = &control_plane.told;
    let here = agent.here().await?;
    members::publish(&agent.store, &control_plane.route53, told, &here, Presence::Goes, None).await?;
    Ok(())
}

async fn detach(agent: &Agent) -> Result<(), Failure> {
    let Some(control_plane) = &agent.control_plane else { return Ok(()) };
    let instance = &agent.identity.instance_id;
    for volume in volume::detach(&control_plane.ec2, &agent.config.cluster, instance).await? {
        agent.report.tell(&format!("{volume} is free for the next machine"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_what_holds_it_up() {
        let held = vec!["default/a: the disruption budget a needs 1 healthy pods".to_owned()];
        let progress =
            Progress { left: 3, held, failed: Some("failed to list the machine's pods".to_owned()) };
        assert_eq!(
            in_words(&progress),
            "3 pods to go\ndefault/a: the disruption budget a needs 1 healthy pods\nfailed to list the machine's pods"
        );
    }
}
