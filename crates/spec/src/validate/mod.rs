//! From [`Spec`] to [`Cluster`]: defaults and rules, as kOps has them and a few beyond.
//!
//! Every rule is checked and every mistake reported, each where it stands. Where a value is wrong
//! a harmless one takes its place, so that the rest can be judged; the cluster made of such values
//! is thrown away.

mod access;
mod access_entries;
mod addons;
mod api;
mod authentication;
mod autoscaler;
mod check;
mod container;
mod etcd;
mod groups;
mod iam;
mod image;
mod ingress;
mod labels;
mod manifests;
mod namespaces;
mod network;
mod placement;
mod purchase;
mod state_store;
mod subnets;
mod syntax;
mod sysctls;
mod termination;
mod volumes;

use std::collections::BTreeMap;

use crate::cluster::{Cluster, KubernetesObject, KubernetesVersion};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::document::{Document, Parsed, Spec, read_all};
use crate::read::Dict;
use crate::schema::{ClusterDocument, Metadata, cluster::ClusterSpec};
use crate::source::{Located, Place, Source};
use check::Check;
pub(crate) use groups::MANAGER;

/// A sound cluster, and what is worth a word about it.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The cluster.
    pub cluster: Cluster,
    /// Warnings, in the order of the sources; those of reading are among them.
    pub warnings: Vec<Diagnostic>,
}

/// A sound cluster together with the documents it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The documents.
    pub spec: Spec,
    /// The cluster.
    pub cluster: Cluster,
    /// Warnings, in the order of the sources.
    pub warnings: Vec<Diagnostic>,
}

pub use syntax::web_server;

/// Whether `name` can be a cluster's: a DNS name with a dot.
pub fn is_cluster_name(name: &str) -> bool {
    name.contains('.') && syntax::is_dns_name(name)
}

/// Judges a spec that was read without mistakes. All mistakes are reported at once.
pub fn validate(spec: &Spec) -> Result<Validated, Diagnostics> {
    let (cluster, mut found) = judge(spec, &[]);
    found.extend(spec.warnings().iter().cloned());
    found.sort();
    match cluster {
        Some(cluster) if !found.has_errors() => Ok(Validated { cluster, warnings: found.into_vec() }),
        _ => Err(errors_of(found)),
    }
}

/// Reads and judges in one go: the mistakes of both are reported together.
pub fn load(sources: &[Source]) -> Result<Loaded, Diagnostics> {
    judge_all(read_all(sources))
}

/// Likewise, with the Kubernetes objects of one more source. What else stands in it is the same as in `sources`, in
/// another form: a spec as it was registered, beside what the defaults made of it.
pub fn load_with_objects(sources: &[Source], objects: &Source) -> Result<Loaded, Diagnostics> {
    let mut parsed = read_all(sources);
    let with_objects = read_all(std::slice::from_ref(objects));
    parsed.errors.extend(with_objects.errors);
    parsed.complete &= with_objects.complete;
    parsed.spec.adopt_objects(with_objects.spec);
    judge_all(parsed)
}

fn judge_all(parsed: Parsed) -> Result<Loaded, Diagnostics> {
    if parsed.errors.is_empty() {
        let Validated { cluster, warnings } = validate(&parsed.spec)?;
        return Ok(Loaded { spec: parsed.spec, cluster, warnings });
    }
    let mut errors = parsed.errors;
    // With a document unread, everything in it would seem to be missing.
    if parsed.complete {
        errors.extend(errors_of(judge(&parsed.spec, &parsed.lost_fields).1));
        errors.sort();
    }
    Err(errors)
}

fn errors_of(found: Diagnostics) -> Diagnostics {
    let mut errors = Diagnostics::default();
    errors.extend(found.into_iter().filter(Diagnostic::is_error));
    errors
}

fn judge(spec: &Spec, lost_fields: &[String]) -> (Option<Cluster>, Diagnostics) {
    let mut check = Check::default();
    let cluster = cluster(spec, &mut check);
    (cluster, check.findings(lost_fields))
}

/// The Cluster document that everything else belongs to.
struct Scope<'a> {
    /// Where the document begins.
    place: &'a Place,
    /// Where its `spec` stands.
    spec_place: &'a Place,
    /// The cluster's name.
    name: &'a str,
    spec: &'a ClusterSpec,
}

