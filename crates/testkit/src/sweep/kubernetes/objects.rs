//! What an API server holds, told without what is another one at each run: ids, times, versions, who manages which
//! field; and without what follows from other objects by itself: pods, replica sets, endpoints.
//!
//! Takes an API server; gives its objects by name. What kcl made is what differs from before ([`Objects::since`]).

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use crate::error::Error;
use crate::front::runtime;
use crate::kubernetes::{ApiProxy, JSON, Way};

/// Two requests that tell all kinds: aggregated discovery.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What the cluster writes by itself, at any time.
const PASSING: [&str; 10] = [
    "certificatesigningrequests",
    "componentstatuses",
    "csinodes",
    "endpoints",
    "endpointslices",
    "events",
    "ipaddresses",
    "leases",
    "nodes",
    "podtemplates",
];

/// Served by a workload that only pretends to run.
const AGGREGATED: &str = "metrics.k8s.io";

/// On what the server keeps by itself for each group that a definition serves: it comes and goes a moment later.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// How long a cluster may take to be empty again.
const EMPTY_AFTER: Duration = Duration::from_mins(2);

const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// What differs from before, by name, as it is now.
pub(super) type Made = BTreeMap<String, String>;

/// The objects of an API server.
#[derive(Debug)]
pub(super) struct Objects(BTreeMap<String, Found>);

#[derive(Debug)]
struct Found {
    path: String,
    canonical: String,
    /// It follows from another object.
    is_owned: bool,
    is_namespace: bool,
    is_going: bool,
}

/// Where objects of a kind are.
struct Place {
    prefix: String,
    plural: String,
    kind: String,
}

impl Objects {
    /// Those that there are now.
    pub(super) fn of(proxy: &ApiProxy) -> Result<Self, Error> {
        runtime()?.block_on(Self::list(proxy))
    }

    /// Likewise, once none is being deleted any more: a definition goes a moment after the deletion is answered. One that
    /// stays is among them.
    pub(super) fn settled(proxy: &ApiProxy) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            let now = Self::of(proxy)?;
            let is_going = now.0.values().any(|found| found.is_going && !found.is_owned);
            if !is_going || begun.elapsed() > EMPTY_AFTER {
                return Ok(now);
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }

    async fn list(proxy: &ApiProxy) -> Result<Self, Error> {
        let mut places = Vec::new();
        for path in ["/api", "/apis"] {
            let answer = proxy.way().accepting(DISCOVERY, path).await?;
            for group in array(&answer["items"]) {
                places_of(group, &mut places);
            }
        }
        let lists = places.iter().map(async |place: &Place| {
            let path = format!("{}/{}", place.prefix, place.plural);
            let items = proxy.way().list(&path).await?;
            Ok(items.iter().map(|item| found(place, item)).collect::<Vec<_>>())
        });
        let lists: Vec<Vec<_>> = futures::future::try_join_all(lists).await?;
        Ok(Self(lists.into_iter().flatten().collect()))
    }

    /// What there is other than in `before`; what follows from other objects is left out.
    pub(super) fn since(&self, before: &Self) -> Made {
        let as_before = |name: &str, found: &Found| {
            before.0.get(name).is_some_and(|before| before.canonical == found.canonical)
        };
        let new = self.0.iter().filter(|(name, found)| !found.is_owned && !as_before(name, found));
        let gone = before.0.iter().filter(|(name, found)| !found.is_owned && !self.0.contains_key(*name));
        let new = new.map(|(name, found)| (name.clone(), found.canonical.clone()));
        new.chain(gone.map(|(name, _)| (name.clone(), "gone".to_owned()))).collect()
    }

    /// Deletes all that was not there before, and waits until it is gone.
    pub(super) fn restore(before: &Self, proxy: &ApiProxy) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            let now = Self::of(proxy)?;
            let extra: Vec<(&String, &Found)> =
                now.0.iter().filter(|(name, _)| !before.0.contains_key(*name)).collect();
            if extra.is_empty() {
                let changed = now.since(before);
                if changed.is_empty() {
                    return Ok(());
                }
                let said = format!("what was there before was changed: {changed:?}");
                return Err(Error::Kubernetes { asked: "the beginning".to_owned(), said });
            }
            if begun.elapsed() > EMPTY_AFTER {
                let names: Vec<&str> = extra.iter().map(|(name, _)| name.as_str()).collect();
                let said = format!("still there: {}", names.join(", "));
                return Err(Error::Kubernetes { asked: "the beginning".to_owned(), said });
            }
            // A namespace that is empty goes at once: nobody else is there to empty it.
            let is_empty = |name: &str| {
                let name = name.rsplit('/').next().unwrap_or_default();
                !extra.iter().any(|(_, found)| found.path.contains(&format!("/namespaces/{name}/")))
            };
            let deletes = extra.iter().map(async |(name, found)| {
                delete(proxy.way(), found, is_empty(name)).await;
            });
            runtime()?.block_on(futures::future::join_all(deletes));
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// Deletes it at once. What is refused is tried again in the next round.
async fn delete(way: &Way, found: &Found, is_empty: bool) {
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
        "gracePeriodSeconds": 0 });
    if !found.is_going {
        drop(way.json(Method::DELETE, &found.path, Some((JSON, &options))).await);
    }
    if found.is_namespace && is_empty {
        let name = found.path.rsplit('/').next().unwrap_or_default();
        let emptied = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
            "spec": { "finalizers": [] } });
        let path = format!("{}/finalize", found.path);
        drop(way.json(Method::PUT, &path, Some((JSON, &emptied))).await);
    }
}

