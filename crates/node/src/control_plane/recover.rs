//! etcd without a majority: one machine goes on alone with the newest data, and the others join it.
//!
//! It is said in the store who that is ([`Recovery`]), conditionally, so that it is never two.

use kcl_node_config::{MemberRecord, NodeConfig, Recovery, RecoveryState};
use tokio::time::Instant;

use super::decide::{Peer, Verdict, verdict};
use super::{ControlPlaneError, Work, members};
use crate::bootstrap::Event;
use crate::ec2::Volume;
use crate::etcd::EtcdError;
use crate::mark::{MarkError, try_out};
use crate::retry::retry;
use crate::store::Condition;

/// What to do where machines do not come.
const HINT: &str = "the statuses of the other control-plane machines say what stopped them; with those volumes lost, delete them, so that this machine goes on with what it has";

/// Finds out who goes on, and does what falls to this machine; false if it is to be looked at again.
pub(super) async fn recover(work: &Work<'_>, begun: Instant) -> Result<bool, ControlPlaneError> {
    let last = work.last()?;
    work.announce(Some(last)).await?;
    let waited = begun.elapsed();
    let patient = waited < work.waiting.longest;
    let too_long = |why: String| ControlPlaneError::NoMajority { waited, why, hint: HINT };
    let peers =
        peers(&work.ec2.etcd_volumes(&work.config.cluster).await?, work, &members::records(work).await?);
    match verdict((work.member(), last), &peers, patient) {
        Verdict::Start => {
            // Whoever ran may have come to a majority meanwhile, without this member.
            if members::ask(work).await?.is_some() {
                return Ok(false);
            }
            work.report.goes_on().await;
            work.restore().await.map(|()| true)
        }
        Verdict::Alone => {
            if claim(work).await? {
                work.report.goes_on().await;
                return alone(work).await.map(|()| true);
            }
            Ok(false)
        }
        Verdict::Nobody { waits_for } => {
            let who =
                if waits_for.is_empty() { "the other members".to_owned() } else { waits_for.join(", ") };
            if !patient {
                return Err(too_long(format!("{who} may have data that is newer")));
            }
            work.report.waits(&format!("a majority of etcd: for {who}")).await;
            Ok(false)
        }
        Verdict::Another(member) => {
            // It waits as long as this one does before it goes on, and starts then.
            if waited >= work.waiting.longest * 2 {
                return Err(too_long(format!("the member {member} has newer data, and does not go on")));
            }
            work.report.waits(&format!("the member {member}, which goes on with the newest data")).await;
            Ok(false)
        }
    }
}

/// How the other members are placed: only who has a member's volume can run it.
fn peers(volumes: &[Volume], work: &Work<'_>, records: &[MemberRecord]) -> Vec<Peer> {
    let (members, own) = (&work.told.etcd.members, work.member());
    let all = members.join(",");
    let others = members.iter().filter(|member| *member != own);
    others
        .map(|member| {
            let tag = format!("{member}/{all}");
            let mut holders = volumes.iter().filter(|volume| volume.member == tag);
            let holder = holders.find_map(|volume| volume.attachments.first());
            let Some(holder) = holder else { return Peer::Gone };
            let instance = holder.instance.clone();
            match records.iter().find(|record| record.member == *member) {
                Some(record) if record.instance == instance => match record.waits_with {
                    Some(last) => Peer::Waits { member: member.clone(), last },
                    None => Peer::Runs { instance },
                },
                _ => Peer::Comes { instance },
            }
        })
        .collect()
}

/// The member that goes on alone at the moment, if it is another one: as long as it does, its etcd throws out on each
/// start whoever came to it.
pub(super) async fn by_another(work: &Work<'_>) -> Result<Option<String>, ControlPlaneError> {
    let Some(object) = work.store.get(Recovery::PATH).await? else { return Ok(None) };
    let found = Recovery::read(&object.bytes)?;
    let another = found.state == RecoveryState::Recovering && found.member != work.member();
    Ok(another.then_some(found.member))
}

/// Claims that this machine goes on alone; false if another one does.
async fn claim(work: &Work<'_>) -> Result<bool, ControlPlaneError> {
    try_out(work.store, &work.identity.instance_id).await?;
    let before = work.store.get(Recovery::PATH).await?;
    let condition = match &before {
        None => Condition::Absent,
        Some(object) => {
            let found = Recovery::read(&object.bytes)?;
            if found.state == RecoveryState::Recovering && found.member != work.member() {
                work.report.waits(&format!("the member {}, which goes on alone", found.member)).await;
                return Ok(false);
            }
            Condition::Unchanged(&object.etag)
        }
    };
    // Somebody may have gone on alone since the others were asked. Whoever does so from here on changes what was
    // read, and this machine's claim fails.
    if members::ask(work).await?.is_some() {
        return Ok(false);
    }
    write(work, RecoveryState::Recovering, condition).await
}

/// Writes who goes on; says whether it is this machine that the store names then.
async fn write(
    work: &Work<'_>,
    state: RecoveryState,
    condition: Condition<'_>,
) -> Result<bool, ControlPlaneError> {
    let own = Recovery {
        state,
        member: work.member().to_owned(),
        instance: work.identity.instance_id.clone(),
        at: crate::now(),
    };
    work.store.put(Recovery::PATH, own.to_json()?.as_bytes(), condition).await?;
    let Some(object) = work.store.get(Recovery::PATH).await? else { return Ok(false) };
    let found = Recovery::read(&object.bytes)?;
    Ok((found.state, &found.instance) == (state, &own.instance))
}

/// Goes on without the others: with the data, or with the newest snapshot where no machine has any.
async fn alone(work: &Work<'_>) -> Result<(), ControlPlaneError> {
    if work.has_data() {
        work.report.tell(&Event::Warning(
            "etcd goes on with this machine's data alone; the other members join anew",
        ));
        work.lead_here()?;
        work.system.write(&NodeConfig::etcd_patch(true)?)?;
        let kubeadm = work.kubeadm();
        kubeadm.init(true).await?;
        // From now on it keeps the members that it gets.
        work.system.write(&NodeConfig::etcd_patch(false)?)?;
        kubeadm.phase(&["etcd", "local"]).await?;
        let etcd = work.own_etcd()?;
        retry(work.patience, EtcdError::is_transient, || etcd.members()).await?;
    } else {
        work.restore_snapshot().await?;
        work.restore().await?;
    }
    members::repair_own(work).await?;
    let etag = work.store.require(Recovery::PATH).await?.etag;
    if !write(work, RecoveryState::Recovered, Condition::Unchanged(&etag)).await? {
        return Err(MarkError::Changed { path: Recovery::PATH }.into());
    }
    Ok(())
}
