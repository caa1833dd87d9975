//! Which kinds of object a cluster has, and where they are asked for.
//!
//! Two requests tell it all: aggregated discovery of `/api` and `/apis` (stable since Kubernetes 1.30).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::connect::Connection;
use crate::error::Error;
use crate::event::Observer;
use crate::object::ObjectRef;
use crate::request::{Request, escape};

const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// A kind, in one version, and where its objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`: as the server names it.
    pub(crate) fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|found| found == verb)
    }

    /// Where all of them are, those of one namespace, or one of them.
    pub(crate) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = match self.group.as_str() {
            "" => format!("/api/{}", escape(&self.version)),
            group => format!("/apis/{}/{}", escape(group), escape(&self.version)),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path = format!("{path}/namespaces/{}", escape(namespace));
        }
        path = format!("{path}/{}", escape(&self.plural));
        match name {
            Some(name) => format!("{path}/{}", escape(name)),
            None => path,
        }
    }

    /// Where this object of the kind is.
    pub(crate) fn path_of(&self, object: &ObjectRef) -> String {
        self.path(object.namespace.as_deref(), Some(&object.name))
    }
}

/// Group and kind: what stays the same in each version.
pub(crate) type GroupKind = (String, String);

/// Everything that a cluster has, or will have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovery {
    /// In each group the preferred version of a kind comes first.
    resources: BTreeMap<GroupKind, Vec<Resource>>,
    /// Groups of which the server only remembers what they had: what serves them does not answer.
    stale: BTreeSet<String>,
}

impl Discovery {
    /// Asks the server.
    pub(crate) async fn of(connection: &Connection, on_event: &Observer<'_>) -> Result<Self, Error> {
        let doing = "ask which kinds of object the cluster has";
        let ask = |path| {
            let request = Request::get(doing, path).accept(ACCEPT);
            async move { connection.send(&request, on_event).await }
        };
        let (core, groups) = futures::future::try_join(ask("/api"), ask("/apis")).await?;
        let mut found = Self::default();
        for answer in [core, groups] {
            let Some(items) = answer["items"].as_array() else {
                return Err(Error::Answer {
                    doing: doing.to_owned(),
                    reason: "it is no aggregated discovery, which Kubernetes has since 1.27".to_owned(),
                });
            };
            for item in items {
                found.add_group(item);
            }
        }
        Ok(found)
    }

    fn add_group(&mut self, item: &Value) {
        let group = text(&item["metadata"]["name"]);
        for version in array(&item["versions"]) {
            if version["freshness"] == "Stale" {
                self.stale.insert(group.clone());
            }
            for resource in array(&version["resources"]) {
                let kind = &resource["responseKind"];
                let found = Resource {
                    group: group.clone(),
                    version: text(&version["version"]),
                    kind: text(&kind["kind"]),
                    plural: text(&resource["resource"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: array(&resource["verbs"]).iter().map(text).collect(),
                };
                // Some answer with another group's kind: a scale, an eviction.
                let other = kind["group"].as_str().is_some_and(|other| !other.is_empty() && other != group);
                if !found.kind.is_empty() && !other {
                    self.add(found);
                }
            }
        }
    }

    fn add(&mut self, resource: Resource) {
        let all = self.resources.entry((resource.group.clone(), resource.kind.clone())).or_default();
        if !all.iter().any(|known| known.version == resource.version) {
            all.push(resource);
        }
    }

    /// What a wanted CustomResourceDefinition brings, which the server does not have yet. In reverse it says
    /// which definition a kind comes from.
    pub(crate) fn of_definition(definition: &Value) -> Vec<Resource> {
        let spec = &definition["spec"];
        let served = array(&spec["versions"]).iter().filter(|version| version["served"] == true);
        let resource = |version: &Value| Resource {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
            verbs: Vec::new(),
        };
        served.map(resource).collect()
    }

    /// A kind in one version.
    pub(crate) fn find(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.versions(group, kind).iter().find(|resource| resource.version == version)
    }

    /// A kind in the version that its group prefers.
    pub(crate) fn preferred(&self, group: &str, kind: &str) -> Option<&Resource> {
        self.versions(group, kind).first()
    }

    /// A kind in each of its versions.
    pub(crate) fn versions(&self, group: &str, kind: &str) -> &[Resource] {
        self.resources.get(&(group.to_owned(), kind.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_stale(&self, group: &str) -> bool {
        self.stale.contains(group)
    }

    /// The groups of which nobody can tell what they hold.
    pub(crate) fn stale(&self) -> impl Iterator<Item = &str> {
        self.stale.iter().map(String::as_str)
    }

    /// Each kind that has namespaces and whose objects somebody can make and delete.
    pub(crate) fn kept_in_namespaces(&self) -> impl Iterator<Item = &Resource> {
        let preferred = self.resources.values().filter_map(|versions| versions.first());
        preferred.filter(|resource| {
            // What is only computed, as the usage of pods, is nobody's.
            resource.namespaced && resource.can("list") && resource.can("delete")
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
