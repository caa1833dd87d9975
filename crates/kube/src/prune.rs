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
use crate::object::{ObjectRef, Phase};
use crate::ownership::is_member;
use crate::plan::{Fate, Member, Unwanted};
use crate::request::concurrently;

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
            let keep = if prune {
                reason_to_keep(context, &object, &member.live).await
            } else {
                Some("left alone without --prune".to_owned())
            };
            Unwanted {
                phase: Phase::of(&object.group, &object.kind),
                uid: member.live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
                path: member.resource.path_of(&object),
                fate: keep.map_or(Fate::Delete, |reason| Fate::Keep { reason }),
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

/// Why a namespace or a definition has to stay; `None`: it may go.
pub(crate) async fn reason_to_keep(
    context: &Context<'_>,
    object: &ObjectRef,
    live: &Value,
) -> Option<String> {
    let held = if object.is_namespace() {
        if SYSTEM_NAMESPACES.contains(&object.name.as_str()) {
            return Some("the cluster cannot be without it".to_owned());
        }
        let resources: Vec<Resource> = context.discovery.kept_in_namespaces().cloned().collect();
        foreign(context, resources, Some(&object.name)).await
    } else if object.is_definition() {
        let names = &live["spec"]["names"];
        let (group, kind) = (live["spec"]["group"].as_str()?, names["kind"].as_str()?);
        let resources = context.discovery.preferred(group, kind).cloned().into_iter().collect();
        foreign(context, resources, None).await
    } else {
        return None;
    };
    match held {
        Ok(foreign) if foreign.is_empty() => None,
        Ok(foreign) => Some(holds(&foreign)),
        Err(error) => Some(format!("what it holds cannot be seen: {error}")),
    }
}

fn holds(foreign: &[ObjectRef]) -> String {
    let named: Vec<_> = foreign.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = foreign.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("it still holds what kcl did not apply, or what is wanted: {}{more}", named.join(", "))
}

/// The objects of these kinds that deleting would take along and that are not kcl's to delete.
async fn foreign(
    context: &Context<'_>,
    resources: Vec<Resource>,
    namespace: Option<&str>,
) -> Result<Vec<ObjectRef>, Error> {
    let lists = resources.iter().filter(|resource| !comes_by_itself(resource)).map(|resource| {
        async move {
            let doing = match namespace {
                Some(namespace) => format!("list {} of the namespace {namespace}", resource.full_name()),
                None => format!("list {}", resource.full_name()),
            };
            let path = resource.path(namespace, None);
            let items = context.connection.list(&doing, &path, ONLY_METADATA, context.on_event).await?;
            Ok(items.iter().filter_map(|item| foreign_object(context, resource, item)).collect::<Vec<_>>())
        }
        .boxed()
    });
    let lists: Result<Vec<Vec<_>>, Error> = concurrently(lists.collect()).await.into_iter().collect();
    Ok(lists?.into_iter().flatten().collect())
}

fn foreign_object(context: &Context<'_>, resource: &Resource, item: &Value) -> Option<ObjectRef> {
    let metadata = &item["metadata"];
    let name = metadata["name"].as_str()?;
    let is_owned = metadata["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    // Kubernetes puts these two into each namespace.
    let by_itself = matches!(
        (resource.group.as_str(), resource.kind.as_str(), name),
        ("", "ServiceAccount", "default") | ("", "ConfigMap", "kube-root-ca.crt")
    );
    if is_owned || by_itself {
        return None;
    }
    let object = ObjectRef::new(&resource.group, &resource.kind, metadata["namespace"].as_str(), name);
    (!is_member(item, context.set) || context.wanted.contains(&object)).then_some(object)
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
