//! What an object is called, in which phase it is applied, and which of its fields are its own.
//!
//! Pure: takes the list of wanted objects as it was written, gives single objects that can be sent.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::applyset::PART_OF;
use crate::error::WantedFault;

/// An object that is wanted, and who wants it.
#[derive(Clone)]
pub struct Wanted {
    /// An addon's name, or `spec`.
    pub origin: String,
    /// The object as it is to be sent. A `List` stands for its items.
    pub object: Value,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a Secret.
        f.debug_struct("Wanted").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Which object: what makes it the same one, whichever version of its group it is asked for in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// `apps`; empty for the core group.
    pub group: String,
    /// `Deployment`.
    pub kind: String,
    /// `None` for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    /// `Deployment shop/till`, `ClusterRole till`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

impl ObjectRef {
    pub(crate) fn new(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    pub(crate) fn is_namespace(&self) -> bool {
        self.group.is_empty() && self.kind == "Namespace"
    }

    pub(crate) fn is_definition(&self) -> bool {
        self.group == "apiextensions.k8s.io" && self.kind == "CustomResourceDefinition"
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.group.is_empty() && self.kind == "Secret"
    }

    pub(crate) fn is_job(&self) -> bool {
        self.group == "batch" && self.kind == "Job"
    }

    pub(crate) fn is_pod(&self) -> bool {
        self.group.is_empty() && self.kind == "Pod"
    }
}

/// When an object is applied. A phase begins when the one before it is done; what is pruned goes the other
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Namespaces and CustomResourceDefinitions: others cannot be without them.
    Definitions,
    /// Service accounts, roles and their bindings, admission policies.
    Access,
    /// What workloads read and are bound by: ConfigMaps, Secrets, Services, classes, limits...
    Configuration,
    /// Workloads, and everything else: custom resources, webhooks.
    Workloads,
}

impl Phase {
    /// Each, in their order.
    pub const ALL: [Self; 4] = [Self::Definitions, Self::Access, Self::Configuration, Self::Workloads];

    /// That of a kind.
    pub(crate) fn of(group: &str, kind: &str) -> Self {
        match group {
            "" => match kind {
                "Namespace" => Self::Definitions,
                "ServiceAccount" => Self::Access,
                "ConfigMap"
                | "Endpoints"
                | "LimitRange"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "ResourceQuota"
                | "Secret"
                | "Service" => Self::Configuration,
                _ => Self::Workloads,
            },
            "apiextensions.k8s.io" => Self::Definitions,
            "rbac.authorization.k8s.io" => Self::Access,
            "admissionregistration.k8s.io" => match kind {
                // Before what serves them runs, they would only be in the way.
                "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => Self::Workloads,
                _ => Self::Access,
            },
            "networking.k8s.io" if kind == "Ingress" => Self::Workloads,
            "apiregistration.k8s.io"
            | "discovery.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "networking.k8s.io"
            | "node.k8s.io"
            | "policy"
            | "scheduling.k8s.io"
            | "storage.k8s.io" => Self::Configuration,
            _ => Self::Workloads,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Definitions => "namespaces and definitions",
            Self::Access => "accounts and permissions",
            Self::Configuration => "configuration",
            Self::Workloads => "workloads",
        })
    }
}

/// One wanted object, ready to be sent but for its namespace and label.
#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) origin: String,
    pub(crate) object: ObjectRef,
    pub(crate) version: String,
    pub(crate) manifest: Value,
}

