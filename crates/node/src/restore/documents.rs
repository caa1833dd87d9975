//! What the state store says of a restore: who asked, what is to come of it, and how far everybody is.

use kcl_node_config::{
    MemberRecord, RestoreMember, RestorePlan, RestoreProgress, RestoreRequest, RestoreState,
};
use serde::de::DeserializeOwned;

use super::{RestoreError, Site};
use crate::etcd::{ClusterId, peer_url};
use crate::records;
use crate::store::{Condition, Store, Written};

/// The request there is, if any.
pub(super) async fn request(store: &Store) -> Result<Option<RestoreRequest>, RestoreError> {
    let request: Option<RestoreRequest> = read(store, RestoreRequest::PATH).await?;
    match request {
        Some(request) if !request.has_usable_id() => Err(RestoreError::Document {
            key: RestoreRequest::PATH.to_owned(),
            why: "its id is not made of lowercase letters, digits and hyphens".to_owned(),
        }),
        request => Ok(request),
    }
}

/// What a member said of a request last.
pub(super) async fn progress(
    store: &Store,
    id: &str,
    member: &str,
) -> Result<Option<RestoreProgress>, RestoreError> {
    read(store, &RestoreProgress::path(id, member)).await
}

/// Says how far this member is.
pub(super) async fn tell(
    site: &Site,
    id: &str,
    (state, step): (RestoreState, &str),
    error: Option<String>,
    cluster: Option<ClusterId>,
) -> Result<(), RestoreError> {
    let source = &site.source;
    let progress = RestoreProgress {
        id: id.to_owned(),
        member: source.member.clone(),
        instance: source.instance.clone(),
        state,
        step: step.to_owned(),
        error,
        cluster: cluster.map(|cluster| cluster.to_string()),
        at: crate::now(),
    };
    let text = serde_json::json!(progress).to_string();
    let path = RestoreProgress::path(id, &source.member);
    source.store.put(&path, text.as_bytes(), Condition::Always).await?;
    Ok(())
}

/// Whether somebody has restored, and is in this cluster since.
pub(super) async fn made(store: &Store, id: &str, cluster: ClusterId) -> Result<bool, RestoreError> {
    for key in store.list(&RestoreProgress::folder(id)).await? {
        let progress: Option<RestoreProgress> = read(store, &key).await?;
        let done = progress.filter(|progress| progress.state == RestoreState::Done);
        if done.and_then(|progress| progress.cluster) == Some(cluster.to_string()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The plan of a request: the one that there is, or the one that all will follow from now on.
pub(super) async fn plan(site: &Site, request: &RestoreRequest) -> Result<RestorePlan, RestoreError> {
    let (store, key) = (&site.source.store, RestorePlan::path(&request.id));
    let mut plan: Option<RestorePlan> = read(store, &key).await?;
    if plan.is_none() {
        let new = new_plan(site, request).await?;
        let text = serde_json::json!(new).to_string();
        plan = match store.put(&key, text.as_bytes(), Condition::Absent).await? {
            Written::Yes(_) => Some(new),
            // Another machine's, or ours, whose answer was lost.
            Written::ConditionFailed => read(store, &key).await?,
        };
    }
    let broken = |why: String| RestoreError::Document { key: key.clone(), why };
    let plan = plan.ok_or_else(|| broken("it was deleted while it was read".to_owned()))?;
    if plan.backup != request.backup {
        return Err(broken(format!("it is a plan for the backup {}", plan.backup)));
    }
    Ok(plan)
}

async fn new_plan(site: &Site, request: &RestoreRequest) -> Result<RestorePlan, RestoreError> {
    let source = &site.source;
    let mut members = vec![RestoreMember {
        member: source.member.clone(),
        name: source.instance.clone(),
        peer_url: peer_url(site.address),
    }];
    // Those of a larger cluster that once was would only be missing in the new one.
    let others: Vec<MemberRecord> =
        records::of_others::<RestoreError>(&source.store, &site.members, &source.member).await?;
    members.extend(others.into_iter().map(|record| {
        let peer_url = peer_url(record.address);
        RestoreMember { member: record.member, name: record.instance, peer_url }
    }));
    members.sort_by(|one, other| one.member.cmp(&other.member));
    let token = format!("kcl-restore-{}", request.id);
    Ok(RestorePlan { backup: request.backup.clone(), token, members })
}

async fn read<T: DeserializeOwned>(store: &Store, key: &str) -> Result<Option<T>, RestoreError> {
    let Some(object) = store.get(key).await? else { return Ok(None) };
    serde_json::from_slice(&object.bytes)
        .map(Some)
        .map_err(|error| RestoreError::Document { key: key.to_owned(), why: error.to_string() })
}