fn cluster(spec: &Spec, check: &mut Check) -> Option<Cluster> {
    let (document, body) = only_cluster(spec, check)?;
    let empty = ClusterSpec::default();
    let (name, is_sound) = cluster_name(document, body, check);
    let scope = Scope {
        place: &document.place,
        spec_place: body.spec.as_ref().map_or(&document.place, |spec| &spec.place),
        name: &name,
        spec: body.spec.as_ref().map_or(&empty, |spec| &spec.value),
    };
    if scope.spec.cloud_provider.is_none() && body.spec.is_none() {
        check.missing(&document.place, "spec");
    }
    let annotations = texts(body.metadata.as_ref().and_then(|metadata| metadata.value.annotations.as_ref()));
    let subnets = subnets::subnets(&scope, check);
    let instance_groups = groups::groups(spec, &scope, &subnets, check);
    let ingress_controllers = ingress::controllers(spec, &scope, check);
    let manifests = manifests::manifests(spec, check);
    let network = network::network(&scope, &subnets, &instance_groups, &manifests, check);
    let bastion = access::bastion(&scope, &instance_groups, &network, check);
    let namespace_defaults = namespaces::namespace_defaults(spec, network.pod_network, check);
    let (node_termination_handler, handler) = termination::node_termination_handler(&scope, check);
    let addons = addons::addons(&scope, &network, &instance_groups, &namespace_defaults, handler, check);
    let cluster = Cluster {
        protected: annotations.get("kcl.dev/protect").is_some_and(|value| value == "true"),
        annotations,
        region: subnets::region(&subnets, check),
        kubernetes_version: kubernetes_version(&scope, check),
        config_base: scope.spec.config_base.as_ref().map(|base| base.value.clone()),
        cloud_labels: labels::of_cluster(&scope, check),
        api: api::api(&scope, &network, &ingress_controllers, check),
        ssh: access::ssh(spec, &scope, check),
        node_port_access: syntax::cidrs(scope.spec.node_port_access.as_ref(), check),
        bastion,
        etcd_clusters: etcd::clusters(&scope, &instance_groups, &subnets, check),
        iam: iam::iam(&scope, &addons, check),
        service_account_issuer: iam::issuer(&scope, check),
        node_termination_handler,
        instance_groups: instance_groups.into_iter().map(|group| group.value).collect(),
        ingress_controllers: ingress_controllers.into_iter().map(|controller| controller.value).collect(),
        state_store: state_store::state_store(spec, &scope, check),
        access_entries: access_entries::access_entries(spec, &addons, check),
        addons,
        namespace_defaults,
        manifests: manifests.into_iter().map(|manifest| manifest.value).collect(),
        image_mirror: manifests::image_mirror(&scope, check),
        file_repository: manifests::file_repository(&scope, check),
        objects: objects(spec, check),
        network,
        name,
    };
    if is_sound {
        belongs(spec, &cluster.name, check);
    }
    Some(cluster)
}

/// Exactly one Cluster document, else there is nothing to judge the others by.
fn only_cluster<'a>(spec: &'a Spec, check: &mut Check) -> Option<(&'a Document, &'a ClusterDocument)> {
    let mut clusters = spec.clusters();
    let Some(first) = clusters.next() else {
        let hint = "add a document with `kind: Cluster` and `apiVersion: kops.k8s.io/v1alpha2`";
        check.push(Diagnostic::global("the spec has no Cluster document").hint(hint));
        return None;
    };
    for (document, _) in clusters {
        let hint = format!("the first one is at {}", first.0.place.seen_from(&document.place));
        check.push(Diagnostic::error(&document.place, "a second Cluster document").hint(hint));
    }
    Some(first)
}

/// IAM allows 64 characters for `masters.<cluster>`, the longest name that is made everywhere.
const MAX_CLUSTER_NAME: usize = 64 - "bastions.".len();

/// The cluster's name, and whether it is a possible one.
fn cluster_name(document: &Document, body: &ClusterDocument, check: &mut Check) -> (String, bool) {
    let Some(name) = document_name(document, body.metadata.as_ref(), check) else {
        return ("missing.invalid".to_owned(), false);
    };
    if !syntax::is_dns_name(&name.value) {
        let title = format!("cluster name `{}` is not a DNS name", name.value);
        check.hinted(&name.place, title, "lower-case letters, digits, `-` and dots, as in `k8s.example.com`");
    } else if !name.value.contains('.') {
        let title = format!("cluster name `{}` has no dot", name.value);
        check.hinted(&name.place, title, format!("make it a DNS name, as in `{}.example.com`", name.value));
    } else if name.value.len() > MAX_CLUSTER_NAME {
        let title = format!("cluster name has {} characters", name.value.len());
        let hint =
            format!("at most {MAX_CLUSTER_NAME}: IAM roles are named `masters.<cluster>`, of 64 at most");
        check.hinted(&name.place, title, hint);
    } else {
        return (name.value.clone(), true);
    }
    (name.value.clone(), false)
}

/// `metadata.name` of a document of ours.
fn document_name(
    document: &Document,
    metadata: Option<&Located<Metadata>>,
    check: &mut Check,
) -> Option<Located<String>> {
    let Some(metadata) = metadata else {
        check.missing_named(&document.place, "name", "metadata.name");
        return None;
    };
    match &metadata.value.name {
        Some(name) if !name.value.is_empty() => Some(name.clone()),
        Some(name) => {
            check.error(&name.place, "empty name");
            None
        }
        None => {
            check.missing_named(&metadata.place, "name", "metadata.name");
            None
        }
    }
}

