//! The steps of a restore on one machine.

use std::time::Instant;

use kcl_http::chain;
use kcl_node_config::{Backup, BackupName, BackupReason, RestorePlan, RestoreRequest};
use time::OffsetDateTime;

use super::data::{Membership, Volume};
use super::{At, Event, RestoreError, Site, Step, documents};
use crate::backup::{self, BackupError};
use crate::etcd::{ClusterId, Etcd, EtcdError, peer_url};
use crate::manifests::{self, Place};

/// Does all of them, and gives the cluster that it is in then; nothing if this machine has no part in it.
pub(super) async fn all(
    at: &mut At<'_>,
    request: &RestoreRequest,
) -> Result<Option<ClusterId>, RestoreError> {
    let site = at.site;
    let (source, volume) = (&site.source, Volume::of(&site.source.system));
    (at.tell)(&Event::Begins(Step::Plan));
    let plan = documents::plan(site, request).await?;
    // Who is not in it has nothing to say about it.
    let Some(membership) = Membership::of(&plan, &source.member) else { return Ok(None) };
    at.write(None).await;
    if !volume.is_restored(&request.id) {
        if let Some(cluster) = joined(site, &request.id).await? {
            return Ok(Some(cluster));
        }
        at.begin(Step::Fetch).await;
        let backup = wanted(site, request).await?;
        fetch(site, &backup).await?;
        stop(at).await?;
        at.begin(Step::Make).await;
        let made_from = (request.id.as_str(), backup.name.as_str());
        volume.make(&source.system, &site.etcdutl, &membership, made_from).await?;
        at.begin(Step::Swap).await;
        volume.swap(&request.id)?;
    }
    at.begin(Step::Start).await;
    Place::Restoring.put_back(&source.system)?;
    at.begin(Step::Wait).await;
    wait(site, &plan, &membership).await.map(Some)
}

/// The cluster, if this member has come into the restored one in another way: its machine was away, and joined anew.
async fn joined(site: &Site, id: &str) -> Result<Option<ClusterId>, RestoreError> {
    // It may be broken, or not run; that is why somebody restores.
    let Ok(status) = site.source.etcd.status().await else { return Ok(None) };
    let cluster = status.cluster();
    Ok(documents::made(&site.source.store, id, cluster).await?.then_some(cluster))
}

/// The backup that is asked for.
pub(super) async fn wanted(site: &Site, request: &RestoreRequest) -> Result<Backup, RestoreError> {
    let missing = || BackupError::Missing { name: request.backup.clone() };
    let name = BackupName::parse(&request.backup).ok_or_else(missing)?;
    Ok(backup::read(&site.source.store, &name).await?.ok_or_else(missing)?)
}

/// All that is needed is on this machine then.
pub(super) async fn fetch(site: &Site, backup: &Backup) -> Result<(), RestoreError> {
    let system = &site.source.system;
    site.etcdutl.prepare(system).await.map_err(|source| RestoreError::NoEtcdutl { source })?;
    Ok(backup::fetch(&site.source.store, backup, &Volume::of(system).snapshot()).await?)
}

/// Stops what writes to etcd, saves what it wrote, and stops etcd. What the API server still writes while it ends may
/// not be in the backup, but is in the old data.
async fn stop(at: &mut At<'_>) -> Result<(), RestoreError> {
    let (source, waits) = (&at.site.source, at.site.waits);
    at.begin(Step::StopApiServer).await;
    Place::Restoring.take_away(&source.system, manifests::API_SERVER)?;
    at.begin(Step::Snapshot).await;
    if let Err(error) = save(at.site).await {
        (at.tell)(&Event::NoSnapshot(&chain(&error)));
    }
    at.begin(Step::StopEtcd).await;
    Place::Restoring.take_away(&source.system, manifests::ETCD)?;
    let begun = Instant::now();
    while source.etcd.listens().await {
        if begun.elapsed() > waits.stop {
            return Err(RestoreError::Runs { after: waits.stop });
        }
        tokio::time::sleep(waits.pause).await;
    }
    Ok(())
}

/// A backup of what is there, by the leader, or by whoever is left without one.
async fn save(site: &Site) -> Result<(), BackupError> {
    let status = site.source.etcd.status().await?;
    if status.is_leader() || status.leader().is_none() {
        backup::take(&site.source, BackupReason::BeforeRestore, OffsetDateTime::now_utc()).await?;
    }
    Ok(())
}

/// Waits until etcd works, and gives the cluster that it is in.
async fn wait(site: &Site, plan: &RestorePlan, membership: &Membership) -> Result<ClusterId, RestoreError> {
    let (etcd, waits, begun) = (&site.source.etcd, site.waits, Instant::now());
    let mut known = peer_url(site.address) == membership.peer_url();
    loop {
        if !known {
            known = tell_address(site, plan, membership).await;
        }
        let last = match healthy(etcd).await {
            Ok(true) if !known => "the members do not know this machine's address yet".to_owned(),
            Ok(true) => return Ok(etcd.status().await?.cluster()),
            Ok(false) => "it is not healthy".to_owned(),
            Err(error) => chain(&error),
        };
        if begun.elapsed() > waits.start {
            return Err(RestoreError::Silent { after: waits.start, last });
        }
        tokio::time::sleep(waits.pause).await;
    }
}

async fn healthy(etcd: &Etcd) -> Result<bool, EtcdError> {
    // A refused connection is the common answer while it starts, and costs less than a handshake.
    if !etcd.listens().await {
        return Ok(false);
    }
    etcd.is_healthy().await
}

/// The plan was made with another machine in this one's place: the members are told its address, by one of them that
/// works: until then this one may be out of the others' reach. Gives whether they know it.
async fn tell_address(site: &Site, plan: &RestorePlan, membership: &Membership) -> bool {
    let own = &site.source.etcd;
    let others = plan.members.iter().filter(|member| member.peer_url != membership.peer_url());
    let others = others.filter_map(|member| {
        let host = member.peer_url.strip_suffix(":2380")?;
        Some(own.at(&format!("{host}:2379")))
    });
    // At the same time: each that does not work takes seconds to say so.
    let all = std::iter::once(own.clone()).chain(others).map(async |etcd| {
        let works = healthy(&etcd).await.unwrap_or(false);
        works.then_some(etcd)
    });
    let working = futures::future::join_all(all).await;
    let Some(etcd) = working.into_iter().flatten().next() else { return false };
    let Ok(members) = etcd.members().await else { return false };
    let at = |url: &str| members.iter().find(|member| member.peer_urls.iter().any(|other| other == url));
    match at(membership.peer_url()) {
        Some(member) => etcd.update_member(member.id(), &peer_url(site.address)).await.is_ok(),
        // Told before, by a run that was killed; or taken out, which is not for us to mend.
        None => true,
    }
}