impl Item {
    /// Puts it into its namespace: `default` where none is written, none where its kind has none.
    pub(crate) fn place(&mut self, namespaced: bool) {
        if namespaced {
            let namespace = self.object.namespace.get_or_insert_with(|| "default".to_owned());
            self.manifest["metadata"]["namespace"] = namespace.clone().into();
        } else {
            self.object.namespace = None;
            if let Some(metadata) = self.manifest["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        }
    }
}

/// What the server keeps in an object's metadata and nobody wants: an exported object has it still.
const SERVERS_OWN: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What kubectl keeps for itself: a whole copy of the object, Secrets too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How deep lists may stand in lists; nobody writes two.
const MAX_LISTS: usize = 8;

/// Takes the wanted list apart into single objects. Names every fault that can be seen without a server.
pub(crate) fn items(wanted: &[Wanted]) -> Result<Vec<Item>, Vec<WantedFault>> {
    let mut items = Vec::new();
    let mut faults = Vec::new();
    for (index, Wanted { origin, object }) in wanted.iter().enumerate() {
        take_apart(origin, object, &format!("object {}", index + 1), MAX_LISTS, &mut items, &mut faults);
    }
    if faults.is_empty() { Ok(items) } else { Err(faults) }
}

/// Objects that are wanted twice.
pub(crate) fn doubles<'a>(items: impl IntoIterator<Item = &'a Item>) -> Vec<WantedFault> {
    let mut seen: HashMap<&ObjectRef, &str> = HashMap::new();
    let mut faults = Vec::new();
    for item in items {
        if let Some(first) = seen.get(&item.object) {
            faults.push(WantedFault::Twice {
                object: item.object.clone(),
                first: (*first).to_owned(),
                second: item.origin.clone(),
            });
        } else {
            seen.insert(&item.object, &item.origin);
        }
    }
    faults
}

fn take_apart(
    origin: &str,
    object: &Value,
    what: &str,
    lists_left: usize,
    items: &mut Vec<Item>,
    faults: &mut Vec<WantedFault>,
) {
    let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    if let Value::Array(members) = &object["items"]
        && is_list
        && lists_left > 0
    {
        for (index, member) in members.iter().enumerate() {
            let what = format!("item {} of {what}", index + 1);
            take_apart(origin, member, &what, lists_left - 1, items, faults);
        }
        return;
    }
    match item(origin, object, what) {
        Ok(item) => items.push(item),
        Err((what, reason)) => {
            faults.push(WantedFault::Malformed { origin: origin.to_owned(), what, reason });
        }
    }
}

fn item(origin: &str, object: &Value, what: &str) -> Result<Item, (String, String)> {
    let fault = |reason: &str| (what.to_owned(), reason.to_owned());
    let Some(fields) = object.as_object() else { return Err(fault("it is not an object")) };
    let text = |field: &Value| field.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let kind = text(&object["kind"]).ok_or_else(|| fault("it has no `kind`"))?;
    let api_version = text(&object["apiVersion"]).ok_or_else(|| fault("it has no `apiVersion`"))?;
    let Some(Value::Object(metadata)) = fields.get("metadata") else {
        return Err(fault(&format!("the {kind} has no `metadata`")));
    };
    let Some(name) = metadata.get("name").and_then(text) else {
        return Err(if metadata.contains_key("generateName") {
            fault(&format!(
                "the {kind} has `generateName`: each time it is applied it would be another object"
            ))
        } else {
            fault(&format!("the {kind} has no `metadata.name`"))
        });
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let namespace = metadata.get("namespace").and_then(text);
    let object_ref = ObjectRef::new(group, &kind, namespace.as_deref(), &name);
    let manifest = wanted_fields(object, &object_ref).map_err(|reason| (object_ref.to_string(), reason))?;
    Ok(Item { origin: origin.to_owned(), object: object_ref, version: version.to_owned(), manifest })
}

/// The object without what the server alone decides.
fn wanted_fields(object: &Value, object_ref: &ObjectRef) -> Result<Value, String> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        // Drafts of kubectl have `creationTimestamp: null` in many places, all of them of no meaning.
        fields.retain(|_, value| !value.is_null());
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, value| !SERVERS_OWN.contains(&field.as_str()) && !value.is_null());
        for field in ["labels", "annotations"] {
            let Some(texts) = metadata.get(field) else { continue };
            let Some(texts) = texts.as_object() else {
                return Err(format!("`metadata.{field}` is not a map"));
            };
            if let Some((name, _)) = texts.iter().find(|(_, value)| !value.is_string()) {
                return Err(format!("`metadata.{field}.{name}` is not a text"));
            }
            if texts.contains_key(PART_OF) {
                return Err(format!("`metadata.{field}` has `{PART_OF}`, which is kcl's to set"));
            }
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(LAST_APPLIED);
        }
    }
    if object_ref.is_secret() {
        secret_fields(&mut object)?;
    }
    Ok(object)
}

/// One way to say what a Secret holds: `data`. The server takes `stringData` too and forgets whose it was.
///
/// What is not text is refused here, since the server's words for it repeat the value.
fn secret_fields(object: &mut Value) -> Result<(), String> {
    let Some(fields) = object.as_object_mut() else { return Ok(()) };
    let mut all = match fields.remove("data") {
        None => Map::new(),
        Some(Value::Object(data)) => data,
        Some(_) => return Err("`data` is not a map".to_owned()),
    };
    for (name, value) in &mut all {
        if value.is_null() {
            *value = Value::String(String::new());
        }
        let text = value.as_str().map(|text| text.split_whitespace().collect::<String>());
        let decoded = text.and_then(|text| STANDARD.decode(text).ok());
        let decoded = decoded.ok_or_else(|| format!("`data.{name}` is not base64"))?;
        *value = Value::String(STANDARD.encode(decoded));
    }
    match fields.remove("stringData") {
        None => {}
        Some(Value::Object(texts)) => {
            for (name, value) in texts {
                let Value::String(text) = value else {
                    return Err(format!(
                        "`stringData.{name}` is not a text; numbers and truth values need quotes"
                    ));
                };
                all.insert(name, Value::String(STANDARD.encode(text)));
            }
        }
        Some(_) => return Err("`stringData` is not a map".to_owned()),
    }
    if !all.is_empty() {
        fields.insert("data".to_owned(), Value::Object(all));
    }
    Ok(())
}

