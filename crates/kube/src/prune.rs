//! What is to become of objects that kcl applied earlier and that are no longer wanted.
//!
//! Deleting a namespace deletes everything in it, and deleting a definition every object of its kind. So each is
//! looked into first, and stays while it holds anything that is not kcl's to delete.

use std::collections::HashSet;

use futures::FutureExt as _;
use serde_json::Value;

use crate::applyset::Set;
use crate::connect::Connection;
use crate::discovery::{Discovery, Resource};
use crate::error::Error;
use crate::event::Observer;
use crate::object::{ObjectRef, Phase, finalizers};
use crate::ownership::is_member;
use crate::plan::{Fate, Member, Unwanted};
use crate::request::concurrently;
use crate::wait::condition_is_true;

/// Lists without what the objects hold.
const ONLY_METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Namespaces that a cluster cannot be without; the API server refuses to delete some of them.
const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// How many of somebody else's objects a reason names.
const MAX_NAMED: usize = 3;

/// What is looked at.
pub(crate) struct Context<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) set: &'a Set,
    pub(crate) discovery: &'a Discovery,
    pub(crate) wanted: &'a HashSet<&'a ObjectRef>,
    /// The uids of what goes in any case, and at last of what went already.
    pub(crate) going: &'a HashSet<String>,
    pub(crate) on_event: &'a Observer<'a>,
}

/// Decides about each, and puts them into the order in which they go.
pub(crate) async fn unwanted(
    context: &Context<'_>,
    members: Vec<(ObjectRef, Member)>,
    prune: bool,
) -> Vec<Unwanted> {
    let decided = members.into_iter().map(|(object, member)| {
        async move {
            let (fate, takes_along) = if prune {
                fate(context, &object, &member.live).await
            } else {
                (Fate::Keep { reason: "left alone without --prune".to_owned() }, HashSet::new())
            };
            Unwanted {
                phase: Phase::of(&object.group, &object.kind),
                uid: uid(&member.live).to_owned(),
                path: member.resource.path_of(&object),
                fate,
                takes_along,
                is_held: is_held(&object, &member.live),
                object,
            }
        }
        .boxed()
    });
    let mut all = concurrently(decided.collect()).await;
    // A definition goes before a namespace: its objects in there need whoever clears them up.
    all.sort_by(|one, other| {
        let place = |unwanted: &Unwanted| (std::cmp::Reverse(unwanted.phase), unwanted.object.is_namespace());
        place(one).cmp(&place(other)).then_with(|| one.object.cmp(&other.object))
    });
    all
}

/// The uids of what is deleted whatever else stays: members that hold nothing.
pub(crate) fn going<'a>(members: impl Iterator<Item = (&'a ObjectRef, &'a Value)>) -> HashSet<String> {
    let plain = members.filter(|(object, _)| !object.is_namespace() && !object.is_definition());
    plain.map(|(_, live)| uid(live).to_owned()).collect()
}

/// Whether somebody who runs in the cluster has to clear up after an object before it is gone: its finalizers are not of
/// Kubernetes itself.
pub(crate) fn is_held(object: &ObjectRef, live: &Value) -> bool {
    let is_of_kubernetes = |finalizer: &str| match finalizer.split_once('/') {
        Some((domain, _)) => domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"),
        None => ["foregroundDeletion", "orphan"].contains(&finalizer),
    };
    Phase::of(&object.group, &object.kind) == Phase::Workloads
        && finalizers(live).any(|finalizer| !is_of_kubernetes(finalizer))
}

/// What is to become of one, and the uids of all that a namespace takes along.
pub(crate) async fn fate(context: &Context<'_>, object: &ObjectRef, live: &Value) -> (Fate, HashSet<String>) {
    let held = if object.is_namespace() {
        if SYSTEM_NAMESPACES.contains(&object.name.as_str()) {
            let reason = "the cluster cannot be without it".to_owned();
            return (Fate::Keep { reason }, HashSet::new());
        }
        if let Some(group) = context.discovery.stale().next() {
            let reason =
                format!("what it holds cannot be seen: what serves the group {group} does not answer");
            return (Fate::Keep { reason }, HashSet::new());
        }
        let resources: Vec<Resource> = context.discovery.kept_in_namespaces().cloned().collect();
        let found = list(context, resources, Some(&object.name)).await;
        found.map(|found| held_by_namespace(context, uid(live), found))
    } else if object.is_definition() {
        let names = &live["spec"]["names"];
        let group = live["spec"]["group"].as_str().unwrap_or_default();
        let kind = names["kind"].as_str().unwrap_or_default();
        let resources: Vec<_> = context.discovery.preferred(group, kind).cloned().into_iter().collect();
        // None of its versions is served, or the server that was asked does not know it yet: there may be objects.
        if resources.is_empty() && condition_is_true(live, "Established").is_ok() {
            let reason =
                "what it holds cannot be seen: the server does not serve its kind at the moment".to_owned();
            return (Fate::Keep { reason }, HashSet::new());
        }
        let found = list(context, resources, None).await;
        // Whatever owns such an object, the whole kind going is no part of its plans.
        found.map(|found| (foreign(&found), HashSet::new()))
    } else {
        return (Fate::Delete, HashSet::new());
    };
    match held {
        Ok((foreign, along)) if foreign.is_empty() => (Fate::Delete, along),
        Ok((foreign, _)) => (Fate::Keep { reason: holds(&foreign) }, HashSet::new()),
        Err(error) => {
            (Fate::Keep { reason: format!("what it holds cannot be seen: {error}") }, HashSet::new())
        }
    }
}