/// Every document that names a cluster names this one.
fn belongs(spec: &Spec, cluster: &str, check: &mut Check) {
    const LABEL: &str = "kops.k8s.io/cluster";
    let groups = spec.instance_groups().map(|(_, body)| &body.metadata);
    let credentials = spec.ssh_credentials().map(|(_, body)| &body.metadata);
    let controllers = spec.ingress_controllers().map(|(_, body)| &body.metadata);
    let stores = spec.state_stores().map(|(_, body)| &body.metadata);
    let entries = spec.access_entries().map(|(_, body)| &body.metadata);
    let namespaces = spec.namespace_defaults().map(|(_, body)| &body.metadata);
    let manifests = spec.manifests().map(|(_, body)| &body.metadata);
    let of_kops = groups.chain(credentials);
    let of_kcl = controllers.chain(stores).chain(entries).chain(namespaces).chain(manifests);
    for metadata in of_kops.chain(of_kcl).flatten() {
        let Some(labels) = &metadata.value.labels else { continue };
        for (key, value) in &labels.value.0 {
            if key.value == LABEL && value.value != cluster {
                let title = format!("this document belongs to another cluster, `{}`", value.value);
                check.hinted(&value.place, title, format!("the cluster of this spec is `{cluster}`"));
            }
        }
    }
}

/// The release that is run when the spec does not say.
const DEFAULT_KUBERNETES: KubernetesVersion = KubernetesVersion { major: 1, minor: 36, patch: 4 };
/// The first release whose kubeadm reads the configuration (v1beta4) that the node agent writes.
const OLDEST_MINOR: u16 = 31;
/// The newest release this kcl has been tried with.
const NEWEST_MINOR: u16 = 36;

fn kubernetes_version(scope: &Scope<'_>, check: &mut Check) -> KubernetesVersion {
    let Some(written) = &scope.spec.kubernetes_version else {
        return DEFAULT_KUBERNETES;
    };
    let text = written.value.strip_prefix('v').unwrap_or(&written.value);
    let numbers: Option<Vec<u16>> = text.split('.').map(|part| part.parse().ok()).collect();
    let version = match numbers.as_deref() {
        Some(&[major, minor, patch]) => KubernetesVersion { major, minor, patch },
        Some([1, _]) => {
            let title = format!("Kubernetes version `{}` has no patch number", written.value);
            check.hinted(&written.place, title, format!("write the whole version, as in `{text}.0`"));
            return DEFAULT_KUBERNETES;
        }
        _ => {
            let title = format!("`{}` is not a Kubernetes version", written.value);
            check.hinted(&written.place, title, format!("write it as in `{DEFAULT_KUBERNETES}`"));
            return DEFAULT_KUBERNETES;
        }
    };
    if version.major != 1 || version.minor < OLDEST_MINOR {
        let title = format!("Kubernetes {version} is not supported");
        check.hinted(&written.place, title, format!("the oldest release is 1.{OLDEST_MINOR}"));
    } else if version.minor > NEWEST_MINOR {
        let title = format!("Kubernetes {version} is newer than this kcl");
        check.warn(
            &written.place,
            title,
            format!("the newest release it was tried with is 1.{NEWEST_MINOR}"),
        );
    }
    version
}

/// The Kubernetes objects to apply; each once.
fn objects(spec: &Spec, check: &mut Check) -> Vec<KubernetesObject> {
    let mut seen: BTreeMap<(&str, &str, Option<&str>, &str), &Place> = BTreeMap::new();
    for document in spec.objects() {
        let Some(name) = document.name.as_deref() else { continue };
        let key =
            (document.api_version.as_str(), document.kind.as_str(), document.namespace.as_deref(), name);
        if let Some(first) = seen.insert(key, &document.place) {
            let title = format!("a second {} `{name}`", document.kind);
            let hint = format!("the first one is at {}", first.seen_from(&document.place));
            check.hinted(&document.place, title, hint);
        }
    }
    let object = |document: &Document| KubernetesObject {
        api_version: document.api_version.clone(),
        kind: document.kind.clone(),
        namespace: document.namespace.clone(),
        name: document.name.clone(),
        value: document.value.clone(),
    };
    spec.objects().map(object).collect()
}

/// A mapping of text without its places.
fn texts(dict: Option<&Located<Dict<String>>>) -> BTreeMap<String, String> {
    let entries = dict.map(|dict| dict.value.0.iter()).into_iter().flatten();
    entries.map(|(key, value)| (key.value.clone(), value.value.clone())).collect()
}

/// The value of a field, without its place.
fn value<T: Clone>(field: Option<&Located<T>>) -> Option<T> {
    field.map(|field| field.value.clone())
}

/// A yes-or-no field.
fn flag(field: Option<&Located<bool>>, default: bool) -> bool {
    field.map_or(default, |field| field.value)
}