fn places_of(group: &Value, places: &mut Vec<Place>) {
    let name = text(&group["metadata"]["name"]);
    if name == AGGREGATED {
        return;
    }
    let mut seen = Vec::new();
    for version in array(&group["versions"]) {
        let prefix = match name {
            "" => format!("/api/{}", text(&version["version"])),
            name => format!("/apis/{name}/{}", text(&version["version"])),
        };
        for resource in array(&version["resources"]) {
            let plural = text(&resource["resource"]);
            let can = |verb: &str| array(&resource["verbs"]).iter().any(|found| found == verb);
            if seen.contains(&plural) || PASSING.contains(&plural) || !can("list") || !can("delete") {
                continue;
            }
            seen.push(plural);
            let kind = text(&resource["responseKind"]["kind"]).to_owned();
            places.push(Place { prefix: prefix.clone(), plural: plural.to_owned(), kind });
        }
    }
}

fn found(place: &Place, item: &Value) -> (String, Found) {
    let metadata = &item["metadata"];
    let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let path = match namespace {
        "" => format!("{}/{}/{name}", place.prefix, place.plural),
        namespace => format!("{}/namespaces/{namespace}/{}/{name}", place.prefix, place.plural),
    };
    let found = Found {
        path,
        canonical: canonical(item),
        is_owned: metadata["labels"][AUTOMANAGED].is_string()
            || array(&metadata["ownerReferences"]).iter().any(|owner| owner["controller"] == true),
        is_namespace: place.kind == "Namespace",
        is_going: metadata["deletionTimestamp"].is_string(),
    };
    (format!("{} {namespace}/{name}", place.kind), found)
}

/// The object without what is another one at each run.
fn canonical(item: &Value) -> String {
    let mut item = item.clone();
    let without = |value: &mut Value, names: &[&str]| {
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| !names.contains(&name.as_str()));
        }
    };
    without(&mut item, &["status"]);
    let counted = ["creationTimestamp", "generation", "managedFields", "resourceVersion", "uid"];
    without(&mut item["metadata"], &counted);
    // What the server or a controller counts, or chooses, by itself.
    if let Some(annotations) = item["metadata"].get_mut("annotations") {
        without(annotations, &["deployment.kubernetes.io/revision"]);
        if annotations.as_object().is_some_and(serde_json::Map::is_empty) {
            without(&mut item["metadata"], &["annotations"]);
        }
    }
    if item.get("spec").is_some() {
        without(&mut item["spec"], &["clusterIP", "clusterIPs", "healthCheckNodePort"]);
    }
    item.to_string()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(items: &[(&str, Value)]) -> Objects {
        let found = items.iter().map(|(plural, item)| {
            let place =
                Place { prefix: "/api/v1".to_owned(), plural: (*plural).to_owned(), kind: "A".to_owned() };
            found(&place, item)
        });
        Objects(found.collect())
    }

    #[test]
    fn only_what_was_made_or_changed_counts() {
        let old = |version: &str, data: &str| {
            json!({ "metadata": { "namespace": "a", "name": "old", "resourceVersion": version, "uid": version },
                "data": data })
        };
        let before = objects(&[("as", old("1", "x")), ("as", json!({ "metadata": { "name": "gone" } }))]);
        let pod = json!({ "metadata": { "name": "pod", "ownerReferences": [{ "controller": true }] } });
        let service = json!({ "metadata": { "name": "v1.example.com", "labels": { AUTOMANAGED: "true" } } });
        let new = json!({ "metadata": { "name": "new" }, "status": 5 });
        let now = objects(&[("as", old("2", "x")), ("as", pod), ("as", service), ("as", new)]);
        let made = now.since(&before);
        let names: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(names, ["A /gone", "A /new"]);
        assert_eq!(made["A /new"], r#"{"metadata":{"name":"new"}}"#);
        let changed = objects(&[("as", old("2", "y"))]).since(&before);
        assert!(changed["A a/old"].contains("\"y\""), "{changed:?}");
    }
}
