//! What a cluster holds: the objects of addons, of roles for pods, and those of the spec.
//!
//! Pure, as the rest: the cluster and what was looked up in, objects out. Manifests from elsewhere
//! ([`Cluster::manifests`]) are not among them: somebody has to fetch those.

use std::collections::{BTreeMap, BTreeSet};

use kcl_manifests::{Identity, Inputs, Manifest};
use kcl_spec::cluster::{Cluster, KubernetesObject, ServiceAccountPermissions, ServiceAccountRole, Vpc};
use serde_json::Value;

use crate::builder::Builder;
use crate::error::ModelError;
use crate::facts::Facts;
use crate::issuer::service_account_role_arn;
use crate::service_accounts::{self, trusted};
use crate::{dns, names};

/// What the spec's own objects are listed under.
pub const SPEC_ORIGIN: &str = "spec";
/// What the service accounts of `serviceAccountExternalPermissions` are listed under.
pub const SERVICE_ACCOUNTS: &str = "service-accounts";

/// Everything that the cluster should hold, by what it is part of: each addon, [`SERVICE_ACCOUNTS`] and
/// [`SPEC_ORIGIN`]. No object comes twice.
pub fn objects(cluster: &Cluster, facts: &Facts) -> Result<Vec<Manifest>, ModelError> {
    let prepared = Prepared::of(cluster, facts);
    let mut groups = kcl_manifests::render(&prepared.inputs(cluster, facts))?;
    let mut own = own_objects(cluster)?;
    let accounts = service_accounts::annotate(cluster, facts, &mut own);
    let spaces: BTreeSet<String> = own.iter().filter_map(namespace_name).map(str::to_owned).collect();
    for group in &mut groups {
        // The spec's own, where it has one.
        group.objects.retain(|object| namespace_name(object).is_none_or(|name| !spaces.contains(name)));
    }
    let made = groups.iter().flat_map(|group| &group.objects).filter_map(namespace_name);
    let known: BTreeSet<&str> = made.chain(spaces.iter().map(String::as_str)).collect();
    let accounts = service_accounts::with_namespaces(accounts, &known);
    groups.push(Manifest { addon: SERVICE_ACCOUNTS.to_owned(), objects: accounts });
    groups.push(Manifest { addon: SPEC_ORIGIN.to_owned(), objects: own });
    groups.retain(|group| !group.objects.is_empty());
    each_once(&groups)?;
    Ok(groups)
}

/// The namespaces that the workloads of the addons run in, sorted. Which they are follows from the spec alone, and
/// also from that of a cluster whose version lacks what one of the addons is made of.
pub fn system_namespaces(cluster: &Cluster) -> Vec<String> {
    let facts = Facts::assumed(cluster, None);
    let prepared = Prepared::of(cluster, &facts);
    kcl_manifests::namespaces(&prepared.inputs(cluster, &facts)).into_iter().collect()
}

/// What manifests are made from, beside cluster and facts.
struct Prepared {
    roles: BTreeMap<(String, String), String>,
    vpc_cidrs: Vec<String>,
    zones: Vec<String>,
    queue: Option<String>,
}

impl Prepared {
    fn of(cluster: &Cluster, facts: &Facts) -> Self {
        let network = &cluster.network;
        let shared = match &network.vpc {
            Vpc::Managed => None,
            Vpc::Shared { .. } => facts.vpc.as_ref().filter(|vpc| !vpc.cidrs.is_empty()),
        };
        let cidrs = match shared {
            Some(vpc) => vpc.cidrs.clone(),
            None => [network.cidr].into_iter().chain(network.additional_cidrs.iter().copied()).collect(),
        };
        let handler = &cluster.node_termination_handler;
        let has_queue = handler.enabled && handler.sqs_termination_draining;
        let mut prepared = Self {
            roles: BTreeMap::new(),
            vpc_cidrs: cidrs.iter().map(ToString::to_string).collect(),
            zones: dns::zones(&Builder::new(cluster, facts)),
            queue: has_queue.then(|| names::queue(&cluster.name)),
        };
        if have_roles(cluster) {
            let identities = prepared.identities(cluster, facts);
            let role = |identity: Identity| {
                let Identity { namespace, service_account, statements: _ } = identity;
                let arn = service_account_role_arn(cluster, facts, service_account, namespace);
                ((namespace.to_owned(), service_account.to_owned()), arn)
            };
            prepared.roles = identities.into_iter().map(role).collect();
        }
        prepared
    }

