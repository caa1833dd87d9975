//! The list of what kcl applied, as the ApplySet specification (KEP-3659) has it: each member has the label
//! `part-of`, and a ConfigMap in kube-system, the parent, says of which kinds and in which namespaces they are.
//!
//! The parent is written before members change, with everything that is there and will be, and again when what
//! is no longer wanted is gone. Whatever happens between the two, it names at least what is there.
//!
//! Pure: what it makes is sent by [`crate::apply()`].

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::discovery::GroupKind;
use crate::error::Error;

/// Label of a member: the id of its set.
pub(crate) const PART_OF: &str = "applyset.kubernetes.io/part-of";
/// Label of a parent: the id of the set.
pub(crate) const ID: &str = "applyset.kubernetes.io/id";
/// Annotation of a parent: the tool that may change the set.
const TOOLING: &str = "applyset.kubernetes.io/tooling";
/// Annotation of a parent: kinds of the members.
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// Annotation of a parent: namespaces of the members, but for its own.
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";

const TOOL: &str = "kcl";

/// The parent's namespace: it is there before anything is applied, and cannot be deleted.
const NAMESPACE: &str = "kube-system";

/// What a parent says about its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) kinds: BTreeSet<GroupKind>,
    pub(crate) namespaces: BTreeSet<String>,
}

impl Contents {
    pub(crate) fn add(&mut self, group: &str, kind: &str, namespace: Option<&str>) {
        self.kinds.insert((group.to_owned(), kind.to_owned()));
        // The parent's own is not told: it is always one of them.
        self.namespaces.extend(namespace.filter(|name| *name != NAMESPACE).map(str::to_owned));
    }

    fn union(&self, other: &Self) -> Self {
        Self {
            kinds: self.kinds.union(&other.kinds).cloned().collect(),
            namespaces: self.namespaces.union(&other.namespaces).cloned().collect(),
        }
    }
}

/// The set of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// Name of the parent.
    pub(crate) parent: String,
    /// Value of the label `part-of`.
    pub(crate) id: String,
}

impl Set {
    /// That of the cluster of this name. Each name has its own, so that the spec of another cluster, applied
    /// here by mistake, finds nothing to prune.
    pub(crate) fn of(cluster: &str) -> Self {
        let parent = format!("kcl-{cluster}");
        // A ConfigMap is of the core group, which has no name.
        let hash = Sha256::digest(format!("{parent}.{NAMESPACE}.ConfigMap.").as_bytes());
        Self { id: format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(hash)), parent }
    }

    /// `kube-system/kcl-karlaru.com`.
    pub(crate) fn parent_name(&self) -> String {
        format!("{NAMESPACE}/{}", self.parent)
    }

    pub(crate) fn parent_path(&self) -> String {
        format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{}", crate::request::escape(&self.parent))
    }

    /// `labelSelector` of the members.
    pub(crate) fn selector(&self) -> String {
        format!("labelSelector={}%3D{}", crate::request::escape(PART_OF), crate::request::escape(&self.id))
    }

    /// What the parent says. A ConfigMap of this name that is not kcl's parent is refused.
    pub(crate) fn read(&self, parent: &Value) -> Result<Contents, Error> {
        let refuse = |reason: String| Error::ApplySet { parent: self.parent_name(), reason };
        let metadata = &parent["metadata"];
        let annotation = |name: &str| metadata["annotations"][name].as_str();
        let Some(tooling) = annotation(TOOLING) else {
            return Err(refuse(format!("somebody else made it, it has no annotation {TOOLING}")));
        };
        let tool = tooling.rsplit_once('/').map_or(tooling, |(tool, _)| tool);
        if tool != TOOL {
            return Err(refuse(format!("it belongs to the tool {tool}")));
        }
        match metadata["labels"][ID].as_str() {
            Some(id) if id == self.id => {}
            Some(id) => return Err(refuse(format!("its label {ID} is {id}, and {} is expected", self.id))),
            None => return Err(refuse(format!("it has no label {ID}"))),
        }
        let list = |name| annotation(name).unwrap_or_default().split(',').filter(|text| !text.is_empty());
        let kind = |text: &str| {
            let (kind, group) = text.split_once('.').unwrap_or((text, ""));
            (group.to_owned(), kind.to_owned())
        };
        Ok(Contents {
            kinds: list(KINDS).map(kind).collect(),
            namespaces: list(NAMESPACES).map(str::to_owned).collect(),
        })
    }

    /// The parent that says this.
    pub(crate) fn manifest(&self, contents: &Contents) -> Value {
        let kinds = contents
            .kinds
            .iter()
            .map(|(group, kind)| if group.is_empty() { kind.clone() } else { format!("{kind}.{group}") });
        let kinds: BTreeSet<String> = kinds.collect();
        let join = |texts: Vec<&String>| texts.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(",");
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.parent,
                "namespace": NAMESPACE,
                "labels": {ID: self.id},
                "annotations": {
                    TOOLING: format!("{TOOL}/v{}", env!("CARGO_PKG_VERSION")),
                    KINDS: join(kinds.iter().collect()),
                    NAMESPACES: join(contents.namespaces.iter().collect()),
                },
            },
        })
    }
}

