//! etcd in the store: saved now and then and before the machine goes, and restored when somebody asks for it.
//!
//! How that is done is told in [`backup`] and [`restore`]; here is when.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use kcl_http::chain;
use kcl_node_config::BackupReason;
use time::OffsetDateTime;

use super::supervise::{Failure, Said};
use super::{Agent, ControlPlaneParts};
use crate::backup::{self, Periodic, Pruned, Source};
use crate::etcd::Etcd;
use crate::restore::{self, Served, Site, Waits};

/// What does not work when etcd is not saved.
pub(super) const SNAPSHOTS: &str = "etcd snapshots";

/// What does not work when nobody looks for requests.
pub(super) const RESTORES: &str = "restore requests";

/// The longest time between two looks whether it is time for a snapshot: the leader may be another one by then.
const LOOK: Duration = Duration::from_mins(1);

/// Saves etcd whenever it is time for it and this machine is the one to do it.
pub(super) async fn take_periodically(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    let every = agent.settings.intervals.snapshot;
    let days = control_plane.told.etcd.backup_retention_days;
    loop {
        // Machines that started together need not ask at the same time.
        tokio::time::sleep(jittered(every.min(LOOK))).await;
        if agent.has_left() {
            continue;
        }
        let _alone = agent.saving.lock().await;
        let source = source(&agent, control_plane)?;
        let now = OffsetDateTime::now_utc();
        match backup::periodic(&source, time::Duration::try_from(every)?, days, now).await? {
            Periodic::NotLeader | Periodic::NotDue(_) => {}
            Periodic::Taken(taken, pruned) => {
                agent.report.tell(&format!("etcd is saved as {} ({} bytes)", taken.name, taken.size));
                let Pruned { deleted, failed } = pruned?;
                if !deleted.is_empty() {
                    agent.report.tell(&format!("outlived and deleted: {}", deleted.join(", ")));
                }
                if let Some((name, error)) = failed.into_iter().next() {
                    return Err(Said(format!("{name} cannot be deleted: {}", chain(&error))).into());
                }
            }
        }
        agent.report.works(SNAPSHOTS);
    }
}

/// Looks for requests to restore, and does what they ask for.
pub(super) async fn serve_restores(agent: Arc<Agent>) -> Result<Infallible, Failure> {
    let Some(control_plane) = &agent.control_plane else { return pending().await };
    loop {
        // Without its volume there is nothing that could be restored into.
        if !agent.has_left() {
            let _alone = agent.saving.lock().await;
            let site = Site {
                source: source(&agent, control_plane)?,
                members: control_plane.told.etcd.members.clone(),
                address: agent.identity.private_ip,
                etcdutl: agent.etcdutl(),
                waits: Waits::default(),
            };
            let tell = |event: &restore::Event<'_>| match event {
                restore::Event::Begins(step) => agent.report.tell(&format!("restore: {step}")),
                restore::Event::NoSnapshot(why) => {
                    agent.report.tell(&format!("restore: no snapshot of what was there before: {why}"));
                }
                restore::Event::ProgressNotWritten(why) => {
                    agent.report.tell(&format!("restore: the progress is not written: {why}"));
                }
            };
            match Box::pin(restore::serve(&site, &tell)).await? {
                Served::Nothing => agent.report.works(RESTORES),
                Served::Done(request) => {
                    agent.report.tell(&format!("etcd is restored from {}", request.backup));
                    agent.report.works(RESTORES);
                }
                Served::Failed(request, error) => {
                    let why = format!("{} is not restored: {}", request.backup, chain(&error));
                    agent.report.trouble(RESTORES, &why);
                }
            }
        }
        tokio::time::sleep(agent.settings.intervals.restore).await;
    }
}

/// Saves etcd before the machine goes.
pub(super) async fn last(agent: &Agent) -> Result<(), Failure> {
    let Some(control_plane) = &agent.control_plane else { return Ok(()) };
    let _alone = agent.saving.lock().await;
    let source = source(agent, control_plane)?;
    let taken = backup::take(&source, BackupReason::Termination, OffsetDateTime::now_utc()).await?;
    agent.report.tell(&format!("etcd is saved as {} ({} bytes)", taken.name, taken.size));
    Ok(())
}

/// This machine's member. Keys are read each time: they are renewed meanwhile ([`super::renew`]).
fn source(agent: &Agent, control_plane: &ControlPlaneParts) -> Result<Source, Failure> {
    let system = &agent.settings.machine.system;
    Ok(Source {
        store: agent.store.clone(),
        etcd: Etcd::with_keys_of(system, &agent.settings.etcd)?,
        system: system.clone(),
        member: control_plane.told.etcd.member.clone(),
        instance: agent.identity.instance_id.clone(),
        kubernetes_version: agent.config.kubernetes_version.clone(),
    })
}

/// This long, give or take a tenth.
fn jittered(time: Duration) -> Duration {
    // Without randomness machines only meet more often.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    time.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_apart_but_not_far() {
        for _ in 0..100 {
            let time = jittered(Duration::from_secs(100));
            assert!((90..=110).contains(&time.as_secs()), "{time:?}");
        }
    }
}