    fn inputs<'a>(&'a self, cluster: &'a Cluster, facts: &'a Facts) -> Inputs<'a> {
        Inputs {
            cluster,
            partition: &facts.partition,
            account: &facts.account,
            roles: &self.roles,
            vpc_cidrs: &self.vpc_cidrs,
            zones: &self.zones,
            queue: self.queue.as_deref(),
        }
    }

    fn identities(&self, cluster: &Cluster, facts: &Facts) -> Vec<Identity> {
        let mut identities = kcl_manifests::identities(&self.inputs(cluster, facts));
        identities.retain(|identity| !identity.statements.is_empty());
        identities
    }
}

/// The addons have roles of their own, and the machines that they run on need not allow what they do.
pub(crate) fn have_roles(cluster: &Cluster) -> bool {
    cluster.iam.use_service_account_external_permissions && trusted(cluster)
}

/// Who the addons that `cluster` wants are to AWS.
pub(crate) fn identities(cluster: &Cluster, facts: &Facts) -> Vec<Identity> {
    Prepared::of(cluster, facts).identities(cluster, facts)
}

/// The roles that the wanted addons have of their own.
pub(crate) fn roles(cluster: &Cluster, facts: &Facts) -> Vec<ServiceAccountRole> {
    if !have_roles(cluster) {
        return Vec::new();
    }
    let role = |identity: Identity| ServiceAccountRole {
        name: identity.service_account.to_owned(),
        namespace: identity.namespace.to_owned(),
        permissions: ServiceAccountPermissions::Inline(identity.statements),
    };
    identities(cluster, facts).into_iter().map(role).collect()
}

/// The spec's objects, lists of them taken apart.
fn own_objects(cluster: &Cluster) -> Result<Vec<Value>, ModelError> {
    let mut own = Vec::new();
    for object in &cluster.objects {
        let mut pending = vec![json(object)?];
        while let Some(value) = pending.pop() {
            match items(value) {
                Ok(items) => pending.extend(items.into_iter().rev()),
                Err(value) => own.push(named(value)?),
            }
        }
    }
    Ok(own)
}

fn json(object: &KubernetesObject) -> Result<Value, ModelError> {
    let name = object.name.as_deref().unwrap_or("without a name");
    serde_json::to_value(&object.value)
        .map_err(|source| ModelError::Object { object: format!("{} {name}", object.kind), source })
}

/// The items of a list (`List`, `ConfigMapList`...), or what is none. Items of a list of one kind need not say so.
fn items(mut value: Value) -> Result<Vec<Value>, Value> {
    let kind = value["kind"].as_str().and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
    let (Some(kind), true) = (kind, value["items"].is_array()) else { return Err(value) };
    let version = value["apiVersion"].clone();
    let Value::Array(mut items) = value["items"].take() else { return Err(value) };
    for item in items.iter_mut().filter(|item| !kind.is_empty() && item.is_object()) {
        for (field, text) in [("apiVersion", version.clone()), ("kind", Value::from(kind.as_str()))] {
            if item[field].is_null() {
                item[field] = text;
            }
        }
    }
    Ok(items)
}

/// What cannot be found again cannot be kept as the spec has it: every run would make one more.
fn named(value: Value) -> Result<Value, ModelError> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if is_text(&value["kind"]) && is_text(&value["apiVersion"]) && is_text(&value["metadata"]["name"]) {
        return Ok(value);
    }
    Err(ModelError::Unnamed { kind: value["kind"].as_str().unwrap_or("object").to_owned() })
}

/// The name of a Namespace.
fn namespace_name(object: &Value) -> Option<&str> {
    let is_namespace = object["apiVersion"] == "v1" && object["kind"] == "Namespace";
    object["metadata"]["name"].as_str().filter(|_| is_namespace)
}

/// What an object is known by in a cluster, whichever version of its group it is written in.
fn identity(object: &Value) -> [&str; 4] {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let metadata = &object["metadata"];
    [
        group,
        object["kind"].as_str().unwrap_or_default(),
        metadata["namespace"].as_str().unwrap_or("default"),
        metadata["name"].as_str().unwrap_or_default(),
    ]
}

/// Two of one identity would be applied over each other, and who comes last would win.
fn each_once(groups: &[Manifest]) -> Result<(), ModelError> {
    let mut seen: BTreeMap<[&str; 4], &str> = BTreeMap::new();
    for group in groups {
        for object in &group.objects {
            let id = identity(object);
            if let Some(first) = seen.insert(id, &group.addon) {
                let [_, kind, namespace, name] = id;
                let place = if namespace == "default" { String::new() } else { format!("{namespace}/") };
                return Err(ModelError::SameObject {
                    object: format!("{kind} {place}{name}"),
                    first: origin(first),
                    second: origin(&group.addon),
                });
            }
        }
    }
    Ok(())
}

fn origin(group: &str) -> String {
    match group {
        SPEC_ORIGIN => "an object of the spec".to_owned(),
        SERVICE_ACCOUNTS => "`serviceAccountExternalPermissions`".to_owned(),
        addon => format!("the addon {addon}"),
    }
}