/// What the set is, and what it becomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlannedSet {
    pub(crate) set: Set,
    /// What the parent says now; `None`: there is none.
    pub(crate) now: Option<Contents>,
    /// What is wanted.
    pub(crate) wanted: Contents,
    /// Kinds that the parent names and nobody can see just now: there may be objects of theirs.
    pub(crate) out_of_sight: BTreeSet<GroupKind>,
}

impl PlannedSet {
    /// What the parent has to say before members change; `None`: it says so already.
    pub(crate) fn grown(&self) -> Option<Contents> {
        let Some(now) = &self.now else {
            return (self.wanted != Contents::default()).then(|| self.wanted.clone());
        };
        Some(now.union(&self.wanted)).filter(|grown| grown != now)
    }

    /// What the parent says when [`Self::grown`] is written.
    pub(crate) fn after_growth(&self) -> Contents {
        self.now.as_ref().map_or_else(|| self.wanted.clone(), |now| now.union(&self.wanted))
    }

    /// The parent has to be written before anything else.
    pub(crate) fn changes(&self) -> bool {
        self.grown().is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_id_is_what_the_specification_says() {
        // printf 'kcl-karlaru.com.kube-system.ConfigMap.' | openssl sha256 -binary | basenc --base64url
        let set = Set::of("karlaru.com");
        assert_eq!(set.parent_name(), "kube-system/kcl-karlaru.com");
        assert_eq!(set.id, "applyset-hwoLdZWGOASTEVJqkL5BmSNE_gIF3_gHwI0xr_sryp0-v1");
        assert!(set.id.len() <= 63, "a label's value");
    }

    #[test]
    fn what_a_parent_says_is_what_is_read_of_it() {
        let set = Set::of("a.example");
        let mut contents = Contents::default();
        contents.add("", "ConfigMap", Some(NAMESPACE));
        contents.add("apps", "Deployment", Some("shop"));
        contents.add("", "Namespace", None);
        assert_eq!(set.read(&set.manifest(&contents)).unwrap(), contents);
    }

    #[test]
    fn a_parent_of_somebody_else_is_refused() {
        let set = Set::of("a.example");
        let reason = |parent: &Value| set.read(parent).unwrap_err().to_string();
        assert!(reason(&json!({"metadata": {"name": "kcl-a.example"}})).contains("somebody else made it"));
        let mut parent = set.manifest(&Contents::default());
        assert_eq!(set.read(&parent).unwrap(), Contents::default());
        assert!(Set::of("b.example").read(&parent).unwrap_err().to_string().contains("is expected"));
        parent["metadata"]["annotations"][TOOLING] = "kubectl/v1.36.0".into();
        assert!(reason(&parent).contains("it belongs to the tool kubectl"));
    }

    #[test]
    fn the_parent_says_what_the_specification_asks_for() {
        let mut contents = Contents::default();
        contents.add("apps", "Deployment", Some("shop"));
        contents.add("", "ConfigMap", Some("kube-system"));
        contents.add("rbac.authorization.k8s.io", "ClusterRole", None);
        let manifest = Set::of("a.example").manifest(&contents);
        let annotations = &manifest["metadata"]["annotations"];
        assert_eq!(annotations[KINDS], "ClusterRole.rbac.authorization.k8s.io,ConfigMap,Deployment.apps");
        assert_eq!(annotations[NAMESPACES], "shop");
    }

    fn contents() -> impl Strategy<Value = Contents> {
        let kinds =
            prop::collection::btree_set(("([a-z]{1,3}(\\.[a-z]{1,3}){0,2})?", "[A-Z][a-z]{0,3}"), 0..4);
        let namespaces = prop::collection::btree_set("[a-z]{1,4}", 0..4);
        (kinds, namespaces).prop_map(|(kinds, namespaces)| Contents { kinds, namespaces })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(contents in contents(), cluster in "[a-z]{1,8}") {
            let set = Set::of(&cluster);
            prop_assert_eq!(set.read(&set.manifest(&contents)).unwrap(), contents);
        }

        #[test]
        fn nothing_is_forgotten_before_members_change(now in contents(), wanted in contents()) {
            let planned = PlannedSet { set: Set::of("a"), now: Some(now.clone()), wanted: wanted.clone(), ..PlannedSet::default() };
            let grown = planned.after_growth();
            prop_assert!(grown.kinds.is_superset(&now.kinds) && grown.kinds.is_superset(&wanted.kinds));
            prop_assert!(grown.namespaces.is_superset(&now.namespaces));
            prop_assert_eq!(planned.changes(), grown != now);
        }
    }
}