/// A live object, or what would become of it, without what changes by itself: two of these are equal exactly if
/// nobody would see a difference.
pub(crate) fn normalised(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| !SERVERS_OWN.contains(&field.as_str()));
        for (field, own) in [("labels", PART_OF), ("annotations", LAST_APPLIED)] {
            let Some(Value::Object(texts)) = metadata.get_mut(field) else { continue };
            texts.remove(own);
            if texts.is_empty() {
                metadata.remove(field);
            }
        }
    }
    object
}

/// The label of the set that a live object belongs to.
pub(crate) fn part_of(object: &Value) -> Option<&str> {
    object["metadata"]["labels"][PART_OF].as_str()
}

/// Somebody deleted it, and it is not gone yet.
pub(crate) fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Who has work to do before it is gone, once it is deleted.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wanted(object: Value) -> Wanted {
        Wanted { origin: "spec".to_owned(), object }
    }

    fn faults(objects: &[Value]) -> Vec<String> {
        let all: Vec<_> = objects.iter().cloned().map(wanted).collect();
        match items(&all) {
            Ok(items) => doubles(&items).iter().map(ToString::to_string).collect(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_cannot_be_wanted_is_named() {
        let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        assert_eq!(faults(std::slice::from_ref(&config_map)), [""; 0]);
        assert_eq!(
            faults(&[config_map.clone(), config_map]),
            ["ConfigMap a is wanted twice: by spec and by spec"]
        );
        let found = faults(&[
            json!(7),
            json!({"apiVersion": "v1"}),
            json!({"kind": "Pod"}),
            json!({"apiVersion": "v1", "kind": "Pod"}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {PART_OF: "b"}}}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"b": 1}}}),
            json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "Pod"}]}),
        ]);
        assert_eq!(
            found,
            [
                "spec: object 1: it is not an object",
                "spec: object 2: it has no `kind`",
                "spec: object 3: it has no `apiVersion`",
                "spec: object 4: the Pod has no `metadata`",
                "spec: object 5: the Pod has no `metadata.name`",
                "spec: object 6: the Pod has `generateName`: each time it is applied it would be another object",
                "spec: Pod a: `metadata.labels` has `applyset.kubernetes.io/part-of`, which is kcl's to set",
                "spec: Pod a: `metadata.labels.b` is not a text",
                "spec: item 1 of object 9: it has no `apiVersion`",
            ]
        );
    }

    #[test]
    fn faults_of_secrets_do_not_tell_them() {
        let secret = |data: Value| {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data["data"],
                   "stringData": data["stringData"]})
        };
        let found = faults(&[
            secret(json!({"data": {"pin": 8675}})),
            secret(json!({"data": {"pin": "8675 !"}})),
            secret(json!({"stringData": {"pin": 8675}})),
            secret(json!({"stringData": "8675"})),
        ]);
        assert_eq!(found.len(), 4);
        assert!(!found.concat().contains("8675"), "{found:?}");
        let items = items(&[wanted(secret(json!({"data": {"a": "YQ=="}, "stringData": {"b": "b"}})))]);
        let items = items.map_err(|faults| format!("{faults:?}")).unwrap();
        assert_eq!(items[0].manifest["data"], json!({"a": "YQ==", "b": "Yg=="}));
        assert_eq!(items[0].manifest.get("stringData"), None);
    }

    #[test]
    fn lists_stand_for_their_items() {
        let item = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [item("a"),
            {"apiVersion": "v1", "kind": "ConfigMapList", "items": [item("b")]}]});
        let found = items(&[wanted(list)]).map_err(|faults| format!("{faults:?}")).unwrap();
        let names: Vec<_> = found.iter().map(|item| item.object.to_string()).collect();
        assert_eq!(names, ["ConfigMap a", "ConfigMap b"]);
    }

    #[test]
    fn phases_come_in_the_order_in_which_things_need_each_other() {
        let of = Phase::of;
        assert!(of("", "Namespace") < of("", "ServiceAccount"));
        assert!(of("rbac.authorization.k8s.io", "ClusterRole") < of("", "ConfigMap"));
        assert!(of("admissionregistration.k8s.io", "MutatingAdmissionPolicy") < of("apps", "Deployment"));
        assert!(of("storage.k8s.io", "StorageClass") < of("", "Pod"));
        assert_eq!(of("admissionregistration.k8s.io", "MutatingWebhookConfiguration"), Phase::Workloads);
        assert_eq!(of("example.com", "ConfigMap"), Phase::Workloads);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key = prop_oneof![
                "[a-z]{1,3}",
                proptest::sample::select(vec![
                    "metadata",
                    "labels",
                    "annotations",
                    "status",
                    "uid",
                    "kind",
                    "apiVersion",
                    "name",
                    "items",
                    "data",
                    "stringData",
                    "spec"
                ])
                .prop_map(str::to_owned),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_wanted_makes_it_fall_over(object in json_value()) {
            let _ = items(&[wanted(object)]);
        }

        #[test]
        fn normalising_twice_changes_nothing_more(object in json_value()) {
            let once = normalised(&object);
            prop_assert_eq!(normalised(&once), once);
        }
    }
}