fn holds(foreign: &[ObjectRef]) -> String {
    let named: Vec<_> = foreign.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = foreign.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("it still holds what kcl did not apply, or what is wanted: {}{more}", named.join(", "))
}

/// An object that deleting would take along.
struct Held {
    object: ObjectRef,
    metadata: Value,
    /// A member of this set that is not wanted.
    is_ours: bool,
}

/// The objects of these kinds that deleting would take along.
async fn list(
    context: &Context<'_>,
    resources: Vec<Resource>,
    namespace: Option<&str>,
) -> Result<Vec<Held>, Error> {
    let lists = resources.iter().filter(|resource| !comes_by_itself(resource)).map(|resource| {
        async move {
            let doing = match namespace {
                Some(namespace) => format!("list {} of the namespace {namespace}", resource.full_name()),
                None => format!("list {}", resource.full_name()),
            };
            let path = resource.path(namespace, None);
            let items = match context.connection.list(&doing, &path, ONLY_METADATA, context.on_event).await {
                // The kind has gone since, and took its objects along.
                Err(Error::Refused(refused)) if refused.status == 404 => Vec::new(),
                items => items?,
            };
            Ok(items.into_iter().filter_map(|item| held(context, resource, item)).collect::<Vec<_>>())
        }
        .boxed()
    });
    let lists: Result<Vec<Vec<_>>, Error> = concurrently(lists.collect()).await.into_iter().collect();
    Ok(lists?.into_iter().flatten().collect())
}

fn held(context: &Context<'_>, resource: &Resource, mut item: Value) -> Option<Held> {
    let name = item["metadata"]["name"].as_str()?;
    let namespace = item["metadata"]["namespace"].as_str();
    let object = ObjectRef::new(&resource.group, &resource.kind, namespace, name);
    let is_ours = is_member(&item, context.set) && !context.wanted.contains(&object);
    Some(Held { object, metadata: item["metadata"].take(), is_ours })
}

/// Those that are not kcl's to delete.
fn foreign(held: &[Held]) -> Vec<ObjectRef> {
    held.iter().filter(|held| !held.is_ours).map(|held| held.object.clone()).collect()
}

/// Likewise in a namespace of this uid, and the uids of all others: ours, what Kubernetes makes in each
/// namespace, and what only these own.
fn held_by_namespace(
    context: &Context<'_>,
    namespace: &str,
    held: Vec<Held>,
) -> (Vec<ObjectRef>, HashSet<String>) {
    let mut going = context.going.clone();
    going.insert(namespace.to_owned());
    let mut left = held;
    loop {
        let (goes, stays): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|held| held.is_ours || is_of_namespace(&held.object) || held.goes_with(&going));
        left = stays;
        if goes.is_empty() {
            return (foreign(&left), going);
        }
        going.extend(goes.iter().filter_map(|held| held.metadata["uid"].as_str()).map(str::to_owned));
    }
}

impl Held {
    /// Everything that owns it goes, and there is something.
    fn goes_with(&self, going: &HashSet<String>) -> bool {
        let owners = self.metadata["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let goes = |owner: &Value| owner["uid"].as_str().is_some_and(|uid| going.contains(uid));
        !owners.is_empty() && owners.iter().all(goes)
    }
}

/// Kubernetes puts these two into each namespace.
fn is_of_namespace(object: &ObjectRef) -> bool {
    matches!(
        (object.group.as_str(), object.kind.as_str(), object.name.as_str()),
        ("", "ServiceAccount", "default") | ("", "ConfigMap", "kube-root-ca.crt")
    )
}

pub(crate) fn uid(live: &Value) -> &str {
    live["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Kinds of which nobody keeps anything: what happened, who leads just now, and the addresses of Services.
fn comes_by_itself(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.kind.as_str()),
        ("" | "events.k8s.io", "Event")
            | ("", "Endpoints")
            | ("discovery.k8s.io", "EndpointSlice")
            | ("coordination.k8s.io", "Lease")
    )
}
